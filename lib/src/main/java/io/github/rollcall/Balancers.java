package io.github.rollcall;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;

/**
 * All load balancers of one kind in one region. Everything blocks until AWS has answered, and throws a {@link Failure}
 * when that is an error. Thread-safe; the caller does not work on one load balancer twice at once, on different ones it
 * may.
 */
public interface Balancers {
    /**
     * The real state of some load balancers, read in as few calls as there can be.
     *
     * @return what was said of each; one that is not in the answer does not exist
     * @throws Failure when they could not be read; an answer is never partial
     */
    Map<BalancerName, Reading> members(Set<BalancerName> names);

    /**
     * As {@link #members(Set)}, telling each as soon as it is known, on any thread and several at once; it ends when all are.
     *
     * @param each is not told of those that do not exist
     */
    default void members(Set<BalancerName> names, BiConsumer<BalancerName, Reading> each) {
        members(names).forEach(each);
    }

    /** What is known about every member of one load balancer. */
    List<MemberHealth> health(BalancerName balancer);

    /**
     * Registers, then deregisters; the other way round only where the service says that there is no room. Works within
     * the limits of each API's batches; a batch that is refused for one member is split so that the others get through.
     * May be repeated.
     *
     * @return the members that were refused, and why; empty when everything was done
     * @throws Failure when the load balancer as a whole cannot be changed: it does not exist, the call was refused or
     *     throttled, AWS is out of reach. Part of the change may have been made
     */
    Map<Member, Failure> apply(Change change);
}
