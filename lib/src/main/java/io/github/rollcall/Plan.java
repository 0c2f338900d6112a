package io.github.rollcall;

import java.util.HashSet;
import java.util.Set;

/**
 * What is to be done in one load balancer so that it has the members that it is to have.
 *
 * <pre>
 * desired  actual  policy                     what is done
 * yes      yes                                nothing
 * yes      no                                 register
 * no       yes     sync                       deregister
 * no       yes     owned, and it is ours      deregister
 * no       yes     owned, and it is not       nothing
 * no       yes     upsert-only                nothing
 * </pre>
 *
 * <p>What AWS refuses is left out for a while, and never leaves a load balancer empty that is to have members: then those
 * that it has stay. Then the {@link Guards} look at what would be deregistered, and hold it back as a whole where it goes past them.
 * Doing what a plan says and planning again gives an empty plan.
 *
 * @param heldBack what would be deregistered if the guards let it
 * @param why what the guards say, or null
 */
public record Plan(Set<Member> register, Set<Member> deregister, Set<Member> heldBack, String why) {
    /** Which members may be removed. */
    public enum Policy {
        /** All that are not to be there. */
        SYNC,
        /** None. */
        UPSERT_ONLY,
        /** Those that lbmanager itself has added. */
        OWNED;

        private boolean mayRemove(Member member, Set<Member> owned) {
            return switch (this) {
                case SYNC -> true;
                case UPSERT_ONLY -> false;
                case OWNED -> owned.contains(member);
            };
        }
    }

    /**
     * Pure.
     *
     * @param desired who is to be in it
     * @param actual who is in it
     * @param owned those that lbmanager itself has added; matters with {@link Policy#OWNED} only
     * @param refused those that are not to be registered now, because AWS has just refused them
     */
    public static Plan of(
            Set<Member> desired,
            Set<Member> actual,
            Set<Member> owned,
            Set<Member> refused,
            Policy policy,
            Guards guards) {
        Set<Member> register = new HashSet<>(desired);
        register.removeAll(actual);
        register.removeAll(refused);
        Set<Member> deregister = new HashSet<>(actual);
        deregister.removeAll(desired);
        deregister.removeIf(member -> !policy.mayRemove(member, owned));
        int after = actual.size() + register.size() - deregister.size();
        String why = after == 0 && !desired.isEmpty() && !deregister.isEmpty()
                ? "AWS takes none of those that are to be there instead"
                : guards.objection(deregister.size(), actual.size(), after);
        return why == null
                ? new Plan(Set.copyOf(register), Set.copyOf(deregister), Set.of(), null)
                : new Plan(Set.copyOf(register), Set.of(), Set.copyOf(deregister), why);
    }

    /** Whether there is nothing to do. */
    public boolean isEmpty() {
        return register.isEmpty() && deregister.isEmpty();
    }
}
