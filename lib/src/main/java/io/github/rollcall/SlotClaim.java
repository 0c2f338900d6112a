package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Optional;
import java.util.UUID;

/**
 * One run's claim to a {@link Slot}: a key in etcd that is created if absent, and that says who, when and how it ended.
 *
 * <pre>
 * absent --claim--> claimed --start--> started --end--> ended
 *    ^                 |
 *    +--- lease ends --+    started and ended stay for Slot.memory, then the key goes
 * </pre>
 *
 * <p>Until the command starts the key lives under a short lease: a claim whose holder died is anybody's again. That it
 * starts is recorded by a compare on the claim's own revision, so that a holder that was held up finds out that it has
 * lost it; and the command may begin only after etcd has acknowledged the record, for from then on nobody takes over.
 *
 * <p>Every step may be repeated: an answer that was lost is resolved by what the key says, because it says which run
 * wrote it. Not thread-safe.
 */
public final class SlotClaim {
    /** How long a claim outlives its holder; longer than {@link #PATIENCE}, so that trying again does not lose it. */
    private static final Duration UNTIL_STARTED = Duration.ofSeconds(10);
    /** How long etcd may be away in the midst of a step, if the slot is not short: a restart takes it a few seconds. */
    private static final Duration PATIENCE = Duration.ofSeconds(8);
    /** The same when the start is recorded: to give up then may be to lose the slot, for nobody else will take it. */
    private static final Duration PATIENCE_TO_START = Duration.ofMinutes(1);

    private static final Backoff RETRY = new Backoff(Duration.ofMillis(200), Duration.ofSeconds(1));

    private final EtcdGateway etcd;
    private final Slot slot;
    private final String instance;
    private final String run = UUID.randomUUID().toString();
    private Instant claimed;
    private Instant started;
    private long revision;
    private Duration patience;

    /** @param instance who claims, for people to read */
    public SlotClaim(EtcdGateway etcd, Slot slot, String instance) {
        this.etcd = etcd;
        this.slot = slot;
        this.instance = instance;
        this.patience = usualPatience();
    }

    private Duration usualPatience() {
        Duration half = slot.length().dividedBy(2);
        return half.compareTo(PATIENCE) < 0 ? half : PATIENCE;
    }

    /**
     * What a slot's key says.
     *
     * @param run the run that wrote it
     * @param instance where that runs
     * @param claimed when it was claimed, by that instance's clock
     * @param started when the command started, or null if it had not
     * @param ended when the command ended, or null if it had not, or nobody was left to record it
     * @param exit the command's exit code, or null
     */
    public record Holder(String run, String instance, Instant claimed, Instant started, Instant ended, Integer exit) {
        /** {@code started by i-1 at 2026-01-01T00:00:00Z, ended with 0 at ...}. */
        @Override
        public String toString() {
            if (started == null) {
                return "claimed by " + instance + " at " + claimed;
            }
            String end = ended == null ? ", not ended yet" : ", ended with " + exit + " at " + ended;
            return "started by " + instance + " at " + started + end;
        }
    }

    /**
     * Who has the slot, if anybody.
     *
     * @throws Failure when etcd cannot say; malformed when the key holds something else
     */
    public Optional<Holder> holder() {
        return found(ask("kv/range", range())).map(Found::holder);
    }

    /**
     * Claims the slot if nobody has it.
     *
     * @return whether it is ours
     * @throws Failure when etcd cannot say; then it may be ours for a moment
     */
    public boolean claim() {
        claimed = now();
        started = null;
        patience = usualPatience();
        return put("CREATE", "create_revision", 0, UNTIL_STARTED);
    }

    /**
     * Records that the command starts.
     *
     * @return whether it may: false when the claim was lost meanwhile
     * @throws Failure when etcd cannot say; then the command must not start, and nobody else will start it
     */
    public boolean start() {
        started = now();
        Duration left = Duration.between(started, slot.lastCall());
        patience = left.compareTo(PATIENCE_TO_START) < 0 ? left : PATIENCE_TO_START;
        return put("MOD", "mod_revision", revision, slot.memory());
    }

    /**
     * Records how the command ended, for as long as a slot is remembered from now on.
     *
     * @throws Failure when etcd cannot be told; that matters only to people
     */
    public void end(int exit) {
        patience = usualPatience();
        JsonObject value = value();
        value.addProperty("ended", now().toString());
        value.addProperty("exit", exit);
        ask("kv/put", keyValue(value, lease(slot.memory())));
    }

    /** Gives a claim back, so that nobody has to wait until its lease has ended. */
    public void release() {
        JsonObject delete = new JsonObject();
        delete.add("request_delete_range", range());
        ask("kv/txn", txn(compare("MOD", "mod_revision", revision), delete, null));
    }

    /** Puts what we say of ourselves if the comparison holds, or has been put before with its answer lost. */
    private boolean put(String target, String field, long expected, Duration lease) {
        JsonObject put = new JsonObject();
        put.add("request_put", keyValue(value(), lease(lease)));
        JsonObject get = new JsonObject();
        get.add("request_range", range());
        JsonObject answer;
        try {
            answer = ask("kv/txn", txn(compare(target, field, expected), put, get));
        } catch (Failure f) {
            if (f.getMessage().contains("lease not found")) {
                // We were held up for longer than it lasts.
                return false;
            }
            throw f;
        }
        if (answer.has("succeeded") && answer.get("succeeded").getAsBoolean()) {
            revision = answer.getAsJsonObject("header").get("revision").getAsLong();
            return true;
        }
        Optional<Found> there = found(
                answer.getAsJsonArray("responses").get(0).getAsJsonObject().getAsJsonObject("response_range"));
        if (there.isEmpty() || !isThisStep(there.get().holder())) {
            return false;
        }
        revision = there.get().revision();
        return true;
    }

    private boolean isThisStep(Holder holder) {
        return holder.run().equals(run) && (holder.started() == null) == (started == null);
    }

    /** One lease each: nothing else ends when it does. */
    private String lease(Duration time) {
        JsonObject request = new JsonObject();
        request.addProperty("TTL", (time.toMillis() + 999) / 1_000);
        return ask("lease/grant", request).get("ID").getAsString();
    }

    private JsonObject value() {
        JsonObject value = new JsonObject();
        value.addProperty("run", run);
        value.addProperty("instance", instance);
        value.addProperty("pid", ProcessHandle.current().pid());
        value.addProperty("claimed", claimed.toString());
        if (started != null) {
            value.addProperty("started", started.toString());
        }
        return value;
    }

    private JsonObject keyValue(JsonObject value, String lease) {
        JsonObject request = range();
        request.addProperty("value", EtcdGateway.encode(value.toString()));
        request.addProperty("lease", lease);
        return request;
    }

    private JsonObject range() {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(slot.key()));
        return request;
    }

    private JsonObject compare(String target, String field, long expected) {
        JsonObject compare = range();
        compare.addProperty("target", target);
        compare.addProperty("result", "EQUAL");
        compare.addProperty(field, expected);
        return compare;
    }

    private static JsonObject txn(JsonObject compare, JsonObject then, JsonObject otherwise) {
        JsonObject request = new JsonObject();
        request.add("compare", listOf(compare));
        request.add("success", listOf(then));
        if (otherwise != null) {
            request.add("failure", listOf(otherwise));
        }
        return request;
    }

    private static JsonArray listOf(JsonObject one) {
        JsonArray list = new JsonArray();
        list.add(one);
        return list;
    }

    private record Found(Holder holder, long revision) {}

    private Optional<Found> found(JsonObject rangeResponse) {
        if (!rangeResponse.has("kvs")) {
            return Optional.empty();
        }
        JsonObject kv = rangeResponse.getAsJsonArray("kvs").get(0).getAsJsonObject();
        try {
            JsonObject value = JsonParser.parseString(
                            EtcdGateway.decode(kv.get("value").getAsString()))
                    .getAsJsonObject();
            Holder holder = new Holder(
                    value.get("run").getAsString(),
                    value.get("instance").getAsString(),
                    time(value, "claimed"),
                    time(value, "started"),
                    time(value, "ended"),
                    value.has("exit") ? value.get("exit").getAsInt() : null);
            return Optional.of(new Found(holder, kv.get("mod_revision").getAsLong()));
        } catch (RuntimeException e) {
            throw new Failure(
                    Exit.DATA,
                    "etcd's key " + slot.key() + " holds something else than a run of this job; delete it",
                    e);
        }
    }

    private static Instant now() {
        return Instant.now().truncatedTo(ChronoUnit.MILLIS);
    }

    private static Instant time(JsonObject value, String name) {
        return value.has(name) ? Instant.parse(value.get(name).getAsString()) : null;
    }

    /** Asks until etcd answers, for a while. */
    private JsonObject ask(String path, JsonObject request) {
        long deadline = System.nanoTime() + patience.toNanos();
        for (int failures = 1; ; failures++) {
            try {
                return etcd.ask(path, request);
            } catch (Failure f) {
                Duration pause = RETRY.delay(failures);
                if (!f.isTransient() || deadline - System.nanoTime() < pause.toNanos()) {
                    throw f;
                }
                Log.of("slot").debug(f.getMessage() + "; trying again");
                Backoff.sleep(pause);
            }
        }
    }
}
