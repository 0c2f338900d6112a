///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION clustercron beside awscli one-liners for the same question, and etcdctl lock for --slot.
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

import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Measurements;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

class ClusterCronBench {
    private static final String AWS_ELB =
            "[ \"$(aws elb describe-instance-health --load-balancer-name \"$1\" --output text --query"
                    + " \"InstanceStates[?State=='InService'].InstanceId\" | tr '\\t' '\\n' | sort | head -n 1)\" = \"$2\" ]";
    private static final String BOTO3_ELB =
            """
            import boto3, sys
            states = boto3.client("elb").describe_instance_health(LoadBalancerName=sys.argv[1])["InstanceStates"]
            up = sorted(s["InstanceId"] for s in states if s["State"] == "InService")
            sys.exit(0 if up and up[0] == sys.argv[2] else 1)
            """;
    private static final String AWS_ELBV2 =
            "[ \"$(aws elbv2 describe-target-health --target-group-arn \"$1\" --output text --query"
                    + " \"TargetHealthDescriptions[?TargetHealth.State=='healthy'].Target.Id\" | tr '\\t' '\\n' | sort |"
                    + " head -n 1)\" = \"$2\" ]";

    public static void main(String... args) throws Exception {
        int runs = args.length == 2 ? Integer.parseInt(args[1]) : 7;
        Measurements measured = new Measurements();
        Path caches = Files.createTempDirectory("rollcall-bench");
        try (Moto moto = Moto.start();
                AwsProxy aws = AwsProxy.before(moto);
                EtcdServer etcd = EtcdServer.start()) {
            String id = moto.instance().instanceId();
            String web = moto.classic();
            moto.elb.registerInstancesWithLoadBalancer(
                    r -> r.loadBalancerName(web).instances(i -> i.instanceId(id)));
            String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
            String arn = moto.arn(api);
            moto.elbv2.registerTargets(r -> r.targetGroupArn(arn).targets(t -> t.id(id)));
            for (int run = -1; run < runs; run++) {
                for (Map.Entry<String, ToolRunner> c :
                        contestants(caches, id, web, api, arn, "run" + run).entrySet()) {
                    ToolRunner tool = c.getValue()
                            .aws(aws.url())
                            .env("AWS_DEFAULT_REGION", Moto.REGION)
                            .env("ETCDCTL_API", "3")
                            .env("ETCDCTL_ENDPOINTS", etcd.url().toString());
                    measure(run < 0 ? new Measurements() : measured, c.getKey(), aws, tool);
                }
            }
        }
        System.out.printf("clustercron, %d runs in turn after one that does not count%n%s", runs, measured);
        System.exit(0);
    }

    /** Each ends with 0, for this instance is master. */
    private static Map<String, ToolRunner> contestants(
            Path caches, String id, String web, String api, String arn, String job) {
        ToolRunner java = ToolRunner.installed("clustercron").env("XDG_CACHE_HOME", caches.toString());
        Map<String, ToolRunner> map = new LinkedHashMap<>();
        ToolRunner.ways("clustercron")
                .forEach((name, tool) -> map.put("elb: " + name, tool.args("--instance-id", id, "elb", web)));
        map.put("elb: installed clustercron -c", java.args("-c", "--instance-id", id, "elb", web));
        if (isThere("aws")) {
            map.put("elb: aws | sort | head", ToolRunner.command("sh", "-c", AWS_ELB, "sh", web, id));
        }
        if (ToolRunner.command("python3", "-c", "import boto3").run().exit() == 0) {
            map.put("elb: python3 and boto3", ToolRunner.command("python3", "-c", BOTO3_ELB, web, id));
        }
        map.put("alb by name: installed clustercron", java.args("--instance-id", id, "alb", api));
        map.put("alb by ARN: installed clustercron", java.args("--instance-id", id, "alb", arn));
        map.put("alb by ARN: installed clustercron -c", java.args("-c", "--instance-id", id, "alb", arn));
        if (isThere("aws")) {
            map.put("alb by ARN: aws | sort | head", ToolRunner.command("sh", "-c", AWS_ELBV2, "sh", arn, id));
        }
        map.put(
                "slot: installed clustercron --slot 1h elb true",
                java.args("--instance-id", id, "--slot", "1h", "--job", job, "elb", web, "true"));
        map.put(
                "slot: installed clustercron -c --slot 1h elb true",
                java.args("-c", "--instance-id", id, "--slot", "1h", "--job", job + "c", "elb", web, "true"));
        if (isThere(etcdctl())) {
            map.put("slot: etcdctl lock true", ToolRunner.command(etcdctl(), "lock", job, "true"));
        }
        return map;
    }

    private static void measure(Measurements measured, String who, AwsProxy aws, ToolRunner tool) {
        int calls = aws.calls(AwsProxy.ANY);
        measured.addRun(who, tool);
        measured.add(who, "AWS calls", aws.calls(AwsProxy.ANY) - calls);
    }

    private static String etcdctl() {
        return Servers.program("etcd-client", "etcdctl");
    }

    private static boolean isThere(String command) {
        return ToolRunner.command("sh", "-c", "command -v " + command).run().exit() == 0;
    }
}
