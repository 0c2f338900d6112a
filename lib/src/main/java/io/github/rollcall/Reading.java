package io.github.rollcall;

import java.util.Set;
import java.util.stream.Collectors;

/**
 * What AWS said of one load balancer.
 *
 * @param members those registered, without those that are only being drained; in a target group each with its port,
 *     addresses as {@link IpAddress} writes them
 * @param port the port that a member without one has, or null where members have no ports
 * @param problem why nothing is known of this one and nothing can be changed in it, though the others could be read: a
 *     refusal for this one alone, records that are not ours to change; or null. Then {@code members} is empty and means
 *     nothing
 */
public record Reading(Set<Member> members, Integer port, Failure problem) {
    /** Copies, so that nothing changes under the one who reads it. */
    public Reading {
        members = Set.copyOf(members);
    }

    /** The same members as they read here: one without a port has the load balancer's. */
    public Set<Member> complete(Set<Member> others) {
        return others.stream()
                .map(m -> m.port() == null && port != null ? new Member(m.id(), port) : m)
                .collect(Collectors.toSet());
    }

    /** It was read. */
    public static Reading of(Set<Member> members, Integer port) {
        return new Reading(members, port, null);
    }

    /** It could not be read. */
    public static Reading failed(Failure problem) {
        return new Reading(Set.of(), null, problem);
    }
}
