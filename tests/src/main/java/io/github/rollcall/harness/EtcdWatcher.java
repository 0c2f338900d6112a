package io.github.rollcall.harness;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.EtcdGateway;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;

/** Records every event of the keys that begin alike, as a reader of etcd sees them, from its start on. Thread-safe. */
public final class EtcdWatcher implements AutoCloseable {
    /** One event. @param value null when it was deleted; @param at when this was told */
    public record Event(String key, String value, long revision, Instant at) {}

    private final List<Event> events = new CopyOnWriteArrayList<>();
    private final Map<String, String> now = new ConcurrentHashMap<>();
    private final InputStream stream;

    private EtcdWatcher(URI etcd, String prefix) {
        JsonObject create = new JsonObject();
        create.addProperty("key", EtcdGateway.encode(prefix));
        create.addProperty("range_end", EtcdGateway.encode(prefix + '\u007f'));
        JsonObject request = new JsonObject();
        request.add("create_request", create);
        try {
            stream = HttpClient.newHttpClient()
                    .send(
                            HttpRequest.newBuilder(etcd.resolve("/v3/watch"))
                                    .POST(HttpRequest.BodyPublishers.ofString(request.toString()))
                                    .build(),
                            HttpResponse.BodyHandlers.ofInputStream())
                    .body();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
        CountDownLatch created = new CountDownLatch(1);
        Thread reader = new Thread(() -> read(created), "watcher");
        reader.setDaemon(true);
        reader.start();
        try {
            created.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** A watcher of this etcd. */
    public static EtcdWatcher of(EtcdServer etcd, String prefix) {
        return new EtcdWatcher(etcd.url(), prefix);
    }

    private void read(CountDownLatch created) {
        try (Scanner lines = new Scanner(stream, StandardCharsets.UTF_8)) {
            while (lines.hasNextLine()) {
                JsonObject result = JsonParser.parseString(lines.nextLine())
                        .getAsJsonObject()
                        .getAsJsonObject("result");
                if (result != null && result.has("events")) {
                    result.getAsJsonArray("events").forEach(this::record);
                }
                created.countDown();
            }
        } finally {
            created.countDown();
        }
    }

    private void record(JsonElement element) {
        JsonObject event = element.getAsJsonObject();
        JsonObject kv = event.getAsJsonObject("kv");
        String key = EtcdGateway.decode(kv.get("key").getAsString());
        boolean deleted = event.has("type") && event.get("type").getAsString().equals("DELETE");
        String value = deleted
                ? null
                : kv.has("value") ? EtcdGateway.decode(kv.get("value").getAsString()) : "";
        if (deleted) {
            now.remove(key);
        } else {
            now.put(key, value);
        }
        events.add(new Event(key, value, kv.get("mod_revision").getAsLong(), Instant.now()));
    }

    /** All events so far. */
    public List<Event> events() {
        return List.copyOf(events);
    }

    /** The keys that have been deleted at some time so far. */
    public Set<String> deleted() {
        Set<String> keys = new HashSet<>();
        events.stream().filter(e -> e.value() == null).forEach(e -> keys.add(e.key()));
        return keys;
    }

    /** Keys and values as the events so far leave them; those that were there before are not among them. */
    public Map<String, String> now() {
        return new TreeMap<>(now);
    }

    @Override
    public void close() {
        try {
            stream.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
