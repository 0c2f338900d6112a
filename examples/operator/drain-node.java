///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Takes an instance out of every load balancer of the region, and waits until it is drained.
//JAVA 17+
//COMPILE_OPTIONS --release 17
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:url-connection-client

import io.github.rollcall.AwsCall;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.LoadBalancer;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;

@Command(
        name = "drain-node",
        description = "Takes an instance out of every load balancer, and waits until it is drained.")
class DrainNode extends Tool {
    @Parameters(paramLabel = "INSTANCE", description = "Its id, or its address for target groups of type ip.")
    private String id;

    @Option(names = "--timeout", defaultValue = "5m", description = "How long to wait (default: ${DEFAULT-VALUE}).")
    private Duration timeout;

    @Mixin
    private AwsOptions aws;

    DrainNode() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        main(new DrainNode(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        Map<String, LoadBalancer> all = balancers();
        List<Map.Entry<String, Member>> left = new ArrayList<>();
        int worst = Exit.OK;
        // Out of all of them first: they drain at the same time.
        for (Map.Entry<String, LoadBalancer> balancer : all.entrySet()) {
            try {
                left.addAll(leave(balancer.getKey(), balancer.getValue()));
            } catch (Failure f) {
                Log.of(balancer.getKey()).error(f.getMessage());
                worst = Math.max(worst, f.exit());
            }
        }
        if (left.isEmpty() && worst == Exit.OK) {
            throw new Failure(Exit.CONFIG, id + " is in no load balancer of this region");
        }
        long end = System.nanoTime() + timeout.toNanos();
        for (Map.Entry<String, Member> one : left) {
            if (!awaitDrained(one.getKey(), all.get(one.getKey()), one.getValue(), end)) {
                worst = Math.max(worst, Exit.TEMPORARY);
            }
        }
        return worst;
    }

    private List<Map.Entry<String, Member>> leave(String name, LoadBalancer balancer) {
        List<Member> members = balancer.health().stream()
                .filter(health -> health.member().id().equals(id) && health.isRegistered())
                .map(MemberHealth::member)
                .toList();
        if (!members.isEmpty()) {
            balancer.deregister(members);
        }
        members.forEach(member -> Log.of(name).info("deregistered", "member", member));
        return members.stream().map(member -> Map.entry(name, member)).toList();
    }

    private static boolean awaitDrained(String name, LoadBalancer balancer, Member member, long end)
            throws InterruptedException {
        while (!balancer.health(member).isDrained()) {
            if (System.nanoTime() - end > 0) {
                Log.of(name).error("not drained in time", "member", member);
                return false;
            }
            Thread.sleep(1_000);
        }
        Log.of(name).info("drained", "member", member);
        return true;
    }

    private Map<String, LoadBalancer> balancers() {
        Map<String, LoadBalancer> all = new TreeMap<>();
        ElasticLoadBalancingClient elb = aws.client(ElasticLoadBalancingClient.builder());
        AwsCall.of(() -> elb.describeLoadBalancersPaginator().loadBalancerDescriptions().stream()
                        .map(b -> b.loadBalancerName())
                        .toList())
                .forEach(name -> all.put("elb/" + name, new ClassicLoadBalancer(elb, name)));
        ElasticLoadBalancingV2Client elbv2 = aws.client(ElasticLoadBalancingV2Client.builder());
        AwsCall.of(() -> elbv2.describeTargetGroupsPaginator().targetGroups().stream()
                        .filter(g -> g.targetTypeAsString().matches("instance|ip"))
                        .map(g -> g.targetGroupName())
                        .toList())
                .forEach(name -> all.put("tg/" + name, TargetGroup.find(elbv2, TargetGroup.Ref.parse(name))));
        return all;
    }
}
