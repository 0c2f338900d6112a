///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION elb-presence beside the same job done with awscli and trap, and with a boto3 script.
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
import io.github.rollcall.harness.Measurements;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;

class ElbPresenceBench {
    private static final String SHELL =
            """
            trap 'aws elb deregister-instances-from-load-balancer --load-balancer-name "$1" --instances "$2" >/dev/null;
                  exit 0' TERM
            aws elb register-instances-with-load-balancer --load-balancer-name "$1" --instances "$2" >/dev/null
            while :; do sleep 3600 & wait $!; done
            """;
    private static final String BOTO3 =
            """
            import signal, sys, boto3
            name, instance = sys.argv[1], [{"InstanceId": sys.argv[2]}]
            elb = boto3.client("elb")
            def leave(signum, frame):
                elb.deregister_instances_from_load_balancer(LoadBalancerName=name, Instances=instance)
                sys.exit(0)
            signal.signal(signal.SIGTERM, leave)
            signal.signal(signal.SIGINT, leave)
            elb.register_instances_with_load_balancer(LoadBalancerName=name, Instances=instance)
            while True:
                signal.pause()
            """;

    public static void main(String... args) throws Exception {
        int runs = args.length == 2 ? Integer.parseInt(args[1]) : 7;
        Measurements measured = new Measurements();
        try (Moto moto = Moto.start();
                AwsProxy aws = AwsProxy.before(moto)) {
            String id = moto.instance().instanceId();
            Map<String, ToolRunner> contestants = contestants();
            for (int run = -1; run < runs; run++) {
                for (Map.Entry<String, ToolRunner> c : contestants.entrySet()) {
                    String web = moto.classic();
                    Measurements into = run < 0 ? new Measurements() : measured;
                    measure(
                            into,
                            c.getKey(),
                            aws,
                            moto,
                            web,
                            id,
                            c.getValue().aws(aws.url()).args(web, id));
                }
            }
        }
        System.out.printf("elb-presence, %d runs in turn after one that does not count%n%s", runs, measured);
        System.out.printf(
                "%ndownloads: elb-presence %.1f MiB; awscli and botocore %s MiB unpacked%n",
                jars().map(ElbPresenceBench::size).mapToLong(Long::longValue).sum() / 1024.0 / 1024.0,
                pythonPackages());
        System.exit(0);
    }

    private static Map<String, ToolRunner> contestants() {
        // Each takes the load balancer's name and the instance's id as its last two arguments.
        Map<String, ToolRunner> map = ToolRunner.ways("elb-presence");
        map.replaceAll((name, tool) -> tail(String.join(" ", tool.words())));
        if (isThere("aws")) {
            map.put("sh, trap and awscli", ToolRunner.command("sh", "-c", SHELL, "sh"));
        }
        if (isThere("python3", "-c", "import boto3")) {
            map.put("python3 and boto3", ToolRunner.command("python3", "-c", BOTO3));
        }
        map.replaceAll((name, runner) -> runner.env("AWS_DEFAULT_REGION", Moto.REGION));
        return map;
    }

    /** Runs a command line with the last two arguments as options. */
    private static ToolRunner tail(String command) {
        return ToolRunner.command(
                "sh", "-c", "name=$1 id=$2; exec " + command + " --elb \"$name\" --instance-id \"$id\"", "sh");
    }

    private static void measure(
            Measurements measured, String who, AwsProxy aws, Moto moto, String web, String id, ToolRunner tool)
            throws Exception {
        int calls = aws.calls(AwsProxy.ANY);
        long start = System.nanoTime();
        try (Run run = tool.start()) {
            while (!moto.members(web).contains(id)) {
                Thread.sleep(2);
            }
            measured.add(who, "start to registered s", (System.nanoTime() - start) / 1e9);
            Thread.sleep(2_000);
            measured.add(who, "idle RSS MiB", Measurements.rss(run.handle()));
            long term = System.nanoTime();
            run.signal("TERM");
            while (moto.members(web).contains(id)) {
                Thread.sleep(2);
            }
            measured.add(who, "SIGTERM to deregistered s", (System.nanoTime() - term) / 1e9);
            run.exit();
            measured.add(who, "AWS calls", aws.calls(AwsProxy.ANY) - calls);
        }
    }

    private static Stream<Path> jars() {
        return ToolRunner.classPath("ElbPresence").stream()
                .filter(jar -> !jar.toString().contains("/cache/jars/"));
    }

    private static long size(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            return 0;
        }
    }

    private static String pythonPackages() throws Exception {
        String sum =
                "import awscli, botocore, os; print('%.0f' % (sum(os.path.getsize(os.path.join(d, f)) for m in (awscli,"
                        + " botocore) for d, _, fs in os.walk(os.path.dirname(m.__file__)) for f in fs) / 2**20))";
        Run run = ToolRunner.command("python3", "-c", sum).run();
        return run.exit() == 0 ? run.out().strip() : "(not here)";
    }

    private static boolean isThere(String... command) {
        try {
            String[] probe = command.length > 1 ? command : new String[] {"sh", "-c", "command -v " + command[0]};
            return ToolRunner.command(probe).run().exit() == 0;
        } catch (RuntimeException e) {
            return false;
        }
    }
}
