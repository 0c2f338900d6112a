package io.github.rollcall;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.stream.Collectors;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancing.model.DescribeLoadBalancersResponse;
import software.amazon.awssdk.services.elasticloadbalancing.model.LoadBalancerDescription;

/** The classic load balancers of a region. Thread-safe. */
final class ClassicBalancers implements Balancers {
    /** "Registered instances" in the quotas of Classic Load Balancers. */
    private static final int MOST_MEMBERS = 1_000;

    private static final int PAGE = 400;

    private final ElasticLoadBalancingClient client;
    private final Lookup<LoadBalancerDescription> lookup;
    private final ConcurrentMap<BalancerName, Integer> sizes = new ConcurrentHashMap<>();

    ClassicBalancers(ElasticLoadBalancingClient client) {
        this.client = client;
        lookup = new Lookup<>(
                names -> AwsCall.of(() -> client.describeLoadBalancers(r -> r.loadBalancerNames(names)))
                        .loadBalancerDescriptions(),
                () -> AwsCall.of(() -> client.describeLoadBalancersPaginator(r -> r.pageSize(PAGE)).stream()
                        .map(DescribeLoadBalancersResponse::loadBalancerDescriptions)
                        .toList()),
                LoadBalancerDescription::loadBalancerName);
    }

    @Override
    public Map<BalancerName, Reading> members(Set<BalancerName> names) {
        Map<String, LoadBalancerDescription> found =
                lookup.find(names.stream().map(BalancerName::name).collect(Collectors.toSet()));
        Map<BalancerName, Reading> read = new HashMap<>();
        for (BalancerName name : names) {
            LoadBalancerDescription there = found.get(name.name());
            if (there != null) {
                sizes.put(name, there.instances().size());
                read.put(
                        name,
                        Reading.of(
                                there.instances().stream()
                                        .map(i -> new Member(i.instanceId(), null))
                                        .collect(Collectors.toSet()),
                                null));
            }
        }
        return read;
    }

    @Override
    public List<MemberHealth> health(BalancerName balancer) {
        return new ClassicLoadBalancer(client, balancer.name()).health();
    }

    /** AWS has no error code of its own for a load balancer that is full, so this is known by counting. */
    @Override
    public Map<Member, Failure> apply(Change change) {
        int room = MOST_MEMBERS - sizes.getOrDefault(change.balancer(), 0);
        LoadBalancer balancer =
                new ClassicLoadBalancer(client, change.balancer().name());
        Map<Member, Failure> refused = Replacement.of(change, balancer, MOST_MEMBERS, room);
        sizes.merge(
                change.balancer(),
                change.register().size() - change.deregister().size(),
                Integer::sum);
        return refused;
    }
}
