package io.github.rollcall;

import java.util.List;

/**
 * A load balancer and its members: a {@link ClassicLoadBalancer} or a {@link TargetGroup}. Everything asks AWS, once,
 * and throws a {@link Failure} when the answer is an error. Registering and deregistering may be repeated. Thread-safe.
 */
public interface LoadBalancer {
    /** The form in which an instance is a member here. @throws Failure when it has no such form */
    Member member(Instance instance);

    /** What is known about one member, which need not be registered. */
    MemberHealth health(Member member);

    /** What is known about every member. */
    List<MemberHealth> health();

    /** Asks for members to be added; returns when that is accepted, which is before they are in service. */
    void register(List<Member> members);

    /** Asks for members to be removed; returns when that is accepted, which is before they are drained. */
    void deregister(List<Member> members);
}
