package io.github.rollcall.harness;

import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.awscore.client.builder.AwsSyncClientBuilder;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.autoscaling.AutoScalingClient;
import software.amazon.awssdk.services.ec2.Ec2Client;
import software.amazon.awssdk.services.ec2.model.Instance;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancing.model.Listener;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;
import software.amazon.awssdk.services.route53.Route53Client;
import software.amazon.awssdk.services.route53.model.ResourceRecordSet;

/**
 * AWS, played by {@code moto_server}, with what a test needs of it. Thread-safe; names are given out once
 * each, so that tests can share one.
 */
public final class Moto implements AutoCloseable {
    /** The region of everything that is made here. */
    public static final String REGION = "us-east-1";

    private static Moto shared;
    private static final AtomicInteger NAMES = new AtomicInteger();

    private final Process process;
    private final URI url;

    /** Clients of the services, with a key that may do everything. */
    public final ElasticLoadBalancingClient elb;

    public final ElasticLoadBalancingV2Client elbv2;
    public final Ec2Client ec2;
    public final AutoScalingClient scaling;
    public final Route53Client route53;

    private Moto(Process process, URI url) {
        this.process = process;
        this.url = url;
        elb = client(ElasticLoadBalancingClient.builder());
        elbv2 = client(ElasticLoadBalancingV2Client.builder());
        ec2 = client(Ec2Client.builder());
        scaling = client(AutoScalingClient.builder());
        route53 = client(Route53Client.builder());
    }

    /** The one that all tests of this JVM may use together; it ends with the JVM. */
    public static synchronized Moto shared() {
        if (shared == null) {
            shared = start();
        }
        return shared;
    }

    /** One of its own. */
    public static Moto start() {
        return start(Map.of());
    }

    /** One that checks IAM policies after the first {@code calls} calls, which set the scene. */
    public static Moto enforcingIamAfter(int calls) {
        return start(Map.of("INITIAL_NO_AUTH_ACTION_COUNT", String.valueOf(calls)));
    }

    private static Moto start(Map<String, String> environment) {
        int port = Servers.freePort();
        ProcessBuilder command =
                new ProcessBuilder(Servers.moto().toString(), "-H", "127.0.0.1", "-p", String.valueOf(port));
        command.environment().putAll(environment);
        return new Moto(Servers.start(command, port), URI.create("http://127.0.0.1:" + port));
    }

    /** One that somebody else has started, and ends. */
    public static Moto at(URI url) {
        return new Moto(null, url);
    }

    /** Where it listens; for {@code AWS_ENDPOINT_URL}. */
    public URI url() {
        return url;
    }

    /** A client of any service, with a key that may do everything. */
    public <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C client(B builder) {
        return client(builder, AwsBasicCredentials.create("AKIAROLLCALLTEST", "test"));
    }

    /** A client of any service with a given key. */
    public <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C client(B builder, AwsCredentials key) {
        return builder.region(Region.of(REGION))
                .endpointOverride(url)
                .credentialsProvider(StaticCredentialsProvider.create(key))
                .httpClientBuilder(UrlConnectionHttpClient.builder())
                .build();
    }

    /** A name that nothing else here has. */
    public static String name(String stem) {
        return stem + "-" + NAMES.incrementAndGet();
    }

    /** Starts an instance. */
    public Instance instance() {
        return ec2.runInstances(r -> r.imageId("ami-12c6146b").minCount(1).maxCount(1))
                .instances()
                .get(0);
    }

    /** Makes a classic load balancer. @return its name */
    public String classic() {
        return classic(name("web"));
    }

    /** Makes a classic load balancer of that name. @return the name */
    public String classic(String name) {
        elb.createLoadBalancer(r -> r.loadBalancerName(name)
                .availabilityZones(REGION + "a")
                .listeners(Listener.builder()
                        .protocol("HTTP")
                        .loadBalancerPort(80)
                        .instancePort(8080)
                        .build()));
        return name;
    }

    /** Makes a target group for port 8080. @return its name */
    public String targetGroup(TargetTypeEnum type) {
        String name = name("api");
        targetGroup(name, type);
        return name;
    }

    /** Makes a target group of that name for port 8080. */
    public void targetGroup(String name, TargetTypeEnum type) {
        if (type == TargetTypeEnum.LAMBDA) {
            elbv2.createTargetGroup(r -> r.name(name).targetType(type));
            return;
        }
        String vpc = ec2.describeVpcs().vpcs().get(0).vpcId();
        elbv2.createTargetGroup(
                r -> r.name(name).protocol("HTTP").port(8080).vpcId(vpc).targetType(type));
    }

    /** Makes an Auto Scaling group whose instances have addresses of {@code 127.octet.1.0/24}, and so are this machine. */
    public void loopbackGroup(String name, int octet, int desired) {
        String network = "127." + octet + ".";
        String vpc = ec2.createVpc(r -> r.cidrBlock(network + "0.0/16")).vpc().vpcId();
        String subnet = ec2.createSubnet(r -> r.vpcId(vpc).cidrBlock(network + "1.0/24"))
                .subnet()
                .subnetId();
        scaling.createLaunchConfiguration(
                r -> r.launchConfigurationName(name).imageId("ami-12c6146b").instanceType("t3.micro"));
        scaling.createAutoScalingGroup(r -> r.autoScalingGroupName(name)
                .launchConfigurationName(name)
                .minSize(0)
                .maxSize(20)
                .desiredCapacity(desired)
                .vpcZoneIdentifier(subnet));
    }

    /** The ids of an Auto Scaling group's instances, sorted. */
    public List<String> group(String name) {
        return scaling
                .describeAutoScalingGroups(r -> r.autoScalingGroupNames(name))
                .autoScalingGroups()
                .get(0)
                .instances()
                .stream()
                .map(i -> i.instanceId())
                .sorted()
                .toList();
    }

    /** The ARN of a target group. */
    public String arn(String targetGroup) {
        return elbv2.describeTargetGroups(r -> r.names(targetGroup))
                .targetGroups()
                .get(0)
                .targetGroupArn();
    }

    /** The ids that a classic load balancer has, sorted. */
    public List<String> members(String classic) {
        return elb.describeInstanceHealth(r -> r.loadBalancerName(classic)).instanceStates().stream()
                .map(s -> s.instanceId())
                // moto has an instance twice that two register at once.
                .distinct()
                .sorted()
                .toList();
    }

    /** The ids that a classic load balancer has, those of no instance too, sorted. */
    public List<String> registered(String classic) {
        return elb
                .describeLoadBalancers(r -> r.loadBalancerNames(classic))
                .loadBalancerDescriptions()
                .get(0)
                .instances()
                .stream()
                .map(i -> i.instanceId())
                .distinct()
                .sorted()
                .toList();
    }

    /** The targets that a target group has, as {@code ID:PORT}, sorted. */
    public List<String> targets(String targetGroup) {
        String arn = arn(targetGroup);
        return elbv2.describeTargetHealth(r -> r.targetGroupArn(arn)).targetHealthDescriptions().stream()
                .map(d -> d.target().id() + ":" + d.target().port())
                .sorted()
                .toList();
    }

    /** Makes a hosted zone. @return its id, as in keys */
    public String zone(String domain) {
        return route53.createHostedZone(r -> r.name(domain).callerReference(name("zone")))
                .hostedZone()
                .id()
                .replaceFirst(".*/", "");
    }

    /** A zone's record sets but those that every zone has. */
    public List<ResourceRecordSet> recordSets(String zone) {
        return route53.listResourceRecordSetsPaginator(r -> r.hostedZoneId(zone)).resourceRecordSets().stream()
                .filter(set -> !set.typeAsString().matches("NS|SOA"))
                .toList();
    }

    /** The addresses that a domain name has in a zone, sorted. */
    public List<String> addresses(String zone, String domain) {
        return recordSets(zone).stream()
                .filter(set -> set.name().equals(domain + "."))
                .flatMap(set -> set.resourceRecords().stream())
                .map(record -> record.value())
                .sorted()
                .toList();
    }

    @Override
    public void close() {
        if (process != null) {
            Servers.stop(process);
        }
    }
}
