package io.github.rollcall.harness;

import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.EtcdMembership;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionTimeoutException;
import software.amazon.awssdk.services.ec2.model.Instance;

/**
 * An Auto Scaling group of instances with loopback addresses, on which real members of etcd run: a whole cluster on one
 * machine. The members are started from what etcd-aws-cluster prints and nothing else. Thread-safe.
 */
public final class EtcdLab implements AutoCloseable {
    private static final Set<Integer> OCTETS = ConcurrentHashMap.newKeySet();

    private final Moto moto = Moto.shared();
    private final Path folder;
    private final Map<String, Node> nodes = new ConcurrentHashMap<>();

    /** The group's name. */
    public final String group = Moto.name("etcd");
    /** AWS, as the nodes see it. */
    public final AwsProxy aws = AwsProxy.before(moto);

    private final int clientPort = Servers.freePort();
    private final int peerPort = Servers.freePort();
    private final Tls tls;

    private EtcdLab(int desired, boolean withTls) {
        try {
            folder = Files.createTempDirectory("rollcall-etcd");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        int octet;
        do {
            octet = ThreadLocalRandom.current().nextInt(2, 250);
        } while (!OCTETS.add(octet));
        tls = withTls ? Tls.forAddresses(folder, "127." + octet + ".1.", 4, 12) : null;
        moto.loopbackGroup(group, octet, desired);
    }

    /** A group of that size, with nothing running on its instances. */
    public static EtcdLab of(int desired) {
        return new EtcdLab(desired, false);
    }

    /** The same, with TLS and client certificates on both ports. */
    public static EtcdLab withTls(int desired) {
        return new EtcdLab(desired, true);
    }

    /** A group of that size that is a cluster already. */
    public static EtcdLab cluster(int size) {
        EtcdLab lab = of(size);
        lab.startAll(lab.nodes());
        lab.awaitMembers(lab.nodes());
        return lab;
    }

    /** Does on all of these at once what their units do, and fails unless all of them start. */
    public void startAll(List<Node> nodes, String... args) {
        startWhenDone(nodes, nodes.stream().map(n -> n.begin(args)).toList());
    }

    /** Starts etcd on each when its tool has ended, and fails unless all of them end well. @param runs one a node */
    public void startWhenDone(List<Node> nodes, List<Run> runs) {
        List<CompletableFuture<Void>> starts = new ArrayList<>();
        for (int i = 0; i < nodes.size(); i++) {
            Node node = nodes.get(i);
            Run run = runs.get(i);
            starts.add(CompletableFuture.runAsync(
                    () -> {
                        if (run.exit() != 0) {
                            throw new AssertionError(run.toString());
                        }
                        node.startEtcd(Way.ENVIRONMENT_FILE);
                    },
                    task -> new Thread(task, "start-" + node).start()));
        }
        starts.forEach(CompletableFuture::join);
    }

    /** The group's instances now, sorted by id; those that were terminated have been replaced. */
    public List<Node> nodes() {
        return moto.group(group).stream().map(this::node).toList();
    }

    /** Changes the desired capacity. @return the instances that this has brought */
    public List<Node> scale(int desired) {
        Set<Node> before = new HashSet<>(nodes());
        moto.scaling.setDesiredCapacity(r -> r.autoScalingGroupName(group).desiredCapacity(desired));
        return nodes().stream().filter(n -> !before.contains(n)).toList();
    }

    /** Puts an instance into standby, which lowers the desired capacity. */
    public void standby(Node node) {
        moto.scaling.enterStandby(
                r -> r.autoScalingGroupName(group).instanceIds(node.id).shouldDecrementDesiredCapacity(true));
    }

    /** Takes an instance out of the group; it runs on. */
    public void detach(Node node) {
        moto.scaling.detachInstances(
                r -> r.autoScalingGroupName(group).instanceIds(node.id).shouldDecrementDesiredCapacity(true));
    }

    /** Terminates an instance, and lowers the desired capacity: the group does not replace it. */
    public void retire(Node node) {
        node.kill();
        moto.scaling.terminateInstanceInAutoScalingGroup(
                r -> r.instanceId(node.id).shouldDecrementDesiredCapacity(true));
    }

    private Node node(String id) {
        return nodes.computeIfAbsent(id, this::newNode);
    }

    private Node newNode(String id) {
        Instance instance = moto.ec2
                .describeInstances(r -> r.instanceIds(id))
                .reservations()
                .get(0)
                .instances()
                .get(0);
        return new Node(id, instance.privateIpAddress());
    }

    /** All nodes that there ever were and that serve with a leader now. */
    public List<Node> serving() {
        return nodes.values().stream()
                .filter(n -> n.status() != null && n.status().has("leader"))
                .toList();
    }

    /** The ids of all clusters that have a leader now: one, or something is very wrong. */
    public Set<String> clusters() {
        return nodes.values().stream()
                .map(Node::status)
                .filter(s -> s != null && s.has("leader"))
                .map(s -> s.getAsJsonObject("header").get("cluster_id").getAsString())
                .collect(Collectors.toSet());
    }

    /** The members, as one that serves has them. */
    public List<EtcdMember> members() {
        return membership().members();
    }

    /** The members and their cluster, as one that serves has them. */
    public EtcdMembership membership() {
        return serving().get(0).gateway().members();
    }

    /** Waits until exactly these have started, listed under their names, and all of them serve. */
    public void awaitMembers(List<Node> expected) {
        awaitMembers(expected, Duration.ofSeconds(90));
    }

    /** The same, for as long as that. */
    public void awaitMembers(List<Node> expected, Duration patience) {
        List<String> names = expected.stream().map(n -> n.id).sorted().toList();
        try {
            await(names, patience);
        } catch (ConditionTimeoutException e) {
            throw new AssertionError(expected.stream().map(Node::story).collect(Collectors.joining("\n")), e);
        }
    }

    private void await(List<String> names, Duration patience) {
        Awaitility.await("members " + names)
                .atMost(patience)
                .pollInterval(Duration.ofMillis(200))
                .ignoreExceptions()
                .until(() -> {
                    List<String> started = members().stream()
                            .filter(EtcdMember::hasStarted)
                            .map(EtcdMember::name)
                            .sorted()
                            .toList();
                    return started.equals(names)
                            && members().size() == names.size()
                            && serving().stream()
                                    .map(n -> n.id)
                                    .sorted()
                                    .toList()
                                    .equals(names);
                });
    }

    /** A client of whichever members serve, as an application has it. */
    public EtcdGateway client() {
        return options()
                .gateway(
                        nodes.values().stream()
                                .map(n -> URI.create(n.clientUrl()))
                                .toList(),
                        Duration.ofSeconds(2));
    }

    private EtcdOptions options() {
        return tls == null ? new EtcdOptions() : tls.options();
    }

    /** The options that every node of the group is told, without those of TLS. */
    public List<String> plainOptions(Path dataDir) {
        return List.of(
                "--data-dir",
                dataDir.toString(),
                "--client-port",
                String.valueOf(clientPort),
                "--peer-port",
                String.valueOf(peerPort),
                "--listen",
                "private");
    }

    /** The options that every node of the group is told. */
    public List<String> options(Path dataDir) {
        List<String> options = new ArrayList<>(plainOptions(dataDir));
        if (tls != null) {
            options.addAll(List.of("--client-scheme", "https", "--peer-scheme", "https"));
            options.addAll(tls.toolOptions());
        }
        return options;
    }

    /** The tool on a node, without any option. */
    public ToolRunner bare(Node node) {
        return ToolRunner.installed("etcd-aws-cluster").aws(aws.url()).on(node.metadata);
    }

    @Override
    public void close() {
        nodes.values().forEach(Node::close);
        aws.close();
        Servers.delete(folder);
    }

    /** How etcd gets its parameters; the three that the README has. */
    public enum Way {
        /** {@code EnvironmentFile=}, line by line as systemd reads it. */
        ENVIRONMENT_FILE,
        /** {@code eval $(etcd-aws-cluster)}. */
        EVAL,
        /** {@code docker run --env-file}. */
        ENV_FILE
    }

    /** An instance of the group. */
    public final class Node implements AutoCloseable {
        /** Its instance id. */
        public final String id;
        /** Its private address. */
        public final String address;
        /** etcd's data directory. */
        public final Path dataDir;
        /** Where the parameters are written to. */
        public final Path parameters;

        private final MetadataServer metadata;
        private final Path log;
        private Process etcd;

        private Node(String id, String address) {
            this.id = id;
            this.address = address;
            metadata = MetadataServer.of(id, address);
            dataDir = folder.resolve(id);
            parameters = folder.resolve(id + ".env");
            log = folder.resolve(id + ".log");
        }

        /** The tool, as an installed command on this node. */
        public ToolRunner tool(String... args) {
            return own(ToolRunner.installed("etcd-aws-cluster")).args(args);
        }

        /** The members as its peer port tells, which asks for no user. */
        public EtcdMembership membersByPeerPort() {
            return options()
                    .gateway(List.of(URI.create(peerUrl())), Duration.ofSeconds(2))
                    .membersByPeerPort();
        }

        /** Any command on this node. */
        public ToolRunner withAws(ToolRunner command) {
            return command.aws(aws.url()).on(metadata);
        }

        /** The tool on this node, started in another way. */
        public ToolRunner own(ToolRunner tool) {
            return withAws(tool).args(options(dataDir).toArray(String[]::new));
        }

        /** The tool, as a unit starts it before etcd. */
        public Run begin(String... args) {
            return tool("--output", parameters.toString()).args(args).start();
        }

        /** What a unit does: the tool, then etcd with what it has printed. */
        public Run start(String... args) {
            Run run = begin(args);
            if (run.exit() == 0) {
                startEtcd(Way.ENVIRONMENT_FILE);
            }
            return run;
        }

        /** etcd alone, with the parameters that were printed. */
        public synchronized void startEtcd(Way way) {
            String program = Servers.program("etcd-server", "etcd");
            ProcessBuilder command =
                    switch (way) {
                        case ENVIRONMENT_FILE ->
                            new ProcessBuilder(
                                    "sh",
                                    "-c",
                                    "while IFS= read -r line; do export \"$line\"; done < \"$1\"; exec \"$2\"",
                                    "sh",
                                    parameters.toString(),
                                    program);
                        case EVAL ->
                            new ProcessBuilder(
                                    "sh",
                                    "-c",
                                    "p=$(cat \"$1\") || exit; set -a; eval \"$p\"; exec \"$2\"",
                                    "sh",
                                    parameters.toString(),
                                    program);
                        case ENV_FILE -> new ProcessBuilder(program);
                    };
            Map<String, String> environment = command.environment();
            environment.clear();
            environment.put("PATH", System.getenv("PATH"));
            environment.put("ETCD_DATA_DIR", dataDir.toString());
            if (tls != null) {
                environment.putAll(tls.etcdEnvironment());
            }
            if (way == Way.ENV_FILE) {
                environment.putAll(printed());
            }
            try {
                etcd = command.redirectErrorStream(true)
                        .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
                        .start();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            Servers.endWithThisProcess(etcd);
        }

        /** The parameters that were written, by name. */
        public Map<String, String> printed() {
            Map<String, String> all = new TreeMap<>();
            try {
                Files.readAllLines(parameters).forEach(line -> all.put(line.split("=", 2)[0], line.split("=", 2)[1]));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return all;
        }

        /** Where clients reach it. */
        public String clientUrl() {
            return (tls == null ? "http://" : "https://") + address + ":" + clientPort;
        }

        /** Where members reach it. */
        public String peerUrl() {
            return (tls == null ? "http://" : "https://") + address + ":" + peerPort;
        }

        /** A client of this member alone. */
        public EtcdGateway gateway() {
            return options().gateway(List.of(URI.create(clientUrl())), Duration.ofSeconds(2));
        }

        /** What it says of itself, or null. */
        public JsonObject status() {
            if (!isRunning()) {
                return null;
            }
            try {
                return options()
                        .gateway(List.of(URI.create(clientUrl())), Duration.ofMillis(700))
                        .ask("maintenance/status", new JsonObject());
            } catch (RuntimeException away) {
                return null;
            }
        }

        /** Whether its etcd runs. */
        public synchronized boolean isRunning() {
            return etcd != null && etcd.isAlive();
        }

        /** Ends etcd as a power cut does. */
        public synchronized void kill() {
            if (etcd != null) {
                Servers.stop(etcd);
            }
        }

        /** Stops etcd in its tracks: it takes connections and does not answer. */
        public void freeze() {
            signal("STOP");
        }

        /** Lets it go on. */
        public void thaw() {
            signal("CONT");
        }

        /** Ends the instance; the group replaces it. */
        public void terminate() {
            kill();
            moto.ec2.terminateInstances(r -> r.instanceIds(id));
        }

        /** Ends etcd and empties its disk; what was printed is gone too. */
        public void loseDisk() {
            kill();
            Servers.delete(dataDir);
            Servers.delete(parameters);
        }

        /** What it says of itself, and the end of etcd's log. */
        private String story() {
            try {
                List<String> lines = Files.exists(log) ? Files.readAllLines(log) : List.of();
                return this + (isRunning() ? " runs: " : " is off: ") + status() + "\n"
                        + String.join("\n", lines.subList(Math.max(0, lines.size() - 15), lines.size()));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        private synchronized void signal(String name) {
            if (etcd == null) {
                return;
            }
            Servers.signal(etcd, name);
        }

        @Override
        public void close() {
            kill();
            metadata.close();
        }

        @Override
        public String toString() {
            return id;
        }
    }
}
