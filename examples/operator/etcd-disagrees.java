///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Prints which load balancers have other members than lbmanager's keys in etcd say.
//JAVA 17+
//COMPILE_OPTIONS --release 17
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:route53
//DEPS software.amazon.awssdk:url-connection-client

import io.github.rollcall.AwsBalancers;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.BalancerKey;
import io.github.rollcall.BalancerName;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.Reading;
import io.github.rollcall.Roll;
import io.github.rollcall.Table;
import io.github.rollcall.Tool;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(name = "etcd-disagrees", description = "Exits with 1 when a load balancer has other members than etcd says.")
class EtcdDisagrees extends Tool {
    private static final String PATH = "/lbManager/";

    @Mixin
    private AwsOptions aws;

    @Mixin
    private EtcdOptions etcd;

    EtcdDisagrees() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        main(new EtcdDisagrees(), args);
    }

    @Override
    public Integer call() {
        Table table = new Table("LOAD BALANCER", "ONLY IN ETCD", "ONLY IN AWS");
        boolean agree = true;
        AwsBalancers balancers = new AwsBalancers(aws, 10);
        for (Map.Entry<BalancerName, List<Roll.Entry>> entry : keys().entrySet()) {
            BalancerName name = entry.getKey();
            Reading reading = balancers
                    .of(name.kind(), name.region())
                    .members(Set.of(name))
                    .get(name);
            if (reading == null || reading.problem() != null) {
                table.row(
                        name,
                        "?",
                        reading == null ? "there is no such" : reading.problem().getMessage());
                agree = false;
                continue;
            }
            Set<Member> desired = reading.complete(Roll.of(entry.getValue()).members());
            if (!desired.equals(reading.members())) {
                table.row(name, without(desired, reading.members()), without(reading.members(), desired));
                agree = false;
            }
        }
        System.out.print(agree ? "" : table);
        return agree ? 0 : 1;
    }

    private Map<BalancerName, List<Roll.Entry>> keys() {
        Map<BalancerName, List<Roll.Entry>> keys = new TreeMap<>();
        etcd.gateway(Duration.ofSeconds(5)).revisions(PATH).forEach((key, revision) -> {
            try {
                BalancerKey parsed = BalancerKey.parse(key.substring(PATH.length()));
                keys.computeIfAbsent(parsed.balancer(), b -> new ArrayList<>())
                        .add(new Roll.Entry(key, revision, parsed));
            } catch (IllegalArgumentException e) {
                Log.of(key).warn("malformed, left out: " + e.getMessage());
            }
        });
        return keys;
    }

    private static String without(Set<Member> members, Set<Member> others) {
        return members.stream()
                .filter(member -> !others.contains(member))
                .map(Member::toString)
                .sorted()
                .collect(Collectors.joining(" "));
    }
}
