package io.github.rollcall;

import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetDescription;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetHealthDescription;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** A target group of an application or network load balancer; its members are instances or addresses. Thread-safe. */
public final class TargetGroup implements LoadBalancer {
    /** The zone of a target that is in none of the VPC's. */
    private static final String EVERYWHERE = "all";

    private final ElasticLoadBalancingV2Client client;
    private final String arn;
    private final boolean ofAddresses;
    private final Integer port;
    /** Addresses that are not in the group's VPC, as far as is known. */
    private final Set<String> outside = ConcurrentHashMap.newKeySet();

    private TargetGroup(ElasticLoadBalancingV2Client client, String arn, boolean ofAddresses, Integer port) {
        this.client = client;
        this.arn = arn;
        this.ofAddresses = ofAddresses;
        this.port = port;
    }

    /**
     * How an operator names a target group, {@code NAME|ARN[:PORT]}.
     *
     * @param port the port that members are registered with, or null for the group's own
     */
    public record Ref(String nameOrArn, Integer port) {
        private static final Pattern FORM = Pattern.compile(
                "(arn:[^:]+:elasticloadbalancing:[^:]*:[^:]*:targetgroup/[^:]+|[^:/\\s]+)(?::(\\d{1,5}))?");

        /** @throws IllegalArgumentException with a sentence that says what was expected */
        public static Ref parse(String text) {
            Matcher m = FORM.matcher(text);
            Integer port = m.matches() && m.group(2) != null ? Integer.valueOf(m.group(2)) : null;
            if (!m.matches() || port != null && (port < 1 || port > 65_535)) {
                throw new IllegalArgumentException("'" + text + "' is not a target group: expected NAME, NAME:PORT,"
                        + " ARN or ARN:PORT with a port from 1 to 65535");
            }
            return new Ref(m.group(1), port);
        }

        /** The group's name and port, without the rest of the ARN. */
        @Override
        public String toString() {
            String name = isArn() ? nameOrArn.replaceFirst(".*targetgroup/([^/]+).*", "$1") : nameOrArn;
            return port == null ? name : name + ":" + port;
        }

        boolean isArn() {
            return nameOrArn.startsWith("arn:");
        }
    }

    /**
     * Looks a target group up.
     *
     * @throws Failure configuration when there is none, or when it is one of functions or load balancers
     */
    public static TargetGroup find(ElasticLoadBalancingV2Client client, Ref ref) {
        return of(client, describe(client, ref), ref.port());
    }

    /**
     * One that AWS has described.
     *
     * @param port the port that members are registered with, or null for the group's own
     * @throws Failure configuration when it is one of functions or load balancers
     */
    static TargetGroup of(
            ElasticLoadBalancingV2Client client,
            software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetGroup group,
            Integer port) {
        TargetTypeEnum type = group.targetType();
        if (type != TargetTypeEnum.INSTANCE && type != TargetTypeEnum.IP) {
            throw new Failure(
                    Exit.CONFIG, "its targets are of type " + group.targetTypeAsString() + ", not instance or ip");
        }
        return new TargetGroup(client, group.targetGroupArn(), type == TargetTypeEnum.IP, port);
    }

    /**
     * What is known about every member of a group, of any type, or with a port about those on that port: one call for a
     * group that is named by its ARN, two for any other.
     *
     * @throws Failure configuration when there is no such group
     */
    public static List<MemberHealth> health(ElasticLoadBalancingV2Client client, Ref ref) {
        String arn = ref.isArn() ? ref.nameOrArn() : describe(client, ref).targetGroupArn();
        return new TargetGroup(client, arn, false, null)
                .health().stream()
                        .filter(h -> ref.port() == null
                                || ref.port().equals(h.member().port()))
                        .toList();
    }

    private static software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetGroup describe(
            ElasticLoadBalancingV2Client client, Ref ref) {
        var groups = AwsCall.of(() -> client.describeTargetGroups(r -> {
                    if (ref.isArn()) {
                        r.targetGroupArns(ref.nameOrArn());
                    } else {
                        r.names(ref.nameOrArn());
                    }
                }))
                .targetGroups();
        if (groups.isEmpty()) {
            throw new Failure(Exit.CONFIG, "not found: no target group " + ref.nameOrArn());
        }
        return groups.get(0);
    }

    @Override
    public Member member(Instance instance) {
        if (!ofAddresses) {
            return new Member(instance.id(), port);
        }
        if (instance.privateIp() == null) {
            throw new Failure(
                    Exit.CONFIG, "its targets are addresses, and this instance's is not known: give --private-ip");
        }
        return new Member(instance.privateIp(), port);
    }

    @Override
    public MemberHealth health(Member member) {
        try {
            return describe(List.of(member)).stream()
                    .findFirst()
                    .map(h -> new MemberHealth(member, h.state(), h.word(), h.description()))
                    .orElse(absent(member));
        } catch (Failure f) {
            if (isGone(f)) {
                return absent(member);
            }
            throw f;
        }
    }

    @Override
    public List<MemberHealth> health() {
        return describe(List.of());
    }

    private List<MemberHealth> describe(List<Member> members) {
        return AwsCall.of(() ->
                        client.describeTargetHealth(r -> r.targetGroupArn(arn).targets(targets(members))))
                .targetHealthDescriptions()
                .stream()
                .map(this::health)
                .toList();
    }

    private MemberHealth health(TargetHealthDescription d) {
        if (EVERYWHERE.equals(d.target().availabilityZone())) {
            outside.add(d.target().id());
        }
        return MemberHealth.target(
                new Member(d.target().id(), d.target().port()),
                d.targetHealth().stateAsString(),
                d.targetHealth().reasonAsString(),
                d.targetHealth().description());
    }

    private static MemberHealth absent(Member member) {
        return MemberHealth.target(member, "unused", "Target.NotRegistered", null);
    }

    @Override
    public void register(List<Member> members) {
        try {
            AwsCall.of(() -> client.registerTargets(r -> r.targetGroupArn(arn).targets(targets(members))));
        } catch (Failure f) {
            List<String> unknown = members.stream()
                    .map(Member::id)
                    .filter(id -> !outside.contains(id))
                    .toList();
            if (!isOutside(f) || unknown.isEmpty()) {
                throw f;
            }
            outside.addAll(unknown);
            try {
                AwsCall.of(
                        () -> client.registerTargets(r -> r.targetGroupArn(arn).targets(targets(members))));
            } catch (Failure notAll) {
                outside.removeAll(unknown);
                throw f;
            }
        }
    }

    /**
     * An address that is not in the VPC is taken only with a zone or {@code all}, and one that is only without; which
     * it is only AWS knows. Its error for that, ValidationError, has no code of its own.
     */
    private boolean isOutside(Failure f) {
        return ofAddresses && f.getMessage().contains("Availability Zone");
    }

    @Override
    public void deregister(List<Member> members) {
        try {
            AwsCall.of(() -> client.deregisterTargets(r -> r.targetGroupArn(arn).targets(targets(members))));
        } catch (Failure f) {
            if (!isGone(f) || members.size() != 1) {
                throw f;
            }
        }
    }

    private static boolean isGone(Failure f) {
        return AwsCall.code(f).equals("InvalidTarget");
    }

    private List<TargetDescription> targets(List<Member> members) {
        return members.stream()
                .map(m -> TargetDescription.builder()
                        .id(m.id())
                        .port(m.port())
                        .availabilityZone(outside.contains(m.id()) ? EVERYWHERE : null)
                        .build())
                .toList();
    }
}
