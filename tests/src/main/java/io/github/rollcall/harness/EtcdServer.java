package io.github.rollcall.harness;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdOptions;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.awaitility.Awaitility;

/** A real etcd of one member. Thread-safe. */
public final class EtcdServer implements AutoCloseable {
    private final Path data;
    private final int port = Servers.freePort();
    private final int peerPort = Servers.freePort();
    private Process process;

    private EtcdServer() {
        try {
            data = Files.createTempDirectory("rollcall-etcd");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** One of its own, with nothing in it. */
    public static EtcdServer start() {
        EtcdServer etcd = new EtcdServer();
        etcd.startAgain();
        return etcd;
    }

    /** Where it listens; for {@code ETCDCTL_ENDPOINTS}. */
    public URI url() {
        return URI.create("http://127.0.0.1:" + port);
    }

    /** Ends it at once, as a power cut does; what it has acknowledged is on disk. */
    public synchronized void kill() {
        Servers.stop(process);
    }

    /** Starts it on the data that it had, and returns when it answers. */
    public synchronized void startAgain() {
        String peer = "http://127.0.0.1:" + peerPort;
        process = Servers.start(
                new ProcessBuilder(
                        Servers.program("etcd-server", "etcd"),
                        "--data-dir",
                        data.toString(),
                        "--listen-client-urls",
                        url().toString(),
                        "--advertise-client-urls",
                        url().toString(),
                        "--listen-peer-urls",
                        peer,
                        "--initial-advertise-peer-urls",
                        peer,
                        "--initial-cluster",
                        "default=" + peer,
                        "--log-level",
                        "error"),
                port);
        Awaitility.await("etcd")
                .atMost(Duration.ofSeconds(60))
                .ignoreExceptions()
                .until(() -> all("/") != null);
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
        JsonObject range = new JsonObject();
        range.addProperty("key", EtcdGateway.encode(prefix));
        range.addProperty("range_end", EtcdGateway.encode(prefix + '\u007f'));
        Map<String, String> found = new TreeMap<>();
        JsonObject answer = ask("kv/range", range);
        if (answer.has("kvs")) {
            for (JsonElement kv : answer.getAsJsonArray("kvs")) {
                JsonObject entry = kv.getAsJsonObject();
                found.put(
                        EtcdGateway.decode(entry.get("key").getAsString()),
                        EtcdGateway.decode(entry.get("value").getAsString()));
            }
        }
        return found;
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
        return gateway(url()).ask(path, request);
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
