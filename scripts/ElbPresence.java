///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Keeps this instance in its load balancers while its service runs.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms8m -Xmx64m
//RUNTIME_OPTIONS -Djdk.reflect.useNativeAccessorOnly=true -Dsun.reflect.inflationThreshold=10000
//RUNTIME_OPTIONS --enable-native-access=ALL-UNNAMED
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:sts
//DEPS software.amazon.awssdk:url-connection-client
//DEPS io.prometheus:prometheus-metrics-core
//DEPS io.prometheus:prometheus-metrics-exposition-textformats
//DEPS net.java.dev.jna:jna

import io.github.rollcall.AwsCall;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.Backoff;
import io.github.rollcall.Child;
import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.DaemonOptions;
import io.github.rollcall.Durations;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.IdentityOptions;
import io.github.rollcall.Instance;
import io.github.rollcall.LoadBalancer;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.MemberHealth.State;
import io.github.rollcall.Signals;
import io.github.rollcall.Systemd;
import io.github.rollcall.Table;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import io.prometheus.metrics.core.metrics.CounterWithCallback;
import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;

@Command(
        name = "elb-presence",
        header = "Keeps this instance in its load balancers while its service runs.",
        description = {
            "",
            "Registers this instance with every load balancer and target group that is named, and takes it out again on"
                    + " SIGTERM or SIGINT, or when COMMAND ends.",
            ""
        })
class ElbPresence extends Tool {
    @Option(
            names = {"--elb", "--lbname"},
            paramLabel = "NAME",
            split = ",",
            description = "A classic load balancer; may be repeated (default: ELB_NAME).")
    private List<String> elbs = new ArrayList<>();

    @Option(
            names = "--target-group",
            paramLabel = "NAME|ARN[:PORT]",
            split = ",",
            description = "A target group; may be repeated (default: TARGET_GROUP).")
    private List<String> groups = new ArrayList<>();

    @ArgGroup
    private Mode mode = new Mode();

    static class Mode {
        @Option(names = "--register-only", description = "Register, and exit when that is accepted.")
        private boolean registerOnly;

        @Option(names = "--deregister-only", description = "Deregister, and exit.")
        private boolean deregisterOnly;

        @Option(names = "--status", description = "Print a table of the targets and this instance's health, and exit.")
        private boolean status;
    }

    @Option(names = "--dry-run", description = "Say what would be done, change nothing, and exit.")
    private boolean dryRun;

    @Option(
            names = "--drain-timeout",
            paramLabel = "DURATION",
            description = "After deregistering wait this long for the last requests to be served (default: do not).")
    private Duration drainTimeout;

    @Option(
            names = "--stop-timeout",
            paramLabel = "DURATION",
            defaultValue = "30s",
            description = "How long a deregistration that fails is tried again (default: ${DEFAULT-VALUE}).")
    private Duration stopTimeout;

    @Option(
            names = "--reassert",
            paramLabel = "DURATION",
            description = "Look this often, and register again when something else removed the instance (default:"
                    + " never).")
    private Duration reassert;

    @Mixin
    private IdentityOptions identity;

    @Mixin
    private AwsOptions aws;

    @Mixin
    private DaemonOptions daemon;

    @Parameters(
            paramLabel = "-- " + COMMAND,
            arity = "0..*",
            description = "Run COMMAND, be present while it runs, and exit with its code.")
    private List<String> command = new ArrayList<>();

    private static final Duration LAST_WORDS = Duration.ofSeconds(5);
    private static final Duration UNUSED_POLL = Duration.ofSeconds(30);
    private static final Backoff STOPPING = new Backoff(Duration.ofMillis(500), Duration.ofSeconds(5));

    private List<Target> targets;

    /** Completed once, with the reason, when it is time to leave: see {@link #stop(String)}. */
    private final CompletableFuture<String> stop = new CompletableFuture<>();

    /** When what could not be deregistered is given up. */
    private volatile Instant leaveBy = Instant.MAX;

    /** The first signal to leave that came, or null. */
    private volatile String signal;

    private volatile boolean ready;
    private volatile Child child;

    ElbPresence() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        AwsOptions.prepare(ElasticLoadBalancingClient::builder);
        Tool.main(new ElbPresence(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        targets = targets();
        checkCommand();
        checkOptions();
        if (mode.status) {
            return status();
        }
        if (dryRun) {
            return sayWhatWouldBeDone();
        }
        if (mode.registerOnly) {
            return forEach(Target::register);
        }
        if (mode.deregisterOnly) {
            leaveBy = Instant.now().plus(stopTimeout);
            return forEach(Target::leave);
        }
        return bePresent();
    }

    // --- the command line

    private List<Target> targets() {
        Map<String, Target> named = new LinkedHashMap<>();
        for (String name : namesOr(elbs, "--elb", "ELB_NAME")) {
            named.putIfAbsent("elb/" + name, new Target("elb/" + name, () -> classic(name)));
        }
        for (String text : namesOr(groups, "--target-group", "TARGET_GROUP")) {
            TargetGroup.Ref ref = parsed(text);
            named.putIfAbsent("tg/" + ref, new Target("tg/" + ref, () -> group(ref)));
        }
        if (named.isEmpty()) {
            throw usage("no load balancer: give --elb NAME or --target-group NAME, or set ELB_NAME or TARGET_GROUP");
        }
        return List.copyOf(named.values());
    }

    private List<String> namesOr(List<String> given, String option, String variable) {
        String value = System.getenv(variable);
        boolean fromOption = !given.isEmpty();
        List<String> names = fromOption || value == null || value.isBlank() ? given : List.of(value.split(",", -1));
        for (String name : names) {
            if (name.isBlank()) {
                throw usage((fromOption ? option : variable) + " has an empty name in it: expected NAME or NAME,NAME");
            }
        }
        return names.stream().map(String::strip).toList();
    }

    private TargetGroup.Ref parsed(String text) {
        try {
            return TargetGroup.Ref.parse(text);
        } catch (IllegalArgumentException e) {
            throw usage("--target-group: " + e.getMessage());
        }
    }

    private void checkCommand() {
        List<String> all = spec.commandLine().getParseResult().originalArgs();
        int before = all.size() - command.size() - 1;
        if (!command.isEmpty() && (before < 0 || !all.get(before).equals("--"))) {
            throw usage("'" + command.get(0) + "' is not an option; a command to run goes after --");
        }
        if (command.isEmpty() && all.contains("--")) {
            throw usage("there is no command after --");
        }
        if (!command.isEmpty() && exits()) {
            throw usage("--register-only, --deregister-only and --status run no command");
        }
    }

    private void checkOptions() {
        if (reassert != null && reassert.isZero()) {
            throw usage("--reassert is 0: expected more");
        }
        if (reassert != null && exits()) {
            throw usage("--reassert is for staying; --register-only, --deregister-only and --status exit");
        }
        if (drainTimeout != null && (mode.registerOnly || mode.status)) {
            throw usage("--drain-timeout is for leaving; --register-only and --status do not");
        }
    }

    private boolean exits() {
        return mode.registerOnly || mode.deregisterOnly || mode.status;
    }

    // --- one-shot modes

    private int status() throws InterruptedException {
        int code = lookAtAll();
        Table table = new Table("TARGET", "MEMBER", "STATE", "AWS SAYS");
        for (Target t : targets) {
            MemberHealth health = t.health;
            if (health == null) {
                table.row(t.label, t.member, "-", t.problem.getMessage());
            } else {
                table.row(
                        t.label,
                        t.member,
                        health.state().words(),
                        (health.word() + " " + health.description()).strip());
            }
        }
        System.out.print(table);
        return code;
    }

    private int sayWhatWouldBeDone() throws InterruptedException {
        int code = lookAtAll();
        for (Target t : targets) {
            MemberHealth now = t.health;
            if (now != null) {
                boolean changes = mode.deregisterOnly ? now.state() != State.ABSENT : !now.isRegistered();
                System.out.println(t.label + ": would " + (changes ? "" : "not have to ")
                        + (mode.deregisterOnly ? "deregister " : "register ") + t.member + ", now "
                        + now.state().words());
            }
        }
        if (!command.isEmpty()) {
            System.out.println("would run: " + String.join(" ", command));
        }
        return code;
    }

    private int lookAtAll() throws InterruptedException {
        return forEach(target -> {
            target.look();
            return Exit.OK;
        });
    }

    /** Does the same with every target at once; a failure of one is told and hinders no other. The worst code. */
    private int forEach(Function<Target, Integer> what) throws InterruptedException {
        ExecutorService threads = Executors.newFixedThreadPool(targets.size());
        try {
            List<Future<Integer>> codes = new ArrayList<>();
            for (Target t : targets) {
                codes.add(threads.submit(() -> {
                    try {
                        return what.apply(t);
                    } catch (Failure f) {
                        t.problem = f;
                        t.log.trace(f);
                        t.log.error(f.getMessage());
                        return f.exit();
                    }
                }));
            }
            int worst = Exit.OK;
            for (Future<Integer> code : codes) {
                worst = Math.max(worst, code.get());
            }
            return worst;
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        } finally {
            threads.shutdown();
        }
    }

    // --- being present

    private int bePresent() throws InterruptedException {
        Signals.on(this::onSignal, "TERM", "INT", "HUP");
        // Not to be killed by what is meant for a command.
        Signals.on(name -> {}, "USR1", "USR2");
        daemon.start(this::whyNotReady, this::registerMetrics);
        if (!command.isEmpty()) {
            child = Child.start(command);
            child.ended().thenAccept(code -> stop("command ended with " + code));
            Signals.on(child::signal, "USR1", "USR2", "WINCH", "CONT");
        }
        ExecutorService threads = Executors.newFixedThreadPool(targets.size());
        List<Future<Integer>> codes = targets.stream().map(threads::submit).toList();
        String reason = stop.join();
        Log.of(name()).info("stopping", "reason", reason);
        Systemd.stopping(reason);
        targets.forEach(Target::stopTrying);
        int worst = Exit.OK;
        for (int i = 0; i < targets.size(); i++) {
            worst = Math.max(worst, await(codes.get(i), targets.get(i)));
        }
        threads.shutdown();
        return child == null ? worst : endCommand(worst);
    }

    private int await(Future<Integer> code, Target target) throws InterruptedException {
        // Half a second more, for a thread that gives up by itself at the deadline to say why.
        Duration left =
                Duration.between(Instant.now(), leaveBy.plus(drainTime())).plusMillis(500);
        try {
            return code.get(Math.max(0, left.toMillis()), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            target.log.error("AWS has not answered in time; " + target.whatIsLeft());
            return Exit.TEMPORARY;
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    /** The command's own code, unless it ended well and leaving did not. */
    private int endCommand(int left) {
        if (!child.signal(signal == null ? "TERM" : signal)) {
            // It may have been a keystroke, which the terminal has sent to the command too, or a kill of this process.
            child.ended()
                    .completeOnTimeout(null, LAST_WORDS.toMillis(), TimeUnit.MILLISECONDS)
                    .join();
            child.signal("TERM");
        }
        int code = child.ended().join();
        return code == Exit.OK || isHopeless() ? left : code;
    }

    private synchronized void onSignal(String name) {
        if (name.equals("HUP") && child != null) {
            child.signal(name);
        } else if (signal == null) {
            signal = name;
            stop("SIG" + name);
        } else {
            Log.of(name()).warn("second signal, ending at once", "signal", name);
            if (child != null) {
                child.kill();
            }
            Runtime.getRuntime().halt(Exit.TEMPORARY);
        }
    }

    private synchronized void stop(String reason) {
        if (!stop.isDone()) {
            leaveBy = Instant.now().plus(stopTimeout);
            stop.complete(reason);
        }
    }

    private Duration drainTime() {
        return drainTimeout == null ? Duration.ZERO : drainTimeout;
    }

    /** Nothing that is asked for can be had until somebody changes something: the only reason to give up by ourselves. */
    private boolean isHopeless() {
        return targets.stream().allMatch(Target::isHopeless);
    }

    private synchronized void considerReadiness() {
        if (isHopeless()) {
            stop("no target can be registered with");
        } else if (!ready && targets.stream().allMatch(Target::isSettled)) {
            ready = true;
            String present = labels(t -> !t.isHopeless());
            String failing = labels(Target::isHopeless);
            Log.of(name()).info("ready", "present", present, "still-trying", failing.isEmpty() ? null : failing);
            Systemd.ready("present in " + present + (failing.isEmpty() ? "" : ", still trying " + failing));
        }
    }

    private String labels(Predicate<Target> which) {
        return targets.stream().filter(which).map(t -> t.label).collect(Collectors.joining(", "));
    }

    private String whyNotReady() {
        if (stop.isDone()) {
            return "stopping";
        }
        String missing = targets.stream()
                .filter(t -> !t.isIn(State.IN_SERVICE))
                .map(t -> t.label + ": " + t.wordOrProblem())
                .collect(Collectors.joining("\n"));
        return missing.isEmpty() ? null : missing;
    }

    private void registerMetrics(PrometheusRegistry registry) {
        gauge(
                registry,
                "rollcall_target_registered",
                "1 if registered, as last seen",
                t -> t.health != null && t.health.isRegistered() ? 1 : 0);
        gauge(
                registry,
                "rollcall_target_in_service",
                "1 if in service, as last seen",
                t -> t.isIn(State.IN_SERVICE) ? 1 : 0);
        gauge(
                registry,
                "rollcall_target_last_seen_timestamp_seconds",
                "When AWS last answered for it",
                t -> t.seen.toEpochMilli() / 1_000.0);
        CounterWithCallback.builder()
                .name("rollcall_aws_calls_total")
                .help("Attempts of AWS calls, by operation and HTTP status")
                .labelNames("operation", "status")
                .callback(counter -> aws.calls().forEach((call, n) -> counter.call(n.sum(), call.split(" "))))
                .register(registry);
    }

    private void gauge(PrometheusRegistry registry, String name, String help, ToDoubleFunction<Target> value) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .labelNames("target")
                .callback(gauge -> targets.forEach(t -> gauge.call(value.applyAsDouble(t), t.label)))
                .register(registry);
    }

    // --- AWS

    /** Guards the two clients, each made when first needed: that may have to wait for the metadata service. */
    private final Object clients = new Object();

    private ElasticLoadBalancingClient classicClient;
    private ElasticLoadBalancingV2Client groupClient;

    private LoadBalancer classic(String name) {
        synchronized (clients) {
            if (classicClient == null) {
                classicClient = aws.client(ElasticLoadBalancingClient.builder());
            }
        }
        return new ClassicLoadBalancer(classicClient, name);
    }

    private LoadBalancer group(TargetGroup.Ref ref) {
        synchronized (clients) {
            if (groupClient == null) {
                groupClient = aws.client(ElasticLoadBalancingV2Client.builder());
            }
        }
        return TargetGroup.find(groupClient, ref);
    }

    /** How far we have got with a target. */
    private enum Stage {
        /** Nothing there is of our doing, as far as we know. */
        UNTOUCHED,
        /** A registration was sent, and its answer was not a no. */
        ASKED,
        /** AWS has accepted a registration. */
        ACCEPTED,
        /** AWS has shown it as registered: from then on it is for --reassert to put it back. */
        SEEN
    }

    /** One load balancer or target group that this instance is to be present in; everything runs on its own thread. */
    private final class Target implements Callable<Integer> {
        final String label;
        final Log log;
        private final Supplier<LoadBalancer> finder;
        private LoadBalancer loadBalancer;
        private Thread trying;

        volatile Member member;
        volatile MemberHealth health;
        volatile Instant seen = Instant.EPOCH;

        /** Why it does not work at the moment, or null. */
        volatile Failure problem;

        volatile Stage stage = Stage.UNTOUCHED;
        private Instant lastRegistration = Instant.EPOCH;

        /** Whether AWS has accepted the deregistration. */
        private volatile boolean left;

        Target(String label, Supplier<LoadBalancer> finder) {
            this.label = label;
            this.log = Log.of(label);
            this.finder = finder;
        }

        /** Present until it is time to leave, then gone. The exit code. */
        @Override
        public Integer call() {
            synchronized (this) {
                trying = Thread.currentThread();
            }
            int code = Exit.OK;
            try {
                stayRegistered();
            } catch (RuntimeException defect) {
                log.error("a defect in elb-presence: " + defect);
                log.trace(defect);
                code = Exit.SOFTWARE;
                ElbPresence.this.stop("a defect");
            }
            stopTrying();
            Thread.interrupted();
            if (ElbPresence.this.isHopeless()) {
                return problem.exit();
            }
            try {
                return Math.max(code, leave());
            } catch (Failure missing) {
                log.info("nothing to leave: " + missing.getMessage());
                return code;
            }
        }

        /**
         * Cuts a wait between attempts short. An attempt that is under way comes to its end, so that whatever AWS makes
         * of it comes before the deregistration.
         */
        synchronized void stopTrying() {
            if (trying != null) {
                trying.interrupt();
                trying = null;
            }
        }

        private void stayRegistered() {
            Instant start = Instant.now();
            Duration poll = Duration.ofMillis(500);
            int failures = 0;
            while (!stop.isDone()) {
                try {
                    State before = health == null ? null : health.state();
                    if (!look().isRegistered() && (stage.compareTo(Stage.ACCEPTED) < 0 || isToBeReasserted())) {
                        registerNow();
                        look();
                    }
                    failures = 0;
                    recovered();
                    tellChange(before, start);
                    poll = min(poll.multipliedBy(3).dividedBy(2), Duration.ofSeconds(5));
                } catch (Failure f) {
                    failed(f);
                    failures++;
                }
                considerReadiness();
                rest(failures > 0 ? Backoff.DEFAULT.delay(failures) : untilNextLook(poll));
            }
        }

        /** Right after a registration it may not show yet, and what the service does not know is no removal. */
        private boolean isToBeReasserted() {
            return reassert != null
                    && health.state() != State.UNKNOWN
                    && lastRegistration.plus(reassert).isBefore(Instant.now());
        }

        /** Never, when it is in service and nobody wants to know whether it stays there. */
        private Duration untilNextLook(Duration poll) {
            return switch (health.state()) {
                case IN_SERVICE -> reassert == null ? Duration.ofDays(365) : reassert;
                case UNUSED -> reassert == null ? UNUSED_POLL : min(reassert, UNUSED_POLL);
                default -> poll;
            };
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

        private static Duration min(Duration a, Duration b) {
            return a.compareTo(b) < 0 ? a : b;
        }

        /** Asks for the health, finding out first what has to be known for that. */
        MemberHealth look() {
            if (loadBalancer == null) {
                loadBalancer = finder.get();
            }
            if (member == null) {
                Instance instance = identity.instance();
                member = loadBalancer.member(instance);
            }
            health = loadBalancer.health(member);
            seen = Instant.now();
            if (health.isRegistered()) {
                stage = Stage.SEEN;
            }
            return health;
        }

        int register() {
            if (look().isRegistered()) {
                log.info("already registered", "member", member, "state", health.word());
            } else {
                registerNow();
                look();
                tellChange(null, Instant.now());
            }
            return Exit.OK;
        }

        private void registerNow() {
            Stage before = stage;
            if (before == Stage.SEEN) {
                log.warn("was removed by something else, registering again", "member", member);
            } else if (before == Stage.ACCEPTED) {
                log.warn("does not show up, registering again", "member", member);
            }
            // If the answer is lost it may have been done all the same; a plain no is no.
            stage = before.compareTo(Stage.ASKED) < 0 ? Stage.ASKED : before;
            try {
                loadBalancer.register(List.of(member));
            } catch (Failure f) {
                stage = f.isTransient() ? stage : before;
                throw f;
            }
            stage = before == Stage.SEEN ? before : Stage.ACCEPTED;
            lastRegistration = Instant.now();
            log.info("registered", "member", member);
        }

        private void tellChange(State before, Instant start) {
            if (health.state() == before) {
                return;
            }
            if (health.state() == State.UNUSED) {
                log.warn(
                        "registered, and will get no traffic",
                        "state",
                        health.word(),
                        "description",
                        emptyToNull(health.description()));
            } else {
                Duration after = health.state() == State.IN_SERVICE ? Duration.between(start, Instant.now()) : null;
                log.info(
                        "health",
                        "state",
                        health.word(),
                        "description",
                        emptyToNull(health.description()),
                        "after",
                        after);
            }
        }

        private void failed(Failure f) {
            if (stop.isDone()) {
                return;
            }
            log.trace(f);
            boolean told = problem != null && (problem.isTransient() && f.isTransient() || problem.exit() == f.exit());
            problem = f;
            if (told) {
                log.debug("still failing: " + f.getMessage());
            } else if (f.isTransient()) {
                log.warn(f.getMessage() + "; trying again");
            } else {
                log.error(f.getMessage());
            }
        }

        private void recovered() {
            if (problem != null) {
                problem = null;
                log.info("answers again");
            }
        }

        /**
         * Deregisters until that is accepted, then waits until it is drained.
         *
         * @throws Failure when the load balancer is missing or can never have been registered with
         */
        int leave() {
            // What is not known to be registered is looked at first: a read is cheaper than a write.
            boolean lookFirst = stage == Stage.UNTOUCHED;
            for (int failures = 1; ; failures++) {
                try {
                    if (lookFirst && look().state() == State.ABSENT) {
                        log.info("is not registered", "member", member);
                        return Exit.OK;
                    }
                    if (!lookFirst || health.state() != State.DRAINING) {
                        loadBalancer.deregister(List.of(member));
                        left = true;
                        log.info("deregistered", "member", member);
                    }
                    return drainTimeout == null || commandHasEnded() ? Exit.OK : drain();
                } catch (Failure f) {
                    log.trace(f);
                    if (AwsCall.isNotFound(f) || f.exit() == Exit.CONFIG && stage == Stage.UNTOUCHED) {
                        throw f;
                    }
                    Duration pause = STOPPING.delay(failures);
                    if (Instant.now().plus(pause).isAfter(leaveBy)) {
                        log.error("not deregistered, and " + whatIsLeft() + ": " + f.getMessage());
                        return Exit.TEMPORARY;
                    }
                    if (problem == null) {
                        problem = f;
                        log.warn(f.getMessage() + "; trying again");
                    }
                    lookFirst = true;
                    sleep(pause);
                }
            }
        }

        /** Then nobody is left to serve the last requests. */
        private boolean commandHasEnded() {
            return child != null && !child.isAlive();
        }

        private int drain() {
            Instant start = Instant.now();
            Instant deadline = start.plus(drainTimeout);
            Duration poll = Duration.ofMillis(250);
            String last = null;
            while (true) {
                try {
                    last = look().word() + " " + health.description();
                    if (health.isDrained()) {
                        log.info("drained", "member", member, "after", Duration.between(start, Instant.now()));
                        return Exit.OK;
                    }
                } catch (Failure f) {
                    last = f.getMessage();
                }
                if (Instant.now().plus(poll).isAfter(deadline)) {
                    log.error("not drained in " + Durations.format(drainTimeout), "last", last);
                    return Exit.TEMPORARY;
                }
                sleep(poll);
                poll = min(poll.multipliedBy(2), Duration.ofSeconds(5));
            }
        }

        private void sleep(Duration time) {
            try {
                Thread.sleep(time.toMillis());
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }

        boolean isIn(State state) {
            return health != null && health.state() == state;
        }

        /** Nothing more is to be expected of it for now. */
        boolean isSettled() {
            return isIn(State.IN_SERVICE) || isIn(State.UNUSED) || isHopeless();
        }

        /** Missing or refused, and never registered. */
        boolean isHopeless() {
            Failure p = problem;
            return p != null && !p.isTransient() && stage == Stage.UNTOUCHED;
        }

        String whatIsLeft() {
            return left ? "it may still be drained" : "it may still be registered";
        }

        String wordOrProblem() {
            Failure p = problem;
            return p != null ? p.getMessage() : health == null ? "not asked yet" : health.word();
        }

        private static String emptyToNull(String text) {
            return text.isEmpty() ? null : text;
        }
    }
}
