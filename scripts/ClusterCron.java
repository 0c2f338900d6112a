///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Runs a cron job on one healthy node of a load balancer.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms8m -Xmx64m
//RUNTIME_OPTIONS -Djdk.reflect.useNativeAccessorOnly=true -Dsun.reflect.inflationThreshold=10000
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:sts
//DEPS software.amazon.awssdk:url-connection-client

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.Child;
import io.github.rollcall.Choice;
import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Durations;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.IdentityOptions;
import io.github.rollcall.Instance;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.Signals;
import io.github.rollcall.Slot;
import io.github.rollcall.SlotClaim;
import io.github.rollcall.Table;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import java.util.zip.CRC32;
import picocli.CommandLine.Command;
import picocli.CommandLine.IDefaultValueProvider;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;

@Command(
        name = "clustercron",
        header = "Runs a cron job on one healthy node of a load balancer.",
        description = {
            "",
            "Every node's cron starts it at the same time; the node that is first among those in service, the master,"
                    + " runs COMMAND and exits with its code. On every other node the exit code is 1. Without COMMAND"
                    + " it is 0 on the master. A question that cannot be answered is never 1.",
            ""
        },
        defaultValueProvider = ClusterCron.Defaults.class)
class ClusterCron extends Tool {
    /** By the clock that this node's cron goes by; as early as can be. */
    private static final Instant START = Instant.now();

    private static final int NOT_MASTER = 1;

    /** How long a command that overruns has between TERM and KILL. */
    private static final Duration LAST_WORDS = Duration.ofSeconds(10);

    private static final Duration ETCD_TIMEOUT = Duration.ofSeconds(2);
    private static final Duration SHORTEST_SLOT = Duration.ofSeconds(2);

    /** How often a node that stands by, or that waits for another's claim to be decided, looks at the slot. */
    private static final Duration STANDBY_LOOK = Duration.ofSeconds(2);

    /** What decides whose load balancers are asked about. */
    private static final List<String> ACCOUNT = List.of(
            "AWS_PROFILE",
            "AWS_ACCESS_KEY_ID",
            "AWS_ACCESS_KEY",
            "AWS_ROLE_ARN",
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_ENDPOINT_URL");

    private static final Duration CLAIM_LOOK = Duration.ofMillis(200);

    private enum Kind {
        elb,
        alb,
        nlb
    }

    private enum OnError {
        skip,
        run,
        fail
    }

    @Parameters(index = "0", paramLabel = "elb|alb|nlb", description = "A classic load balancer, or a target group.")
    private Kind kind;

    @Parameters(
            index = "1",
            paramLabel = "NAME",
            description = "The load balancer's name; the target group's name or ARN, for one port of it with :PORT.")
    private String name;

    @Parameters(index = "2..*", paramLabel = COMMAND, arity = "0..*", description = "What to run on the master.")
    private List<String> command = new ArrayList<>();

    @Option(names = "-s", description = "Log to the local syslog instead of stderr.")
    private boolean syslog;

    @Option(names = "-c", description = "Ask AWS once for all runs within a minute (see clustercron.ini).")
    private boolean caching;

    @Option(names = "-o", description = "Pass the command's output through; else nothing of it is seen.")
    private boolean output;

    @Option(
            names = "--timeout",
            paramLabel = "DURATION",
            description = "End a command that takes longer: TERM, 10s later KILL (default: never).")
    private Duration timeout;

    @Option(
            names = "--on-error",
            paramLabel = "skip|run|fail",
            defaultValue = "fail",
            description = "What to do where AWS or etcd cannot say: exit with 1, run, or exit with the error's code"
                    + " (default: ${DEFAULT-VALUE}).")
    private OnError onError;

    @Option(
            names = "--spread",
            paramLabel = "NAME",
            description = "Choose the master by a hash of NAME, so that jobs spread over the nodes.")
    private String spread;

    @Option(
            names = "--slot",
            paramLabel = "DURATION",
            description = "Run at most once in every stretch of this length, across all nodes, kept by etcd.")
    private Duration slotLength;

    @Option(names = "--job", paramLabel = "NAME", description = "What is run at most once (default: the command line).")
    private String job;

    @Option(
            names = "--grace",
            paramLabel = "DURATION",
            description = "With --slot: where nobody has taken the slot for so long, another healthy node does.")
    private Duration grace;

    @Option(names = "--explain", description = "Print the nodes, their states, the choice and why; run nothing.")
    private boolean explain;

    @Mixin
    private IdentityOptions identity;

    @Mixin
    private AwsOptions aws;

    @Mixin
    private EtcdOptions etcd;

    private final Log log = Log.of("clustercron");
    private Child child;

    ClusterCron() {
        super(LogOptions.cron());
    }

    public static void main(String... args) {
        // A cached answer does without AWS.
        if (!List.of(args).contains("-c")) {
            AwsOptions.prepare(ElasticLoadBalancingClient::builder);
        }
        Tool.main(new ClusterCron(), args);
    }

    /** Every node has to come to its answer at about the same time: no patience with AWS. */
    static final class Defaults implements IDefaultValueProvider {
        @Override
        public String defaultValue(ArgSpec arg) {
            return !(arg instanceof OptionSpec option)
                    ? null
                    : switch (option.longestName()) {
                        case "--aws-timeout" -> "2s";
                        case "--aws-retries" -> "1";
                        default -> null;
                    };
        }
    }

    @Override
    public Integer call() throws InterruptedException {
        checkOptions();
        if (syslog) {
            Log.toSyslog("clustercron");
        }
        if (explain) {
            return explain();
        }
        Choice choice = null;
        try {
            choice = choose();
            tell(choice);
        } catch (Failure f) {
            if (onError != OnError.run) {
                return unanswered(f);
            }
            log.error(f.getMessage() + "; going on as the master, by --on-error run");
        }
        boolean master = choice == null || choice.isMaster();
        if (slotLength != null && (master || grace != null && choice.couldBeMaster())) {
            return runOncePerSlot(master);
        }
        return master ? run() : NOT_MASTER;
    }

    private void checkOptions() {
        // As the other tools take a command; nobody has a program of that name.
        if (!command.isEmpty() && command.get(0).equals("--")) {
            command = command.subList(1, command.size());
        }
        if (slotLength == null && (job != null || grace != null)) {
            throw usage((job != null ? "--job" : "--grace") + " goes with --slot");
        }
        if (slotLength != null && slotLength.compareTo(SHORTEST_SLOT) < 0) {
            throw usage("--slot is " + Durations.format(slotLength) + ": expected at least "
                    + Durations.format(SHORTEST_SLOT));
        }
        if (grace != null && grace.compareTo(slotLength) >= 0) {
            throw usage("--grace is " + Durations.format(grace) + ": expected less than --slot, "
                    + Durations.format(slotLength));
        }
        if (slotLength != null && job == null && command.isEmpty()) {
            throw usage("--slot needs --job where there is no command");
        }
        if (job != null && !job.matches("[^\\p{Cntrl}]{1,200}")) {
            throw usage("--job is '" + job + "': expected a name");
        }
        if (timeout != null && timeout.isZero()) {
            throw usage("--timeout is 0: expected a duration, or no --timeout");
        }
        if (kind != Kind.elb) {
            targetGroup();
        }
        if (spec.commandLine().getParseResult().originalArgs().stream().anyMatch(arg -> arg.contains("\uFFFD"))) {
            throw usage("an argument has letters that Java cannot read in this locale: set LC_ALL=C.UTF-8");
        }
    }

    private int unanswered(Failure f) {
        if (onError == OnError.fail) {
            throw f;
        }
        log.error(f.getMessage()
                + (onError == OnError.skip ? "; skipped, by --on-error skip" : "; not run, for it is the master's"));
        return NOT_MASTER;
    }

    // --- who is master

    private Choice choose() {
        return choose(this::members);
    }

    private Choice choose(Supplier<List<MemberHealth>> members) {
        Instance self = identity.instance();
        try {
            return Choice.of(members.get(), self, spread);
        } catch (Failure f) {
            throw new Failure(f.exit(), label() + ": " + f.getMessage(), f);
        }
    }

    private List<MemberHealth> members() {
        if (!caching) {
            return askAws();
        }
        // The same name in another account is another load balancer.
        StringBuilder account = new StringBuilder(
                String.valueOf((Object) spec.commandLine().getParseResult().matchedOptionValue("--endpoint-url", "")));
        for (String variable : ACCOUNT) {
            account.append('\0').append(System.getenv(variable));
        }
        String entry =
                String.join(" ", kind == Kind.elb ? "elb" : "tg", aws.region(), name, digest(account.toString()));
        return AnswerCache.configured().answer(entry, this::askAws);
    }

    private List<MemberHealth> askAws() {
        if (kind == Kind.elb) {
            return new ClassicLoadBalancer(aws.client(ElasticLoadBalancingClient.builder()), name).health();
        }
        return TargetGroup.health(aws.client(ElasticLoadBalancingV2Client.builder()), targetGroup());
    }

    private TargetGroup.Ref targetGroup() {
        try {
            return TargetGroup.Ref.parse(name);
        } catch (IllegalArgumentException e) {
            throw usage(e.getMessage());
        }
    }

    private void tell(Choice choice) {
        if (choice.master() == null) {
            Log.of(label()).error("nobody is master: " + nobody(choice));
        } else {
            String event = choice.isMaster() ? "this instance is master" : "this instance is not master";
            Log.of(label()).info(event, "master", choice.master(), "rule", choice.rule(), "self", choice.self());
        }
    }

    private static String nobody(Choice choice) {
        return "none of its " + choice.candidates().size() + " members is in service";
    }

    private String label() {
        return kind + "/" + (kind == Kind.elb ? name : targetGroup());
    }

    private int explain() {
        Choice choice = choose();
        Table table = new Table("ID", "STATE", "COUNTS", "CHOSEN", "THIS");
        for (Choice.Candidate c : choice.candidates()) {
            table.row(
                    c.id(),
                    c.stateWords(),
                    c.why(),
                    c.id().equals(choice.master()) ? "master" : null,
                    c.id().equals(choice.self()) ? "this instance" : null);
        }
        System.out.print(table);
        System.out.println(
                choice.master() == null
                        ? "nobody is master: " + nobody(choice)
                        : choice.master() + " is master: " + choice.rule());
        System.out.println("this instance is "
                + (choice.isMaster() ? "master" : "not master")
                + (choice.self() == null ? ": it is not a member" : ""));
        if (slotLength != null) {
            Slot slot = slot();
            String holder =
                    claimOf(slot).holder().map(SlotClaim.Holder::toString).orElse("free");
            System.out.println("slot " + slot.begin() + " of job " + slot.job() + ": " + holder);
        }
        return choice.isMaster() ? Exit.OK : NOT_MASTER;
    }

    // --- once per slot

    private int runOncePerSlot(boolean master) throws InterruptedException {
        Slot slot = slot();
        SlotClaim claim = claimOf(slot);
        try {
            if (!master && !isLeftToUs(slot, claim)) {
                return NOT_MASTER;
            }
            while (take(slot, claim)) {
                holdCommand(claim);
                if (child != null && child.endsWithin(Duration.ZERO)) {
                    // By a signal that was meant for us.
                    claim.release();
                    return child.ended().join();
                }
                if (claim.start()) {
                    return runInSlot(slot, claim);
                }
                log.info("held up until the claim was lost", "slot", slot.begin());
                stopHolding();
            }
            return NOT_MASTER;
        } catch (TooLate e) {
            stopHolding();
            return tooLate(slot);
        } catch (Failure f) {
            stopHolding();
            if (f.exit() == Child.NOT_FOUND || f.exit() == Child.NOT_EXECUTABLE) {
                throw f;
            }
            if (onError == OnError.run && master && isLate(slot)) {
                return tooLate(slot);
            }
            if (onError == OnError.run && master) {
                log.error(f.getMessage() + "; running all the same, by --on-error run");
                return run();
            }
            return unanswered(f);
        }
    }

    private Slot slot() {
        return Slot.at(START, job != null ? job : commandLine(), slotLength);
    }

    /** The command line, as a digest, because it may hold secrets, and etcd is read by many. */
    private String commandLine() {
        String whole = kind + "\0" + name + "\0" + slotLength + "\0" + String.join("\0", command);
        return command.get(0).replaceFirst(".*/", "") + "-" + digest(whole);
    }

    private static String digest(String text) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(hash, 0, 6);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    private SlotClaim claimOf(Slot slot) {
        String who;
        try {
            who = identity.instance().id();
        } catch (Failure unknown) {
            who = "an unknown instance";
        }
        return new SlotClaim(etcd.gateway(ETCD_TIMEOUT), slot, who);
    }

    /** Stands by until the slot is open to all. Whether it is to be taken by a node that is not master, and this can. */
    private boolean isLeftToUs(Slot slot, SlotClaim claim) throws InterruptedException {
        Instant open = slot.openToAll(START, grace);
        for (Instant now = START; now.isBefore(open); now = Instant.now()) {
            try {
                if (isTaken(claim.holder(), slot)) {
                    return false;
                }
            } catch (Failure f) {
                if (!f.isTransient()) {
                    throw f;
                }
                log.debug(f.getMessage() + "; standing by all the same");
            }
            Duration left = Duration.between(Instant.now(), open);
            Thread.sleep(Math.max(0, Math.min(left.toMillis() + 1, STANDBY_LOOK.toMillis())));
        }
        return !isTaken(claim.holder(), slot) && isStillInService();
    }

    private boolean isStillInService() {
        try {
            // Not what the cache says: that may be what was so before the wait.
            boolean inService = choose(this::askAws).couldBeMaster();
            if (!inService) {
                log.info("left to a healthy node: this one is not in service any more");
            }
            return inService;
        } catch (Failure f) {
            if (!f.isTransient()) {
                throw f;
            }
            log.warn(f.getMessage() + "; in service when last heard of");
            return true;
        }
    }

    /** Claims the slot, once a claim that may be a dead holder's is decided. Whether it is ours. */
    private boolean take(Slot slot, SlotClaim claim) throws InterruptedException {
        while (true) {
            Optional<SlotClaim.Holder> holder = claim.holder();
            if (isTaken(holder, slot)) {
                return false;
            }
            if (holder.isEmpty() && claim.claim()) {
                return true;
            }
            checkInTime(slot);
            Thread.sleep(CLAIM_LOOK.toMillis());
        }
    }

    private boolean isTaken(Optional<SlotClaim.Holder> holder, Slot slot) {
        boolean taken = holder.isPresent() && holder.get().started() != null;
        if (taken) {
            log.info("slot is taken", "job", slot.job(), "slot", slot.begin(), "by", holder.get());
        }
        return taken;
    }

    /** Not a question without an answer: to run now may be to run twice, whatever --on-error says. */
    private static final class TooLate extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    private static void checkInTime(Slot slot) {
        if (isLate(slot)) {
            throw new TooLate();
        }
    }

    private static boolean isLate(Slot slot) {
        return !Instant.now().isBefore(slot.lastCall());
    }

    private int tooLate(Slot slot) {
        log.error("held up for too long to run in slot " + slot.begin());
        return Exit.TEMPORARY;
    }

    private int runInSlot(Slot slot, SlotClaim claim) {
        int code = Exit.TEMPORARY;
        try {
            // The slot is remembered for so long only.
            checkInTime(slot);
            if (child != null) {
                child.release();
            }
            log.info("has the slot", "job", slot.job(), "slot", slot.begin());
            code = child == null ? Exit.OK : end();
            return code;
        } finally {
            try {
                claim.end(code);
            } catch (Failure f) {
                log.warn("the end of the run is not recorded: " + f.getMessage());
            }
        }
    }

    // --- the command

    private int run() {
        if (command.isEmpty()) {
            return Exit.OK;
        }
        forwardSignals();
        synchronized (this) {
            child = Child.startGroup(command, output);
        }
        return end();
    }

    private void holdCommand(SlotClaim claim) {
        if (command.isEmpty()) {
            return;
        }
        forwardSignals();
        synchronized (this) {
            try {
                child = Child.hold(command, output);
            } catch (Failure f) {
                claim.release();
                throw f;
            }
        }
    }

    private synchronized void stopHolding() {
        if (child != null) {
            child.kill();
            child = null;
        }
    }

    private void forwardSignals() {
        Signals.on(this::forward, "TERM", "INT", "HUP", "USR1", "USR2", "CONT");
    }

    private synchronized void forward(String signal) {
        if (child != null) {
            child.signal(signal);
        } else if (!signal.equals("CONT")) {
            Runtime.getRuntime().halt(Signals.exitCode(signal));
        }
    }

    /** Waits for the command's end. Its exit code. */
    private int end() {
        Instant begin = Instant.now();
        log.info("started", "command", command.get(0), "pid", child.pid());
        if (timeout != null && !child.endsWithin(timeout)) {
            log.error("'" + command.get(0) + "' takes longer than " + Durations.format(timeout) + ", ending it");
            child.end(LAST_WORDS);
        }
        int code = child.ended().join();
        log.info("ended", "command", command.get(0), "exit", code, "after", Duration.between(begin, Instant.now()));
        return code;
    }

    // --- the cache

    /**
     * What AWS said last of each load balancer, for all runs of one user. Runs for one load balancer go one at a time,
     * so that those which start together ask once. A file that others could have written is not trusted, one that leads
     * elsewhere is not followed: then AWS is asked.
     */
    static final class AnswerCache {
        private static final Set<PosixFilePermission> OWNER_ONLY = PosixFilePermissions.fromString("rw-------");
        private static final FileAttribute<?> PRIVATE_FOLDER =
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
        private static final int LARGEST_FILE = 4 * 1024 * 1024;
        private static final int OTHERS_WRITE = 0002;
        private static final int GROUP_WRITE = 0020;
        private static final int GROUP_OR_OTHERS_WRITE = GROUP_WRITE | OTHERS_WRITE;
        private static final int STICKY = 01000;
        private static final Duration LOCK_POLL = Duration.ofMillis(50);
        /** The first byte of the lock file guards the cache file; each load balancer has another. */
        private static final long WHOLE_FILE = 0;

        private final Path file;
        /** Then it may be anything, and is not to be written over. */
        private final boolean configured;

        private final Duration expiry;
        private final Duration patience;
        private final Log log = Log.of("cache");

        private AnswerCache(Path file, boolean configured, Duration expiry, int tries) {
            this.file = file;
            this.configured = configured;
            this.expiry = expiry;
            // The original tried once a second.
            this.patience = Duration.ofSeconds(tries);
        }

        /** As /etc/clustercron.ini and ~/.clustercron.ini say. */
        static AnswerCache configured() {
            Path home = home();
            Ini ini = Ini.read("cache", Path.of("/etc/clustercron.ini"), home.resolve(".clustercron.ini"));
            String xdg = System.getenv("XDG_CACHE_HOME");
            Path caches = xdg != null && xdg.startsWith("/") ? Path.of(xdg) : home.resolve(".cache");
            Path usual = caches.resolve("rollcall/clustercron_cache.json");
            Path file = ini.path("filename", home, usual);
            return new AnswerCache(
                    file,
                    !file.equals(usual),
                    Duration.ofSeconds(ini.number("expire_time", 59)),
                    ini.number("max_iter", 20));
        }

        private static Path home() {
            String home = System.getenv("HOME");
            return Path.of(home != null && home.startsWith("/") ? home : System.getProperty("user.home"));
        }

        /** The answer that is kept, or else asks and keeps it. @throws Failure when {@code ask} does */
        List<MemberHealth> answer(String entry, Supplier<List<MemberHealth>> ask) {
            List<MemberHealth> asked = null;
            try (FileChannel locks = lockFile()) {
                lock(locks, lockOf(entry));
                Optional<List<MemberHealth>> kept = fresh(entry);
                if (kept.isPresent()) {
                    return kept.get();
                }
                Instant before = Instant.now();
                asked = ask.get();
                lock(locks, WHOLE_FILE);
                keep(entry, asked, before);
                return asked;
            } catch (IOException e) {
                log.error("not used: " + inWords(e));
                return asked != null ? asked : ask.get();
            }
        }

        private static long lockOf(String entry) {
            CRC32 crc = new CRC32();
            crc.update(entry.getBytes(StandardCharsets.UTF_8));
            return 1 + crc.getValue();
        }

        private FileChannel lockFile() throws IOException {
            Path folder = file.toAbsolutePath().getParent();
            Files.createDirectories(folder, PRIVATE_FOLDER);
            checkFolder(folder);
            Path lock = file.resolveSibling(file.getFileName() + ".lock");
            if (!Files.exists(lock, LinkOption.NOFOLLOW_LINKS)) {
                try {
                    Files.createFile(lock, PosixFilePermissions.asFileAttribute(OWNER_ONLY));
                } catch (java.nio.file.FileAlreadyExistsException anotherRun) {
                    // Checked like any other.
                }
            }
            checkFile(lock);
            return FileChannel.open(lock, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
        }

        /** The lock ends with the channel. */
        private void lock(FileChannel locks, long position) throws IOException {
            long deadline = System.nanoTime() + patience.toNanos();
            while (locks.tryLock(position, 1, false) == null) {
                if (deadline - System.nanoTime() < 0) {
                    throw new Unusable(file + " is locked by another run for " + Durations.format(patience));
                }
                try {
                    Thread.sleep(LOCK_POLL.toMillis());
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    throw new Unusable("interrupted");
                }
            }
        }

        private Optional<List<MemberHealth>> fresh(String entry) throws IOException {
            try {
                JsonObject kept = read().getAsJsonObject(entry);
                if (kept == null) {
                    return Optional.empty();
                }
                Duration age =
                        Duration.between(Instant.ofEpochMilli(kept.get("time").getAsLong()), Instant.now());
                // A negative age is that of a clock that was set back.
                if (age.isNegative() || age.compareTo(expiry) >= 0) {
                    return Optional.empty();
                }
                List<MemberHealth> members = new ArrayList<>();
                kept.getAsJsonArray("members").forEach(m -> members.add(member(m.getAsJsonObject())));
                log.info("used", "entry", entry, "age", age);
                return Optional.of(members);
            } catch (RuntimeException e) {
                log.error(file + " is damaged, asking AWS and writing it anew");
                log.trace(e);
                return Optional.empty();
            }
        }

        /** Writes a new file and puts it in the old one's place: nobody reads half of one. */
        private void keep(String entry, List<MemberHealth> members, Instant asOf) throws IOException {
            JsonObject all;
            try {
                all = read();
                long oldest = Instant.now().minus(expiry).toEpochMilli();
                all.entrySet()
                        .removeIf(
                                e -> e.getValue().getAsJsonObject().get("time").getAsLong() < oldest);
            } catch (RuntimeException damaged) {
                all = new JsonObject();
            }
            JsonArray rows = new JsonArray();
            members.forEach(m -> rows.add(json(m)));
            JsonObject value = new JsonObject();
            value.addProperty("time", asOf.toEpochMilli());
            value.add("members", rows);
            all.add(entry, value);
            Path next = file.resolveSibling(file.getFileName() + ".new");
            // What a run that was killed has left.
            Files.deleteIfExists(next);
            try (var out = Files.newByteChannel(
                    next,
                    Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE),
                    PosixFilePermissions.asFileAttribute(OWNER_ONLY))) {
                out.write(ByteBuffer.wrap(all.toString().getBytes(StandardCharsets.UTF_8)));
            }
            Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
        }

        /** All entries. @throws RuntimeException when the file is damaged */
        private JsonObject read() throws IOException {
            if (!Files.exists(file, LinkOption.NOFOLLOW_LINKS)) {
                return new JsonObject();
            }
            checkFile(file);
            try (InputStream in = Files.newInputStream(file, LinkOption.NOFOLLOW_LINKS)) {
                String text = new String(in.readNBytes(LARGEST_FILE), StandardCharsets.UTF_8);
                if (configured && !text.isEmpty() && !text.startsWith("{")) {
                    throw new Unusable(file + " is no cache of clustercron");
                }
                return JsonParser.parseString(text).getAsJsonObject();
            }
        }

        private static JsonObject json(MemberHealth m) {
            JsonObject row = new JsonObject();
            row.addProperty("id", m.member().id());
            row.addProperty("port", m.member().port());
            row.addProperty("state", m.state().name());
            row.addProperty("word", m.word());
            row.addProperty("description", m.description());
            return row;
        }

        private static MemberHealth member(JsonObject row) {
            return new MemberHealth(
                    new Member(
                            row.get("id").getAsString(),
                            row.has("port") && !row.get("port").isJsonNull()
                                    ? row.get("port").getAsInt()
                                    : null),
                    MemberHealth.State.valueOf(row.get("state").getAsString()),
                    row.get("word").getAsString(),
                    row.get("description").getAsString());
        }

        /** In a folder where others may rename files, none can be told to be ours. */
        private static void checkFolder(Path folder) throws IOException {
            Map<String, Object> is = Files.readAttributes(folder, "unix:uid,gid,mode");
            int mode = (int) is.get("mode");
            if ((int) is.get("uid") != self() && (int) is.get("uid") != 0) {
                throw new Unusable(folder + " belongs to another user");
            }
            // A group with the user's own number is by custom the user's alone.
            boolean shared = (mode & OTHERS_WRITE) != 0 || (mode & GROUP_WRITE) != 0 && (int) is.get("gid") != self();
            if (shared && (mode & STICKY) == 0) {
                throw new Unusable(folder + " can be written to by others and has no sticky bit");
            }
        }

        private static void checkFile(Path file) throws IOException {
            Map<String, Object> is =
                    Files.readAttributes(file, "unix:uid,mode,isSymbolicLink,isRegularFile", LinkOption.NOFOLLOW_LINKS);
            if ((boolean) is.get("isSymbolicLink")) {
                throw new Unusable(file + " is a symbolic link");
            }
            if (!(boolean) is.get("isRegularFile")) {
                throw new Unusable(file + " is not a file");
            }
            if ((int) is.get("uid") != self()) {
                throw new Unusable(file + " belongs to another user");
            }
            if (((int) is.get("mode") & GROUP_OR_OTHERS_WRITE) != 0) {
                throw new Unusable(file + " can be written to by others");
            }
        }

        private static int self() throws IOException {
            return (int) Files.getAttribute(Path.of("/proc/self"), "unix:uid");
        }

        private static String inWords(IOException e) {
            if (e instanceof Unusable) {
                return e.getMessage();
            }
            String why = e instanceof java.nio.file.AccessDeniedException
                    ? "permission denied"
                    : e instanceof FileSystemException f && f.getReason() != null ? f.getReason() : e.toString();
            return (e instanceof FileSystemException f ? f.getFile() : "its file") + ": " + why;
        }

        /** Says in its message why the cache must not be used. */
        private static final class Unusable extends IOException {
            private static final long serialVersionUID = 1;

            Unusable(String why) {
                super(why);
            }
        }
    }

    /** One section of clustercron.ini, option by option from the last file that has it. */
    private record Ini(Map<String, Found> options) {
        private record Found(Path file, String value) {}

        static Ini read(String section, Path... files) {
            Map<String, Found> options = new java.util.HashMap<>();
            for (Path file : files) {
                String current = "";
                for (String line : lines(file)) {
                    String text = line.strip();
                    if (text.startsWith("[") && text.endsWith("]")) {
                        current = text.substring(1, text.length() - 1).strip();
                    } else if (!text.isEmpty() && !text.startsWith("#") && !text.startsWith(";")) {
                        String[] both = text.split("[=:]", 2);
                        if (both.length != 2 || current.isEmpty()) {
                            throw new Failure(
                                    Exit.DATA, file + " has '" + text + "': expected [section] or name = value");
                        }
                        if (current.equals(section)) {
                            options.put(
                                    both[0].strip().toLowerCase(java.util.Locale.ROOT),
                                    new Found(file, both[1].strip()));
                        }
                    }
                }
            }
            return new Ini(options);
        }

        private static List<String> lines(Path file) {
            try {
                Map<String, Object> is = Files.readAttributes(file, "unix:uid,mode");
                boolean trusted = (int) is.get("uid") == 0 || (int) is.get("uid") == AnswerCache.self();
                if (!trusted || ((int) is.get("mode") & AnswerCache.OTHERS_WRITE) != 0) {
                    throw new Failure(Exit.CONFIG, file + " belongs to another user, or everybody may write to it");
                }
                return Files.readAllLines(file);
            } catch (NoSuchFileException absent) {
                return List.of();
            } catch (IOException e) {
                throw new Failure(Exit.CONFIG, "cannot read " + file + ": " + e.getMessage(), e);
            }
        }

        int number(String name, int otherwise) {
            Found found = options.get(name);
            if (found == null) {
                return otherwise;
            }
            if (!found.value().matches("\\d{1,9}")) {
                throw new Failure(
                        Exit.DATA, found.file() + " has " + name + " = " + found.value() + ": expected a whole number");
            }
            return Integer.parseInt(found.value());
        }

        Path path(String name, Path home, Path otherwise) {
            Found found = options.get(name);
            if (found == null) {
                return otherwise;
            }
            if (found.value().isEmpty()) {
                throw new Failure(Exit.DATA, found.file() + " has no value for " + name + ": expected a file");
            }
            return found.value().startsWith("~/") ? home.resolve(found.value().substring(2)) : Path.of(found.value());
        }
    }
}
