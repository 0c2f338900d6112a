package io.github.rollcall;

import java.util.List;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancing.model.InstanceState;

/** A load balancer of the first generation, known by its name, whose members are instances. Thread-safe. */
public final class ClassicLoadBalancer implements LoadBalancer {
    private final ElasticLoadBalancingClient client;
    private final String name;

    /** @param name as in {@code aws elb describe-load-balancers}; not looked up here */
    public ClassicLoadBalancer(ElasticLoadBalancingClient client, String name) {
        this.client = client;
        this.name = name;
    }

    @Override
    public Member member(Instance instance) {
        return new Member(instance.id(), null);
    }

    @Override
    public MemberHealth health(Member member) {
        try {
            return describe(List.of(member)).stream()
                    .filter(h -> h.member().equals(member))
                    .findFirst()
                    // An instance that has been terminated is left out of the answer.
                    .orElse(MemberHealth.classic(member, "Unknown", ""));
        } catch (Failure f) {
            if (isGone(f)) {
                return MemberHealth.classic(member, "Unknown", "");
            }
            throw f;
        }
    }

    @Override
    public List<MemberHealth> health() {
        return describe(List.of());
    }

    private List<MemberHealth> describe(List<Member> members) {
        return AwsCall.of(() -> client.describeInstanceHealth(
                        r -> r.loadBalancerName(name).instances(instances(members))))
                .instanceStates()
                .stream()
                .map(ClassicLoadBalancer::health)
                .toList();
    }

    private static MemberHealth health(InstanceState s) {
        return MemberHealth.classic(new Member(s.instanceId(), null), s.state(), s.description());
    }

    @Override
    public void register(List<Member> members) {
        AwsCall.of(() -> client.registerInstancesWithLoadBalancer(
                r -> r.loadBalancerName(name).instances(instances(members))));
    }

    @Override
    public void deregister(List<Member> members) {
        try {
            AwsCall.of(() -> client.deregisterInstancesFromLoadBalancer(
                    r -> r.loadBalancerName(name).instances(instances(members))));
        } catch (Failure f) {
            if (!isGone(f) || members.size() != 1) {
                throw f;
            }
        }
    }

    private static boolean isGone(Failure f) {
        return AwsCall.code(f).equals("InvalidInstance");
    }

    private static List<software.amazon.awssdk.services.elasticloadbalancing.model.Instance> instances(
            List<Member> members) {
        return members.stream()
                .map(m -> software.amazon.awssdk.services.elasticloadbalancing.model.Instance.builder()
                        .instanceId(m.id())
                        .build())
                .toList();
    }
}
