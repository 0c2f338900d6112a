package io.github.rollcall;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.regions.PartitionMetadata;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;
import software.amazon.awssdk.services.route53.Route53Client;

/** Load balancers of every kind and region, each region called at a {@link Pace} of its own. Thread-safe. */
public final class AwsBalancers {
    /** "Route 53 API requests" in its quotas: five a second an account, whatever the region in the keys. */
    private static final double ROUTE53_RATE = 5;

    private static final int THREADS = 16;

    private final AwsOptions aws;
    private final double rate;
    private final Pace route53;
    private final Map<String, Pace> paces = new ConcurrentHashMap<>();
    private final Map<String, Balancers> balancers = new ConcurrentHashMap<>();

    /** @param rate calls a second and region, more than 0 */
    public AwsBalancers(AwsOptions aws, double rate) {
        this.aws = aws;
        this.rate = rate;
        route53 = new Pace(Math.min(rate, ROUTE53_RATE));
    }

    /** Those of one kind in one region. @throws Failure when no client can be made, for nonsense in a variable say */
    public Balancers of(BalancerName.Kind kind, String region) {
        // A zone's changes are one at a time, whichever region its keys name.
        String where = kind == BalancerName.Kind.ROUTE53
                ? PartitionMetadata.of(Region.of(region)).id()
                : region;
        return balancers.computeIfAbsent(kind + "/" + where, key -> make(kind, region));
    }

    /** Calls a second that a region gets at the moment. */
    double rate(String region) {
        return paces.get(region).rate();
    }

    private Balancers make(BalancerName.Kind kind, String region) {
        Pace pace = paces.computeIfAbsent(region, r -> new Pace(rate));
        return switch (kind) {
            case ELB -> new ClassicBalancers(aws.client(ElasticLoadBalancingClient.builder(), region, pace));
            case ALB ->
                new TargetGroupBalancers(aws.client(ElasticLoadBalancingV2Client.builder(), region, pace), threads());
            case ROUTE53 -> new Route53Balancers(aws.client(Route53Client.builder(), region, route53));
        };
    }

    /** For one region's readings: what is throttled in one may hold them all. Idle ones end by themselves. */
    private static Executor threads() {
        ThreadPoolExecutor threads =
                new ThreadPoolExecutor(THREADS, THREADS, 5, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), work -> {
                    Thread thread = new Thread(work, "aws");
                    thread.setDaemon(true);
                    return thread;
                });
        threads.allowCoreThreadTimeOut(true);
        return threads;
    }
}
