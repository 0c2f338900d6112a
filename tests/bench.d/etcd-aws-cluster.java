///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION etcd-aws-cluster beside a shell script that does the naive job with awscli, curl and jq.
//JAVA 17+
//RUNTIME_OPTIONS -Djava.util.logging.config.file=/dev/null
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:autoscaling
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:ec2
//DEPS software.amazon.awssdk:route53
//DEPS software.amazon.awssdk:url-connection-client
//DEPS org.wiremock:wiremock:3.13.2
//DEPS org.awaitility:awaitility:4.3.0
//SOURCES ../src/main/java/io/github/rollcall/harness/*.java

import com.google.gson.JsonObject;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.Measurements;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

class EtcdAwsClusterBench {
    /** Group, addresses, the first member that answers, add, print; no check of anything. */
    private static final String SHELL =
            """
            set -eu
            id=$1 client=$2 peer=$3
            group=$(aws autoscaling describe-auto-scaling-instances --instance-ids "$id" |
              jq -r '.AutoScalingInstances[0].AutoScalingGroupName')
            ids=$(aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$group" |
              jq -r '.AutoScalingGroups[0].Instances[].InstanceId')
            nodes=$(aws ec2 describe-instances --instance-ids $ids |
              jq -r '.Reservations[].Instances[] | .InstanceId + " " + .PrivateIpAddress' | sort)
            ip=$(echo "$nodes" | sed -n "s/^$id //p")
            state=new
            list=$(echo "$nodes" | sed "s|\\\\(.*\\\\) \\\\(.*\\\\)|\\\\1=http://\\\\2:$peer|" | paste -sd,)
            for at in $(echo "$nodes" | cut -d' ' -f2); do
              if members=$(curl -sf -m 2 -d '{}' "http://$at:$client/v3/cluster/member/list"); then
                state=existing
                list=$(curl -sf -m 10 -d "{\\"peerURLs\\":[\\"http://$ip:$peer\\"]}" "http://$at:$client/v3/cluster/member/add" |
                  jq -r --arg id "$id" '[.members[] | (.name // $id) + "=" + .peerURLs[0]] | join(",")')
                break
              fi
            done
            echo "ETCD_NAME=$id"
            echo "ETCD_INITIAL_CLUSTER_STATE=$state"
            echo "ETCD_INITIAL_CLUSTER=$list"
            """;

    public static void main(String... args) throws Exception {
        int runs = args.length == 2 ? Integer.parseInt(args[1]) : 7;
        Measurements founding = new Measurements();
        Measurements joining = new Measurements();
        Map<String, Function<Node, ToolRunner>> contestants = new LinkedHashMap<>();
        try (EtcdLab empty = EtcdLab.of(3);
                AwsProxy theirs = AwsProxy.before(Moto.shared());
                EtcdLab cluster = EtcdLab.cluster(3)) {
            Node newcomer = cluster.scale(4).get(0);
            // Adding is refused for some seconds after a start.
            Thread.sleep(8_000);
            ToolRunner.ways("etcd-aws-cluster").forEach((name, tool) -> contestants.put(name, node -> node.own(tool)));
            contestants.put("sh, awscli, curl and jq", EtcdAwsClusterBench::shell);
            for (int run = -1; run < runs; run++) {
                for (Map.Entry<String, Function<Node, ToolRunner>> c : contestants.entrySet()) {
                    List<Node> nodes = empty.nodes();
                    List<Run> others = c.getKey().startsWith("sh") ? List.of() : waiting(nodes.subList(1, 3), theirs);
                    measure(
                            run < 0 ? new Measurements() : founding,
                            c.getKey(),
                            c.getValue().apply(nodes.get(0)),
                            empty.aws);
                    others.forEach(Run::exit);
                    measure(
                            run < 0 ? new Measurements() : joining,
                            c.getKey(),
                            c.getValue().apply(newcomer),
                            cluster.aws);
                    removeUnstarted(cluster);
                }
            }
        }
        System.out.printf("etcd-aws-cluster, %d runs in turn after one that does not count%n", runs);
        System.out.printf("%nnew, on the last of a group of 3 where the others wait%n%s", founding);
        System.out.printf("%njoin, to a cluster of 3%n%s", joining);
        System.exit(0);
    }

    /** The tool on these nodes, where it waits for the one that is measured; their calls to AWS are not counted. */
    private static List<Run> waiting(List<Node> nodes, AwsProxy theirs) {
        List<Run> runs =
                nodes.stream().map(n -> n.tool().aws(theirs.url()).start()).toList();
        runs.forEach(run -> run.says("has not said that it has no data"));
        return runs;
    }

    private static ToolRunner shell(Node node) {
        return node.withAws(ToolRunner.command(
                        "sh", "-c", SHELL, "sh", node.id, port(node.clientUrl()), port(node.peerUrl())))
                .env("AWS_DEFAULT_REGION", Moto.REGION);
    }

    private static String port(String url) {
        return url.replaceFirst(".*:", "");
    }

    private static void measure(Measurements into, String who, ToolRunner tool, AwsProxy aws) {
        int calls = aws.calls(AwsProxy.ANY);
        into.addRun(who, tool);
        into.add(who, "AWS calls", aws.calls(AwsProxy.ANY) - calls);
    }

    private static void removeUnstarted(EtcdLab lab) throws InterruptedException {
        for (EtcdMember m : lab.members()) {
            if (!m.hasStarted()) {
                JsonObject request = new JsonObject();
                request.addProperty("ID", Long.toUnsignedString(m.id()));
                lab.serving().get(0).gateway().ask("cluster/member/remove", request);
            }
        }
        Thread.sleep(200);
    }
}
