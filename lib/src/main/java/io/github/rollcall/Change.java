package io.github.rollcall;

import java.util.Set;

/** What is to be changed in one load balancer. No member is in both sets. */
public record Change(BalancerName balancer, Set<Member> register, Set<Member> deregister) {
    /** Copies, so that nothing changes under the one who applies it. */
    public Change {
        register = Set.copyOf(register);
        deregister = Set.copyOf(deregister);
    }

    /** Whether there is nothing to do. */
    public boolean isEmpty() {
        return register.isEmpty() && deregister.isEmpty();
    }
}
