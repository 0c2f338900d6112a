///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Shows the tools at work on servers of this machine, and removes everything.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx96m
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:autoscaling
//DEPS software.amazon.awssdk:ec2
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:route53
//DEPS software.amazon.awssdk:url-connection-client
//DEPS org.awaitility:awaitility:4.3.0
//SOURCES ../tests/src/main/java/io/github/rollcall/harness/DockerServer.java
//SOURCES ../tests/src/main/java/io/github/rollcall/harness/MetadataServer.java
//SOURCES ../tests/src/main/java/io/github/rollcall/harness/Moto.java
//SOURCES ../tests/src/main/java/io/github/rollcall/harness/Servers.java

import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Durations;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.Instance;
import io.github.rollcall.LoadBalancer;
import io.github.rollcall.LogOptions;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.Signals;
import io.github.rollcall.Table;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.Servers;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Option;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

@Command(
        name = "demo",
        header = "Shows the tools at work on servers of this machine, and removes everything.",
        description = {
            "",
            "AWS is played by moto; etcd and Docker are real. They are found or fetched, listen on loopback only, and"
                    + " are gone at the end, also after Ctrl-C. What cannot run here is said and left out.",
            ""
        })
class Demo extends Tool {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final String GROUP = "fleet";

    @Option(names = "--stay", description = "Leave the servers up until Ctrl-C, and say how to use them by hand.")
    private boolean stay;

    @Option(names = "--step", description = "Wait for Enter after each part.")
    private boolean step;

    private final Page page = new Page();
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "demo");
        thread.setDaemon(true);
        return thread;
    });

    /** What every command of the demo is told by its environment, as a person would export it. */
    private final Map<String, String> exported = new LinkedHashMap<>();

    private final List<Job> jobs = new ArrayList<>();
    private volatile boolean closing;

    private Path root;
    private String jbang;
    private Path lab;
    private Moto moto;
    private Fleet fleet;

    private DockerServer docker;

    /** Why there is no etcd, or no Docker, or null where there is. */
    private String noEtcd;

    private String noDocker;

    private int worst;

    Demo() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        main(new Demo(), args);
    }

    @Override
    public Integer call() {
        root = checkout();
        jbang = Path.of("").toAbsolutePath().equals(root) ? "./jbang" : quoted(root.resolve("jbang"));
        lab = newLab();
        Servers.writeInto(lab);
        Runtime.getRuntime().addShutdownHook(new Thread(this::removeEverything));
        Signals.on(name -> System.exit(Exit.OK), "INT", "TERM", "HUP");

        page.title("Rollcall, the demo");
        page.text(
                "A fleet of three instances, and the tools that call its roll. AWS is played by moto, etcd and Docker are"
                        + " real. All of it runs on this machine, listens on loopback, and is gone at the end. Nobody asks AWS.");
        startServers();
        if (!part("The scene", null, this::scene)) {
            return worst;
        }
        if (!part("etcd-aws-cluster: the group becomes an etcd cluster", noEtcd, this::cluster)) {
            noEtcd = "there is no etcd cluster";
        }
        boolean present = part("elb-presence: a node is in its load balancers while it runs", null, this::presence);
        part("clustercron: one node runs the job", present ? null : "no node is in its load balancers", this::cron);
        part("etcd-presence: containers' ports in etcd", noEtcd != null ? noEtcd : noDocker, this::containers);
        part("lbmanager: load balancers as etcd says", noEtcd, this::manager);
        end();
        return worst;
    }

    // --- the parts

    private void scene() {
        fleet = new Fleet();
        page.text("An Auto Scaling group with three instances, a classic load balancer `web` and a target group `api`,"
                + " both empty:");
        page.table(fleet.table());
        page.text(
                "Every command below is told by these variables where AWS and etcd are, and on which node it runs. These are node `a`'s:");
        exports();
    }

    private void cluster() {
        page.text("Before each start of etcd the tool finds out what its node has to be, and prints etcd's parameters."
                + " Nobody answers yet, and all three are there: each of them gets the same list of founders.");
        String tool = jbang + " etcd-aws-cluster --listen private --client-port " + fleet.clientPort + " --peer-port "
                + fleet.peerPort + " --output $ETCD_DATA_DIR.env";
        together(fleet.nodes, tool);
        Node first = fleet.nodes.get(0);
        run(first, "cat $ETCD_DATA_DIR.env");
        String etcd = "env $(cat $ETCD_DATA_DIR.env) etcd";
        page.command(first, etcd + " &");
        page.quiet("(the same on every node)");
        fleet.nodes.forEach(node -> node.etcd = new Job(node, etcd, line -> {}));
        await("etcd has a leader", () -> fleet.members().size() == 3);
        page.table(fleet.membersTable());

        Node lost = fleet.nodes.get(2);
        page.text("Node " + lost.name
                + " is terminated, and the group starts another in its place. That one finds a cluster with a"
                + " dead member, removes it, and takes its place:");
        lost.etcd.kill();
        Node next = fleet.replace(lost);
        run(next, tool);
        page.command(next, etcd + " &");
        next.etcd = new Job(next, etcd, line -> {});
        await("the new node has joined", () -> fleet.hasMember(next));
        page.table(fleet.membersTable());

        page.text("Whoever only talks to the cluster asks for its addresses:");
        Job client =
                run(first, jbang + " etcd-aws-cluster --client --asg " + GROUP + " --client-port " + fleet.clientPort);
        String[] endpoints = client.lines().get(client.lines().size() - 1).split("=", 2);
        exported.put(endpoints[0], endpoints[1]);
    }

    private void presence() {
        Node first = fleet.nodes.get(0);
        page.text("It registers the node, waits until its health checks pass, and stays:");
        fleet.presence = start(
                first, jbang + " elb-presence --elb web --target-group api --drain-timeout 5s", "elb-presence: ready");
        page.table(fleet.table());
        page.text("For scripts there are the two halves, and a look:");
        together(fleet.nodes.subList(1, 3), jbang + " elb-presence --elb web --target-group api --register-only");
        run(first, jbang + " elb-presence --elb web --target-group api --status");
        page.table(fleet.table());
    }

    private void cron() {
        List<Node> nodes = fleet.nodes;
        page.text(
                "The same line is in the crontab of every node. The first in alphabetic order of those in service is the"
                        + " master, and runs it; the others exit with 1:");
        together(nodes, jbang + " clustercron -v -o elb web echo \"the report\"");
        page.text("Node `" + nodes.get(0).name + "` stops, and is taken out of its load balancers:");
        page.command(nodes.get(0), "kill %1");
        fleet.presence.end();
        page.table(fleet.table());
        page.text("So another one is the master now, and says why:");
        run(nodes.get(1), jbang + " clustercron --explain elb web");
        if (noEtcd == null) {
            page.text(
                    "Two nodes may both believe that they are the master, in the middle of a deployment, say. A key in etcd"
                            + " sees to it that the job runs once in twelve hours, and no more:");
            String once = jbang + " clustercron -v -o --slot 12h --job report elb web echo \"the report\"";
            run(fleet.master(), once);
            run(fleet.master(), once);
            page.table(fleet.keys("/clustercron/"));
        }
    }

    private void containers() {
        Node first = fleet.nodes.get(0);
        page.text("A container with a published port:");
        run(first, "docker run -d --name hello -p 8080:80 " + DockerServer.IMAGE + " /bin/busybox httpd -f");
        run(first, "docker ps --format '{{.Names}}: {{.Status}}, {{.Ports}}'");
        page.text("Whoever looks for it asks etcd, where its address and port are as long as it runs:");
        Job presence = start(first, jbang + " etcd-presence --container hello", "etcd-presence: ready");
        await("the container's keys", () -> fleet.has("/containers/hello/"));
        page.table(fleet.keys("/containers/"));
        page.text("It stops, and its keys go at once:");
        run(first, "docker stop -t 0 hello");
        await("the end of its keys", () -> !fleet.has("/containers/hello/"));
        page.table(fleet.keys("/containers/"));
        page.text("It starts again, and they are back:");
        run(first, "docker start hello");
        await("the container's keys", () -> fleet.has("/containers/hello/"));
        page.table(fleet.keys("/containers/"));
        page.command(first, "kill %1");
        presence.end();
    }

    private void manager() {
        Node first = fleet.nodes.get(0);
        Node last = fleet.nodes.get(2);
        String roll = "elb/" + Moto.REGION + "/shop/multiple";
        fleet.classic("shop");
        page.text("Which node is in which load balancer stands in etcd: a key is a member. Two for a new load balancer"
                + " `shop`, and what would come of them:");
        String key = "/lbManager/" + roll + "/" + first.id;
        run(first, "etcdctl put " + key + " ''");
        run(first, "etcdctl put /lbManager/" + roll + "/" + fleet.nodes.get(1).id + " ''");
        run(first, jbang + " lbmanager plan");
        page.text("It does so, and goes on watching:");
        Job manager = start(first, jbang + " lbmanager", "lbmanager: ready");
        await("two members", () -> fleet.inService("elb/shop") == 2);
        page.table(fleet.table());
        page.text(
                "A key that is removed takes its node out. One that a node announces under a lease puts it in, and goes with"
                        + " the node, however that ends:");
        run(first, "etcdctl del " + key);
        Job announced = start(last, jbang + " lbmanager announce " + roll, "announced");
        await("the announced one", () -> fleet.state("elb/shop", last) == MemberHealth.State.IN_SERVICE);
        await("the removed one", () -> fleet.state("elb/shop", first) == MemberHealth.State.ABSENT);
        page.table(fleet.table());
        page.command(last, "kill %1");
        announced.end();
        await("the announced one gone", () -> fleet.state("elb/shop", last) == MemberHealth.State.ABSENT);
        page.table(fleet.table());
        page.command(first, "kill %1");
        manager.end();
    }

    private void end() {
        page.heading("What next");
        if (stay) {
            page.text("The servers stay up until Ctrl-C. To go on by hand, in another terminal in this folder:");
            exports();
            page.text("The other nodes, by their metadata service:");
            page.table(fleet.metadataTable());
            pause("Ctrl-C, or Enter, ends the demo and removes everything.");
        } else {
            page.text(
                    "`./jbang demo --stay` leaves these servers up to play with. `README.md` has a section for each tool."
                            + " `./jbang install clustercron` makes a fast command of one that needs neither JBang nor Maven."
                            + " `examples/` has units, cloud-init, crontabs, IAM policies, and scripts of an operator's.");
        }
    }

    /** The variables of the demo's commands on the first node. */
    private void exports() {
        Map<String, String> all = new LinkedHashMap<>(exported);
        all.putAll(fleet.nodes.get(0).environment());
        page.plain("");
        all.forEach((name, value) -> page.plain("export " + name + "=" + value));
    }

    /** Runs a part; where it cannot, or does not go as it should, that is said, and the rest goes on. Whether it went well. */
    private boolean part(String title, String unless, Runnable part) {
        if (closing) {
            return false;
        }
        page.heading(title);
        if (unless != null) {
            page.warn("left out: " + unless);
            return false;
        }
        boolean well = true;
        try {
            part.run();
        } catch (RuntimeException e) {
            if (closing) {
                return false;
            }
            page.warn("this part did not go as it should: " + (e instanceof Failure ? e.getMessage() : e));
            worst = Math.max(worst, e instanceof Failure f ? f.exit() : Exit.SOFTWARE);
            well = false;
        }
        if (step) {
            pause("Enter goes on.");
        }
        return well;
    }

    private void pause(String text) {
        page.quiet(text);
        try {
            int read;
            do {
                read = System.in.read();
            } while (read != '\n' && read != -1);
            if (read == -1 && stay && !step) {
                Thread.sleep(Long.MAX_VALUE);
            }
        } catch (IOException | InterruptedException e) {
            throw new Failure(Exit.TEMPORARY, "interrupted", e);
        }
    }

    // --- servers

    private void startServers() {
        Task aws = new Task("moto, in place of AWS", task -> {
            fetch(task, "moto");
            task.doing = "starting";
            moto = Moto.start();
        });
        Task etcd = new Task("etcd", task -> fetch(task, "etcd"));
        Task dockerd = new Task("Docker", task -> {
            if (!"root".equals(System.getProperty("user.name"))) {
                throw new Failure(
                        Exit.UNAVAILABLE, "Docker needs root, and this is " + System.getProperty("user.name"));
            }
            fetch(task, "docker");
            task.doing = "starting";
            // Within the network of its own; else each docker run would warn.
            docker = DockerServer.start("--ip-forward=true");
        });
        Task tools = new Task("the tools", this::build);
        aws.await();
        try {
            etcd.await();
        } catch (Failure f) {
            noEtcd = f.getMessage();
        }
        try (ServerSocket second = new ServerSocket(0, 1, InetAddress.getByName("127.2.1.4"))) {
            // Linux has them all.
        } catch (IOException e) {
            noEtcd = "this system has no loopback address but 127.0.0.1, and a cluster needs several";
        }
        tools.await();
        try {
            dockerd.await();
        } catch (Failure f) {
            noDocker = f.getMessage();
        }
        String path = Stream.of(
                        Servers.program("etcd-server", "etcd"),
                        Servers.program("etcd-client", "etcdctl"),
                        Servers.program("docker.io", "docker"))
                .filter(program -> program.contains("/"))
                .map(program -> Path.of(program).getParent() + ":")
                .collect(Collectors.joining());
        if (!path.isEmpty()) {
            exported.put("PATH", path + "$PATH");
        }
        exported.put("AWS_ENDPOINT_URL", moto.url().toString());
        exported.put("AWS_REGION", Moto.REGION);
        exported.put("AWS_ACCESS_KEY_ID", "demo");
        exported.put("AWS_SECRET_ACCESS_KEY", "demo");
        if (docker != null) {
            exported.put("DOCKER_HOST", docker.host());
        }
    }

    private void fetch(Task task, String server) {
        new Job(
                        null,
                        quoted(root.resolve("tests/servers")) + " " + server,
                        line -> task.says(line.replaceFirst("^servers: ", "")))
                .succeed();
    }

    private void build(Task task) {
        for (String tool : List.of("etcd-aws-cluster", "elb-presence", "clustercron", "etcd-presence", "lbmanager")) {
            task.doing = tool;
            new Job(null, quoted(root.resolve("jbang")) + " build " + tool, line -> {
                        if (line.contains("Resolving dependencies")) {
                            task.says("fetching what " + tool + " is made of");
                        }
                    })
                    .succeed();
        }
    }

    /** Something that is got ready while the demo shows how it goes. */
    private final class Task {
        private final String name;
        private final Future<?> future;
        private final long begin = System.nanoTime();
        private volatile String doing = "";
        private volatile long took;

        private interface Work {
            void doIt(Task task);
        }

        Task(String name, Work work) {
            this.name = name;
            future = threads.submit(() -> {
                work.doIt(this);
                took = System.nanoTime() - begin;
            });
        }

        void says(String text) {
            doing = text;
            page.progress(text);
        }

        void await() {
            try {
                while (true) {
                    try {
                        future.get(250, TimeUnit.MILLISECONDS);
                        page.done(name, "ready", Duration.ofNanos(took));
                        return;
                    } catch (TimeoutException e) {
                        page.ticking(name, doing, Duration.ofNanos(System.nanoTime() - begin));
                    }
                }
            } catch (ExecutionException e) {
                Failure failure = e.getCause() instanceof Failure f
                        ? f
                        : new Failure(
                                Exit.UNAVAILABLE,
                                name + " does not start: " + e.getCause().getMessage(),
                                e);
                page.done(name, "not here: " + failure.getMessage(), null);
                throw failure;
            } catch (InterruptedException e) {
                throw new Failure(Exit.TEMPORARY, "interrupted", e);
            }
        }
    }

    /** The checkout that this is part of. */
    private Path checkout() {
        Path home = Path.of(Objects.requireNonNullElse(System.getenv("ROLLCALL_HOME"), ""))
                .toAbsolutePath();
        if (!Files.exists(home.resolve("tests/servers"))) {
            throw new Failure(Exit.CONFIG, "this is part of a checkout: start it there, by ./jbang demo");
        }
        return home;
    }

    private static Path newLab() {
        Path cache = Path.of(Objects.requireNonNullElse(
                        System.getenv("XDG_CACHE_HOME"), System.getProperty("user.home") + "/.cache"))
                .resolve("rollcall");
        if (cache.toString().matches(".*[^\\w./@+-].*")) {
            // It is part of command lines that are there to be copied.
            throw new Failure(
                    Exit.CONFIG,
                    "the cache is " + cache + ": set XDG_CACHE_HOME to a folder without spaces and the like");
        }
        try {
            Files.createDirectories(cache);
            // Short, for the sockets in it.
            return Files.createDirectory(cache.resolve(
                    "demo-" + Integer.toString(ThreadLocalRandom.current().nextInt(1_000_000), 36)));
        } catch (IOException e) {
            throw new Failure(Exit.CONFIG, "cannot write to " + cache + ": set XDG_CACHE_HOME to a folder for it", e);
        }
    }

    /** Ends every process and removes every file of the demo's; nothing is started after this. */
    private void removeEverything() {
        List<Job> all;
        synchronized (jobs) {
            closing = true;
            all = List.copyOf(jobs);
        }
        all.forEach(Job::kill);
        if (docker != null) {
            docker.close();
        }
        if (moto != null) {
            moto.close();
        }
        deleteLab();
        page.quiet(Files.exists(lab) ? "What is left is in " + lab : "All of it is removed.");
    }

    /** What is just ending may still write. */
    private void deleteLab() {
        for (int n = 0; n < 50 && Files.exists(lab); n++) {
            try {
                Servers.delete(lab);
                Thread.sleep(Files.exists(lab) ? 100 : 0);
            } catch (UncheckedIOException | InterruptedException e) {
                // Once more.
            }
        }
    }

    // --- commands

    private Job run(Node node, String command) {
        page.command(node, command);
        Job job = new Job(node, command, page::output);
        page.exit(job.exit());
        return job.checked();
    }

    /** Runs a command on several nodes at the same time, and shows one after the other. */
    private void together(List<Node> nodes, String command) {
        List<Job> started =
                nodes.stream().map(node -> new Job(node, command, line -> {})).toList();
        for (Job job : started) {
            page.command(job.node, command);
            int code = job.exit();
            job.lines().forEach(page::output);
            page.exit(code);
            job.checked();
        }
    }

    /** Starts a command that stays, and waits until it says something. */
    private Job start(Node node, String command, String until) {
        page.command(node, command + " &");
        Job job = new Job(node, command, page::output);
        await("'" + until + "'", () -> job.lines().stream().anyMatch(line -> line.contains(until)));
        return job;
    }

    private void await(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() - end > 0) {
                throw new Failure(Exit.TEMPORARY, "waited for " + what + ", in vain");
            }
            try {
                Thread.sleep(100);
            } catch (InterruptedException e) {
                throw new Failure(Exit.TEMPORARY, "interrupted", e);
            }
        }
    }

    private static String quoted(Path path) {
        String text = path.toString();
        return text.matches("[\\w./@+-]+") ? text : "'" + text.replace("'", "'\\''") + "'";
    }

    /** A command line, run by a shell that becomes it, in the environment of a node. */
    private final class Job {
        private final Node node;
        private final String command;
        private final Process process;
        private final List<String> lines = new ArrayList<>();
        private final Future<?> reader;

        Job(Node node, String command, Consumer<String> hears) {
            this.node = node;
            this.command = command;
            ProcessBuilder builder = new ProcessBuilder("sh", "-c", "exec " + command).redirectErrorStream(true);
            builder.environment()
                    .keySet()
                    .removeIf(name -> name.matches("(AWS|ETCD|ETCDCTL|ELB|DOCKER)_.*|TARGET_GROUP"));
            builder.environment().put("AWS_CONFIG_FILE", "/dev/null");
            builder.environment().put("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
            exported.forEach(
                    (name, value) -> builder.environment().put(name, value.replace("$PATH", System.getenv("PATH"))));
            if (node != null) {
                builder.environment().putAll(node.environment());
            }
            synchronized (jobs) {
                if (closing) {
                    throw new Failure(Exit.TEMPORARY, "the demo is over");
                }
                try {
                    process = builder.start();
                    process.getOutputStream().close();
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
                jobs.add(this);
            }
            reader = threads.submit(() -> {
                try (BufferedReader output = process.inputReader()) {
                    for (String line = output.readLine(); line != null; line = output.readLine()) {
                        synchronized (lines) {
                            lines.add(line);
                        }
                        hears.accept(line);
                    }
                }
                return null;
            });
        }

        List<String> lines() {
            synchronized (lines) {
                return List.copyOf(lines);
            }
        }

        /** The exit code, once it has ended and all that it said has been heard. */
        int exit() {
            try {
                reader.get(10 * PATIENCE.toSeconds(), TimeUnit.SECONDS);
                return process.waitFor();
            } catch (ExecutionException | TimeoutException | InterruptedException e) {
                throw new Failure(Exit.TEMPORARY, "'" + command + "' does not end", e);
            }
        }

        /** Takes the exit codes below those of errors for an answer. */
        Job checked() {
            if (exit() >= Exit.USAGE) {
                throw new Failure(Exit.TEMPORARY, "'" + command + "' ended with " + exit());
            }
            return this;
        }

        void succeed() {
            if (exit() != 0) {
                List<String> all = lines();
                throw new Failure(Exit.UNAVAILABLE, all.isEmpty() ? command : all.get(all.size() - 1));
            }
        }

        /** SIGTERM, and the end. */
        void end() {
            // Process.destroy() would also stop listening.
            Servers.signal(process, "TERM");
            page.exit(exit());
        }

        void kill() {
            Servers.stop(process);
        }
    }

    // --- the fleet

    /** An instance of the group. */
    private final class Node {
        private final String name;
        private final String id;
        private final String address;
        private final MetadataServer metadata;
        private Job etcd;

        Node(String name, String id) {
            this.name = name;
            this.id = id;
            address = moto.ec2
                    .describeInstances(r -> r.instanceIds(id))
                    .reservations()
                    .get(0)
                    .instances()
                    .get(0)
                    .privateIpAddress();
            metadata = MetadataServer.of(id, address);
        }

        Map<String, String> environment() {
            return new TreeMap<>(Map.of(
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                    metadata.url().toString(),
                    "ETCD_DATA_DIR",
                    lab.resolve(name).toString()));
        }
    }

    /** What AWS and etcd know of the three instances. */
    private final class Fleet {
        private final int clientPort = Servers.freePort();
        private final int peerPort = Servers.freePort();
        private final List<Node> nodes = new ArrayList<>();
        private final Map<String, LoadBalancer> balancers = new LinkedHashMap<>();
        private Job presence;

        Fleet() {
            moto.loopbackGroup(GROUP, ThreadLocalRandom.current().nextInt(2, 250), 3);
            classic("web");
            moto.targetGroup("api", TargetTypeEnum.INSTANCE);
            balancers.put("tg/api", TargetGroup.find(moto.elbv2, TargetGroup.Ref.parse("api")));
            moto.group(GROUP).forEach(id -> nodes.add(new Node(String.valueOf((char) ('a' + nodes.size())), id)));
            // From now on: no command must find another etcd than ours.
            exported.put(
                    "ETCDCTL_ENDPOINTS",
                    nodes.stream().map(node -> client(node.address).toString()).collect(Collectors.joining(",")));
        }

        void classic(String name) {
            balancers.put("elb/" + name, new ClassicLoadBalancer(moto.elb, moto.classic(name)));
        }

        /** The node that the group has in place of one that is terminated. */
        Node replace(Node lost) {
            moto.ec2.terminateInstances(r -> r.instanceIds(lost.id));
            lost.metadata.close();
            nodes.remove(lost);
            List<String> known = nodes.stream().map(node -> node.id).toList();
            Node next = moto.group(GROUP).stream()
                    .filter(id -> !known.contains(id))
                    .findFirst()
                    .map(id -> new Node("d", id))
                    .orElseThrow();
            nodes.add(next);
            // So that the first of them stays the one that clustercron's rule makes the master.
            nodes.sort(Comparator.comparing(node -> node.id));
            return next;
        }

        Table table() {
            List<String> head = new ArrayList<>(List.of("NODE", "INSTANCE", "ADDRESS"));
            head.addAll(balancers.keySet());
            Table table = new Table(head.toArray(String[]::new));
            for (Node node : nodes) {
                List<String> row = new ArrayList<>(List.of(node.name, node.id, node.address));
                balancers
                        .keySet()
                        .forEach(balancer -> row.add(state(balancer, node).words()));
                table.row(row.toArray());
            }
            return table;
        }

        MemberHealth.State state(String balancer, Node node) {
            LoadBalancer one = balancers.get(balancer);
            return one.health(one.member(new Instance(node.id, node.address, Moto.REGION)))
                    .state();
        }

        Table metadataTable() {
            Table table = new Table("NODE", "AWS_EC2_METADATA_SERVICE_ENDPOINT");
            nodes.forEach(node -> table.row(node.name, node.metadata.url()));
            return table;
        }

        long inService(String balancer) {
            return nodes.stream()
                    .filter(node -> state(balancer, node) == MemberHealth.State.IN_SERVICE)
                    .count();
        }

        /** The node that clustercron's rule makes the master. */
        Node master() {
            return nodes.stream()
                    .filter(node -> state("elb/web", node) == MemberHealth.State.IN_SERVICE)
                    .min(Comparator.comparing(node -> node.id))
                    .orElseThrow(() -> new Failure(Exit.TEMPORARY, "nobody is in service"));
        }

        private URI client(String address) {
            return URI.create("http://" + address + ":" + clientPort);
        }

        private EtcdGateway etcd() {
            List<URI> clients = nodes.stream().map(node -> client(node.address)).toList();
            return new EtcdOptions().gateway(clients, Duration.ofSeconds(2));
        }

        /** The members that have started; nobody, while there is no cluster. */
        List<EtcdMember> members() {
            try {
                return etcd().members().members().stream()
                        .filter(EtcdMember::hasStarted)
                        .toList();
            } catch (Failure f) {
                return List.of();
            }
        }

        boolean hasMember(Node node) {
            return members().stream().anyMatch(member -> member.name().equals(node.id));
        }

        Table membersTable() {
            Table table = new Table("ETCD MEMBER", "NAME", "PEER URL");
            members().forEach(m -> table.row(m.hexId(), m.name(), m.peerUrls().get(0)));
            return table;
        }

        boolean has(String prefix) {
            return !etcd().all(prefix).isEmpty();
        }

        Table keys(String prefix) {
            Table table = new Table("ETCD KEY", "VALUE");
            SortedMap<String, String> all = etcd().all(prefix);
            all.forEach(table::row);
            return all.isEmpty() ? table.row("(none)", "") : table;
        }
    }

    // --- the page

    /** What a person sees: coloured and wrapped in a terminal, plain elsewhere, where {@code NO_COLOR} is set or TERM is dumb. */
    private static final class Page {
        private static final String BOLD = "1";
        private static final String DIM = "2";
        private static final String GREEN = "32";
        private static final String YELLOW = "33";
        private static final String CYAN = "1;36";
        private static final int READABLE = 80;
        private static final int NARROWEST = 40;

        private final boolean terminal = Ansi.AUTO.enabled() && !"dumb".equals(System.getenv("TERM"));
        private final int width = terminal ? columns() : Integer.MAX_VALUE;
        private boolean ticking;

        private static int columns() {
            try {
                Process stty = new ProcessBuilder("stty", "size")
                        .redirectInput(ProcessBuilder.Redirect.INHERIT)
                        .start();
                int columns = Integer.parseInt(stty.inputReader().readLine().split(" ")[1]);
                // A terminal that does not know its size says 0.
                return columns < NARROWEST ? READABLE : columns;
            } catch (IOException | RuntimeException e) {
                return READABLE;
            }
        }

        private String paint(String code, String text) {
            return terminal ? "\033[" + code + "m" + text + "\033[0m" : text;
        }

        private synchronized void print(String line) {
            if (ticking) {
                System.out.print("\r\033[K");
                ticking = false;
            }
            System.out.println(line);
        }

        void title(String text) {
            print(paint(BOLD, text));
        }

        void heading(String text) {
            print("");
            print(paint(CYAN, text));
            print(paint(DIM, "-".repeat(text.length())));
        }

        /** A paragraph; what stands in backticks is bold in a terminal. */
        void text(String paragraph) {
            print("");
            for (String line : wrap(paragraph, " ", Math.min(width, READABLE) - 1, "", "")) {
                print(terminal ? line.replaceAll("`([^`]*)`", "\033[1m$1\033[0m") : line);
            }
        }

        /** A command as a person on that node types it; a long one goes on in the next line. */
        void command(Node node, String command) {
            print("");
            List<String> lines = wrap(command, " -", READABLE - 7, " \\", "    ");
            print(paint(GREEN, node.name + " $ ") + paint(BOLD, lines.get(0)));
            lines.stream().skip(1).forEach(line -> print(paint(BOLD, line)));
        }

        void output(String line) {
            for (String part : wrap(line, " ", width - 5, "", "  ")) {
                print("    " + part);
            }
        }

        void exit(int code) {
            if (code != 0) {
                print("    " + paint(DIM, "(exit code " + code + ")"));
            }
        }

        void table(Table table) {
            print("");
            boolean head = true;
            for (String row : table.toString().split("\n")) {
                String line = row.length() <= width - 2 ? row : row.substring(0, width - 5) + "...";
                print("  " + (head ? paint(BOLD, line) : line));
                head = false;
            }
        }

        void plain(String line) {
            print(("  " + line).stripTrailing());
        }

        void quiet(String text) {
            print("");
            print(paint(DIM, text));
        }

        void warn(String text) {
            print("");
            wrap(text, " ", Math.min(width, READABLE) - 1, "", "").forEach(line -> print(paint(YELLOW, line)));
        }

        void progress(String text) {
            if (!terminal) {
                print("  " + text);
            }
        }

        synchronized void ticking(String name, String doing, Duration since) {
            if (terminal) {
                System.out.print("\r\033[K  " + name + " " + paint(DIM, doing + " " + since.toSeconds() + "s"));
                System.out.flush();
                ticking = true;
            }
        }

        void done(String name, String state, Duration took) {
            print(String.format("  %-24s %s", name, paint(took == null ? YELLOW : GREEN, state))
                    + (took == null ? "" : paint(DIM, "  " + Durations.format(took))));
        }

        /** Cuts a text. @param before where, @param end of a line that goes on, @param indent of the line after that */
        private static List<String> wrap(String text, String before, int width, String end, String indent) {
            List<String> lines = new ArrayList<>();
            String rest = text;
            while (rest.length() > width) {
                int cut = rest.lastIndexOf(before, width);
                if (cut <= indent.length()) {
                    break;
                }
                lines.add(rest.substring(0, cut) + end);
                rest = indent + rest.substring(cut).stripLeading();
            }
            lines.add(rest);
            return lines;
        }
    }
}
