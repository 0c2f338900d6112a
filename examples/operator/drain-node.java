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
import io.github.rollcall.LoadBalancer;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import java.time.Duration;
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
        long end = System.nanoTime() + timeout.toNanos();
        boolean drained = true;
        for (Map.Entry<String, LoadBalancer> balancer : balancers().entrySet()) {
            for (MemberHealth health : balancer.getValue().health()) {
                if (health.member().id().equals(id) && health.isRegistered()) {
                    balancer.getValue().deregister(List.of(health.member()));
                    Log.of(balancer.getKey()).info("deregistered", "member", health.member());
                    drained &= awaitDrained(balancer.getKey(), balancer.getValue(), health.member(), end);
                }
            }
        }
        return drained ? Exit.OK : Exit.TEMPORARY;
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
