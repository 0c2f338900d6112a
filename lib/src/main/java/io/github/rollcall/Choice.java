package io.github.rollcall;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * Which of a load balancer's members is the one that runs a job: the master. A pure function of what the load balancer
 * says, so that every node that hears the same chooses the same. Immutable.
 *
 * <p>Only members in service count. Of those it is the first in alphabetic order, or with a name to spread by the one
 * that a rendezvous hash of the name prefers: then jobs of different names land on different members, and a member that
 * goes takes nobody's jobs along but its own.
 *
 * @param candidates every member once, however many ports it has, in alphabetic order
 * @param master the id of the chosen one, or null when nobody is in service
 * @param self this instance's id among the candidates, or null when it is not one of them
 * @param rule why the master is the one, in words
 */
public record Choice(List<Candidate> candidates, String master, String self, String rule) {
    /**
     * A member.
     *
     * @param id an instance id or an address
     * @param states what the load balancer says of each of its ports
     */
    public record Candidate(String id, List<MemberHealth> states) {
        /** Whether it may be master: one port in service is enough. */
        public boolean counts() {
            return states.stream().anyMatch(h -> h.state() == MemberHealth.State.IN_SERVICE);
        }

        /** {@code in service}, or with several ports {@code 8080 in service, 8081 draining}. */
        public String stateWords() {
            return states.size() == 1
                    ? states.get(0).state().words()
                    : states.stream()
                            .map(h ->
                                    (h.member().port() == null ? "" : h.member().port() + " ")
                                            + h.state().words())
                            .distinct()
                            .collect(Collectors.joining(", "));
        }

        /** Why it counts or does not, with the load balancer's own words where it says why. */
        public String why() {
            if (counts()) {
                return "yes: gets traffic";
            }
            return "no: " + states.stream().map(Candidate::reason).distinct().collect(Collectors.joining("; "));
        }

        private static String reason(MemberHealth h) {
            String meaning =
                    switch (h.state()) {
                        case IN_SERVICE -> "gets traffic";
                        case INITIAL -> "its first health checks are not done";
                        case OUT_OF_SERVICE -> "is not healthy";
                        case UNUSED -> "gets no traffic, however healthy";
                        case DRAINING -> "is being deregistered";
                        case ABSENT -> "is not registered";
                        case UNKNOWN -> "its health is not known";
                    };
            return h.description().isEmpty() ? meaning : meaning + " (" + h.description() + ")";
        }
    }

    /**
     * Chooses.
     *
     * @param members what the load balancer says, in any order
     * @param instance this instance; it is the member that has its id or its private address; null for somebody who only
     *     wants to know
     * @param spread a name to spread by, or null for the first in alphabetic order
     * @throws Failure configuration when the members are addresses and this instance's is not known, or are neither
     *     instances nor addresses
     */
    public static Choice of(List<MemberHealth> members, Instance instance, String spread) {
        List<Candidate> candidates = members.stream()
                .collect(Collectors.groupingBy(h -> h.member().id(), TreeMap::new, Collectors.toList()))
                .entrySet()
                .stream()
                .map(e -> new Candidate(e.getKey(), List.copyOf(e.getValue())))
                .toList();
        String self = instance == null
                ? null
                : candidates.stream()
                        .map(Candidate::id)
                        .filter(id -> id.equals(instance.id()) || id.equals(instance.privateIp()))
                        .findFirst()
                        .orElse(null);
        if (self == null && instance != null) {
            candidates.forEach(c -> checkComparable(c.id(), instance));
        }
        List<String> inService =
                candidates.stream().filter(Candidate::counts).map(Candidate::id).toList();
        return new Choice(
                candidates,
                spread == null ? inService.stream().findFirst().orElse(null) : preferred(inService, spread),
                self,
                (spread == null ? "the first in alphabetic order" : "the one that the hash of '" + spread + "' prefers")
                        + " of " + inService.size() + " in service");
    }

    /** Whether this instance is the chosen one. */
    public boolean isMaster() {
        return master != null && master.equals(self);
    }

    /** Whether this instance could be master: it is in service. */
    public boolean couldBeMaster() {
        return candidates.stream().anyMatch(c -> c.id().equals(self) && c.counts());
    }

    private static void checkComparable(String id, Instance instance) {
        if (id.startsWith("arn:")) {
            throw new Failure(Exit.CONFIG, "its targets are neither instances nor addresses, but such as " + id);
        }
        if (!id.startsWith("i-") && instance.privateIp() == null) {
            throw new Failure(
                    Exit.CONFIG, "its targets are addresses, and this instance's is not known: give --private-ip");
        }
        if (id.contains(":") && !instance.privateIp().contains(":")) {
            throw new Failure(
                    Exit.CONFIG, "its targets are IPv6 addresses, and this instance's is not known: give --private-ip");
        }
    }

    /** Highest random weight: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998. */
    private static String preferred(List<String> sorted, String name) {
        return sorted.stream()
                .max((a, b) -> Long.compareUnsigned(weight(name, a), weight(name, b)))
                .orElse(null);
    }

    /** The same on every host and in every version, or two nodes of one fleet would choose differently. */
    private static long weight(String name, String id) {
        try {
            byte[] hash =
                    MessageDigest.getInstance("SHA-256").digest((name + '\0' + id).getBytes(StandardCharsets.UTF_8));
            return ByteBuffer.wrap(hash).getLong();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }
}
