///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION lbmanager: how soon, how many calls, at rest, and under faults; beside a shell loop of etcdctl and
// awscli.
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

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.Table;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Measurements;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.StandInElb;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

class LbManagerBench {
    private static final Duration ADDED = Duration.ofMillis(50);
    /** One AWS call an event, as such a loop is written. */
    private static final String SHELL =
            """
            etcdctl watch --prefix /lbManager/elb/ | while read -r event; do
              read -r key; if [ "$event" = PUT ]; then read -r value; else read -r value; fi
              member=${key##*/} rest=${key%/*/*} name=${rest##*/}
              if [ "$event" = PUT ]; then verb=register-instances-with; else verb=deregister-instances-from; fi
              aws elb $verb-load-balancer --load-balancer-name "$name" --instances "$member" >/dev/null
            done
            """;

    /** What a cron job does: the keys, the members, and what is missing put in. */
    private static final String SHELL_ONCE =
            """
            want=$(etcdctl get --prefix --keys-only /lbManager/elb/ | sed -n 's|.*/||p' | sort)
            have=$(aws elb describe-load-balancers --load-balancer-names "$1" --output text --query \
              'LoadBalancerDescriptions[0].Instances[].InstanceId' | tr '\\t' '\\n' | sort)
            aws elb register-instances-with-load-balancer --load-balancer-name "$1" --instances \
              $(printf '%s\\n' "$want" | grep -vxF "${have:-none}") >/dev/null
            """;

    private final Measurements once = new Measurements();
    private final Measurements measured = new Measurements();
    private final Measurements atRest = new Measurements();

    /** Of its parts those that {@code ROLLCALL_BENCH_PARTS} names, else all. */
    public static void main(String... args) throws Exception {
        int runs = args.length == 2 ? Integer.parseInt(args[1]) : 5;
        List<String> parts = List.of(System.getenv()
                .getOrDefault("ROLLCALL_BENCH_PARTS", "speed,once,rest,faults")
                .split(","));
        LbManagerBench bench = new LbManagerBench();
        if (parts.contains("speed")) {
            for (int run = -1; run < runs; run++) {
                for (boolean slow : new boolean[] {false, true}) {
                    bench.measure(slow, run < 0 ? new Measurements() : bench.measured);
                }
            }
            bench.measureShell();
            System.out.printf("lbmanager, %d runs in turn after one that does not count%n%s%n", runs, bench.measured);
        }
        if (parts.contains("once")) {
            for (int run = -1; run < runs; run++) {
                bench.measureOnce(run < 0 ? new Measurements() : bench.once);
            }
            System.out.printf("--once, where one member has to be put in%n%s%n", bench.once);
        }
        if (parts.contains("rest")) {
            for (int balancers : new int[] {10, 100, 1_000}) {
                bench.measureRest(balancers, false);
            }
            bench.measureRest(1_000, true);
            System.out.printf(
                    "at rest, load balancers of 100 members, each figure of one --resync%n%s%n", bench.atRest);
        }
        if (parts.contains("faults")) {
            System.out.printf("under faults, --resync 10s%n%s", new Faults().measure());
        }
        System.exit(0);
    }

    private static String who(String what, boolean slow) {
        return what + (slow ? ", 50 ms added" : "");
    }

    private static ToolRunner manager(StandInElb aws, EtcdServer etcd, String... args) {
        return ToolRunner.installed("lbmanager")
                .aws(aws.url())
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args(args);
    }

    private static String name(int n) {
        return "web-%04d".formatted(n);
    }

    private static String member(int n) {
        return "i-%08x".formatted(n);
    }

    private static Set<String> members(int count) {
        return IntStream.range(0, count)
                .mapToObj(LbManagerBench::member)
                .collect(Collectors.toCollection(TreeSet::new));
    }

    private static List<String> names(int count) {
        return IntStream.range(0, count).mapToObj(LbManagerBench::name).toList();
    }

    private static String key(String name, String member) {
        return "/lbManager/elb/" + Moto.REGION + "/" + name + "/multiple/" + member;
    }

    /** As many keys, a hundred a transaction. */
    private static void putAll(EtcdServer etcd, Stream<String> keys) {
        List<String> all = keys.toList();
        for (int from = 0; from < all.size(); from += 100) {
            JsonArray puts = new JsonArray();
            for (String key : all.subList(from, Math.min(all.size(), from + 100))) {
                JsonObject put = new JsonObject();
                put.addProperty("key", EtcdGateway.encode(key));
                JsonObject operation = new JsonObject();
                operation.add("request_put", put);
                puts.add(operation);
            }
            JsonObject txn = new JsonObject();
            txn.add("success", puts);
            etcd.ask("kv/txn", txn);
        }
    }

    // --- how soon, with how many calls

    private void measure(boolean slow, Measurements into) throws Exception {
        String who = who("lbmanager", slow);
        try (EtcdServer etcd = EtcdServer.start();
                StandInElb aws = StandInElb.start()) {
            aws.delay(slow ? ADDED : Duration.ZERO);
            aws.make(names(100), Set.of());
            putAll(etcd, names(100).stream().flatMap(n -> members(10).stream().map(m -> key(n, m))));
            long start = System.nanoTime();
            try (Run run = manager(aws, etcd).start()) {
                run.says("has read the keys");
                long read = System.nanoTime();
                aws.await(() -> aws.size() == 1_000);
                into.add(who, "100x10 cold: from start s", seconds(start));
                into.add(who, "from keys read s", seconds(read));
                into.add(who, "calls", aws.calls());
                run.says("ready");

                String burst = name(0);
                int before = aws.calls();
                long first = System.nanoTime();
                for (int i = 0; i < 200; i++) {
                    etcd.put(key(burst, member(1_000 + i)), "");
                }
                long put = System.nanoTime();
                aws.await(() -> aws.size(burst) == 210);
                into.add(who, "200 keys: s", seconds(first));
                into.add(who, "after last put s", seconds(put));
                into.add(who, "calls ", aws.calls() - before);

                String large = name(1);
                before = aws.calls();
                first = System.nanoTime();
                putAll(etcd, IntStream.range(0, 2_500).mapToObj(i -> key(large, member(10_000 + i))));
                aws.await(() -> aws.size(large) == 2_510);
                into.add(who, "2,500 keys: s", seconds(first));
                into.add(who, "calls  ", aws.calls() - before);
            }
        }
        putToVisible(slow, into);
    }

    /** One key after the other, slowly enough for --aws-rate. */
    private void putToVisible(boolean slow, Measurements into) throws Exception {
        try (EtcdServer etcd = EtcdServer.start();
                StandInElb aws = StandInElb.start()) {
            aws.delay(slow ? ADDED : Duration.ZERO);
            aws.make(names(1), Set.of());
            etcd.put(key(name(0), member(0)), "");
            try (Run run = manager(aws, etcd).start()) {
                aws.await(() -> aws.size() == 1);
                run.says("ready");
                for (int i = 1; i <= 200; i++) {
                    String id = member(i);
                    Thread.sleep(50);
                    long start = System.nanoTime();
                    etcd.put(key(name(0), id), "");
                    aws.await(() -> aws.has(name(0), id));
                    // The first calls of a JVM are slower; a manager runs for long.
                    if (i > 100) {
                        into.add(who("lbmanager", slow), "put to visible ms", seconds(start) * 1_000);
                    }
                }
            }
        }
    }

    private void measureShell() throws Exception {
        if (!awscli()) {
            return;
        }
        String who = "etcdctl watch and awscli";
        try (EtcdServer etcd = EtcdServer.start();
                StandInElb aws = StandInElb.start()) {
            aws.make(names(1), Set.of());
            ToolRunner shell = withEtcdctl(ToolRunner.command("sh", "-c", SHELL), aws, etcd);
            try (Run run = shell.start()) {
                // It tells nobody that it watches; what was put before is missed.
                while (!aws.has(name(0), member(999))) {
                    etcd.put(key(name(0), member(999)), "");
                    Thread.sleep(2_000);
                }
                for (int i = 0; i < 20; i++) {
                    String id = member(i);
                    long start = System.nanoTime();
                    etcd.put(key(name(0), id), "");
                    aws.await(() -> aws.has(name(0), id));
                    measured.add(who, "put to visible ms", seconds(start) * 1_000);
                }
                int before = aws.calls();
                long first = System.nanoTime();
                for (int i = 0; i < 200; i++) {
                    etcd.put(key(name(0), member(1_000 + i)), "");
                }
                aws.await(() -> aws.size(name(0)) == 221);
                measured.add(who, "200 keys: s", seconds(first));
                measured.add(who, "calls ", aws.calls() - before);
            }
        }
    }

    private static void measureOnce(Measurements into) throws Exception {
        Map<String, ToolRunner> contestants = ToolRunner.ways("lbmanager");
        contestants.replaceAll((name, tool) -> tool.args("--once"));
        if (awscli()) {
            contestants.put("etcdctl get and awscli", ToolRunner.command("sh", "-c", SHELL_ONCE, "sh", name(0)));
        }
        for (Map.Entry<String, ToolRunner> c : contestants.entrySet()) {
            try (EtcdServer etcd = EtcdServer.start();
                    StandInElb aws = StandInElb.start()) {
                aws.make(names(1), members(1));
                putAll(etcd, members(2).stream().map(m -> key(name(0), m)));
                into.addRun(c.getKey(), withEtcdctl(c.getValue(), aws, etcd));
                if (aws.size(name(0)) != 2) {
                    throw new IllegalStateException(c.getKey() + " has not put the member in");
                }
                into.add(c.getKey(), "AWS calls", aws.calls());
            }
        }
    }

    private static boolean awscli() {
        return ToolRunner.command("sh", "-c", "command -v aws").run().exit() == 0;
    }

    private static ToolRunner withEtcdctl(ToolRunner tool, StandInElb aws, EtcdServer etcd) {
        Path client = Servers.unpacked("etcd-client").resolve("usr/bin");
        return tool.aws(aws.url())
                .env("ETCDCTL_API", "3")
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .env("AWS_DEFAULT_REGION", Moto.REGION)
                .env("PATH", client + ":" + System.getenv("PATH"));
    }

    private static double seconds(long since) {
        return (System.nanoTime() - since) / 1e9;
    }

    // --- at rest

    private void measureRest(int balancers, boolean slow) throws Exception {
        String who = who(String.format("%,d load balancers", balancers), slow);
        int resync = 10;
        try (EtcdServer etcd = EtcdServer.start();
                StandInElb aws = StandInElb.start()) {
            aws.delay(slow ? ADDED : Duration.ZERO);
            aws.make(names(balancers), members(100));
            putAll(etcd, names(balancers).stream().flatMap(n -> members(100).stream()
                    .map(m -> key(n, m))));
            try (Run run = manager(aws, etcd, "--resync", resync + "s").start()) {
                run.says("ready");
                // The start is over after the first of them.
                Thread.sleep(resync * 1_000L + 2_000);
                for (int i = 0; i < 3; i++) {
                    int calls = aws.calls();
                    double cpu = Measurements.cpu(run.handle());
                    Thread.sleep(resync * 1_000L);
                    atRest.add(who, "AWS calls", aws.calls() - calls);
                    atRest.add(who, "CPU s", Measurements.cpu(run.handle()) - cpu);
                    atRest.add(who, "RSS MiB", Measurements.rss(run.handle()));
                }
            }
        }
    }

    // --- faults, on moto

    /** One load balancer with two members; a fault, a key that is put meanwhile, and how long it takes when it is over. */
    private static final class Faults {
        private static final int SECONDS = 5;

        private final Moto moto = Moto.start();
        private final Table table = new Table("FAULT", "WHAT LBMANAGER SAID FIRST", "RIGHT AGAIN");

        private interface Step {
            void run(Scene scene) throws Exception;
        }

        /** What a fault is played in. */
        private final class Scene implements AutoCloseable {
            final EtcdServer etcd = EtcdServer.start();
            final AwsProxy aws = AwsProxy.before(moto);
            final String web = moto.classic();
            final String old = moto.instance().instanceId();
            final String fresh = moto.instance().instanceId();
            Run manager;
            Run standBy;

            Run start(String... args) {
                return ToolRunner.installed("lbmanager")
                        .aws(aws.url())
                        .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                        .args("--resync", "10s")
                        .args(args)
                        .start();
            }

            void put(String id) {
                etcd.put(key(web, id), "");
            }

            List<String> members() {
                return moto.members(web);
            }

            void rest() throws InterruptedException {
                Thread.sleep(SECONDS * 1_000L);
            }

            @Override
            public void close() {
                manager.close();
                if (standBy != null) {
                    standBy.close();
                }
                aws.close();
                etcd.close();
            }
        }

        Table measure() throws Exception {
            fault(
                    "AWS throttles every call for 5 s",
                    s -> s.aws.throttle(AwsProxy.ANY, AwsProxy.ALWAYS),
                    s -> s.aws.heal());
            fault("AWS answers 503 for 5 s", s -> s.aws.unavailable(AwsProxy.ANY, AwsProxy.ALWAYS), s -> s.aws.heal());
            fault("AWS breaks connections for 5 s", s -> s.aws.cut(AwsProxy.ANY, AwsProxy.ALWAYS), s -> s.aws.heal());
            fault(
                    "AWS does not answer for 5 s",
                    s -> s.aws.delay(AwsProxy.ANY, AwsProxy.ALWAYS, Duration.ofSeconds(8)),
                    s -> s.aws.heal());
            fault("IAM refuses for 5 s", s -> s.aws.refuse(AwsProxy.ANY, AwsProxy.ALWAYS), s -> s.aws.heal());
            fault(
                    "the load balancer is deleted, and made again after 5 s",
                    s -> moto.elb.deleteLoadBalancer(r -> r.loadBalancerName(s.web)),
                    s -> moto.classic(s.web));
            afterwards("etcd is killed, and started after 5 s", s -> {
                s.etcd.kill();
                s.rest();
                s.etcd.startAgain();
            });
            afterwards("etcd does not answer for 5 s", s -> {
                s.etcd.freeze();
                s.rest();
                s.etcd.thaw();
            });
            fault("a member is taken out by hand", s -> {}, s -> {
                await(s, s.old, s.fresh);
                moto.elb.deregisterInstancesFromLoadBalancer(
                        r -> r.loadBalancerName(s.web).instances(i -> i.instanceId(s.old)));
            });
            fault("what it watched is compacted while it is paused", s -> s.manager.signal("STOP"), s -> {
                JsonObject request = new JsonObject();
                request.addProperty("revision", "4");
                s.put(s.fresh);
                s.etcd.ask("kv/compaction", request);
                s.manager.signal("CONT");
            });
            fault(
                    "kill -9 while AWS answers 503, and started again",
                    s -> s.aws.unavailable(AwsProxy.ANY, AwsProxy.ALWAYS),
                    s -> {
                        s.manager.close();
                        s.aws.heal();
                        s.manager = s.start();
                    });
            ha("--ha --ttl 5s: the leader is killed", s -> s.manager.close());
            ha("--ha --ttl 5s: the leader is paused", s -> s.manager.signal("STOP"));
            moto.close();
            return table;
        }

        /** @param fault begins it; the key is put after that @param end ends it, after a while */
        private void fault(String what, Step fault, Step end) throws Exception {
            try (Scene s = new Scene()) {
                s.put(s.old);
                s.manager = s.start().says("lbmanager: ready");
                await(s, s.old);
                Run first = s.manager;
                int before = first.err().length();
                fault.run(s);
                s.put(s.fresh);
                s.rest();
                end.run(s);
                row(what, first, before, s);
            }
        }

        /** The key is put when the fault is over. */
        private void afterwards(String what, Step fault) throws Exception {
            try (Scene s = new Scene()) {
                s.put(s.old);
                s.manager = s.start().says("lbmanager: ready");
                await(s, s.old);
                int before = s.manager.err().length();
                fault.run(s);
                s.put(s.fresh);
                row(what, s.manager, before, s);
            }
        }

        private void ha(String what, Step fault) throws Exception {
            try (Scene s = new Scene()) {
                s.put(s.old);
                s.manager = s.start("--ha", "--ttl", "5s").says("lbmanager: ready");
                await(s, s.old);
                s.standBy = s.start("--ha", "--ttl", "5s").says("lbmanager: ready");
                fault.run(s);
                s.put(s.fresh);
                row(what, s.standBy, s.standBy.err().length(), s);
                s.manager.signal("CONT");
            }
        }

        private void row(String what, Run who, int before, Scene s) throws InterruptedException {
            long start = System.nanoTime();
            await(s, s.old, s.fresh);
            double seconds = seconds(start);
            String words = who.err()
                    .substring(before)
                    .lines()
                    .filter(line -> line.matches(".*: (error|warning): .*"))
                    .findFirst()
                    .orElse("-")
                    .replace(s.web, "web");
            table.row(what, words, "after %.1f s".formatted(seconds));
        }

        private static void await(Scene s, String... ids) throws InterruptedException {
            List<String> expected = Stream.of(ids).sorted().toList();
            for (long i = 0; !s.members().equals(expected); i++) {
                if (i > 12_000) {
                    throw new IllegalStateException(s.manager.toString());
                }
                Thread.sleep(10);
            }
        }
    }
}
