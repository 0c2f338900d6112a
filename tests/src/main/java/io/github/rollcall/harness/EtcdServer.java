package io.github.rollcall.harness;

import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;

/** A real etcd: by itself, or one member of several. Thread-safe. */
public final class EtcdServer implements AutoCloseable {
    private final Path data;
    private final int port = Servers.freePort();
    private final int peerPort = Servers.freePort();
    private final String name;
    private final List<String> more;
    private final Tls tls;
    private String initialCluster;
    private Process process;

    private EtcdServer(String name, boolean withTls, String... more) {
        try {
            data = Files.createTempDirectory("rollcall-etcd");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        this.name = name;
        this.more = List.of(more);
        tls = withTls ? Tls.forAddresses(data, "127.0.0.", 1, 2) : null;
        initialCluster = memberUrl();
    }

    /** One of its own, with nothing in it. @param more options of etcd's */
    public static EtcdServer start(String... more) {
        EtcdServer etcd = new EtcdServer("default", false, more);
        etcd.startAgain();
        return etcd;
    }

    /** The same, with TLS, and with certificates asked of clients; see {@link #tlsOptions()}. */
    public static EtcdServer startWithTls() {
        EtcdServer etcd = new EtcdServer("default", true);
        etcd.startAgain();
        return etcd;
    }

    /** A cluster, with nothing in it. @param more options of etcd's */
    public static List<EtcdServer> startCluster(int members, String... more) {
        List<EtcdServer> all = IntStream.range(0, members)
                .mapToObj(n -> new EtcdServer("m" + n, false, more))
                .toList();
        String cluster = all.stream().map(EtcdServer::memberUrl).collect(Collectors.joining(","));
        all.forEach(member -> member.initialCluster = cluster);
        all.forEach(EtcdServer::launch);
        all.forEach(EtcdServer::awaitAnswer);
        return all;
    }

    /** Where it listens; for {@code ETCDCTL_ENDPOINTS}. */
    public URI url() {
        return URI.create((tls == null ? "http" : "https") + "://127.0.0.1:" + port);
    }

    /** What a tool has to be told to be let in by an etcd with TLS. */
    public String[] tlsOptions() {
        return tls.toolOptions().toArray(String[]::new);
    }

    private String peerUrl() {
        return "http://127.0.0.1:" + peerPort;
    }

    private String memberUrl() {
        return name + "=" + peerUrl();
    }

    /** Ends it at once, as a power cut does; what it has acknowledged is on disk. */
    public synchronized void kill() {
        Servers.stop(process);
    }

    /** Loses what it had, while it is down. */
    public synchronized void loseData() {
        Servers.delete(data.resolve("member"));
    }

    /** Starts it on the data that it had, and returns when it answers. */
    public void startAgain() {
        launch();
        awaitAnswer();
    }

    /** Starts it, and returns when it takes connections: it may have no quorum. */
    public synchronized void launch() {
        List<String> command = new ArrayList<>(List.of(
                Servers.program("etcd-server", "etcd"),
                "--name",
                name,
                "--data-dir",
                data.toString(),
                "--listen-client-urls",
                url().toString(),
                "--advertise-client-urls",
                url().toString(),
                "--listen-peer-urls",
                peerUrl(),
                "--initial-advertise-peer-urls",
                peerUrl(),
                "--initial-cluster",
                initialCluster,
                "--log-level",
                "error"));
        command.addAll(more);
        ProcessBuilder builder = new ProcessBuilder(command);
        if (tls != null) {
            builder.environment().putAll(tls.etcdEnvironment());
        }
        process = Servers.start(builder, initialCluster.contains(",") ? peerPort : port);
    }

    private void awaitAnswer() {
        Awaitility.await("etcd")
                .atMost(Duration.ofSeconds(60))
                .ignoreExceptions()
                .until(() -> {
                    try {
                        return all("/") != null;
                    } catch (Failure f) {
                        return f.exit() == Exit.REFUSED;
                    }
                });
    }

    /** Turns its authentication on, with {@code root} and this password, who may do everything. */
    public void enableAuth(String password) {
        JsonObject root = new JsonObject();
        root.addProperty("name", "root");
        root.addProperty("password", password);
        ask("auth/user/add", root);
        ask("auth/role/add", root);
        JsonObject grant = new JsonObject();
        grant.addProperty("user", "root");
        grant.addProperty("role", "root");
        ask("auth/user/grant", grant);
        ask("auth/enable", new JsonObject());
    }

    /** Adds a user who may read and write below {@code prefix}, and nowhere else, before {@link #enableAuth}. @param prefix with a slash at its end */
    public void addUser(String name, String password, String prefix) {
        JsonObject user = new JsonObject();
        user.addProperty("name", name);
        user.addProperty("password", password);
        ask("auth/user/add", user);
        ask("auth/role/add", user);
        JsonObject below = new JsonObject();
        below.addProperty("permType", "READWRITE");
        below.addProperty("key", EtcdGateway.encode(prefix));
        // The first key after those below the slash.
        below.addProperty("range_end", EtcdGateway.encode(prefix.replaceFirst("/$", "0")));
        JsonObject permission = new JsonObject();
        permission.addProperty("name", name);
        permission.add("perm", below);
        ask("auth/role/grant", permission);
        JsonObject grant = new JsonObject();
        grant.addProperty("user", name);
        grant.addProperty("role", name);
        ask("auth/user/grant", grant);
    }

    /** Whether it leads, as it says itself. */
    public boolean isLeader() {
        JsonObject status = ask("maintenance/status", new JsonObject());
        return status.has("leader")
                && status.get("leader").equals(status.getAsJsonObject("header").get("member_id"));
    }

    /** The revision of its keys: that of the last write, whoever made it. */
    public long revision() {
        JsonObject range = new JsonObject();
        range.addProperty("key", EtcdGateway.encode("/"));
        return ask("kv/range", range).getAsJsonObject("header").get("revision").getAsLong();
    }

    /** Forgets what was before its present revision. */
    public void compact() {
        JsonObject compaction = new JsonObject();
        compaction.addProperty("revision", revision());
        compaction.addProperty("physical", true);
        ask("kv/compaction", compaction);
    }

    /** Stops it in its tracks: it takes connections and does not answer. */
    public void freeze() {
        signal("STOP");
    }

    /** Lets it go on. */
    public void thaw() {
        signal("CONT");
    }

    /** The keys that begin like this, and their values. */
    public Map<String, String> all(String prefix) {
        return gateway().all(prefix);
    }

    /** Puts a key, without a lease. */
    public void put(String key, String value) {
        JsonObject put = new JsonObject();
        put.addProperty("key", EtcdGateway.encode(key));
        put.addProperty("value", EtcdGateway.encode(value));
        ask("kv/put", put);
    }

    /** Asks it anything, by the paths of {@link EtcdGateway}. */
    public JsonObject ask(String path, JsonObject request) {
        return gateway().ask(path, request);
    }

    private EtcdGateway gateway() {
        return (tls == null ? new EtcdOptions() : tls.options()).gateway(List.of(url()), Duration.ofSeconds(2));
    }

    /** A client of the etcd that listens there. */
    public static EtcdGateway gateway(URI url) {
        return new EtcdOptions().gateway(List.of(url), Duration.ofSeconds(2));
    }

    @Override
    public void close() {
        thaw();
        kill();
        Servers.delete(data);
    }

    private synchronized void signal(String name) {
        Servers.signal(process, name);
    }
}
