///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Keeps the members of every load balancer as etcd says.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms8m -Xmx256m
//RUNTIME_OPTIONS -Djdk.reflect.useNativeAccessorOnly=true -Dsun.reflect.inflationThreshold=10000
//RUNTIME_OPTIONS --enable-native-access=ALL-UNNAMED -XX:+ExitOnOutOfMemoryError
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:route53
//DEPS software.amazon.awssdk:sts
//DEPS software.amazon.awssdk:url-connection-client
//DEPS io.etcd:jetcd-core
//DEPS io.prometheus:prometheus-metrics-core
//DEPS io.prometheus:prometheus-metrics-exposition-textformats
//DEPS net.java.dev.jna:jna

import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rollcall.AwsBalancers;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.Backoff;
import io.github.rollcall.BalancerKey;
import io.github.rollcall.BalancerKey.MemberClass;
import io.github.rollcall.BalancerName;
import io.github.rollcall.Balancers;
import io.github.rollcall.Change;
import io.github.rollcall.DaemonOptions;
import io.github.rollcall.Durations;
import io.github.rollcall.EtcdClient;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdLease;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.EtcdPrefix;
import io.github.rollcall.EtcdTxn;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.Guards;
import io.github.rollcall.IdentityOptions;
import io.github.rollcall.Instance;
import io.github.rollcall.Leadership;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.MemberHealth.State;
import io.github.rollcall.Plan;
import io.github.rollcall.Reading;
import io.github.rollcall.Remembered;
import io.github.rollcall.Roll;
import io.github.rollcall.Signals;
import io.github.rollcall.Systemd;
import io.github.rollcall.Table;
import io.github.rollcall.Tool;
import io.github.rollcall.Trouble;
import io.prometheus.metrics.core.metrics.CounterWithCallback;
import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.ToDoubleFunction;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;

@Command(
        name = "lbmanager",
        header = "Keeps the members of every load balancer as etcd says.",
        customSynopsis = {
            "lbmanager [run] [OPTIONS]",
            "       lbmanager plan [OPTIONS]",
            "       lbmanager status [--json] [OPTIONS]",
            "       lbmanager announce KEY [--wait] [OPTIONS]",
            "       lbmanager purge [OPTIONS]"
        },
        description = {
            "",
            "A key TYPE/REGION/NAME/CLASS/MEMBER below the configuration's path puts MEMBER into a load balancer, and"
                    + " removing the key takes it out again.",
            ""
        })
class LbManager extends Tool {
    /** What is to be done. */
    enum Action {
        run,
        plan,
        status,
        announce,
        purge
    }

    @Parameters(
            index = "0",
            arity = "0..1",
            paramLabel = "run|plan|status|announce|purge",
            defaultValue = "run",
            description = {
                "run: keep the load balancers so (the default).",
                "plan: print what would change; exit 2 when something would.",
                "status: print a table of who is to be where, who is, and their health.",
                "announce: put KEY under a lease and keep it there until SIGTERM.",
                "purge: remove the configuration."
            })
    private Action action;

    @Parameters(
            index = "1",
            arity = "0..1",
            paramLabel = "KEY",
            description = "TYPE/REGION/NAME/CLASS[/MEMBER]; the member defaults to this instance.")
    private String key;

    @Option(
            names = "--config-path",
            paramLabel = "PATH",
            defaultValue = "/lbManager",
            description = "Where the keys are in etcd (default: ${DEFAULT-VALUE}).")
    private String configPath;

    @Option(names = "--once", description = "With run: do what is to be done now, and exit.")
    private boolean once;

    @Option(names = "--dry-run", description = "Say what would be done, change nothing, and exit.")
    private boolean dryRun;

    @Option(names = "--json", description = "With status: print JSON.")
    private boolean json;

    @Option(names = "--wait", description = "With announce: ready only once the member is in service.")
    private boolean await;

    @Option(
            names = "--resync",
            paramLabel = "DURATION",
            defaultValue = "60s",
            description = "Read the real state again this often, and mend drift (default: ${DEFAULT-VALUE}).")
    private Duration resync;

    @Option(
            names = "--policy",
            paramLabel = "sync|upsert-only|owned",
            defaultValue = "sync",
            description = "Remove whoever has no key; nobody; those only that lbmanager itself added (default:"
                    + " ${DEFAULT-VALUE}).")
    private String policyName;

    @Option(
            names = "--min-members",
            paramLabel = "N",
            defaultValue = "0",
            description = "Hold back removals that would leave fewer (default: ${DEFAULT-VALUE}).")
    private int minMembers;

    @Option(
            names = "--max-removals",
            paramLabel = "N|P%%",
            description = "Hold back a change that removes more, or more percent (default: any number).")
    private String maxRemovals;

    @Option(
            names = "--accept-reset",
            description = "Let removals go on although etcd is another cluster, or was put back to an earlier state.")
    private boolean acceptReset;

    @Option(
            names = "--switch-timeout",
            paramLabel = "DURATION",
            description = "In class single the old member goes once the new one is in service; say so when that takes"
                    + " longer than this (default: it goes at once).")
    private Duration switchTimeout;

    @Option(names = "--ha", description = "Any number of copies: one leads, the others stand by.")
    private boolean ha;

    @Option(
            names = "--ttl",
            paramLabel = "DURATION",
            defaultValue = "15s",
            description = "Of the leases of --ha and announce: how long a death goes unnoticed (default:"
                    + " ${DEFAULT-VALUE}).")
    private Duration ttl;

    @Option(
            names = "--concurrency",
            paramLabel = "N",
            defaultValue = "16",
            description = "Load balancers that are worked on at once, for each type and region (default:"
                    + " ${DEFAULT-VALUE}).")
    private int concurrency;

    @Option(
            names = "--aws-rate",
            paramLabel = "N",
            defaultValue = "50",
            description = "AWS calls a second and region (default: ${DEFAULT-VALUE}).")
    private double awsRate;

    @Mixin
    private EtcdOptions etcdOptions;

    @Mixin
    private IdentityOptions identity;

    @Mixin
    private AwsOptions aws;

    @Mixin
    private DaemonOptions daemon;

    private static final Duration ETCD_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration LAST_WORDS = Duration.ofSeconds(10);
    private static final Duration FIRST_LOOK = Duration.ofMillis(250);
    private static final Duration LAST_LOOK = Duration.ofSeconds(5);
    /** For members that AWS refuses: each costs calls, and may be one that is gone for good. A key put again is tried at once. */
    private static final Backoff REFUSED = new Backoff(Duration.ofSeconds(1), Duration.ofMinutes(5));
    /** How long more of a burst is waited for. */
    private static final Duration BURST = Duration.ofMillis(40);

    private static final int SOMETHING = 2;
    /** What is remembered in place of a cluster's id as long as nobody has accepted its reset. */
    private static final String RESET_OF = "reset of ";

    private static final String STATE_FOLDER = System.getenv("STATE_DIRECTORY");

    private final Log log = Log.of("lbmanager");
    private Plan.Policy policy;
    private Guards.Limit limit;
    private EtcdGateway etcd;
    private Remembered remembered;
    private AwsBalancers awsBalancers;

    LbManager() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        AwsOptions.prepare(ElasticLoadBalancingClient::builder);
        Tool.main(new LbManager(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        checkOptions();
        System.setProperty("http.maxConnections", String.valueOf(concurrency));
        etcd = etcdOptions.gateway(ETCD_TIMEOUT);
        remembered = new Remembered(etcd, configPath, txn -> leadership == null ? txn : leadership.fence(txn));
        awsBalancers = new AwsBalancers(aws, awsRate);
        return switch (action) {
            case run -> dryRun ? dryRun(plan()) : manage();
            case plan -> plan();
            case status -> status();
            case announce -> announce();
            case purge -> purge();
        };
    }

    /** To have something to do is no news for who only asks what would be done. */
    private static int dryRun(int code) {
        return code == SOMETHING ? Exit.OK : code;
    }

    // --- the command line

    private void checkOptions() {
        policy = switch (policyName) {
            case "sync" -> Plan.Policy.SYNC;
            case "upsert-only" -> Plan.Policy.UPSERT_ONLY;
            case "owned" -> Plan.Policy.OWNED;
            default -> throw usage("--policy is '" + policyName + "': expected sync, upsert-only or owned");
        };
        try {
            limit = maxRemovals == null ? null : Guards.Limit.parse(maxRemovals);
        } catch (IllegalArgumentException e) {
            throw usage("--max-removals: " + e.getMessage());
        }
        configPath = configPath.replaceFirst("/+$", "");
        if (!configPath.matches("(/[!-.0-~]+)+")) {
            throw usage("--config-path is '" + configPath + "': expected a path such as /lbManager");
        }
        if ((key != null) != (action == Action.announce)) {
            throw usage(key == null ? "announce needs a KEY" : "'" + key + "' is too much: only announce takes a KEY");
        }
        check(!resync.isZero(), "--resync is 0: expected more");
        check(switchTimeout == null || !switchTimeout.isZero(), "--switch-timeout is 0: expected more");
        check(ttl.toSeconds() >= 2, "--ttl is " + Durations.format(ttl) + ": expected at least 2s");
        check(concurrency > 0, "--concurrency is " + concurrency + ": expected more");
        check(awsRate > 0, "--aws-rate is " + awsRate + ": expected more");
        check(minMembers >= 0, "--min-members is " + minMembers + ": expected 0 or more");
        check(!json || action == Action.status, "--json is for status");
        check(!await || action == Action.announce, "--wait is for announce");
        check(!once || action == Action.run, "--once is for run");
        check(!once || !ha, "--once does not go with --ha: a copy that ends stands for no election");
    }

    private void check(boolean holds, String sentence) {
        if (!holds) {
            throw usage(sentence);
        }
    }

    // --- what etcd says

    /** The keys of each load balancer, and what is wrong with the others. Used on one thread. */
    private final class Keys implements EtcdPrefix.Listener {
        final Map<BalancerName, Map<String, Roll.Entry>> balancers = new TreeMap<>();
        final Map<String, String> malformed = new TreeMap<>();

        @Override
        public void changed(Map<String, Long> revisions) {
            revisions.forEach((etcdKey, revision) -> {
                try {
                    BalancerKey parsed = parse(etcdKey);
                    balancers
                            .computeIfAbsent(parsed.balancer(), b -> new HashMap<>())
                            .put(etcdKey, new Roll.Entry(etcdKey, revision, parsed));
                } catch (IllegalArgumentException e) {
                    malformed.put(etcdKey, e.getMessage());
                    tellMalformed(etcdKey, e.getMessage());
                }
            });
        }

        @Override
        public void reset(String why) {
            throw new Failure(Exit.TEMPORARY, why + " in the midst of reading");
        }
    }

    private BalancerKey parse(String etcdKey) {
        return BalancerKey.parse(etcdKey.substring(configPath.length() + 1));
    }

    private void tellMalformed(String etcdKey, String sentence) {
        log.error("malformed key, ignored: " + sentence, "key", etcdKey);
    }

    /** Everything that is to be known about the load balancers, read once. */
    private final class Survey {
        final Keys keys = new Keys();
        final Map<BalancerName, Set<Member>> managed;
        final Map<BalancerName, Reading> readings = new ConcurrentHashMap<>();
        final String reset;

        Survey() throws InterruptedException {
            EtcdPrefix prefix = new EtcdPrefix(etcd, configPath + "/", resync, keys);
            prefix.readOnce();
            managed = remembered.managed();
            Remembered.Cluster cluster = remembered.cluster();
            reset = acceptReset || cluster == null || cluster.id().equals(prefix.cluster())
                    ? null
                    : resetSentence(cluster);
            managed.keySet().forEach(b -> keys.balancers.computeIfAbsent(b, name -> new HashMap<>()));
            Map<String, Set<BalancerName>> groups = new TreeMap<>();
            keys.balancers.keySet().forEach(b -> groups.computeIfAbsent(b.kind() + b.region(), g -> new HashSet<>())
                    .add(b));
            inParallel(groups.values(), names -> {
                BalancerName any = names.iterator().next();
                try {
                    Map<BalancerName, Reading> read = of(any).members(names);
                    names.forEach(b -> readings.put(b, read.getOrDefault(b, missing(b))));
                } catch (Failure f) {
                    names.forEach(b -> readings.put(b, Reading.failed(f)));
                }
            });
        }

        Roll roll(BalancerName b) {
            return Roll.of(keys.balancers.get(b).values());
        }

        int worst() {
            int unread = readings.values().stream()
                    .filter(r -> r.problem() != null)
                    .mapToInt(r -> r.problem().exit())
                    .max()
                    .orElse(Exit.OK);
            return Math.max(unread, keys.malformed.isEmpty() ? Exit.OK : Exit.DATA);
        }
    }

    private Balancers of(BalancerName b) {
        return awsBalancers.of(b.kind(), b.region());
    }

    private static Reading missing(BalancerName b) {
        return Reading.failed(new Failure(
                Exit.CONFIG, "there is no such " + kindInWords(b) + ": check the name and the region in its keys"));
    }

    private static String kindInWords(BalancerName b) {
        return switch (b.kind()) {
            case ELB -> "classic load balancer";
            case ALB -> "target group";
            case ROUTE53 -> "hosted zone";
        };
    }

    private interface Task<T> {
        void on(T subject);
    }

    /** A failure of one is thrown when all have ended. */
    private <T> void inParallel(Collection<T> subjects, Task<T> task) throws InterruptedException {
        ExecutorService threads = Executors.newFixedThreadPool(concurrency, daemonThreads("survey"));
        try {
            List<Future<?>> all = new ArrayList<>();
            for (T subject : subjects) {
                all.add(threads.submit(() -> task.on(subject)));
            }
            for (Future<?> one : all) {
                one.get();
            }
        } catch (ExecutionException e) {
            if (e.getCause() instanceof Failure failure) {
                throw failure;
            }
            throw new IllegalStateException(e.getCause());
        } finally {
            threads.shutdownNow();
        }
    }

    private static ThreadFactory daemonThreads(String name) {
        return task -> {
            Thread thread = new Thread(task, name);
            thread.setDaemon(true);
            return thread;
        };
    }

    // --- plan

    private int plan() throws InterruptedException {
        Survey survey = new Survey();
        boolean something = false;
        for (BalancerName b : survey.readings.keySet().stream().sorted().toList()) {
            Reading reading = survey.readings.get(b);
            if (reading.problem() != null) {
                Log.of(b.toString()).error(reading.problem().getMessage());
                continue;
            }
            Plan plan = Plan.of(
                    reading.complete(survey.roll(b).members()),
                    reading.members(),
                    survey.managed.getOrDefault(b, Set.of()),
                    Set.of(),
                    policy,
                    new Guards(minMembers, limit, survey.reset));
            something |= !plan.isEmpty();
            print(b, "register", plan.register(), "");
            print(b, "deregister", plan.deregister(), "");
            print(b, "hold back", plan.heldBack(), ": " + plan.why());
        }
        return Math.max(survey.worst(), something ? SOMETHING : Exit.OK);
    }

    private static void print(BalancerName b, String what, Set<Member> members, String why) {
        if (!members.isEmpty()) {
            System.out.println(b + ": " + what + " " + words(members) + why);
        }
    }

    private static String words(Set<Member> members) {
        return members.stream().map(Member::toString).sorted().collect(Collectors.joining(" "));
    }

    // --- status

    private record Row(Member member, boolean desired, boolean actual, MemberHealth health) {}

    private int status() throws InterruptedException {
        Survey survey = new Survey();
        Map<BalancerName, List<MemberHealth>> health = new ConcurrentHashMap<>();
        List<BalancerName> names = survey.readings.keySet().stream().sorted().toList();
        List<BalancerName> known = names.stream()
                .filter(b -> survey.readings.get(b).problem() == null)
                .toList();
        AtomicInteger worst = new AtomicInteger(survey.worst());
        inParallel(known, b -> {
            try {
                health.put(b, of(b).health(b));
            } catch (Failure f) {
                worst.accumulateAndGet(f.exit(), Math::max);
                Log.of(b.toString()).error("health not known: " + f.getMessage());
            }
        });
        Table table = new Table("LOAD BALANCER", "CLASS", "MEMBER", "KEY", "REGISTERED", "HEALTH");
        JsonArray all = new JsonArray();
        for (BalancerName b : names) {
            Reading reading = survey.readings.get(b);
            Roll roll = survey.roll(b);
            String memberClass =
                    roll.memberClass() == null ? "-" : roll.memberClass().name().toLowerCase();
            List<Row> rows = rows(reading, roll, health.getOrDefault(b, List.of()));
            JsonObject object = new JsonObject();
            object.addProperty("loadBalancer", b.toString());
            object.addProperty("class", memberClass);
            if (reading.problem() != null) {
                object.addProperty("problem", reading.problem().getMessage());
                table.row(b, memberClass, "-", "-", "-", reading.problem().getMessage());
            } else if (rows.isEmpty()) {
                table.row(b, memberClass, "-", "-", "-", "empty");
            }
            JsonArray members = new JsonArray();
            for (Row row : rows) {
                members.add(json(row, reading.problem() == null));
                if (reading.problem() == null) {
                    table.row(
                            b,
                            memberClass,
                            row.member,
                            row.desired ? "yes" : "no",
                            row.actual ? "yes" : "no",
                            row.health == null
                                    ? "-"
                                    : (row.health.state().words() + " " + row.health.description()).strip());
                }
            }
            object.add("members", members);
            all.add(object);
        }
        System.out.print(json ? new GsonBuilder().setPrettyPrinting().create().toJson(all) + "\n" : table.toString());
        return worst.get();
    }

    private static List<Row> rows(Reading reading, Roll roll, List<MemberHealth> health) {
        Set<Member> desired = reading.complete(roll.members());
        Map<Member, MemberHealth> of = new HashMap<>();
        health.forEach(h -> of.put(h.member(), h));
        Set<Member> everybody = new TreeSet<>(Comparator.comparing(Member::toString));
        everybody.addAll(desired);
        everybody.addAll(reading.members());
        everybody.addAll(of.keySet());
        return everybody.stream()
                .map(m -> new Row(m, desired.contains(m), reading.members().contains(m), of.get(m)))
                .toList();
    }

    private static JsonObject json(Row row, boolean known) {
        JsonObject object = new JsonObject();
        object.addProperty("member", row.member.toString());
        object.addProperty("desired", row.desired);
        if (known) {
            object.addProperty("registered", row.actual);
        }
        if (row.health != null) {
            object.addProperty("health", row.health.state().words());
            object.addProperty("description", row.health.description());
        }
        return object;
    }

    // --- purge

    private int purge() {
        if (dryRun) {
            Keys keys = new Keys();
            new EtcdPrefix(etcd, configPath + "/", resync, keys).readOnce();
            int all = keys.malformed.size()
                    + keys.balancers.values().stream().mapToInt(Map::size).sum();
            System.out.println("would remove " + all + " keys below " + configPath);
            return Exit.OK;
        }
        JsonObject answer =
                new EtcdTxn().deleteRange(configPath + "/", configPath + "0").commit(etcd);
        JsonObject deleted =
                answer.getAsJsonArray("responses").get(0).getAsJsonObject().getAsJsonObject("response_delete_range");
        System.out.println("removed "
                + (deleted.has("deleted") ? deleted.get("deleted").getAsLong() : 0) + " keys below " + configPath);
        return Exit.OK;
    }

    // --- announce

    private int announce() throws InterruptedException {
        BalancerKey announced = announced();
        boolean isWhole = isWhole(key);
        String etcdKey = configPath + "/" + key + (isWhole ? "" : "/" + announced.member());
        if (dryRun) {
            System.out.println("would put " + etcdKey);
            return Exit.OK;
        }
        Signals.on(name -> stop.complete("SIG" + name), "TERM", "INT", "HUP");
        Log subject = Log.of(announced.toString());
        try (EtcdClient client = etcdOptions.client(ETCD_TIMEOUT)) {
            CompletableFuture<Void> put = new CompletableFuture<>();
            EtcdLease[] lease = new EtcdLease[1];
            lease[0] = new EtcdLease(client, announced.toString(), ttl, resync, EtcdLease.Deleted.LET_BE, () -> {
                if (lease[0].isInOrder()) {
                    put.complete(null);
                }
            });
            daemon.start(() -> ready ? null : "not in service yet", registry -> {});
            lease[0].want(Map.of(etcdKey, ""));
            CompletableFuture.anyOf(put, stop).join();
            if (!stop.isDone()) {
                subject.info("announced", "ttl", ttl);
            }
            if (await) {
                awaitService(announced, subject);
            }
            if (!stop.isDone()) {
                ready = true;
                subject.info("ready");
                Systemd.ready("announced " + announced);
            }
            String reason = stop.join();
            ready = false;
            Systemd.stopping(reason);
            boolean gone = lease[0].end(LAST_WORDS).join();
            if (gone) {
                subject.info("withdrawn", "reason", reason);
                return Exit.OK;
            }
            subject.error("not withdrawn, etcd does not answer: it goes by itself", "after", ttl);
            return Exit.TEMPORARY;
        }
    }

    private BalancerKey announced() {
        try {
            if (isWhole(key)) {
                return BalancerKey.parse(key);
            }
            BalancerKey balancer = BalancerKey.parseBalancer(key);
            Instance here = identity.instance();
            boolean byAddress = balancer.balancer().kind() == BalancerName.Kind.ROUTE53;
            if (byAddress && here.privateIp() == null) {
                throw usage("no address to announce: give it in KEY, or --private-ip");
            }
            return BalancerKey.parse(balancer.toString() + "/" + (byAddress ? here.privateIp() : here.id()));
        } catch (IllegalArgumentException e) {
            throw usage("KEY is '" + key + "': " + e.getMessage());
        }
    }

    private static boolean isWhole(String key) {
        return key.split("/", -1).length == (key.startsWith("route53/") ? 6 : 5);
    }

    private void awaitService(BalancerKey announced, Log subject) {
        Trouble trouble = new Trouble(subject);
        Duration pause = FIRST_LOOK;
        State before = null;
        while (!stop.isDone()) {
            try {
                MemberHealth health = healthOf(announced.balancer(), whole(announced));
                trouble.over();
                if (health.state() != before) {
                    before = health.state();
                    subject.info("health", "state", before.words());
                }
                if (before == State.IN_SERVICE) {
                    return;
                }
                pause = longer(pause);
            } catch (Failure f) {
                trouble.failed(f);
                pause = Backoff.DEFAULT.delay(trouble.times());
            }
            restUntilStop(pause);
        }
    }

    /** The member, with the group's port where it has none of its own. */
    private Member whole(BalancerKey announced) {
        BalancerName b = announced.balancer();
        Reading reading =
                b.kind() == BalancerName.Kind.ALB ? of(b).members(Set.of(b)).get(b) : null;
        return reading == null
                ? announced.member()
                : reading.complete(Set.of(announced.member())).iterator().next();
    }

    private MemberHealth healthOf(BalancerName b, Member member) {
        return of(b).health(b).stream()
                .filter(h -> h.member().equals(member))
                .findFirst()
                .orElse(new MemberHealth(member, State.ABSENT, "", ""));
    }

    private void restUntilStop(Duration time) {
        try {
            stop.get(time.toMillis(), TimeUnit.MILLISECONDS);
        } catch (java.util.concurrent.TimeoutException | InterruptedException next) {
            // The loop looks whether it is time to stop.
        } catch (ExecutionException e) {
            throw new IllegalStateException(e);
        }
    }

    private static Duration longer(Duration pause) {
        Duration next = pause.multipliedBy(3).dividedBy(2);
        return next.compareTo(LAST_LOOK) < 0 ? next : LAST_LOOK;
    }

    // --- run

    private final CompletableFuture<String> stop = new CompletableFuture<>();
    private final ConcurrentMap<BalancerName, Balancer> balancers = new ConcurrentHashMap<>();
    private final ConcurrentMap<String, Group> groups = new ConcurrentHashMap<>();
    private final ConcurrentMap<String, String> malformed = new ConcurrentHashMap<>();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(daemonThreads("timer"));
    private final ExecutorService background = Executors.newCachedThreadPool(daemonThreads("background"));

    /** Every change of what {@link #isAtRest} says is told here. */
    private final Object rest = new Object();

    private EtcdPrefix prefix;

    /** Null where there is one copy only. */
    private volatile Leadership leadership;

    /** Whether all keys have been read. */
    private volatile boolean isRead;

    /** Whether this copy changes anything: the keys are read, what is remembered too, and it leads. */
    private volatile boolean acting;

    /** Why removals wait in all load balancers, or null. */
    private volatile String reset;

    /** etcd's revision when that was found out. */
    private volatile long resetAt;

    private volatile boolean ready;

    /** How many threads are about to take up. */
    private final AtomicInteger takingUp = new AtomicInteger();

    /** What it ends with. */
    private volatile int code;

    private int manage() throws InterruptedException {
        Signals.on(name -> stop.complete("SIG" + name), "TERM", "INT", "HUP");
        Thread.setDefaultUncaughtExceptionHandler((thread, e) -> defect(e));
        daemon.start(this::whyNotReady, this::registerMetrics);
        prefix = new EtcdPrefix(etcd, configPath + "/", resync, new Changes());
        if (ha) {
            leadership = new Leadership(
                    etcd, Remembered.leaderKey(configPath), who(), ttl, this::takeUpSoon, this::actNoMore);
            aws.changeOnlyWhile(leadership::isCertain);
            start("election", leadership::run);
        }
        if (once) {
            return manageOnce();
        }
        start("etcd", prefix::run);
        long every = resync.toMillis();
        timer.scheduleWithFixedDelay(() -> background.execute(this::readAgain), every, every, TimeUnit.MILLISECONDS);
        String reason = stop.join();
        log.info("stopping", "reason", reason);
        Systemd.stopping(reason);
        acting = false;
        rememberRevision();
        boolean finished = await(() -> balancers.values().stream().noneMatch(Balancer::isWorking), LAST_WORDS);
        if (leadership != null) {
            leadership.resign();
        }
        if (!finished) {
            log.warn("AWS has not answered in time; what was under way may have been done");
        }
        return code;
    }

    private int manageOnce() throws InterruptedException {
        prefix.readOnce();
        takeUp();
        while (!await(this::isAtRest, Duration.ofSeconds(1)) && !stop.isDone()) {
            log.debug("not at rest yet");
        }
        int worst = Math.max(code, malformed.isEmpty() ? Exit.OK : Exit.DATA);
        for (Balancer b : balancers.values()) {
            Failure problem = b.problem();
            worst = Math.max(worst, problem == null ? Exit.OK : problem.exit());
            worst = Math.max(worst, b.heldBack() == 0 ? Exit.OK : Exit.TEMPORARY);
        }
        for (Group g : groups.values()) {
            Failure problem = g.trouble.now();
            worst = Math.max(worst, problem == null ? Exit.OK : problem.exit());
        }
        rememberRevision();
        return worst;
    }

    private void start(String name, Runnable what) {
        daemonThreads(name)
                .newThread(() -> {
                    try {
                        what.run();
                    } catch (RuntimeException | Error e) {
                        defect(e);
                    }
                })
                .start();
    }

    /** It is better to end, and be started again, than to live on with a part of it dead. */
    private void defect(Throwable e) {
        log.error("a defect in lbmanager: " + e);
        log.trace(e);
        code = Exit.SOFTWARE;
        stop.complete("a defect");
    }

    private synchronized void actNoMore() {
        acting = false;
    }

    private static String who() {
        try {
            return InetAddress.getLocalHost().getHostName() + " pid "
                    + ProcessHandle.current().pid();
        } catch (UnknownHostException e) {
            return "pid " + ProcessHandle.current().pid();
        }
    }

    /** What the watch tells, on its thread. */
    private final class Changes implements EtcdPrefix.Listener {
        @Override
        public void changed(Map<String, Long> revisions) {
            Set<Balancer> touched = new LinkedHashSet<>();
            revisions.forEach((etcdKey, revision) -> {
                try {
                    BalancerKey parsed = parse(etcdKey);
                    touched.add(balancers.compute(parsed.balancer(), (name, there) -> {
                        Balancer b = there == null ? new Balancer(name) : there;
                        b.key(etcdKey, revision, parsed);
                        return b;
                    }));
                } catch (IllegalArgumentException e) {
                    if (revision == EtcdPrefix.GONE) {
                        malformed.remove(etcdKey);
                    } else if (malformed.put(etcdKey, e.getMessage()) == null) {
                        tellMalformed(etcdKey, e.getMessage());
                    }
                }
            });
            if (isRead) {
                touched.forEach(Balancer::wake);
                return;
            }
            isRead = true;
            compareRevision();
            if (acceptReset && leadership != null) {
                acceptResetForAll();
            }
            log.info("has read the keys", "keys", revisions.size(), "load-balancers", balancers.size());
            if (!once && (leadership == null || leadership.isCertain())) {
                takeUpSoon();
            }
            considerReadiness();
        }

        @Override
        public void reset(String why) {
            // Not in the midst of taking up.
            synchronized (LbManager.this) {
                acting = false;
                reset = why;
                resetAt = prefix.revision();
                balancers.values().forEach(b -> b.toBeRemembered |= b.managed);
            }
            if (!acceptReset) {
                log.error(why + ": removals wait until it is started again with --accept-reset");
            }
            if (leadership == null || leadership.isCertain()) {
                takeUpSoon();
            }
        }
    }

    private static String resetSentence(Remembered.Cluster cluster) {
        return "etcd is not the one that it was, or was put back to an earlier state (--accept-reset): before, its"
                + " cluster id was " + cluster.id().replace(RESET_OF, "");
    }

    private void takeUpSoon() {
        takingUp.incrementAndGet();
        background.execute(() -> {
            Trouble trouble = new Trouble(log);
            while (isRead && !acting && !stop.isDone() && (leadership == null || leadership.isCertain())) {
                try {
                    takeUp();
                    trouble.over();
                } catch (Failure f) {
                    trouble.failed(f);
                    restUntilStop(Backoff.DEFAULT.delay(trouble.times()));
                } catch (RuntimeException | Error e) {
                    defect(e);
                }
            }
            takingUp.decrementAndGet();
        });
    }

    /** A copy that stands by accepts for the one that leads, which looks for that every --resync. */
    private void acceptResetForAll() {
        background.execute(() -> {
            Trouble trouble = new Trouble(log);
            while (!stop.isDone()) {
                try {
                    new Remembered(etcd, configPath, UnaryOperator.identity()).setCluster(prefix.cluster());
                    log.info("accepts that etcd was reset", "cluster", prefix.cluster());
                    return;
                } catch (Failure f) {
                    trouble.failed(f);
                    restUntilStop(Backoff.DEFAULT.delay(trouble.times()));
                }
            }
        });
    }

    /** Reads what is remembered, writes what is to be, and begins to act. */
    private synchronized void takeUp() {
        if (acting) {
            return;
        }
        settleReset();
        Map<BalancerName, Set<Member>> managed = remembered.managed();
        managed.keySet().forEach(name -> balancers.computeIfAbsent(name, Balancer::new));
        List<Balancer> all = List.copyOf(balancers.values());
        List<Balancer> newOnes = all.stream()
                .filter(b -> !managed.containsKey(b.name) && (b.toBeRemembered || b.desiredMembers() > 0))
                .toList();
        remembered.manage(newOnes.stream().map(b -> b.name).toList());
        for (Balancer b : all) {
            b.managed = managed.containsKey(b.name) || newOnes.contains(b);
            b.owned = managed.getOrDefault(b.name, Set.of());
            b.toBeRemembered = false;
            b.startOver();
        }
        acting = leadership == null || leadership.isCertain();
        // Not only those: there may be more by now.
        Map<Group, List<Balancer>> byGroup = balancers.values().stream().collect(Collectors.groupingBy(b -> b.group));
        byGroup.forEach(Group::read);
        considerReadiness();
    }

    /** Whether removals have to wait because of what etcd is; and what is to be remembered of that. */
    private void settleReset() {
        Remembered.Cluster stored = remembered.cluster();
        String now = prefix.cluster();
        if (acceptReset || stored == null && reset == null) {
            if (stored == null || !now.equals(stored.id())) {
                remembered.setCluster(now);
            }
            reset = null;
        } else if (reset != null && stored != null && now.equals(stored.id()) && stored.revision() > resetAt) {
            log.info("reset accepted, removals go on");
            reset = null;
        } else if (reset != null) {
            if (stored == null || !stored.id().equals(RESET_OF + now)) {
                remembered.setCluster(RESET_OF + now);
            }
        } else if (!now.equals(stored.id())) {
            reset = resetSentence(stored);
            log.error(reset + ": removals wait until it is started again with --accept-reset");
        }
    }

    /**
     * Where systemd gives the service a folder, etcd's cluster and revision are noted there: of all that is remembered in etcd
     * itself a restored etcd has an earlier state, too.
     */
    private void rememberRevision() {
        if (STATE_FOLDER == null || !isRead || reset != null) {
            return;
        }
        try {
            Path file = Path.of(STATE_FOLDER, "etcd-revision");
            Path whole = Files.writeString(
                    Path.of(STATE_FOLDER, "etcd-revision.new"), prefix.cluster() + " " + prefix.revision() + "\n");
            Files.move(whole, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            log.warn("etcd's revision cannot be noted", "folder", STATE_FOLDER, "cause", e);
        }
    }

    private void compareRevision() {
        if (STATE_FOLDER == null) {
            return;
        }
        try {
            String[] noted = Files.readString(Path.of(STATE_FOLDER, "etcd-revision"))
                    .strip()
                    .split(" ");
            boolean isOther = !noted[0].equals(prefix.cluster());
            boolean isEarlier = !isOther && Long.parseLong(noted[1]) > prefix.revision();
            if (!acceptReset && (isEarlier || isOther && !isAccepted(prefix.cluster()))) {
                reset = "etcd is not the one that it was, or was put back to an earlier state (--accept-reset): before,"
                        + " its cluster id was " + noted[0] + " and its revision " + noted[1];
                resetAt = prefix.revision();
                log.error(reset + ": removals wait until it is started again with --accept-reset");
            }
        } catch (NoSuchFileException first) {
            log.debug("no revision noted");
        } catch (IOException | RuntimeException e) {
            log.warn("etcd's revision of before cannot be read", "folder", STATE_FOLDER, "cause", e);
        }
    }

    /** Whether another copy has accepted this cluster while this one was off, as far as is known. */
    private boolean isAccepted(String cluster) {
        try {
            Remembered.Cluster stored = remembered.cluster();
            return stored != null && stored.id().equals(cluster);
        } catch (Failure f) {
            return false;
        }
    }

    /** Every --resync: the real state, and whether somebody has accepted a reset. */
    private void readAgain() {
        rememberRevision();
        if (!acting) {
            // Leadership that was in doubt for a moment, just when it was taken up.
            if (takingUp.get() == 0) {
                takeUpSoon();
            }
            return;
        }
        try {
            synchronized (this) {
                if (reset != null) {
                    settleReset();
                }
            }
        } catch (Failure f) {
            log.debug(f.getMessage());
        }
        Map<Group, List<Balancer>> byGroup = balancers.values().stream().collect(Collectors.groupingBy(b -> b.group));
        byGroup.forEach(Group::read);
    }

    private void considerReadiness() {
        if (!once && !ready && isRead && (acting || leadership != null)) {
            ready = true;
            log.info("ready", "leads", leadership == null ? null : acting);
            Systemd.ready("manages " + balancers.size() + " load balancers");
        }
    }

    private String whyNotReady() {
        if (stop.isDone()) {
            return "stopping";
        }
        if (!isRead || !ready) {
            return "the keys are not read yet";
        }
        Duration silence = Duration.between(prefix.heard(), Instant.now());
        return silence.compareTo(resync.multipliedBy(2).plus(ETCD_TIMEOUT)) > 0
                ? "etcd has been silent for " + Durations.format(silence)
                : null;
    }

    /** Whether every load balancer is as it is to be, or has failed. */
    private boolean isAtRest() {
        return groups.values().stream().allMatch(Group::isAtRest)
                && balancers.values().stream().allMatch(Balancer::isAtRest);
    }

    /** @param condition one that {@link #tellRest} is called for */
    private boolean await(BooleanSupplier condition, Duration time) throws InterruptedException {
        long deadline = System.nanoTime() + time.toNanos();
        synchronized (rest) {
            for (long left = time.toMillis();
                    !condition.getAsBoolean();
                    left = (deadline - System.nanoTime()) / 1_000_000) {
                if (left <= 0) {
                    return false;
                }
                rest.wait(left);
            }
            return true;
        }
    }

    private void tellRest() {
        synchronized (rest) {
            rest.notifyAll();
        }
    }

    /** Load balancers that are read together, and whose slowness is nobody else's: those of one kind in one region, or zone. */
    private final class Group {
        final String label;
        final BalancerName.Kind kind;
        final Balancers api;
        final Trouble trouble;
        final ThreadPoolExecutor threads;
        private final Set<Balancer> wanted = new LinkedHashSet<>();
        private int readings;

        Group(String label, BalancerName any) {
            this.label = label;
            this.kind = any.kind();
            this.api = of(any);
            this.trouble = new Trouble(Log.of(label));
            threads = new ThreadPoolExecutor(
                    concurrency, concurrency, 5, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), daemonThreads(label));
            threads.allowCoreThreadTimeOut(true);
        }

        /**
         * Reads the real state of some load balancers, together with what else is wanted meanwhile. Not so target groups: each
         * takes a call of its own, and one that AWS does not answer for must hold up no other.
         */
        synchronized void read(Collection<Balancer> some) {
            wanted.addAll(some);
            if (!wanted.isEmpty() && (readings == 0 || kind == BalancerName.Kind.ALB)) {
                readings++;
                background.execute(this::readWanted);
            }
        }

        synchronized boolean isAtRest() {
            return readings == 0 || trouble.now() != null;
        }

        private synchronized Map<BalancerName, Balancer> takeWanted() {
            Map<BalancerName, Balancer> taken = new HashMap<>();
            wanted.forEach(b -> taken.put(b.name, b));
            wanted.clear();
            if (taken.isEmpty() || stop.isDone()) {
                readings--;
                return Map.of();
            }
            return taken;
        }

        private void readWanted() {
            for (Map<BalancerName, Balancer> some = takeWanted(); !some.isEmpty(); some = takeWanted()) {
                try {
                    readAll(some);
                    trouble.over();
                } catch (Failure f) {
                    trouble.failed(f);
                    some.values().forEach(b -> b.failures++);
                    synchronized (this) {
                        wanted.addAll(some.values());
                    }
                    tellRest();
                    restUntilStop(Backoff.DEFAULT.delay(trouble.times()));
                } catch (RuntimeException | Error e) {
                    defect(e);
                }
            }
            tellRest();
        }

        private void readAll(Map<BalancerName, Balancer> some) {
            Map<BalancerName, Integer> changes = new ConcurrentHashMap<>();
            some.forEach((name, b) -> changes.put(name, b.changes()));
            api.members(some.keySet(), (name, reading) -> some.get(name).read(reading, changes.remove(name)));
            // Those that were not told of do not exist.
            changes.forEach((name, before) -> some.get(name).read(null, before));
        }
    }

    /** One load balancer and what is to be done with it; one thing at a time. */
    private final class Balancer {
        final BalancerName name;
        final Group group;
        final Log log;
        final Trouble trouble;

        private final Map<String, Roll.Entry> keys = new HashMap<>();

        /** As last read and changed since; null when it has to be read. */
        private volatile Reading actual;

        /** Whether etcd remembers that it is managed. */
        volatile boolean managed;

        /** Whether it was managed before etcd was reset, and etcd may not remember that. */
        volatile boolean toBeRemembered;

        /** Those that lbmanager itself has added; kept with --policy owned only. */
        volatile Set<Member> owned = Set.of();

        /** Members that AWS has refused. */
        private final Map<Member, Failure> refused = new ConcurrentHashMap<>();

        private boolean working;
        private boolean again;
        /** How often something has changed since the step that is under way began. */
        private int woken;

        private ScheduledFuture<?> alarm;
        private int changes;
        private volatile Plan plan = new Plan(Set.of(), Set.of(), Set.of(), null);
        private int refusals;
        private ScheduledFuture<?> retry;

        /** Since when the new member of class single is waited for, or null. */
        private Instant switching;

        private Member newcomer;
        /** Whether AWS was read after the last key had gone. */
        private volatile boolean isReadSinceLastKey;

        private Duration look = FIRST_LOOK;

        volatile long syncs;
        volatile long failures;
        volatile Instant lastSuccess = Instant.EPOCH;

        Balancer(BalancerName name) {
            this.name = name;
            this.log = Log.of(name.toString());
            this.trouble = new Trouble(log);
            String label = name.kind().word() + "/" + name.region()
                    + (name.kind() == BalancerName.Kind.ROUTE53 ? "/" + name.zone() : "");
            this.group = groups.computeIfAbsent(label, l -> new Group(l, name));
        }

        synchronized void key(String etcdKey, long revision, BalancerKey parsed) {
            if (revision == EtcdPrefix.GONE) {
                keys.remove(etcdKey);
            } else {
                keys.put(etcdKey, new Roll.Entry(etcdKey, revision, parsed));
                isReadSinceLastKey = false;
                // Whoever puts a key again wants it tried again.
                refused.keySet().removeIf(m -> m.id().equals(parsed.member().id()));
            }
        }

        synchronized Roll roll() {
            return Roll.of(keys.values());
        }

        synchronized int changes() {
            return changes;
        }

        Failure problem() {
            Failure now = trouble.now();
            return now != null ? now : refused.values().stream().findFirst().orElse(null);
        }

        synchronized boolean isAtRest() {
            boolean failed = trouble.now() != null || group.trouble.now() != null;
            return !working && (actual != null && !isSwitching() || failed || !managed);
        }

        private boolean isSwitching() {
            return switching != null && Instant.now().isBefore(switching.plus(switchTimeout));
        }

        /** Something has changed. Begins at once, or when what is under way is done; what AWS throttles waits. */
        void wake() {
            synchronized (this) {
                woken++;
            }
            Failure problem = trouble.now();
            if (problem == null || !problem.isTransient()) {
                go();
            }
        }

        private synchronized void go() {
            if (alarm != null) {
                alarm.cancel(false);
                alarm = null;
            }
            again = true;
            if (!working) {
                working = true;
                group.threads.execute(this::work);
            }
        }

        private synchronized void goIn(Duration time) {
            if (alarm == null) {
                alarm = timer.schedule(
                        () -> {
                            synchronized (this) {
                                alarm = null;
                            }
                            go();
                        },
                        time.toMillis(),
                        TimeUnit.MILLISECONDS);
            }
        }

        private synchronized boolean goesOn() {
            working = again;
            again = false;
            woken = 0;
            return working;
        }

        /** Where changes come faster than AWS answers, more are on their way: they are one call together. */
        private void gather() {
            boolean burst;
            synchronized (this) {
                burst = woken > 1;
            }
            if (burst) {
                restUntilStop(BURST);
            }
        }

        private void work() {
            while (goesOn()) {
                try {
                    if (acting) {
                        int before = changes();
                        step();
                        if (changes() != before) {
                            gather();
                        }
                    }
                } catch (Failure f) {
                    failed(f);
                } catch (RuntimeException | Error e) {
                    defect(e);
                }
            }
            tellRest();
        }

        /** What was read, null if it does not exist. @param before how often it had been changed when that began */
        void read(Reading answer, int before) {
            if (answer == null && isForgotten()) {
                return;
            }
            Reading reading = answer == null ? missing(name) : answer;
            if (reading.problem() != null) {
                failed(reading.problem());
                return;
            }
            synchronized (this) {
                if (changes != before) {
                    // Changed meanwhile: what was read may be older. If nothing is known, it has to be read once more.
                    if (actual == null) {
                        group.read(List.of(this));
                    }
                    return;
                }
                actual = reading;
            }
            go();
        }

        /** What is not there and has no keys is nobody's concern any more. */
        private boolean isForgotten() {
            if (!acting || roll().memberClass() != null) {
                return false;
            }
            try {
                letGo("does not exist any more");
                return true;
            } catch (Failure f) {
                return false;
            }
        }

        private void failed(Failure f) {
            if (!acting) {
                return;
            }
            failures++;
            trouble.failed(f);
            actual = null;
            goIn(Backoff.DEFAULT.delay(trouble.times()));
        }

        /** One thing that is to be done, then again. */
        private void step() {
            Roll roll = roll();
            if (!managed) {
                if (roll.memberClass() == null) {
                    leave();
                    return;
                }
                remembered.manage(List.of(name));
                managed = true;
            }
            Reading now = actual;
            if (now == null) {
                group.read(List.of(this));
                return;
            }
            forgetWhoIsNotThere(now);
            Set<Member> desired = now.complete(roll.members());
            refused.keySet().retainAll(desired);
            Plan next = Plan.of(
                    desired, now.members(), owned, refused.keySet(), policy, new Guards(minMembers, limit, reset));
            tellHeldBack(next);
            plan = next;
            if (next.isEmpty()) {
                settled(roll, now);
                return;
            }
            if (roll.memberClass() == null && !remembered.isManaged(name)) {
                log.info("let go: nothing is remembered of it any more");
                managed = false;
                leave();
                return;
            }
            change(roll, next, now);
        }

        private void settled(Roll roll, Reading now) {
            switching = null;
            trouble.over();
            if (refused.isEmpty() && plan.heldBack().isEmpty()) {
                lastSuccess = Instant.now();
            }
            if (!refused.isEmpty()) {
                retryRefused();
            } else if (!roll.stale().isEmpty() && reset == null) {
                remembered.removeUnchanged(roll.stale());
            }
            if (roll.memberClass() == null && plan.heldBack().isEmpty()) {
                if (isReadSinceLastKey) {
                    letGo(now.members().isEmpty() ? "empty" : "no keys");
                } else {
                    // What is known may be old: whoever was added since is to go too.
                    isReadSinceLastKey = true;
                    actual = null;
                    group.read(List.of(this));
                }
            }
        }

        /** Forgets what was known of AWS: another copy may have changed it. */
        synchronized void startOver() {
            actual = null;
            refused.clear();
            switching = null;
            isReadSinceLastKey = false;
            changes++;
        }

        synchronized boolean isWorking() {
            return working;
        }

        private void letGo(String why) {
            remembered.letGo(name);
            managed = false;
            log.info("let go: " + why);
            leave();
        }

        /** Is no more, unless it has got a key meanwhile. */
        private void leave() {
            balancers.computeIfPresent(name, (n, b) -> b == this && hasNoKeys() ? null : b);
            if (balancers.get(name) == this) {
                go();
            }
        }

        private synchronized boolean hasNoKeys() {
            return keys.isEmpty();
        }

        private void change(Roll roll, Plan next, Reading now) {
            Set<Member> leaving = next.deregister();
            if (!leaving.isEmpty()) {
                boolean single = roll.memberClass() == MemberClass.SINGLE && switchTimeout != null;
                if (single
                        && !isInService(now.complete(roll.members()).iterator().next())) {
                    leaving = Set.of();
                } else if (!next.register().isEmpty() && minMembers > 0) {
                    // The guard counts on the new ones, which AWS may refuse: they come first, then it looks again.
                    leaving = Set.of();
                }
            }
            Change change = new Change(name, next.register(), leaving);
            if (change.isEmpty()) {
                return;
            }
            if (leadership != null) {
                leadership.check();
            }
            if (policy == Plan.Policy.OWNED && !change.register().isEmpty()) {
                own(change.register());
            }
            syncs++;
            changed();
            try {
                done(change, now, group.api.apply(change));
            } finally {
                // Also if it failed: it may have been done.
                changed();
            }
        }

        private synchronized void changed() {
            changes++;
        }

        /** Whoever has gone and comes back was added by somebody else. */
        private void forgetWhoIsNotThere(Reading now) {
            if (policy == Plan.Policy.OWNED && !now.members().containsAll(owned)) {
                Set<Member> there = new HashSet<>(owned);
                there.retainAll(now.members());
                remembered.own(name, there);
                owned = there;
            }
        }

        /** Said before it is done: what is added and not remembered would never be removed. */
        private void own(Set<Member> members) {
            Set<Member> all = new HashSet<>(owned);
            all.addAll(members);
            remembered.own(name, all);
            owned = all;
        }

        private void done(Change change, Reading before, Map<Member, Failure> no) {
            Set<Member> members = new HashSet<>(before.members());
            Set<Member> registered = without(change.register(), no.keySet());
            Set<Member> deregistered = without(change.deregister(), no.keySet());
            members.addAll(registered);
            members.removeAll(deregistered);
            synchronized (this) {
                actual = Reading.of(members, before.port());
                again = true;
            }
            if (!registered.isEmpty() || !deregistered.isEmpty()) {
                trouble.over();
                lastSuccess = Instant.now();
                log.info("changed", "registered", orNull(registered), "deregistered", orNull(deregistered));
            }
            no.forEach((member, why) -> {
                failures++;
                if (change.register().contains(member)) {
                    if (refused.put(member, why) == null) {
                        log.error(why.getMessage() + "; trying again", "member", member);
                    }
                } else {
                    log.debug("not deregistered: " + why.getMessage(), "member", member);
                }
            });
            if (no.isEmpty()) {
                refusals = 0;
            } else if (registered.isEmpty()
                    && deregistered.isEmpty()
                    && no.keySet().stream().noneMatch(change.register()::contains)) {
                throw no.values().iterator().next();
            }
        }

        private synchronized void retryRefused() {
            if (retry != null && !retry.isDone()) {
                return;
            }
            refusals++;
            retry = timer.schedule(
                    () -> {
                        refused.clear();
                        go();
                    },
                    REFUSED.delay(refusals).toMillis(),
                    TimeUnit.MILLISECONDS);
        }

        /** Whether the new member of class single gets traffic; if not, it is looked again soon. */
        private boolean isInService(Member member) {
            if (switching == null || !member.equals(newcomer)) {
                newcomer = member;
                switching = Instant.now();
                look = FIRST_LOOK;
            }
            if (healthOf(name, member).state() == State.IN_SERVICE) {
                switching = null;
                return true;
            }
            boolean before = Instant.now().isBefore(switching.plus(switchTimeout));
            look = longer(look);
            goIn(look);
            if (!before) {
                trouble.failed(new Failure(
                        Exit.CONFIG,
                        member + " is not in service after " + Durations.format(switchTimeout)
                                + " (--switch-timeout): the old one stays until it is"));
            }
            return false;
        }

        private void tellHeldBack(Plan next) {
            if (next.why() != null && !next.why().equals(plan.why())) {
                log.warn("held back: " + next.why(), "members", words(next.heldBack()));
            }
        }

        int desiredMembers() {
            return roll().members().size();
        }

        int actualMembers() {
            Reading now = actual;
            return now == null ? 0 : now.members().size();
        }

        int heldBack() {
            return plan.heldBack().size();
        }
    }

    private static Set<Member> without(Set<Member> members, Set<Member> others) {
        return members.stream().filter(m -> !others.contains(m)).collect(Collectors.toSet());
    }

    private static String orNull(Set<Member> members) {
        return members.isEmpty() ? null : words(members);
    }

    // --- metrics

    private void registerMetrics(PrometheusRegistry registry) {
        gauge(registry, "rollcall_lb_desired_members", "Members that keys ask for", Balancer::desiredMembers);
        gauge(registry, "rollcall_lb_actual_members", "Members registered, as last read", Balancer::actualMembers);
        gauge(registry, "rollcall_lb_held_back_changes", "Removals that wait", Balancer::heldBack);
        gauge(
                registry,
                "rollcall_lb_last_success_timestamp_seconds",
                "When it was last seen as it is to be, or changed",
                b -> b.lastSuccess.toEpochMilli() / 1_000.0);
        counter(registry, "rollcall_lb_syncs_total", "Changes sent to AWS", b -> b.syncs);
        counter(registry, "rollcall_lb_failures_total", "Changes and readings that failed", b -> b.failures);
        one(registry, "rollcall_leader", "1 if this copy acts", () -> acting ? 1 : 0);
        one(registry, "rollcall_malformed_keys", "Keys that are ignored", malformed::size);
        CounterWithCallback.builder()
                .name("rollcall_aws_calls_total")
                .help("Attempts of AWS calls, by operation and HTTP status")
                .labelNames("operation", "status")
                .callback(counter -> aws.calls().forEach((call, n) -> counter.call(n.sum(), call.split(" "))))
                .register(registry);
    }

    private void gauge(PrometheusRegistry registry, String name, String help, ToDoubleFunction<Balancer> value) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .labelNames("load_balancer")
                .callback(
                        gauge -> balancers.values().forEach(b -> gauge.call(value.applyAsDouble(b), b.name.toString())))
                .register(registry);
    }

    private void counter(PrometheusRegistry registry, String name, String help, ToDoubleFunction<Balancer> value) {
        CounterWithCallback.builder()
                .name(name)
                .help(help)
                .labelNames("load_balancer")
                .callback(counter ->
                        balancers.values().forEach(b -> counter.call(value.applyAsDouble(b), b.name.toString())))
                .register(registry);
    }

    private static void one(
            PrometheusRegistry registry, String name, String help, java.util.function.IntSupplier value) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .callback(gauge -> gauge.call(value.getAsInt()))
                .register(registry);
    }
}
