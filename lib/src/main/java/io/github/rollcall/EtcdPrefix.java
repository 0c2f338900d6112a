package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The keys of etcd that begin alike, read at one revision and watched from the next. Their values are of no interest:
 * what is told of a key is the revision of its last put.
 *
 * <pre>
 * read all ──> watch from the next revision ──> changes, as they come
 *    ^             │ breaks off, is silent, is compacted, has lasted for long
 *    │             v
 *    └─ differs ─ compare ── the same ──> watch again
 * </pre>
 *
 * <p>A watch may go silent and look alive, so that it is not trusted for longer than {@code recheck}: then the number of
 * keys and the newest of them are compared with etcd's. If both are the same, then nothing was missed: a put would have a
 * newer revision, and after removals alone there would be fewer keys. It is one request, whatever the number of keys.
 *
 * <p>Everything runs on the thread that calls {@link #run()}, the listener too. Other methods are thread-safe.
 */
public final class EtcdPrefix {
    /** Who wants to know. */
    public interface Listener {
        /**
         * Keys have changed: everything that happened in one transaction together. The first call tells of all keys.
         *
         * @param revisions the revision of each key's last put, or {@link #GONE}; a byte of a key is a character
         */
        void changed(Map<String, Long> revisions);

        /**
         * This is another etcd, or one that was put back to an earlier state. What has changed by that is told after it.
         *
         * @param why one sentence without a final dot
         */
        void reset(String why);
    }

    /** In place of a revision: the key is no more. */
    public static final long GONE = 0;

    private static final int PAGE = 5_000;
    /** A member that has hung up without a word is found out by this. */
    private static final Duration SILENCE = Duration.ofSeconds(15);

    private final EtcdGateway etcd;
    private final String prefix;
    /** The first key after those. */
    private final String end;

    private final Duration recheck;
    private final Listener listener;
    private final Log log;

    private final Map<String, Long> known = new HashMap<>();
    /** The first revision that has not been seen. */
    private long next;

    private volatile long newest;
    private boolean isRead;
    /** Whether what is known is of another etcd than that which answered last. */
    private boolean isOfAnother;

    private Instant checked = Instant.EPOCH;
    private volatile String cluster;
    private volatile Instant heard = Instant.EPOCH;
    private final Trouble trouble = new Trouble(Log.of("etcd"));

    /**
     * @param prefix what the keys begin with, such as {@code /lbManager/}; in ASCII
     * @param recheck how long a watch is trusted
     */
    public EtcdPrefix(EtcdGateway etcd, String prefix, Duration recheck, Listener listener) {
        this.etcd = etcd;
        this.prefix = prefix;
        int last = prefix.length() - 1;
        this.end = prefix.substring(0, last) + (char) (prefix.charAt(last) + 1);
        this.recheck = recheck;
        this.listener = listener;
        this.log = Log.of("etcd");
    }

    /** Reads and watches until the thread is interrupted. What fails is told once and tried again. */
    public void run() {
        while (!Thread.currentThread().isInterrupted()) {
            try {
                compare();
                trouble.over();
                watch();
            } catch (Failure f) {
                trouble.failed(f);
                try {
                    Thread.sleep(Backoff.DEFAULT.delay(trouble.times()).toMillis());
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }
        }
    }

    /** Reads all keys now; the listener is told as usual. For a tool that ends. @throws Failure when etcd cannot say */
    public void readOnce() {
        compare();
    }

    /** When etcd was last heard of. */
    public Instant heard() {
        return heard;
    }

    /** Why it does not answer, or null. */
    public Failure problem() {
        return trouble.now();
    }

    /** etcd's revision as of the last answer. */
    public long revision() {
        return newest;
    }

    /** etcd's cluster id as of the last answer, or null. */
    public String cluster() {
        return cluster;
    }

    // --- reading

    /** Makes sure that what is known is what there is. */
    private void compare() {
        if (!isRead || isOfAnother) {
            readAll();
            return;
        }
        JsonObject request = range(prefix);
        request.addProperty("limit", 1);
        request.addProperty("sort_target", "MOD");
        request.addProperty("sort_order", "DESCEND");
        JsonObject answer = etcd.ask("kv/range", request);
        look(answer);
        if (isOfAnother || !isKnown(number(answer, "count"), answer.getAsJsonArray("kvs"))) {
            log.debug("changed unseen", "keys", number(answer, "count"), "known", known.size());
            readAll();
            return;
        }
        next = revision(answer) + 1;
        checked = Instant.now();
    }

    /** @param newest the key that was put last, or null when there is none */
    private boolean isKnown(long count, JsonArray newest) {
        if (newest == null) {
            return known.isEmpty();
        }
        JsonObject kv = newest.get(0).getAsJsonObject();
        Long last = number(kv, "mod_revision");
        return count == known.size()
                && last.equals(known.get(decode(kv.get("key").getAsString())))
                && known.values().stream().noneMatch(r -> r > last);
    }

    private void readAll() {
        Map<String, Long> all = new HashMap<>();
        String from = prefix;
        long at = 0;
        while (from != null) {
            JsonObject request = range(from);
            request.addProperty("limit", PAGE);
            if (at > 0) {
                request.addProperty("revision", at);
            }
            JsonObject answer = etcd.ask("kv/range", request);
            if (look(answer) && at > 0) {
                throw new Failure(Exit.TEMPORARY, "etcd became another one in the midst of reading");
            }
            at = at > 0 ? at : revision(answer);
            String last = null;
            if (answer.has("kvs")) {
                for (JsonElement element : answer.getAsJsonArray("kvs")) {
                    JsonObject kv = element.getAsJsonObject();
                    last = decode(kv.get("key").getAsString());
                    all.put(last, number(kv, "mod_revision"));
                }
            }
            from = answer.has("more") && answer.get("more").getAsBoolean() ? last + '\0' : null;
        }
        Map<String, Long> changes = new LinkedHashMap<>();
        known.keySet().forEach(key -> {
            if (!all.containsKey(key)) {
                changes.put(key, GONE);
            }
        });
        all.forEach((key, revision) -> {
            if (!revision.equals(known.get(key))) {
                changes.put(key, revision);
            }
        });
        // Whatever was put before that has been told.
        if (isRead && !isOfAnother && changes.values().stream().anyMatch(r -> r != GONE && r < next)) {
            isOfAnother = true;
            listener.reset("etcd's keys are of an earlier state than they were");
        }
        if (!changes.isEmpty() || !isRead) {
            tell(changes);
        }
        isRead = true;
        isOfAnother = false;
        next = at + 1;
        checked = Instant.now();
    }

    /** @return whether it is another etcd, or one put back */
    private boolean look(JsonObject answer) {
        JsonObject header = answer.getAsJsonObject("header");
        String id = header.get("cluster_id").getAsString();
        long revision = number(header, "revision");
        String why = null;
        if (cluster != null && !cluster.equals(id)) {
            why = "etcd's cluster id has changed";
        } else if (revision < newest) {
            why = "etcd's revision went back from " + newest + " to " + revision;
        }
        cluster = id;
        newest = revision;
        heard = Instant.now();
        if (why != null) {
            isOfAnother = true;
            listener.reset(why);
        }
        return why != null;
    }

    // --- watching

    /** Until there is a reason to compare. */
    private void watch() {
        JsonObject create = range(prefix);
        create.remove("keys_only");
        create.addProperty("start_revision", next);
        JsonObject request = new JsonObject();
        request.add("create_request", create);
        try (EtcdStream stream = etcd.stream("watch", request, recheck.compareTo(SILENCE) < 0 ? recheck : SILENCE)) {
            while (checked.plus(recheck).isAfter(Instant.now())) {
                JsonObject response = stream.next();
                if (response == null) {
                    return;
                }
                heard = Instant.now();
                if (response.has("canceled") && response.get("canceled").getAsBoolean()) {
                    canceled(stream, response);
                    return;
                }
                if (!response.getAsJsonObject("header")
                        .get("cluster_id")
                        .getAsString()
                        .equals(cluster)) {
                    return;
                }
                if (response.has("events")) {
                    events(response);
                }
            }
        }
    }

    private void events(JsonObject response) {
        Map<String, Long> changes = new LinkedHashMap<>();
        // What the header says is ahead of the events while a watch catches up.
        long last = 0;
        for (JsonElement element : response.getAsJsonArray("events")) {
            JsonObject event = element.getAsJsonObject();
            JsonObject kv = event.getAsJsonObject("kv");
            long revision = number(kv, "mod_revision");
            boolean isDelete =
                    event.has("type") && event.get("type").getAsString().equals("DELETE");
            changes.put(decode(kv.get("key").getAsString()), isDelete ? GONE : revision);
            last = Math.max(last, revision);
        }
        newest = Math.max(newest, last);
        tell(changes);
        next = last + 1;
    }

    /** What the listener could not take is told again, for it does not count as known. */
    private void tell(Map<String, Long> changes) {
        listener.changed(Collections.unmodifiableMap(changes));
        changes.forEach((key, revision) -> {
            if (revision == GONE) {
                known.remove(key);
            } else {
                known.put(key, revision);
            }
        });
    }

    private void canceled(EtcdStream stream, JsonObject response) {
        if (number(response, "compact_revision") > 0) {
            log.debug("compacted", "at", response.get("compact_revision").getAsString());
            return;
        }
        String why =
                response.has("cancel_reason") ? response.get("cancel_reason").getAsString() : "no reason given";
        throw new Failure(Exit.TEMPORARY, "etcd at " + stream.endpoint() + " has ended the watch: " + why);
    }

    // --- etcd's forms

    private JsonObject range(String from) {
        JsonObject request = new JsonObject();
        request.addProperty("key", encode(from));
        request.addProperty("range_end", encode(end));
        request.addProperty("keys_only", true);
        return request;
    }

    /** Whatever bytes there are in a key: no two keys are ever one. */
    private static String decode(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.ISO_8859_1);
    }

    private static String encode(String key) {
        return Base64.getEncoder().encodeToString(key.getBytes(StandardCharsets.ISO_8859_1));
    }

    private static long revision(JsonObject answer) {
        return number(answer.getAsJsonObject("header"), "revision");
    }

    /** What is 0 is left out. */
    private static long number(JsonObject object, String name) {
        return object.has(name) ? object.get(name).getAsLong() : 0;
    }
}
