///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Finds this node's place in the etcd cluster of its Auto Scaling group, and prints etcd's parameters.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms8m -Xmx64m
//RUNTIME_OPTIONS -Djdk.reflect.useNativeAccessorOnly=true -Dsun.reflect.inflationThreshold=10000
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:autoscaling
//DEPS software.amazon.awssdk:ec2
//DEPS software.amazon.awssdk:sts
//DEPS software.amazon.awssdk:url-connection-client

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rollcall.AwsCall;
import io.github.rollcall.AwsOptions;
import io.github.rollcall.ClusterVerdict;
import io.github.rollcall.ClusterVerdict.Act;
import io.github.rollcall.ClusterVerdict.Situation;
import io.github.rollcall.Durations;
import io.github.rollcall.EtcdDataDir;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdGroup;
import io.github.rollcall.EtcdGroup.Node;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.EtcdMembership;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.EtcdSighting;
import io.github.rollcall.EtcdSighting.Door;
import io.github.rollcall.EtcdUrls;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.FirstNode;
import io.github.rollcall.FirstNodePort;
import io.github.rollcall.IdentityOptions;
import io.github.rollcall.Instance;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Signals;
import io.github.rollcall.Tool;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import software.amazon.awssdk.services.autoscaling.AutoScalingClient;
import software.amazon.awssdk.services.autoscaling.model.AutoScalingGroup;
import software.amazon.awssdk.services.ec2.Ec2Client;
import software.amazon.awssdk.services.ec2.model.Filter;
import software.amazon.awssdk.services.ec2.model.InstanceIpv6Address;
import software.amazon.awssdk.services.ec2.model.InstanceNetworkInterface;

@Command(
        name = "etcd-aws-cluster",
        header = "Finds this node's place in the etcd cluster of its Auto Scaling group, and prints etcd's parameters.",
        description = {
            "",
            "Run before each start of etcd, on every node of the group. Looks at the data directory, the group and the"
                    + " group's etcds, decides whether this node founds a new cluster, joins one or restarts, adds it to"
                    + " the cluster where that is needed, and prints KEY=value lines for EnvironmentFile=, eval or"
                    + " --env-file.",
            ""
        })
class EtcdAwsCluster extends Tool {
    @Option(
            names = "--output",
            paramLabel = "FILE",
            description = "Write the parameters to FILE, whole or not at all (default: standard output).")
    private Path output;

    @ArgGroup
    private Mode mode = new Mode();

    static class Mode {
        @Option(
                names = "--leave",
                description = "Remove this node's member, if the rest keeps a quorum; for a termination hook.")
        private boolean leave;

        @Option(
                names = "--promote",
                description = "Make this node's learner a voting member once it is in sync; for ExecStartPost.")
        private boolean promote;

        @Option(
                names = "--client",
                description = "Print ETCDCTL_ENDPOINTS of the cluster in the group --asg, and change nothing.")
        private boolean client;
    }

    @Option(
            names = "--asg",
            paramLabel = "NAME",
            description = "The Auto Scaling group (default: the one that this instance is in).")
    private String asg;

    @Option(
            names = "--data-dir",
            paramLabel = "DIR",
            defaultValue = "${env:ETCD_DATA_DIR:-/var/lib/etcd}",
            description = "etcd's data directory (default: ETCD_DATA_DIR, else /var/lib/etcd).")
    private Path dataDir;

    @Option(
            names = "--wal-dir",
            paramLabel = "DIR",
            defaultValue = "${env:ETCD_WAL_DIR}",
            description = "etcd's separate directory for its log, if it has one (default: ETCD_WAL_DIR).")
    private Path walDir;

    @Option(
            names = "--client-scheme",
            paramLabel = "http|https",
            defaultValue = "${env:ETCD_CLIENT_SCHEME:-http}",
            description = "Scheme of client URLs (default: ETCD_CLIENT_SCHEME, else http).")
    private String clientScheme;

    @Option(
            names = "--peer-scheme",
            paramLabel = "http|https",
            defaultValue = "${env:ETCD_PEER_SCHEME:-http}",
            description = "Scheme of peer URLs (default: ETCD_PEER_SCHEME, else http).")
    private String peerScheme;

    @Option(
            names = "--client-port",
            paramLabel = "PORT",
            defaultValue = "2379",
            description = "Port for clients (default: ${DEFAULT-VALUE}).")
    private int clientPort;

    @Option(
            names = "--peer-port",
            paramLabel = "PORT",
            defaultValue = "2380",
            description = "Port for other members (default: ${DEFAULT-VALUE}).")
    private int peerPort;

    @Option(
            names = "--listen",
            paramLabel = "any|private",
            defaultValue = "any",
            description = "Listen on every address, or on the private one only (default: ${DEFAULT-VALUE}).")
    private Listen listen;

    enum Listen {
        ANY,
        PRIVATE
    }

    @Option(
            names = "--token",
            paramLabel = "NAME",
            description = "The initial cluster token (default: the group's name).")
    private String token;

    @Option(
            names = "--max-members",
            paramLabel = "N",
            defaultValue = "7",
            description = "The largest cluster; further instances of the group stay out (default: ${DEFAULT-VALUE}).")
    private int maxMembers;

    @Option(names = "--learner", description = "Join as a learner, to be made a voting member by --promote.")
    private boolean learner;

    @Option(
            names = "--wait",
            paramLabel = "DURATION",
            defaultValue = "1m",
            description = "How long to look again while it is too early to tell, and to try again what etcd does not do"
                    + " yet (default: ${DEFAULT-VALUE}).")
    private Duration patience;

    @Option(
            names = "--peer-timeout",
            paramLabel = "DURATION",
            defaultValue = "2s",
            description = "How long one question to one etcd may take; all are asked at once (default:"
                    + " ${DEFAULT-VALUE}).")
    private Duration peerTimeout;

    @Option(names = "--dry-run", description = "Say what was seen and what would be done, change nothing, do not wait.")
    private boolean dryRun;

    @Option(
            names = "--peer-cacert",
            paramLabel = "FILE",
            description = "Trust these CAs for peer ports (default: as --cacert).")
    private Path peerCacert;

    @Option(
            names = "--peer-cert",
            paramLabel = "FILE",
            description = "Client certificate for peer ports (default: as --cert).")
    private Path peerCert;

    @Option(names = "--peer-key", paramLabel = "FILE", description = "That certificate's key (default: as --key).")
    private Path peerKey;

    @Mixin
    private IdentityOptions identity;

    @Mixin
    private AwsOptions aws;

    @Mixin
    private EtcdOptions etcd;

    /** etcd itself gives up on a change after some seven seconds. */
    private static final Duration CHANGE_TIMEOUT = Duration.ofSeconds(10);
    /** Between two looks that have to agree before a first node that has started is followed; see {@link #settle()}. */
    private static final Duration SETTLE = Duration.ofSeconds(1);
    /** How long others are told what this node has decided: they look several times a second. */
    private static final Duration FAREWELL = Duration.ofSeconds(3);
    /** A whole group that waits must not run into AWS's rate limits. */
    private static final Duration GROUP_IS_FRESH = Duration.ofSeconds(4);

    /** How long a member may take from its own verdict to its first answer. */
    private static final Duration GIVE_WAY = Duration.ofSeconds(15);

    /** After 7 s an etcd without a leader answers that its own time is over, which could be anything. */
    private static final Duration LONGEST_PEER_TIMEOUT = Duration.ofSeconds(5);

    private static final int MOST_FILTER_VALUES = 200;

    private final FirstNodePort firstNodePort = new FirstNodePort();
    private final AtomicBoolean isEnding = new AtomicBoolean();
    /** By {@link System#nanoTime}: until then another copy, or the etcd that it starts, has this node's peer port. */
    private Long spokenForUntil;

    private boolean hasGivenWay;
    private String ownPeerUrl;
    /** The list of first nodes that have started, as the last look had it, or null; see {@link Situation#followed}. */
    private String followed;
    /** The list that the others heard during the last look, or null. */
    private String said;

    private Instance me;
    private EtcdUrls urls;
    private long deadline;
    private final Set<String> told = new HashSet<>();

    EtcdAwsCluster() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        AwsOptions.prepare(AutoScalingClient::builder);
        Tool.main(new EtcdAwsCluster(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        checkOptions();
        deadline = System.nanoTime() + patience.toNanos();
        Signals.on(this::giveUp, "TERM", "INT", "HUP");
        if (mode.client) {
            print(Map.of("ETCDCTL_ENDPOINTS", keepTrying(this::endpoints)));
            return Exit.OK;
        }
        me = identity.instance();
        checkName();
        Function<Situation, ClusterVerdict> rule =
                mode.leave ? ClusterVerdict::leaving : mode.promote ? ClusterVerdict::promoting : ClusterVerdict::of;
        if (dryRun) {
            return sayWhatWouldBeDone(rule);
        }
        if (mode.leave || mode.promote) {
            return keepTrying(() -> carryOut(rule));
        }
        checkOutput();
        try (firstNodePort) {
            print(keepTrying(this::settle));
        }
        return Exit.OK;
    }

    /** Never with 0: whoever reads the parameters would start etcd without any. What is being written is finished. */
    private void giveUp(String signal) {
        if (isEnding.compareAndSet(false, true)) {
            Log.of(name())
                    .error("stopped by SIG" + signal
                            + ": nothing is printed; what was begun goes on at the next start");
            System.exit(Exit.TEMPORARY);
        }
    }

    // --- the command line

    private void checkOptions() {
        for (Map.Entry<String, String> scheme : Map.of("--client-scheme", clientScheme, "--peer-scheme", peerScheme)
                .entrySet()) {
            if (!scheme.getValue().matches("https?")) {
                throw usage(scheme.getKey() + " is '" + scheme.getValue() + "': expected http or https");
            }
        }
        checkPort("--client-port", clientPort);
        checkPort("--peer-port", peerPort);
        if (clientPort == peerPort) {
            throw usage("--client-port and --peer-port are both " + peerPort + ": they have to differ");
        }
        if (maxMembers < 1) {
            throw usage("--max-members is " + maxMembers + ": expected at least 1");
        }
        if (peerTimeout.isZero() || peerTimeout.compareTo(LONGEST_PEER_TIMEOUT) > 0) {
            throw usage("--peer-timeout is out of range: expected up to 5s, such as 2s");
        }
        if ((peerCert == null) != (peerKey == null)) {
            throw usage("--peer-cert and --peer-key go together");
        }
        if (mode.client && asg == null) {
            throw usage("--client needs --asg: the group whose cluster is looked for");
        }
        if (mode.client && dryRun) {
            throw usage("--client changes nothing anyway: leave --dry-run away");
        }
        urls = new EtcdUrls(clientScheme, clientPort, peerScheme, peerPort);
        etcd.gateway(peerTimeout);
    }

    private void checkPort(String option, int port) {
        if (port < 1 || port > 65_535) {
            throw usage(option + " is " + port + ": expected a number from 1 to 65535");
        }
    }

    private void checkName() {
        if (!me.id().matches("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")) {
            throw usage("--instance-id is '" + me.id() + "': expected an instance's id");
        }
    }

    // --- from looking to a verdict that ends the matter

    /**
     * Looks, and takes one step where one is needed, until the verdict is a final one. A step that fails, or whose answer
     * is lost, is no harm: what it has done shows at the next look. The parameters.
     */
    private Map<String, String> settle() throws NotYet, InterruptedException {
        String founding = null;
        while (true) {
            Situation s = look();
            if (!s.hasToBeHeard()) {
                firstNodePort.close();
            } else if (!firstNodePort.isOpen() && s.group().nodes().size() > 1 && speakUp(s)) {
                continue;
            }
            ClusterVerdict v = ClusterVerdict.of(s);
            tell(v);
            switch (v.act()) {
                case RESTART -> {
                    return parameters(s, "existing", v.initialCluster());
                }
                case REJOIN -> {
                    if (giveWay(s, s.known())) {
                        continue;
                    }
                    return parameters(s, "existing", v.initialCluster());
                }
                case JOIN -> {
                    // Before it is added: a member that cannot be started takes a part of the quorum away.
                    parameters(s, "existing", s.initialCluster(s.known())).forEach(EtcdAwsCluster::checkPrintable);
                    EtcdMembership after = add(s);
                    if (after.members().size() > maxMembers) {
                        // Another joiner was quicker to take the last place. What has to follow shows at the next look.
                        continue;
                    }
                    if (giveWay(s, after)) {
                        continue;
                    }
                    return parameters(s, "existing", s.initialCluster(after));
                }
                case NEW -> {
                    // A member of an old cluster that is only just reading its log looks like a first node that has
                    // started, so that two looks a second apart have to come to the same list. And it has to be the
                    // list that was said before it was looked whether all agree.
                    if (v.initialCluster().equals(said)
                            && (!s.followsAnother() || v.initialCluster().equals(founding))) {
                        Map<String, String> parameters = parameters(s, "new", v.initialCluster());
                        parameters.forEach(EtcdAwsCluster::checkPrintable);
                        String objection = tellTheOthers(s, v.initialCluster());
                        if (objection == null) {
                            return parameters;
                        }
                        tell("goes back", objection);
                    }
                    founding = s.followed();
                    groupSeen = 0;
                    Thread.sleep(SETTLE.toMillis());
                }
                case EJECT, REPLACE -> remove(s, v.member());
                default -> throw refusalOrDelay(v);
            }
        }
    }

    /** Has the others hear that there is no data here, unless another copy of this does so, or etcd has the port. */
    private boolean speakUp(Situation s) {
        if (s.isSpokenFor()) {
            spokenForUntil = System.nanoTime() + GIVE_WAY.toNanos();
        }
        if (spokenForUntil != null && System.nanoTime() < spokenForUntil) {
            tell("leaves the word to another copy", "it listens on this node's peer port");
            return false;
        }
        try {
            firstNodePort.open(s.address(), peerPort);
            ownPeerUrl = urls.peer(s.address());
            return true;
        } catch (IOException e) {
            tell("cannot be heard", "port " + peerPort + " cannot be listened on: " + e.getMessage());
            return false;
        }
    }

    /**
     * Until all others have decided, too, or are gone to start etcd: nobody has to wait for an etcd to be told.
     *
     * @return who would found another cluster now, or null
     */
    private String tellTheOthers(Situation s, String list) throws InterruptedException {
        firstNodePort.say(new FirstNode(me.id(), list, s.token(), true));
        List<Place> others = places(s.group(), null).stream()
                .filter(p -> !p.who.equals(me.id()) && list.contains(p.who + "="))
                .toList();
        long end = System.nanoTime() + FAREWELL.toNanos();
        while (firstNodePort.isOpen() && System.nanoTime() < end) {
            List<EtcdSighting> heard =
                    ask(others).stream().filter(x -> x.first() != null).toList();
            for (EtcdSighting x : heard) {
                if (x.first().objectsTo(list, s.token())) {
                    return x.who() + ", which has no data either, would found another cluster by now: "
                            + x.first().list() + ", token " + x.first().token();
                }
            }
            if (heard.stream().allMatch(x -> x.first().decided())) {
                break;
            }
            Thread.sleep(50);
        }
        return null;
    }

    /** Once lets those start who go before this node, if they come soon; see {@link Situation#goBefore}. Whether there were any. */
    private boolean giveWay(Situation s, EtcdMembership cluster) throws InterruptedException {
        List<Place> before = s.goBefore(cluster).stream()
                .map(m -> new Place(
                        m.label(),
                        urls.client(EtcdUrls.address(m.peerUrls().get(0))),
                        m.peerUrls().get(0)))
                .toList();
        if (hasGivenWay || before.isEmpty()) {
            return false;
        }
        hasGivenWay = true;
        long end = System.nanoTime() + GIVE_WAY.toNanos();
        while (System.nanoTime() < end && ask(before).stream().anyMatch(seen -> seen.list() == null)) {
            before.forEach(p -> tell("gives way", p.who() + " starts for the first time, too"));
            Thread.sleep(500);
        }
        return true;
    }

    /** Leaves, or becomes a voting member. The exit code. */
    private int carryOut(Function<Situation, ClusterVerdict> rule) throws NotYet, InterruptedException {
        while (true) {
            Situation s = look();
            ClusterVerdict v = rule.apply(s);
            tell(v);
            switch (v.act()) {
                case DONE -> {
                    return Exit.OK;
                }
                case LEAVE -> {
                    remove(s, v.member());
                    return Exit.OK;
                }
                case PROMOTE -> {
                    JsonObject request = new JsonObject();
                    request.addProperty("ID", Long.toUnsignedString(v.member().id()));
                    change(s.voice(), "cluster/member/promote", request);
                    Log.of(me.id()).info("is a voting member now");
                    return Exit.OK;
                }
                default -> throw refusalOrDelay(v);
            }
        }
    }

    private int sayWhatWouldBeDone(Function<Situation, ClusterVerdict> rule) throws InterruptedException {
        Situation s = look();
        ClusterVerdict v = rule.apply(s);
        tell(v);
        return v.exit();
    }

    private static NotYet refusalOrDelay(ClusterVerdict v) {
        if (v.act() == Act.REFUSE) {
            throw new Failure(v.exit(), v.reason());
        }
        return new NotYet(v.exit(), v.reason());
    }

    /** The client URLs of the voting members; a learner answers no clients. */
    private String endpoints() throws NotYet, InterruptedException {
        EtcdGroup group = group();
        List<EtcdSighting> seen = ask(places(group, null));
        seen.forEach(this::tell);
        Situation s = situation(group, "", new EtcdDataDir(EtcdDataDir.State.ABSENT, 0, 0), seen);
        ClusterVerdict v = ClusterVerdict.asClient(s);
        if (v.act() != Act.DONE) {
            throw refusalOrDelay(v);
        }
        return s.voice().list().members().stream()
                .filter(m -> !m.learner())
                .flatMap(m -> m.clientUrls().stream())
                .sorted()
                .collect(Collectors.joining(","));
    }

    /** It is too early to tell, or etcd does not make a change now. */
    private static final class NotYet extends Exception {
        private static final long serialVersionUID = 1;
        final int exit;

        NotYet(int exit, String reason) {
            super(reason);
            this.exit = exit;
        }
    }

    private interface Attempt<T> {
        T make() throws NotYet, InterruptedException;
    }

    /** Until it succeeds, or --wait is over; then the last reason is the tool's. */
    private <T> T keepTrying(Attempt<T> attempt) throws InterruptedException {
        while (true) {
            String reason;
            int exit;
            long pause = 500;
            try {
                return attempt.make();
            } catch (NotYet e) {
                reason = e.getMessage();
                exit = e.exit;
                // First nodes wait for each other's word; AWS is not asked more often for that.
                pause = firstNodePort.isOpen() ? 100 : pause;
            } catch (Failure f) {
                if (!f.isTransient()) {
                    throw f;
                }
                Log.of(name()).trace(f);
                reason = f.getMessage();
                exit = f.exit();
            }
            long millis = pause + ThreadLocalRandom.current().nextLong(2 * pause);
            if (System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis) > deadline) {
                throw new Failure(exit, reason + "; given up after --wait " + Durations.format(patience));
            }
            tell("not yet", reason);
            Thread.sleep(millis);
        }
    }

    private void tell(ClusterVerdict v) {
        tell("verdict " + v.act().name().toLowerCase(Locale.ROOT), v.reason());
    }

    /** Once, not every second. */
    private void tell(String event, String reason) {
        if (told.add(reason)) {
            Log.of(me == null ? name() : me.id()).info(event, "reason", reason);
        }
    }

    private void tell(EtcdSighting s) {
        Object[] details = {
            "seen",
            s.kind(tokenOr("")).name().toLowerCase(Locale.ROOT),
            "client",
            s.client().name().toLowerCase(Locale.ROOT),
            "peer",
            s.peer().name().toLowerCase(Locale.ROOT),
            "cluster",
            s.clusterId() == 0 ? null : Long.toHexString(s.clusterId()),
            "member",
            s.status() == null ? null : Long.toHexString(s.status().memberId()),
            "problem",
            s.problem() == null ? null : s.problem().getMessage()
        };
        if (dryRun) {
            Log.of(s.who()).info("etcd", details);
        } else {
            Log.of(s.who()).debug("etcd", details);
        }
    }

    // --- changes

    private EtcdMembership add(Situation s) throws NotYet {
        JsonObject request = new JsonObject();
        JsonArray peerUrls = new JsonArray();
        peerUrls.add(urls.peer(s.address()));
        request.add("peerURLs", peerUrls);
        if (learner) {
            request.addProperty("isLearner", true);
        }
        EtcdMembership after = change(s.voice(), "cluster/member/add", request);
        Log.of(me.id())
                .info("added to the cluster", "members", after.members().size(), "learner", learner ? "yes" : null);
        return after;
    }

    private void remove(Situation s, EtcdMember member) throws NotYet {
        EtcdSighting voice = s.sightings().stream()
                .filter(x -> x.kind(s.token()) == EtcdSighting.Kind.SERVING)
                .filter(x -> x.status().memberId() != member.id())
                .findFirst()
                .orElseThrow();
        JsonObject request = new JsonObject();
        request.addProperty("ID", Long.toUnsignedString(member.id()));
        EtcdMembership after = change(voice, "cluster/member/remove", request);
        Log.of(member.label())
                .info(
                        "removed from the cluster",
                        "id",
                        member.hexId(),
                        "members",
                        after.members().size());
    }

    /** Has one member make a change. What it does not do now may be done later; only a refusal of ours is final. */
    private EtcdMembership change(EtcdSighting voice, String path, JsonObject request) throws NotYet {
        try {
            return EtcdMembership.ofList(etcd.gateway(List.of(URI.create(voice.clientUrl())), CHANGE_TIMEOUT)
                    .ask(path, request));
        } catch (Failure f) {
            if (f.exit() == Exit.REFUSED) {
                throw f;
            }
            Log.of(name()).trace(f);
            throw new NotYet(f.exit(), f.getMessage());
        }
    }

    // --- looking

    /** Everything that the verdict depends on. Without AWS, a node that has its data is still told what it needs. */
    private Situation look() throws InterruptedException {
        EtcdDataDir data = EtcdDataDir.read(dataDir, walDir);
        EtcdGroup group;
        try {
            group = group();
        } catch (Failure f) {
            if (!(data.isInitialised() || mode.leave || mode.promote) || me.privateIp() == null) {
                throw f;
            }
            Log.of(name()).warn("going on without the group: " + f.getMessage());
            group = new EtcdGroup(asg == null ? "" : asg, 0, List.of(), Set.of());
        }
        Node self = group.byId(me.id());
        String address = self != null && self.address() != null ? self.address() : me.privateIp();
        if (address == null) {
            throw new Failure(Exit.TEMPORARY, "this instance's private address is not known yet");
        }
        // Before asking: whoever is asked next may ask back.
        FirstNode word = situation(group, address, data, List.of()).firstNode(followed);
        firstNodePort.say(word);
        said = word.list();
        List<EtcdSighting> seen = ask(places(group, address));
        // Members that are no instance of the group are seen only in the lists of those that are.
        List<Place> further = furtherPlaces(seen);
        if (!further.isEmpty()) {
            seen = new ArrayList<>(seen);
            seen.addAll(ask(further));
        }
        seen.forEach(this::tell);
        // Whose data is here needs to know of nobody whether it is gone.
        boolean needsMore = !(data.isInitialised() || mode.leave || mode.promote);
        Situation s = situation(needsMore ? knowing(group, seen) : group, address, data, seen);
        followed = s.followed();
        return s;
    }

    private Situation situation(EtcdGroup group, String address, EtcdDataDir data, List<EtcdSighting> seen) {
        return new Situation(
                me == null ? "" : me.id(),
                address == null ? "" : address,
                data,
                group,
                urls,
                tokenOr(group.name()),
                seen,
                maxMembers,
                learner);
    }

    private String tokenOr(String group) {
        return token != null ? token : !group.isEmpty() ? group : groupName != null ? groupName : "etcd-cluster";
    }

    /** Somewhere to look for an etcd. */
    private record Place(String who, String clientUrl, String peerUrl) {}

    private List<Place> places(EtcdGroup group, String ownAddress) {
        Map<String, Place> places = new LinkedHashMap<>();
        if (ownAddress != null) {
            places.put(urls.client(ownAddress), new Place(me.id(), urls.client(ownAddress), urls.peer(ownAddress)));
        }
        for (Node node : group.nodes()) {
            if (node.address() != null && !"terminated".equals(node.state())) {
                places.putIfAbsent(
                        urls.client(node.address()),
                        new Place(node.id(), urls.client(node.address()), urls.peer(node.address())));
            }
        }
        if (spec.commandLine().getParseResult().hasMatchedOption("--endpoints")) {
            etcd.endpoints()
                    .forEach(url -> places.putIfAbsent(url.toString(), new Place(url.toString(), url.toString(), "")));
        }
        return List.copyOf(places.values());
    }

    private List<Place> furtherPlaces(List<EtcdSighting> seen) {
        Set<String> known = seen.stream().map(EtcdSighting::peerUrl).collect(Collectors.toCollection(HashSet::new));
        List<Place> further = new ArrayList<>();
        for (EtcdSighting s : seen) {
            for (EtcdMember m :
                    s.list() == null ? List.<EtcdMember>of() : s.list().members()) {
                String peer = m.peerUrls().get(0);
                if (known.add(peer)) {
                    String client = m.hasStarted() ? m.clientUrls().get(0) : urls.client(EtcdUrls.address(peer));
                    further.add(new Place(m.label(), client, peer));
                }
            }
        }
        return further;
    }

    private List<EtcdSighting> ask(List<Place> places) throws InterruptedException {
        ExecutorService threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task, "asking");
            thread.setDaemon(true);
            return thread;
        });
        List<Future<ByClient>> clients = new ArrayList<>();
        List<Future<ByPeer>> peers = new ArrayList<>();
        for (Place place : places) {
            clients.add(threads.submit(() -> askClientPort(place)));
            peers.add(threads.submit(() -> askPeerPort(place)));
        }
        // Each question has its own time-out; this one is for those who answer a byte at a time.
        long end = System.nanoTime() + 5 * peerTimeout.toNanos();
        List<EtcdSighting> seen = new ArrayList<>();
        for (int i = 0; i < places.size(); i++) {
            Place p = places.get(i);
            ByClient c = get(clients.get(i), end, f -> new ByClient(Door.OPEN, null, null, f));
            ByPeer b = get(peers.get(i), end, f -> new ByPeer(Door.OPEN, null, null, f));
            EtcdMembership list = c.list != null ? c.list : b.list;
            Failure problem = c.problem != null ? c.problem : c.status == null ? b.problem : null;
            seen.add(new EtcdSighting(p.who, p.clientUrl, p.peerUrl, c.door, b.door, c.status, list, b.first, problem));
        }
        threads.shutdownNow();
        return seen;
    }

    /** Whatever one of them answers, the others are looked at. @param without without an answer, or with what is wrong */
    private static <T> T get(Future<T> answer, long end, Function<Failure, T> without) throws InterruptedException {
        try {
            return answer.get(Math.max(0, end - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            return without.apply(null);
        } catch (ExecutionException e) {
            return without.apply(new Failure(Exit.UNAVAILABLE, "its answer is not etcd's: " + e.getCause(), e));
        }
    }

    private record ByClient(Door door, EtcdSighting.Status status, EtcdMembership list, Failure problem) {}

    private record ByPeer(Door door, EtcdMembership list, FirstNode first, Failure problem) {}

    private ByClient askClientPort(Place place) {
        Door door = knock(place.clientUrl);
        if (door != Door.OPEN) {
            return new ByClient(door, null, null, null);
        }
        EtcdSighting.Status status = null;
        try {
            EtcdGateway gateway = etcd.gateway(List.of(URI.create(place.clientUrl)), peerTimeout);
            JsonObject json = gateway.ask("maintenance/status", new JsonObject());
            JsonObject header = json.getAsJsonObject("header");
            boolean isLearner = json.has("isLearner") && json.get("isLearner").getAsBoolean();
            boolean hasLeader = json.has("leader") && (isLearner || canRead(gateway));
            status = new EtcdSighting.Status(
                    Long.parseUnsignedLong(header.get("member_id").getAsString()),
                    Long.parseUnsignedLong(header.get("cluster_id").getAsString()),
                    hasLeader,
                    isLearner,
                    json.has("raftAppliedIndex")
                            ? Long.parseUnsignedLong(
                                    json.get("raftAppliedIndex").getAsString())
                            : 0);
            return new ByClient(door, status, isLearner ? null : gateway.members(), null);
        } catch (Failure f) {
            return new ByClient(door, status, null, hasTimedOut(f) ? null : f);
        } catch (RuntimeException e) {
            return new ByClient(
                    door, null, null, new Failure(Exit.UNAVAILABLE, place.clientUrl + " is not etcd's v3 API", e));
        }
    }

    /** A linearizable read goes through a quorum; what the member lists afterwards is what the cluster agreed on. */
    private static boolean canRead(EtcdGateway gateway) {
        JsonObject anyKey = new JsonObject();
        anyKey.addProperty("key", EtcdGateway.encode("\0"));
        anyKey.addProperty("count_only", true);
        try {
            gateway.ask("kv/range", anyKey);
            return true;
        } catch (Failure f) {
            // etcd looks at permissions after it has asked the quorum.
            return f.exit() == Exit.REFUSED;
        }
    }

    private ByPeer askPeerPort(Place place) {
        if (firstNodePort.isOpen() && place.peerUrl.equals(ownPeerUrl)) {
            return new ByPeer(Door.REFUSED, null, null, null);
        }
        Door door = knock(place.peerUrl.isEmpty() ? place.clientUrl : place.peerUrl);
        if (door != Door.OPEN || place.peerUrl.isEmpty()) {
            return new ByPeer(door, null, null, null);
        }
        URI peer = URI.create(place.peerUrl);
        try {
            EtcdGateway gateway = etcd.peerGateway(peer, peerTimeout, peerCacert, peerCert, peerKey);
            return new ByPeer(door, gateway.membersByPeerPort(), null, null);
        } catch (Failure f) {
            FirstNode first = hasTimedOut(f) ? null : FirstNode.at(peer, peerTimeout);
            return new ByPeer(door, null, first, first != null || hasTimedOut(f) ? null : f);
        }
    }

    /** Also in the middle of a TLS handshake, which a member without quorum takes up and does not finish. */
    private static boolean hasTimedOut(Failure f) {
        for (Throwable cause = f; cause != null; cause = cause.getCause()) {
            if (cause instanceof SocketTimeoutException) {
                return true;
            }
        }
        return false;
    }

    private Door knock(String url) {
        int port = URI.create(url).getPort();
        try (Socket socket = new Socket()) {
            InetSocketAddress at = new InetSocketAddress(EtcdUrls.address(url), port < 0 ? clientPort : port);
            socket.connect(at, (int) peerTimeout.toMillis());
            return Door.OPEN;
        } catch (ConnectException e) {
            return String.valueOf(e.getMessage()).contains("refused") ? Door.REFUSED : Door.SILENT;
        } catch (IOException e) {
            return Door.SILENT;
        }
    }

    // --- AWS

    private String groupName;
    private EtcdGroup lastGroup;
    private long groupSeen;
    private AutoScalingClient scaling;
    private Ec2Client ec2;

    private EtcdGroup group() {
        if (groupSeen != 0 && System.nanoTime() - groupSeen < GROUP_IS_FRESH.toNanos()) {
            return lastGroup;
        }
        if (scaling == null) {
            scaling = aws.client(AutoScalingClient.builder());
            ec2 = aws.client(Ec2Client.builder());
        }
        if (groupName == null) {
            groupName = asg != null ? asg : ownGroup();
        }
        AutoScalingGroup found = AwsCall.of(
                        () -> scaling.describeAutoScalingGroups(r -> r.autoScalingGroupNames(groupName)))
                .autoScalingGroups()
                .stream()
                .findFirst()
                .orElseThrow(() -> new Failure(
                        Exit.CONFIG, "there is no Auto Scaling group '" + groupName + "' in this region: check --asg"));
        List<String> ids =
                found.instances().stream().map(i -> i.instanceId()).sorted().toList();
        Map<String, Node> known = instances("instance-id", ids);
        List<Node> nodes = new ArrayList<>();
        for (var member : found.instances()) {
            Node node = known.get(member.instanceId());
            int weight = member.weightedCapacity() == null ? 1 : Integer.parseInt(member.weightedCapacity());
            nodes.add(new Node(
                    member.instanceId(),
                    member.lifecycleStateAsString(),
                    node == null ? null : node.state(),
                    node == null ? List.of() : node.addresses(),
                    weight));
        }
        lastGroup = new EtcdGroup(groupName, found.desiredCapacity(), nodes, new HashSet<>(ids));
        groupSeen = System.nanoTime();
        return lastGroup;
    }

    private String ownGroup() {
        return AwsCall.of(() -> scaling.describeAutoScalingInstances(r -> r.instanceIds(me.id())))
                .autoScalingInstances()
                .stream()
                .map(i -> i.autoScalingGroupName())
                .findFirst()
                // A group knows an instance some time after it has been launched.
                .orElseThrow(() -> new Failure(
                        Exit.TEMPORARY,
                        "the instance " + me.id() + " is in no Auto Scaling group yet: or name one by --asg"));
    }

    /** The group, with what EC2 knows of members that are none of its instances. */
    private EtcdGroup knowing(EtcdGroup group, List<EtcdSighting> seen) {
        if (group.nodes().isEmpty()) {
            return group;
        }
        Set<String> ids = new HashSet<>();
        Set<String> addresses = new HashSet<>();
        for (EtcdSighting s : seen) {
            for (EtcdMember m :
                    s.list() == null ? List.<EtcdMember>of() : s.list().members()) {
                String peerUrl = m.peerUrls().get(0);
                if (EtcdGroup.isInstanceId(m.name())) {
                    ids.add(m.name());
                } else if (urls.isPeer(peerUrl) && group.byAddress(EtcdUrls.address(peerUrl)) == null) {
                    addresses.add(EtcdUrls.address(peerUrl));
                }
            }
        }
        ids.removeAll(group.asked());
        addresses.removeAll(group.asked());
        if (ids.isEmpty() && addresses.isEmpty()) {
            return group;
        }
        Map<String, Node> found = instances("instance-id", List.copyOf(ids));
        found.putAll(instances(
                "network-interface.addresses.private-ip-address",
                addresses.stream().filter(a -> !a.contains(":")).toList()));
        found.putAll(instances(
                "network-interface.ipv6-addresses.ipv6-address",
                addresses.stream().filter(a -> a.contains(":")).toList()));
        group.nodes().forEach(n -> found.remove(n.id()));
        List<Node> nodes = new ArrayList<>(group.nodes());
        nodes.addAll(found.values());
        Set<String> asked = new HashSet<>(group.asked());
        asked.addAll(ids);
        asked.addAll(addresses);
        lastGroup = new EtcdGroup(group.name(), group.desired(), nodes, asked);
        return lastGroup;
    }

    /** The instances that a filter matches, by id. A filter leaves unknown ids out, where asking by id would fail. */
    private Map<String, Node> instances(String filter, List<String> values) {
        Map<String, Node> found = new LinkedHashMap<>();
        for (int i = 0; i < values.size(); i += MOST_FILTER_VALUES) {
            Filter some = Filter.builder()
                    .name(filter)
                    .values(values.subList(i, Math.min(i + MOST_FILTER_VALUES, values.size())))
                    .build();
            AwsCall.of(() -> ec2.describeInstancesPaginator(r -> r.filters(some)).reservations().stream()
                            .flatMap(r -> r.instances().stream())
                            .toList())
                    .forEach(instance -> found.put(
                            instance.instanceId(),
                            new Node(
                                    instance.instanceId(),
                                    null,
                                    instance.state().nameAsString(),
                                    addresses(instance),
                                    1)));
        }
        return found;
    }

    /** All private addresses: the primary interface's first one, then its others, then the other interfaces'. */
    private static List<String> addresses(software.amazon.awssdk.services.ec2.model.Instance instance) {
        Stream<String> ofInterfaces = instance.networkInterfaces().stream()
                .sorted(Comparator.comparing((InstanceNetworkInterface n) -> n.attachment() != null
                        && !Integer.valueOf(0).equals(n.attachment().deviceIndex())))
                .flatMap(n -> Stream.concat(
                        n.privateIpAddresses().stream().map(a -> a.privateIpAddress()),
                        n.ipv6Addresses().stream()
                                .sorted(Comparator.comparing(
                                                (InstanceIpv6Address a) -> !Boolean.TRUE.equals(a.isPrimaryIpv6()))
                                        .thenComparing(InstanceIpv6Address::ipv6Address))
                                .map(InstanceIpv6Address::ipv6Address)));
        return Stream.of(Stream.of(instance.privateIpAddress()), ofInterfaces, Stream.of(instance.ipv6Address()))
                .flatMap(s -> s)
                .filter(Objects::nonNull)
                .distinct()
                .toList();
    }

    // --- the result

    private Map<String, String> parameters(Situation s, String state, String initialCluster) {
        String address = s.address();
        String any = address.contains(":") ? "::" : "0.0.0.0";
        String listenAt = listen == Listen.ANY ? any : address;
        Map<String, String> all = new LinkedHashMap<>();
        all.put("ETCD_NAME", me.id());
        all.put("ETCD_LISTEN_CLIENT_URLS", urls.client(listenAt));
        all.put("ETCD_LISTEN_PEER_URLS", urls.peer(listenAt));
        all.put("ETCD_ADVERTISE_CLIENT_URLS", urls.client(address));
        all.put("ETCD_INITIAL_ADVERTISE_PEER_URLS", urls.peer(address));
        all.put("ETCD_INITIAL_CLUSTER_STATE", state);
        all.put("ETCD_INITIAL_CLUSTER", initialCluster);
        all.put("ETCD_INITIAL_CLUSTER_TOKEN", s.token());
        return all;
    }

    private void print(Map<String, String> parameters) throws InterruptedException {
        if (!isEnding.compareAndSet(false, true)) {
            // A signal has come first, and ends the process.
            Thread.sleep(Long.MAX_VALUE);
        }
        StringBuilder lines = new StringBuilder();
        parameters.forEach((key, value) -> {
            checkPrintable(key, value);
            lines.append(key).append('=').append(value).append('\n');
        });
        if (output != null) {
            write(lines.toString());
            return;
        }
        System.out.print(lines);
        if (System.out.checkError()) {
            throw new Failure(Exit.CONFIG, "cannot write to standard output");
        }
    }

    /** What a shell, systemd and Docker all read the same way without quotes. */
    private static void checkPrintable(String key, String value) {
        if (!value.matches("[A-Za-z0-9_.:/,=@%+\\[\\]-]+")) {
            throw new Failure(
                    Exit.CONFIG,
                    key + " would be '" + value + "', which cannot be written without quotes"
                            + (key.endsWith("TOKEN") ? ": give another token by --token, the same on every node" : ""));
        }
    }

    /** Before anything is changed: a node that is added and cannot be told so would be missing from the cluster. */
    private void checkOutput() {
        if (token != null) {
            checkPrintable("ETCD_INITIAL_CLUSTER_TOKEN", token);
        }
        if (output == null) {
            return;
        }
        Path folder = folderOfOutput();
        if (Files.isDirectory(output)) {
            throw new Failure(Exit.CONFIG, "--output " + output + " is a directory");
        }
        if (!Files.isDirectory(folder)) {
            throw new Failure(Exit.CONFIG, "--output " + output + ": there is no directory " + folder);
        }
        if (!Files.isWritable(Files.exists(output) && !Files.isRegularFile(output) ? output : folder)) {
            throw new Failure(Exit.CONFIG, "--output " + output + ": " + folder + " may not be written to");
        }
    }

    /** Where the file is, and not a link to it. */
    private Path folderOfOutput() {
        try {
            return (Files.isRegularFile(output) ? output.toRealPath() : output.toAbsolutePath()).getParent();
        } catch (IOException e) {
            throw new Failure(Exit.CONFIG, "--output " + output + " cannot be looked up: " + e, e);
        }
    }

    private void write(String text) {
        try {
            if (Files.exists(output) && !Files.isRegularFile(output)) {
                Files.writeString(output, text, StandardOpenOption.WRITE);
                return;
            }
            // What a link points to is replaced, not the link.
            Path file = Files.exists(output) ? output.toRealPath() : output.toAbsolutePath();
            if (Files.exists(file) && Files.readString(file).equals(text)) {
                Log.of(output.toString()).info("is as it should be");
                return;
            }
            replace(file, text);
            Log.of(output.toString()).info("written");
        } catch (IOException e) {
            // A disk that is full now: this node may have been added, and has to be told what to do.
            throw new Failure(Exit.TEMPORARY, "cannot write --output " + output + ": " + e, e);
        }
    }

    /** A crash at any point leaves the old file or the new one, with the old one's owner and permissions. */
    private static void replace(Path file, String text) throws IOException {
        Path next = Files.createTempFile(file.getParent(), "." + file.getFileName() + ".", ".new");
        try {
            try (FileChannel channel = FileChannel.open(next, StandardOpenOption.WRITE)) {
                ByteBuffer rest = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
                while (rest.hasRemaining()) {
                    channel.write(rest);
                }
                channel.force(true);
            }
            if (Files.exists(file)) {
                Files.setPosixFilePermissions(next, Files.getPosixFilePermissions(file));
                for (String attribute : List.of("unix:gid", "unix:uid")) {
                    keep(attribute, file, next);
                }
            } else {
                Files.setPosixFilePermissions(next, PosixFilePermissions.fromString("rw-r--r--"));
            }
            Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(next);
        }
    }

    /** Only root may give a file away; that is no reason to leave an added member without its parameters. */
    private static void keep(String attribute, Path file, Path next) throws IOException {
        Object value = Files.getAttribute(file, attribute);
        if (!value.equals(Files.getAttribute(next, attribute))) {
            try {
                Files.setAttribute(next, attribute, value);
            } catch (IOException e) {
                Log.of(file.toString()).warn("cannot keep its owner", "attribute", attribute, "value", value);
            }
        }
    }
}
