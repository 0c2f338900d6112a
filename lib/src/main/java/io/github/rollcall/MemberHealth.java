package io.github.rollcall;

import java.util.Locale;

/**
 * What a load balancer says about one member.
 *
 * @param state what it means, the same for every kind of load balancer
 * @param word the service's own word for it, such as {@code InService} or {@code unhealthy.draining}
 * @param description the service's reason and description, or empty
 */
public record MemberHealth(Member member, State state, String word, String description) {
    /** What the services' many words come down to. */
    public enum State {
        /** Gets traffic. */
        IN_SERVICE,
        /** Registered, its first health checks not done. */
        INITIAL,
        /** Registered, and not healthy. */
        OUT_OF_SERVICE,
        /** Registered, and will get no traffic: no listener uses the group, its zone is off, or it is stopped. */
        UNUSED,
        /** Deregistered, and its last requests are still served. */
        DRAINING,
        /** Not registered. */
        ABSENT,
        /** The service does not know just now. */
        UNKNOWN;

        /** As people write it: {@code in service}, {@code absent}. */
        public String words() {
            return name().toLowerCase(Locale.ROOT).replace('_', ' ');
        }
    }

    /**
     * Whether it is gone, or as good as gone, once it has been deregistered: no request on its way any more. That is
     * {@code OutOfService} with a classic load balancer, and {@code unused} or absent with a target group.
     */
    public boolean isDrained() {
        return switch (state) {
            case ABSENT, UNUSED -> true;
            case OUT_OF_SERVICE, INITIAL -> word.equals("OutOfService");
            default -> false;
        };
    }

    /** Whether registering would change anything. */
    public boolean isRegistered() {
        return state != State.ABSENT && state != State.DRAINING && state != State.UNKNOWN;
    }

    /**
     * A row of {@code DescribeInstanceHealth}. A node that is being drained still reads {@code InService}; one that is
     * not registered is answered for with {@code OutOfService}, or with {@code Unknown} and no reason: "InstanceState"
     * in the API reference of Elastic Load Balancing, version 2012-06-01.
     */
    static MemberHealth classic(Member member, String word, String description) {
        String text = description == null || description.equals("N/A") ? "" : description;
        return new MemberHealth(member, classicState(word, text), word, text);
    }

    private static State classicState(String word, String text) {
        if (text.contains("deregistration currently in progress")) {
            return State.DRAINING;
        }
        if (text.contains("not currently registered")) {
            return State.ABSENT;
        }
        return switch (String.valueOf(word)) {
            case "InService" -> State.IN_SERVICE;
            case "OutOfService" ->
                text.contains("registration is still in progress") ? State.INITIAL : State.OUT_OF_SERVICE;
            case "Unknown" -> text.isEmpty() ? State.ABSENT : State.UNKNOWN;
            default -> State.UNKNOWN;
        };
    }

    /**
     * A row of {@code DescribeTargetHealth}: "TargetHealth" in the API reference of Elastic Load Balancing, version
     * 2015-12-01. {@code unused} is said both of a target that is not registered and of one that nothing can reach.
     */
    static MemberHealth target(Member member, String word, String reason, String description) {
        String text = description == null || description.isEmpty()
                ? String.valueOf(reason == null ? "" : reason)
                : (reason == null ? "" : reason + ": ") + description;
        return new MemberHealth(member, targetState(word, reason), word, text);
    }

    private static State targetState(String word, String reason) {
        return switch (String.valueOf(word)) {
            case "healthy" -> State.IN_SERVICE;
            case "initial" -> State.INITIAL;
            case "unhealthy" -> State.OUT_OF_SERVICE;
            case "draining", "unhealthy.draining" -> State.DRAINING;
            case "unused" -> reason == null || reason.equals("Target.NotRegistered") ? State.ABSENT : State.UNUSED;
            default -> State.UNKNOWN;
        };
    }
}
