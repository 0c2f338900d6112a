///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Keeps the ports of Docker containers in etcd while they run.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms8m -Xmx64m
//RUNTIME_OPTIONS -Djdk.reflect.useNativeAccessorOnly=true -Dsun.reflect.inflationThreshold=10000
//RUNTIME_OPTIONS --enable-native-access=ALL-UNNAMED -XX:+ExitOnOutOfMemoryError -Dio.netty.allocator.type=unpooled
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS io.etcd:jetcd-core
//DEPS io.prometheus:prometheus-metrics-core
//DEPS io.prometheus:prometheus-metrics-exposition-textformats
//DEPS net.java.dev.jna:jna

import io.github.rollcall.Backoff;
import io.github.rollcall.ContainerPorts;
import io.github.rollcall.DaemonOptions;
import io.github.rollcall.Docker;
import io.github.rollcall.EtcdClient;
import io.github.rollcall.EtcdLease;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.IpAddress;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Signals;
import io.github.rollcall.Systemd;
import io.github.rollcall.Tool;
import io.prometheus.metrics.core.metrics.CounterWithCallback;
import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.Closeable;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Queue;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "etcd-presence",
        header = "Keeps the ports of Docker containers in etcd while they run.",
        description = {
            "",
            "For each published port of a running container etcd has ROOT/NAME/PORT/host and ROOT/NAME/PORT/port, under a"
                    + " lease, so that they go when the container stops, and when this tool or its host dies.",
            ""
        })
class EtcdPresence extends Tool {
    @ArgGroup(multiplicity = "1")
    private Selection selection;

    static class Selection {
        @Option(
                names = "--container",
                paramLabel = "NAME",
                split = ",",
                description = "A container; may be repeated. It need not exist yet.")
        private List<String> names = new ArrayList<>();

        @ArgGroup(exclusive = false, multiplicity = "1")
        private All all;
    }

    static class All {
        @Option(names = "--all", required = true, description = "All containers.")
        private boolean all;

        @Option(
                names = "--label",
                paramLabel = "KEY[=VALUE]",
                description = "Of these only those with this label; may be repeated.")
        private List<String> labels = new ArrayList<>();
    }

    @Option(names = "--prefix", paramLabel = "P", description = "Put P before each container's name: ROOT/P/NAME/...")
    private String prefix;

    @Option(
            names = "--root",
            paramLabel = "KEY",
            defaultValue = "/containers",
            description = "Where the keys begin (default: ${DEFAULT-VALUE}).")
    private String root;

    @Option(
            names = "--host-ip",
            paramLabel = "ADDRESS",
            description =
                    "What a port on every address of the host is published as (default: the address of the host on"
                            + " Docker's bridge).")
    private String hostIp;

    @Option(names = "--ignore-health", description = "Publish containers whatever their health checks say.")
    private boolean ignoreHealth;

    @Option(
            names = "--ttl",
            paramLabel = "DURATION",
            defaultValue = "60s",
            description = "How long keys outlive this tool (default: ${DEFAULT-VALUE}).")
    private Duration ttl;

    @Option(
            names = "--interval",
            paramLabel = "DURATION",
            defaultValue = "30s",
            description = "How often everything is compared, beside what Docker's events tell (default:"
                    + " ${DEFAULT-VALUE}).")
    private Duration interval;

    @Option(
            names = "--stop-timeout",
            paramLabel = "DURATION",
            defaultValue = "30s",
            description = "How long a removal that fails is tried again at the end (default: ${DEFAULT-VALUE}).")
    private Duration stopTimeout;

    @Option(
            names = "--docker-host",
            paramLabel = "URL",
            description = "Where Docker is (default: DOCKER_HOST, else unix:///var/run/docker.sock).")
    private String dockerHost;

    @Mixin
    private EtcdOptions etcdOptions;

    @Mixin
    private DaemonOptions daemon;

    private static final Duration DOCKER_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration ETCD_TIMEOUT = Duration.ofSeconds(5);
    /** How much later than planned a look at everything may be: a few questions that are answered in the last moment. */
    private static final Duration LATE = Duration.ofMinutes(1);

    /** After an event it is looked again: Docker tells of an end, for one, before its list has it, which unmounting may delay. */
    private static final List<Duration> LATER_LOOKS = List.of(
            Duration.ofMillis(20),
            Duration.ofMillis(100),
            Duration.ofMillis(500),
            Duration.ofSeconds(2),
            Duration.ofSeconds(10));
    /** With so many at once it is less work to look at all. */
    private static final int MANY = 50;
    /** In the queue of ids: the stream of events has ended. */
    private static final String END = "";

    private Docker docker;
    private EtcdClient etcd;
    private String base;

    /** Completed once, with the reason, when it is time to leave. */
    private final CompletableFuture<String> stop = new CompletableFuture<>();

    /** What this ends with when it was not a signal that ended it. */
    private volatile Failure hopeless;

    private volatile boolean signalled;
    private volatile boolean ready;

    EtcdPresence() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        Tool.main(new EtcdPresence(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        checkOptions();
        etcd = etcdOptions.client(ETCD_TIMEOUT);
        Signals.on(this::onSignal, "TERM", "INT", "HUP");
        daemon.start(this::whyNotReady, this::registerMetrics);
        checkThatEtcdLetsUsIn();
        Thread watch = new Thread(this::watchDocker, "docker");
        watch.setDaemon(true);
        watch.start();
        String reason = stop.join();
        Log.of(name()).info("stopping", "reason", reason);
        Systemd.stopping(reason);
        int code = withdrawAll();
        etcd.close();
        if (hopeless != null) {
            throw hopeless;
        }
        return code;
    }

    // --- the command line

    private void checkOptions() {
        for (String name : selection.names) {
            // As Docker has it; a name is part of keys.
            if (!name.matches("[a-zA-Z0-9][a-zA-Z0-9_.-]*")) {
                throw usage("--container is '" + name + "': expected a container's name");
            }
        }
        if (selection.all != null) {
            for (String label : selection.all.labels) {
                if (!label.matches("[^=\\s]+(=.*)?")) {
                    throw usage("--label is '" + label + "': expected KEY or KEY=VALUE");
                }
            }
        }
        String segments = "[^/\\s\\p{Cntrl}]+(/[^/\\s\\p{Cntrl}]+)*";
        if (!root.matches("/" + segments)) {
            throw usage("--root is '" + root + "': expected a key such as /containers");
        }
        if (prefix != null && !prefix.matches(segments)) {
            throw usage("--prefix is '" + prefix + "': expected a name such as web or eu/web");
        }
        if (hostIp != null && IpAddress.canonical(hostIp) == null) {
            throw usage("--host-ip is '" + hostIp + "': expected an address");
        }
        if (ttl.toSeconds() < 3 || ttl.toDays() > 1) {
            throw usage("--ttl is out of range: expected 3s to 24h");
        }
        if (interval.toMillis() < 1_000) {
            throw usage("--interval is less than 1s");
        }
        base = root + (prefix == null ? "" : "/" + prefix);
        try {
            docker = Docker.at(dockerHost, System.getenv(), DOCKER_TIMEOUT);
        } catch (IllegalArgumentException e) {
            throw usage(e.getMessage());
        }
    }

    // --- Docker: what there is, and what happens to it

    /** What Docker has said last of each container, by its id. Only the thread that watches Docker has to do with it. */
    private final Map<String, ContainerPorts> seen = new HashMap<>();

    private final AtomicLong events = new AtomicLong();
    private volatile boolean seenAll;
    private volatile long seenAllAt;
    /** By {@link System#nanoTime}: when it is too late for the next look at everything. */
    private volatile long nextLookBy;

    private volatile Failure dockerProblem;
    private String wildcard;

    /** What one stream of events has told. */
    private final class Happenings {
        /** Ids of containers, and at last {@link #END}. */
        final BlockingQueue<String> ids = new LinkedBlockingQueue<>();

        private volatile Failure why;

        void event(String id) {
            events.incrementAndGet();
            ids.add(id);
        }

        void end(Failure reason) {
            why = reason;
            ids.add(END);
        }
    }

    /** Follows Docker's events, and looks at everything at first and then now and again, whatever happens to Docker. */
    private void watchDocker() {
        int failures = 0;
        while (!stop.isDone()) {
            Happenings happenings = new Happenings();
            // The events first: what happens while we look is not missed.
            try (Closeable stream = docker.events(happenings::event, happenings::end)) {
                wildcard = hostIp != null ? IpAddress.canonical(hostIp) : docker.bridgeAddress();
                seeEverything();
                failures = 0;
                followEvents(happenings);
            } catch (Failure f) {
                failures++;
                dockerFailed(f);
                rest(Backoff.DEFAULT.delay(failures));
            } catch (Throwable defect) {
                // Whatever it is: keys must not be kept alive when nobody looks at the containers any more.
                hopeless = new Failure(Exit.SOFTWARE, "a defect in etcd-presence: " + defect, defect);
                stop("a defect");
                Log.of(name()).trace(defect);
            }
        }
    }

    private void followEvents(Happenings happenings) {
        long next = System.nanoTime() + interval.toNanos();
        Queue<LaterLook> laterLooks = new PriorityQueue<>(Comparator.comparing(LaterLook::at));
        while (!stop.isDone()) {
            Set<String> ids = new HashSet<>();
            long until = laterLooks.isEmpty() ? next : Math.min(next, laterLooks.peek().at);
            try {
                String first = happenings.ids.poll(Math.max(0, until - System.nanoTime()), TimeUnit.NANOSECONDS);
                if (first != null) {
                    ids.add(first);
                    happenings.ids.drainTo(ids);
                }
            } catch (InterruptedException e) {
                return;
            }
            if (ids.contains(END)) {
                throw happenings.why;
            }
            long now = System.nanoTime();
            for (Duration later : LATER_LOOKS) {
                ids.forEach(id -> laterLooks.add(new LaterLook(id, now + later.toNanos())));
            }
            while (!laterLooks.isEmpty() && laterLooks.peek().at <= now) {
                ids.add(laterLooks.remove().id);
            }
            if (now >= next || ids.size() > MANY) {
                seeEverything();
                next = System.nanoTime() + interval.toNanos();
            } else if (!ids.isEmpty()) {
                see(ids);
            }
        }
    }

    private record LaterLook(String id, long at) {}

    private void seeEverything() {
        Map<String, List<String>> filters = filters();
        if (!selection.names.isEmpty()) {
            filters.put(
                    "name",
                    selection.names.stream()
                            .map(name -> "^/?" + name.replace(".", "\\.") + "$")
                            .toList());
        }
        List<ContainerPorts> all = docker.containers(filters);
        seen.clear();
        all.forEach(this::remember);
        seenAllAt = System.currentTimeMillis();
        nextLookBy = System.nanoTime() + interval.plus(LATE).toNanos();
        publish();
        forgetWhatIsOver();
        seenAll = true;
        if (dockerProblem != null) {
            dockerProblem = null;
            Log.of("docker").info("answers again");
        }
        considerReadiness();
    }

    private void see(Set<String> ids) {
        Map<String, List<String>> filters = filters();
        filters.put("id", List.copyOf(ids));
        List<ContainerPorts> found = docker.containers(filters);
        ids.forEach(seen::remove);
        found.forEach(this::remember);
        publish();
    }

    private Map<String, List<String>> filters() {
        Map<String, List<String>> filters = new HashMap<>();
        if (selection.all != null && !selection.all.labels.isEmpty()) {
            filters.put("label", selection.all.labels);
        }
        return filters;
    }

    private void remember(ContainerPorts container) {
        boolean isOurs = selection.all != null || selection.names.contains(container.name());
        if (isOurs && !container.name().isEmpty()) {
            seen.put(container.id(), container);
        }
    }

    private void dockerFailed(Failure f) {
        if (stop.isDone()) {
            return;
        }
        Log log = Log.of("docker");
        log.trace(f);
        boolean told = dockerProblem != null && dockerProblem.exit() == f.exit();
        dockerProblem = f;
        if (!f.isTransient() && !seenAll) {
            hopeless = f;
            stop("Docker cannot be used");
        } else if (told) {
            log.debug("still failing: " + f.getMessage());
        } else {
            log.warn(f.getMessage() + "; trying again");
        }
    }

    private void rest(Duration time) {
        try {
            stop.get(time.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException | InterruptedException next) {
            // The loop looks whether it is time to leave.
        } catch (ExecutionException e) {
            throw new IllegalStateException(e);
        }
    }

    // --- etcd: what is wanted there

    /** By name: a container that is made anew under its name takes the place of the one before. */
    private final Map<String, Presence> presences = new ConcurrentHashMap<>();

    /** Of leases of containers that are no more. */
    private long formerLosses;

    private void publish() {
        Map<String, ContainerPorts> byName = new TreeMap<>();
        for (ContainerPorts container : seen.values()) {
            byName.merge(container.name(), container, (a, b) -> b.obstacle(ignoreHealth) == null ? b : a);
        }
        for (String name : selection.names) {
            byName.putIfAbsent(name, null);
        }
        presences.keySet().forEach(name -> byName.putIfAbsent(name, null));
        synchronized (presences) {
            // What comes after everything was withdrawn would stay.
            if (!stop.isDone()) {
                byName.forEach((name, container) ->
                        presences.computeIfAbsent(name, Presence::new).is(container));
            }
        }
    }

    private void forgetWhatIsOver() {
        synchronized (presences) {
            List<Presence> over =
                    presences.values().stream().filter(Presence::isOver).toList();
            over.forEach(presence -> formerLosses += presence.lease.losses());
            presences.values().removeAll(over);
        }
    }

    private long losses() {
        synchronized (presences) {
            return formerLosses
                    + presences.values().stream()
                            .mapToLong(presence -> presence.lease.losses())
                            .sum();
        }
    }

    /** A container's name, and what etcd is to have under it. */
    private final class Presence {
        final String name;
        final EtcdLease lease;
        private final Log log;
        private Map<String, String> keys = Map.of();
        private String obstacle;

        /** What is to be said when etcd has done it, or null. */
        private volatile String saying;

        private volatile String ports = "";

        Presence(String name) {
            this.name = name;
            log = Log.of(name);
            lease = new EtcdLease(etcd, name, ttl, interval, EtcdLease.Deleted.PUT_AGAIN, this::leaseChanged);
        }

        /** @param container null when there is none of the name */
        void is(ContainerPorts container) {
            String now = container == null ? "does not exist" : container.obstacle(ignoreHealth);
            Map<String, String> wanted = now == null ? container.keys(base, wildcard) : Map.of();
            if (!wanted.equals(keys)) {
                boolean withdraws = wanted.isEmpty();
                ports = withdraws ? "" : words(container);
                saying = withdraws ? "withdrawn" : "published";
                keys = wanted;
                obstacle = now;
                lease.want(wanted);
            } else if (now != null && !now.equals(obstacle)) {
                // Of those that were named each is waited for; of all, there may be many that are none of our business.
                if (selection.all == null) {
                    log.info(now + ", waiting");
                } else {
                    log.debug(now);
                }
                obstacle = now;
            }
        }

        private String words(ContainerPorts container) {
            return container.ports().entrySet().stream()
                    .map(port -> port.getKey() + "="
                            + (port.getValue().isWildcard()
                                    ? new ContainerPorts.Address(
                                            wildcard, port.getValue().port())
                                    : port.getValue()))
                    .collect(Collectors.joining(" "));
        }

        private void leaseChanged() {
            if (lease.isInOrder() && !stop.isDone()) {
                String what = saying;
                saying = null;
                if ("withdrawn".equals(what)) {
                    log.info(what, "reason", obstacle);
                } else if (!ports.isEmpty()) {
                    log.info(what == null ? "published again" : what, "ports", ports);
                }
            }
            considerReadiness();
        }

        /** Whether there is nothing of it any more, here or in etcd. */
        boolean isOver() {
            return keys.isEmpty()
                    && "does not exist".equals(obstacle)
                    && lease.isInOrder()
                    && !selection.names.contains(name);
        }

        boolean isPublished() {
            return !ports.isEmpty() && lease.isInOrder();
        }
    }

    /** A wrong password is to be said now, and not when the first container starts. */
    private void checkThatEtcdLetsUsIn() {
        etcd.start(c -> c.getKVClient().get(EtcdClient.bytes(base + "/"))).exceptionally(problem -> {
            Failure failure = etcd.failure(problem);
            if (!failure.isTransient()) {
                hopeless = failure;
                stop("etcd cannot be used");
            }
            return null;
        });
    }

    // --- the end

    private synchronized void onSignal(String name) {
        if (!signalled) {
            signalled = true;
            stop("SIG" + name);
        } else {
            Log.of(name()).warn("second signal, ending at once", "signal", name);
            Runtime.getRuntime().halt(Exit.TEMPORARY);
        }
    }

    private void stop(String reason) {
        stop.complete(reason);
    }

    private int withdrawAll() {
        Map<Presence, CompletableFuture<Boolean>> ends = new HashMap<>();
        long published;
        synchronized (presences) {
            published = presences.values().stream()
                    .filter(presence -> !presence.keys.isEmpty())
                    .count();
            presences.values().forEach(presence -> ends.put(presence, presence.lease.end(stopTimeout)));
        }
        List<String> left = ends.entrySet().stream()
                .filter(end -> !end.getValue().join())
                .map(end -> end.getKey().name)
                .sorted()
                .toList();
        if (!left.isEmpty()) {
            Log.of(name())
                    .error("not withdrawn, because etcd does not answer; the keys go when their time is over: "
                            + String.join(", ", left));
            return Exit.TEMPORARY;
        }
        Log.of(name()).info("withdrawn", "containers", published);
        return Exit.OK;
    }

    // --- what others see of it

    private synchronized void considerReadiness() {
        if (!ready && whyNotReady() == null) {
            ready = true;
            String published = presences.values().stream()
                    .filter(Presence::isPublished)
                    .map(presence -> presence.name)
                    .sorted()
                    .collect(Collectors.joining(", "));
            Log.of(name()).info("ready", "published", published.isEmpty() ? "nothing yet" : published);
            Systemd.ready("published: " + (published.isEmpty() ? "nothing yet" : published));
        }
    }

    private String whyNotReady() {
        if (stop.isDone()) {
            return "stopping";
        }
        Failure problem = dockerProblem;
        if (problem != null || !seenAll) {
            return problem == null ? "Docker has not answered yet" : problem.getMessage();
        }
        if (System.nanoTime() - nextLookBy > 0) {
            return "Docker was not looked at for too long";
        }
        return presences.values().stream()
                .filter(presence -> !presence.lease.isInOrder())
                .findAny()
                .map(presence -> presence.name + ": "
                        + (presence.lease.problem() == null
                                ? "not in etcd yet"
                                : presence.lease.problem().getMessage()))
                .orElse(null);
    }

    private void registerMetrics(PrometheusRegistry registry) {
        GaugeWithCallback.builder()
                .name("rollcall_container_published")
                .help("1 if etcd has its ports, as last heard")
                .labelNames("container")
                .callback(gauge -> presences.values().forEach(p -> gauge.call(p.isPublished() ? 1 : 0, p.name)))
                .register(registry);
        GaugeWithCallback.builder()
                .name("rollcall_docker_last_seen_timestamp_seconds")
                .help("When Docker last told of all containers")
                .callback(gauge -> gauge.call(seenAllAt / 1_000.0))
                .register(registry);
        CounterWithCallback.builder()
                .name("rollcall_docker_events_total")
                .help("Events of containers that Docker told")
                .callback(counter -> counter.call(events.get()))
                .register(registry);
        CounterWithCallback.builder()
                .name("rollcall_lease_losses_total")
                .help("How often a lease was lost")
                .callback(counter -> counter.call(losses()))
                .register(registry);
    }
}
