package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.time.Duration;

/**
 * Which of several copies acts: that which has created a key in etcd under a lease that it keeps alive. The others watch
 * the key, and the moment that it goes one of them creates it.
 *
 * <p>A leader that was paused for longer than its lease does not know that another leads. So it is not enough to have been
 * elected: before it acts it asks {@link #check()}, which compares the time since its lease was last renewed, and then the
 * key's revision in etcd; and what it writes to etcd is written only if the key is still the one that it created: see
 * {@link #fence}. Time is that of a clock that cannot be set back. Thread-safe.
 */
public final class Leadership {
    private static final Duration SILENCE = Duration.ofSeconds(15);

    private final EtcdGateway etcd;
    private final String key;
    private final String who;
    private final Duration ttl;
    private final Runnable elected;
    private final Runnable lost;
    private final Trouble trouble = new Trouble(Log.of("leader"));
    private final Log log = Log.of("leader");

    private volatile String lease;
    /** The key's create revision while we lead, else 0. */
    private volatile long revision;
    /** Until when the lease lives for certain, by {@link System#nanoTime}. */
    private volatile long until;

    private volatile boolean over;

    /**
     * @param key where the election is held
     * @param who tells people which copy leads
     * @param ttl how long after a leader's death another leads; whole seconds, at least 2
     * @param elected called on the thread of {@link #run} when this copy leads
     * @param lost called on the thread of {@link #run} when it does no more
     */
    public Leadership(EtcdGateway etcd, String key, String who, Duration ttl, Runnable elected, Runnable lost) {
        this.etcd = etcd;
        this.key = key;
        this.who = who;
        this.ttl = ttl;
        this.elected = elected;
        this.lost = lost;
    }

    /** Stands for election, leads, and stands again, until {@link #resign}. */
    public void run() {
        while (!over) {
            try {
                if (stand()) {
                    trouble.over();
                    log.info("leads", "who", who);
                    elected.run();
                    lead();
                    revision = 0;
                    log.warn("leads no more");
                    lost.run();
                }
            } catch (Failure f) {
                trouble.failed(f);
                Backoff.sleep(Backoff.DEFAULT.delay(trouble.times()));
            }
        }
    }

    /** Whether this copy leads, as far as it knows without asking. */
    public boolean isCertain() {
        return revision != 0 && System.nanoTime() - until < 0;
    }

    /** @throws Failure when this copy does not lead, or etcd cannot say */
    public void check() {
        long ours = revision;
        if (!isCertain()) {
            throw new Failure(Exit.TEMPORARY, "does not lead any more");
        }
        if (ours == 0 || createRevision() != ours || !isCertain()) {
            revision = 0;
            throw new Failure(Exit.TEMPORARY, "does not lead any more");
        }
    }

    /** Has a transaction done only if this copy leads. */
    public EtcdTxn fence(EtcdTxn txn) {
        long ours = revision;
        // No key is ever created at that revision.
        return txn.ifCreated(key, ours == 0 ? Long.MAX_VALUE : ours);
    }

    /** Lets another lead at once. */
    public void resign() {
        over = true;
        revision = 0;
        if (lease != null) {
            revoke();
        }
    }

    /** One attempt; where another leads, until that may be over. @return whether we lead */
    private boolean stand() {
        JsonObject there = range();
        if (!there.has("kvs")) {
            grant();
            JsonObject answer = new EtcdTxn()
                    .ifCreated(key, 0)
                    .put(key, who, lease)
                    .elseGet(key)
                    .commit(etcd);
            if (EtcdTxn.succeeded(answer)) {
                revision = revisionOf(answer);
                return true;
            }
            revoke();
            return false;
        }
        JsonObject leader = first(there);
        if (lease != null
                && leader.has("lease")
                && leader.get("lease").getAsString().equals(lease)) {
            // It was created, and the answer lost.
            renew();
            revision = leader.get("create_revision").getAsLong();
            return true;
        }
        trouble.over();
        log.debug("stands by", "leader", EtcdGateway.decode(leader.get("value").getAsString()));
        awaitVacancy(revisionOf(there) + 1);
        return false;
    }

    /** Until the key has gone, or there was silence for a while. */
    private void awaitVacancy(long from) {
        JsonObject create = keyOnly();
        create.addProperty("start_revision", from);
        JsonObject request = new JsonObject();
        request.add("create_request", create);
        try (EtcdStream stream = etcd.stream("watch", request, SILENCE)) {
            while (!over) {
                JsonObject response = stream.next();
                if (response == null || response.has("canceled")) {
                    return;
                }
                JsonArray events = response.has("events") ? response.getAsJsonArray("events") : new JsonArray();
                for (JsonElement event : events) {
                    if (event.getAsJsonObject().has("type")) {
                        return;
                    }
                }
            }
        }
    }

    /** Until we lead no more. */
    private void lead() {
        while (isCertain()) {
            try {
                renew();
                if (createRevision() != revision) {
                    return;
                }
                trouble.over();
                Backoff.sleep(ttl.dividedBy(3));
            } catch (Failure f) {
                if (!f.isTransient()) {
                    trouble.failed(f);
                    return;
                }
                trouble.failed(f);
                Backoff.sleep(ttl.dividedBy(20));
            }
        }
    }

    private void grant() {
        JsonObject request = new JsonObject();
        request.addProperty("TTL", Math.max(2, ttl.toSeconds()));
        long sent = System.nanoTime();
        JsonObject granted = etcd.ask("lease/grant", request);
        lease = granted.get("ID").getAsString();
        until = sent + Duration.ofSeconds(granted.get("TTL").getAsLong()).toNanos();
    }

    private void renew() {
        long sent = System.nanoTime();
        JsonObject result = etcd.ask("lease/keepalive", leaseOnly()).getAsJsonObject("result");
        if (!result.has("TTL")) {
            throw new Failure(Exit.CONFIG, "etcd has ended the lease");
        }
        until = sent + Duration.ofSeconds(result.get("TTL").getAsLong()).toNanos();
    }

    private void revoke() {
        try {
            etcd.ask("lease/revoke", leaseOnly());
        } catch (Failure f) {
            log.debug("not revoked: " + f.getMessage());
        }
        lease = null;
    }

    private long createRevision() {
        JsonObject there = range();
        return there.has("kvs") ? first(there).get("create_revision").getAsLong() : 0;
    }

    private JsonObject range() {
        return etcd.ask("kv/range", keyOnly());
    }

    private JsonObject keyOnly() {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(key));
        return request;
    }

    private JsonObject leaseOnly() {
        JsonObject request = new JsonObject();
        request.addProperty("ID", lease);
        return request;
    }

    private static JsonObject first(JsonObject answer) {
        return answer.getAsJsonArray("kvs").get(0).getAsJsonObject();
    }

    private static long revisionOf(JsonObject answer) {
        return answer.getAsJsonObject("header").get("revision").getAsLong();
    }
}
