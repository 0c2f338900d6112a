package io.github.rollcall;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.Executor;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.DescribeTargetGroupsResponse;

/**
 * The target groups of a region. What a name stands for is remembered until AWS says that it is gone: a group may be
 * deleted and made again. Thread-safe.
 */
final class TargetGroupBalancers implements Balancers {
    /** The API reference names no maximum; 200 is what others send. */
    private static final int MOST_TARGETS = 200;

    private static final int PAGE = 400;

    private record Known(TargetGroup group, Integer port, Failure problem) {}

    private final ElasticLoadBalancingV2Client client;
    private final Executor threads;
    private final Lookup<software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetGroup> lookup;
    private final ConcurrentMap<String, Known> known = new ConcurrentHashMap<>();

    /** @param threads for the calls that a reading takes, one a group */
    TargetGroupBalancers(ElasticLoadBalancingV2Client client, Executor threads) {
        this.client = client;
        this.threads = threads;
        lookup = new Lookup<>(
                names -> AwsCall.of(() -> client.describeTargetGroups(r -> r.names(names)))
                        .targetGroups(),
                () -> AwsCall.of(() -> client.describeTargetGroupsPaginator(r -> r.pageSize(PAGE)).stream()
                        .map(DescribeTargetGroupsResponse::targetGroups)
                        .toList()),
                software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetGroup::targetGroupName);
    }

    @Override
    public Map<BalancerName, Reading> members(Set<BalancerName> names) {
        Map<BalancerName, Reading> read = new ConcurrentHashMap<>();
        members(names, read::put);
        return read;
    }

    @Override
    public void members(Set<BalancerName> names, BiConsumer<BalancerName, Reading> each) {
        Set<BalancerName> gone = read(names, each);
        // A remembered group that is gone may have been made again.
        gone.removeIf(name -> known.remove(name.name()) == null);
        if (!gone.isEmpty()) {
            read(gone, each);
        }
    }

    /** @return those that are not found */
    private Set<BalancerName> read(Set<BalancerName> names, BiConsumer<BalancerName, Reading> each) {
        find(names.stream().map(BalancerName::name).collect(Collectors.toSet()));
        Set<BalancerName> gone = ConcurrentHashMap.newKeySet();
        List<CompletableFuture<Void>> asked = new ArrayList<>();
        for (BalancerName name : names) {
            Known group = known.get(name.name());
            if (group == null) {
                gone.add(name);
                continue;
            }
            asked.add(CompletableFuture.runAsync(
                    () -> {
                        Reading reading = read(group);
                        if (reading.problem() != null && AwsCall.isNotFound(reading.problem())) {
                            gone.add(name);
                        } else {
                            each.accept(name, reading);
                        }
                    },
                    threads));
        }
        asked.forEach(CompletableFuture::join);
        return gone;
    }

    private static Reading read(Known group) {
        if (group.problem != null) {
            return Reading.failed(group.problem);
        }
        try {
            return Reading.of(
                    group.group.health().stream()
                            .filter(h ->
                                    h.state() != MemberHealth.State.ABSENT && h.state() != MemberHealth.State.DRAINING)
                            .map(MemberHealth::member)
                            .map(TargetGroupBalancers::canonical)
                            .collect(Collectors.toSet()),
                    group.port);
        } catch (Failure f) {
            return Reading.failed(f);
        }
    }

    private static Member canonical(Member member) {
        String address = IpAddress.canonical(member.id());
        return address == null ? member : new Member(address, member.port());
    }

    private void find(Set<String> names) {
        Set<String> unknown = new HashSet<>(names);
        unknown.removeIf(name -> known.containsKey(name) && known.get(name).problem == null);
        if (!unknown.isEmpty()) {
            lookup.find(unknown).forEach((name, group) -> known.put(name, known(group)));
        }
    }

    private Known known(software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetGroup group) {
        try {
            return new Known(TargetGroup.of(client, group, null), group.port(), null);
        } catch (Failure f) {
            return new Known(null, null, f);
        }
    }

    @Override
    public List<MemberHealth> health(BalancerName balancer) {
        return with(balancer, TargetGroup::health).stream()
                .map(h -> new MemberHealth(canonical(h.member()), h.state(), h.word(), h.description()))
                .toList();
    }

    @Override
    public Map<Member, Failure> apply(Change change) {
        return with(change.balancer(), group -> Replacement.of(change, group, MOST_TARGETS, Integer.MAX_VALUE));
    }

    /** Does something with a group, and once more, found again, where it turns out to be gone. */
    private <R> R with(BalancerName balancer, Function<TargetGroup, R> what) {
        boolean fresh = !known.containsKey(balancer.name());
        try {
            return what.apply(group(balancer));
        } catch (Failure f) {
            if (fresh || !AwsCall.isNotFound(f)) {
                throw f;
            }
            known.remove(balancer.name());
            return what.apply(group(balancer));
        }
    }

    private TargetGroup group(BalancerName balancer) {
        find(Set.of(balancer.name()));
        Known group = known.get(balancer.name());
        if (group == null) {
            throw new Failure(
                    Exit.CONFIG, "not found: no target group " + balancer.name() + " in " + balancer.region());
        }
        if (group.problem != null) {
            throw group.problem;
        }
        return group.group;
    }
}
