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
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

class ClusterCronBench {
    /** What wait4(2) says of a command: seconds, seconds of CPU, KiB at the peak of its largest process. */
    private static final String MEASURE =
            """
            import os, sys, time
            start = time.monotonic()
            pid = os.fork()
            if pid == 0:
                null = os.open("/dev/null", os.O_WRONLY)
                os.dup2(null, 1)
                os.execvp(sys.argv[1], sys.argv[1:])
            _, status, usage = os.wait4(pid, 0)
            print(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.WEXITSTATUS(status))
            """;

    private static final String AWS_ELB =
            "[ \"$(aws elb describe-instance-health --load-balancer-name \"$1\" --output text --query"
                    + " \"InstanceStates[?State=='InService'].InstanceId\" | tr '\\t' '\\n' | sort | head -n 1)\" = \"$2\" ]";
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
        ToolRunner jbang = measured(ToolRunner.root().resolve("jbang").toString(), "clustercron");
        ToolRunner java = measured(ToolRunner.installed("clustercron")).env("XDG_CACHE_HOME", caches.toString());
        Map<String, ToolRunner> map = new LinkedHashMap<>();
        map.put("elb: ./jbang clustercron", jbang.args("--instance-id", id, "elb", web));
        map.put("elb: installed clustercron", java.args("--instance-id", id, "elb", web));
        map.put("elb: installed clustercron -c", java.args("-c", "--instance-id", id, "elb", web));
        if (isThere("aws")) {
            map.put("elb: aws | sort | head", measured("sh", "-c", AWS_ELB, "sh", web, id));
        }
        map.put("alb by name: installed clustercron", java.args("--instance-id", id, "alb", api));
        map.put("alb by ARN: installed clustercron", java.args("--instance-id", id, "alb", arn));
        map.put("alb by ARN: installed clustercron -c", java.args("-c", "--instance-id", id, "alb", arn));
        if (isThere("aws")) {
            map.put("alb by ARN: aws | sort | head", measured("sh", "-c", AWS_ELBV2, "sh", arn, id));
        }
        map.put(
                "slot: installed clustercron --slot 1h elb true",
                java.args("--instance-id", id, "--slot", "1h", "--job", job, "elb", web, "true"));
        map.put(
                "slot: installed clustercron -c --slot 1h elb true",
                java.args("-c", "--instance-id", id, "--slot", "1h", "--job", job + "c", "elb", web, "true"));
        if (isThere(etcdctl())) {
            map.put("slot: etcdctl lock true", measured(etcdctl(), "lock", job, "true"));
        }
        return map;
    }

    private static ToolRunner measured(String... command) {
        return ToolRunner.command("python3", "-c", MEASURE).args(command);
    }

    private static ToolRunner measured(ToolRunner tool) {
        return measured(tool.words());
    }

    private static void measure(Measurements measured, String who, AwsProxy aws, ToolRunner tool) {
        int calls = aws.calls(AwsProxy.ANY);
        Run run = tool.run();
        String[] said = run.out().strip().split(" ");
        if (said.length != 4 || !said[3].equals("0")) {
            throw new IllegalStateException(run.toString());
        }
        measured.add(who, "wall s", Double.parseDouble(said[0]));
        measured.add(who, "CPU s", Double.parseDouble(said[1]));
        measured.add(who, "peak MiB", Double.parseDouble(said[2]) / 1024);
        measured.add(who, "AWS calls", aws.calls(AwsProxy.ANY) - calls);
    }

    private static String etcdctl() {
        return Servers.program("etcd-client", "etcdctl");
    }

    private static boolean isThere(String command) {
        return ToolRunner.command("sh", "-c", "command -v " + command).run().exit() == 0;
    }
}
