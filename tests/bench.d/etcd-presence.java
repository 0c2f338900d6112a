///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION etcd-presence beside the same job done with docker events and etcdctl in a shell script.
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
import com.google.gson.JsonParser;
import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.EtcdWatcher;
import io.github.rollcall.harness.Measurements;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.IntStream;

class EtcdPresenceBench {
    /** One lease, kept alive by etcdctl; one docker inspect and one etcdctl put a port and event. */
    private static final String SHELL =
            """
            lease=$(etcdctl lease grant 60 | cut -d' ' -f2)
            etcdctl lease keep-alive "$lease" >/dev/null &
            trap 'kill %1; etcdctl lease revoke "$lease" >/dev/null; exit 0' TERM
            publish() {
              docker port "$1" | grep -v ':::' | while read -r port arrow address; do
                etcdctl put --lease="$lease" "$ROOT/$1/${port%/*}/host" 172.17.0.1 >/dev/null
                etcdctl put --lease="$lease" "$ROOT/$1/${port%/*}/port" "${address##*:}" >/dev/null
              done
            }
            for name in $(docker ps --format '{{.Names}}'); do publish "$name"; done
            docker events --filter type=container --format '{{.Action}} {{.Actor.Attributes.name}}' |
              while read -r action name; do
                case $action in
                  start) publish "$name" ;;
                  die) etcdctl del --prefix "$ROOT/$name/" >/dev/null ;;
                esac
              done &
            wait $!
            """;

    public static void main(String... args) throws Exception {
        int runs = args.length == 2 ? Integer.parseInt(args[1]) : 20;
        String levels = System.getenv().getOrDefault("ROLLCALL_BENCH_CONTAINERS", "1,100,1000");
        int idleSeconds = Integer.parseInt(System.getenv().getOrDefault("ROLLCALL_BENCH_IDLE", "60"));
        Measurements reaction = new Measurements();
        Measurements idle = new Measurements();
        // Without its proxies, of which each port of each container would have two processes.
        try (DockerServer docker = DockerServer.start("--userland-proxy=false");
                EtcdServer etcd = EtcdServer.start()) {
            docker.docker(
                    "create", "--name", "probe", "-p", "80", DockerServer.IMAGE, "/bin/busybox", "sleep", "1000000");
            int there = 0;
            for (String level : levels.split(",")) {
                int containers = Integer.parseInt(level);
                IntStream.range(there, containers).parallel().forEach(n -> docker.runContainer("c" + n, "-p", "80"));
                there = containers;
                for (Map.Entry<String, ToolRunner> c : contestants(containers).entrySet()) {
                    String root = "/" + c.getKey().replaceAll("\\W+", "-") + containers;
                    ToolRunner tool = c.getValue()
                            .env("ROOT", root)
                            .env("DOCKER_HOST", docker.host())
                            .env("ETCDCTL_API", "3")
                            .env("ETCDCTL_ENDPOINTS", etcd.url().toString());
                    String who = c.getKey() + ", " + containers + " running";
                    measure(reaction, idle, who, tool, root, containers, runs, idleSeconds, docker, etcd);
                }
            }
        }
        System.out.printf("etcd-presence, %d starts and ends of a container%n%s%n", runs, reaction);
        System.out.printf("at rest, for %d s%n%s", idleSeconds, idle);
        System.exit(0);
    }

    private static Map<String, ToolRunner> contestants(int containers) {
        Map<String, ToolRunner> map = ToolRunner.ways("etcd-presence");
        map.replaceAll((name, tool) -> tail(String.join(" ", tool.words())));
        if (containers <= 100) {
            String path = DockerServer.path() + ":"
                    + Path.of(Servers.program("etcd-client", "etcdctl")).getParent();
            map.put(
                    "sh, docker and etcdctl",
                    ToolRunner.command("bash", "-c", SHELL).env("PATH", path));
        }
        return map;
    }

    private static ToolRunner tail(String command) {
        return ToolRunner.command("sh", "-c", "exec " + command + " --all --root \"$ROOT\"");
    }

    private static void measure(
            Measurements reaction,
            Measurements idle,
            String who,
            ToolRunner tool,
            String root,
            int containers,
            int runs,
            int idleSeconds,
            DockerServer docker,
            EtcdServer etcd)
            throws Exception {
        try (EtcdWatcher watcher = EtcdWatcher.of(etcd, root + "/");
                DockerEvents events = new DockerEvents(docker)) {
            long start = System.nanoTime();
            try (Run run = tool.start()) {
                await(() -> watcher.now().size() == 2 * containers);
                idle.add(who, "start to all keys s", (System.nanoTime() - start) / 1e9);
                Thread.sleep(5_000);
                long revision = etcd.revision();
                double cpu = Measurements.cpu(run.handle());
                Thread.sleep(idleSeconds * 1_000L);
                idle.add(who, "RSS MiB", Measurements.rss(run.handle()));
                idle.add(who, "CPU %", (Measurements.cpu(run.handle()) - cpu) / idleSeconds * 100);
                idle.add(who, "etcd writes a minute", (etcd.revision() - revision) * 60.0 / idleSeconds);
                for (int i = 0; i < runs; i++) {
                    String key = root + "/probe/80/port";
                    docker.docker("start", "probe");
                    await(() -> watcher.now().containsKey(key));
                    reaction.add(who, "start to keys visible ms", millis(events.last("start"), last(watcher, key)));
                    docker.docker("kill", "probe");
                    await(() -> !watcher.now().containsKey(key));
                    reaction.add(who, "die to keys gone ms", millis(events.last("die"), last(watcher, key)));
                }
                long term = System.nanoTime();
                run.signal("TERM");
                await(() -> watcher.now().isEmpty());
                idle.add(who, "SIGTERM to all gone s", (System.nanoTime() - term) / 1e9);
                run.exit();
            }
        }
    }

    private static Instant last(EtcdWatcher watcher, String key) {
        return watcher.events().stream()
                .filter(event -> event.key().equals(key))
                .reduce((a, b) -> b)
                .orElseThrow()
                .at();
    }

    private static double millis(Instant from, Instant to) {
        return ChronoUnit.MICROS.between(from, to) / 1_000.0;
    }

    private static void await(java.util.function.BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + Duration.ofMinutes(2).toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("does not happen");
            }
            Thread.sleep(5);
        }
    }

    /** When Docker says that something has happened to the probe. */
    private static final class DockerEvents implements AutoCloseable {
        private final Map<String, Instant> last = new ConcurrentHashMap<>();
        private final Process process;

        DockerEvents(DockerServer docker) throws IOException {
            ProcessBuilder builder = new ProcessBuilder(
                    "docker", "-H", docker.host(), "events", "--filter", "container=probe", "--format", "{{json .}}");
            builder.environment().put("PATH", DockerServer.path());
            process = builder.start();
            Thread reader = new Thread(this::read, "events");
            reader.setDaemon(true);
            reader.start();
        }

        private void read() {
            try (BufferedReader lines = process.inputReader()) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    JsonObject event = JsonParser.parseString(line).getAsJsonObject();
                    last.put(
                            event.get("Action").getAsString(),
                            Instant.EPOCH.plusNanos(event.get("timeNano").getAsLong()));
                }
            } catch (IOException ended) {
                // With the process.
            }
        }

        Instant last(String action) {
            return last.get(action);
        }

        @Override
        public void close() {
            process.destroy();
        }
    }
}
