package io.github.rollcall;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.lease.LeaseTimeToLiveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Keys that are in etcd as long as this process is there and says so: a lease with the keys that hang on it. Thread-safe;
 * no call of it blocks, and a thousand of them share one thread.
 *
 * <p>The keys are put in one transaction (in several, where there are more than {@value #MOST_OPERATIONS}, since etcd takes
 * 128 operations). The lease is kept alive every third of its TTL, which writes nothing: no watcher sees it. When the wanted
 * keys change, the difference is written. Where nothing is wanted there is no lease.
 *
 * <p>With a TTL of {@code T} seconds, and etcd's own second or so of delay added to each:
 *
 * <ul>
 *   <li>this process is killed, or its host is gone: the keys are gone between 2/3 T and T later; until 2 T, if etcd elects
 *       a leader meanwhile, for then it gives all leases their full time again;
 *   <li>it ends by {@link #end}: at once; if etcd does not answer in time, T after the last renewal;
 *   <li>it is started again within T: the keys stay. The new lease takes them over before the old one ends, and the old
 *       one's end, or its {@link #end}, removes only what still hangs on it;
 *   <li>etcd is away for less than T/3: nothing happens. For longer, or the lease is gone from etcd by whatever cause: a new
 *       one is granted and the keys are put again, over the old ones where those still are there. That is tried at least
 *       every 10 s (full jitter);
 *   <li>etcd has lost its data, or ended the lease: that is noticed at the next renewal or look, whichever is sooner, within
 *       T/3 or {@code lookEvery};
 *   <li>somebody has removed keys: they are back after {@code lookEvery}, unless {@link Deleted} says otherwise;
 *   <li>somebody else puts one of the keys, with a lease of his own or without: he is let have it, because who puts last has
 *       it, and two that take turns would never end. When it is gone again it is put again, after at most 5 s more.
 * </ul>
 *
 * <p>A lease counts as lost when etcd says so, or when the last renewal that was answered is two thirds of its TTL ago,
 * whatever the reason.
 */
public final class EtcdLease {
    /** Of etcd's 128 some are left, because what is nested in a transaction is subtracted from what it may have. */
    static final int MOST_OPERATIONS = 100;

    private static final Backoff RETRY = new Backoff(Duration.ofSeconds(1), Duration.ofSeconds(10));
    private static final Backoff HURRY = new Backoff(Duration.ofMillis(200), Duration.ofSeconds(1));
    private static final Duration LOOK_SOON = Duration.ofSeconds(5);
    private static final Duration AFTER_A_DEFECT = Duration.ofSeconds(1);

    /** What is to be done about keys that somebody has removed while the lease lives. */
    public enum Deleted {
        /** They are put again. */
        PUT_AGAIN,
        /** Whoever removed them had a reason: they are not put until other keys are wanted. */
        LET_BE
    }

    private final EtcdClient etcd;
    private final Log log;
    private final Duration askedTtl;
    private final Duration lookEvery;
    private final Deleted whenDeleted;
    private final Runnable changed;

    // What follows belongs to the timer's thread; what is volatile may be looked at by others.

    private Map<String, String> wanted = Map.of();

    /** The lease, or 0. */
    private volatile long id;

    /** What hangs on it, as far as we know. */
    private final Map<String, Held> held = new HashMap<>();

    /** Wanted keys that somebody else has, or has removed for good. */
    private final Set<String> othersKeys = new TreeSet<>();

    /** Leases to be revoked: what still hangs on them is not wanted. */
    private final Deque<Long> former = new ArrayDeque<>();

    private Duration ttl;
    /** When the last renewal that was answered was sent; as all times here by {@link System#nanoTime}. */
    private long renewed;

    private long renewAt;
    private long lookAt;
    private long tryAt = System.nanoTime();
    private boolean renewing;
    /** How often in a row, and why it was not renewed the last time. */
    private int renewalsFailed;

    private Failure notRenewed;
    /** Until then a write that was not answered may still come to be done, after one that was sent later. */
    private long doubtUntil = System.nanoTime();

    private boolean busy;
    private int failures;
    private Future<?> alarm;
    private CompletableFuture<Boolean> ending;
    private boolean revoking;

    /** How many new sets of wanted keys this does not know of yet. */
    private final AtomicInteger toBeHeard = new AtomicInteger();

    private volatile boolean inOrder = true;
    private volatile Failure problem;
    private volatile long losses;

    /**
     * Nothing is in etcd until {@link #want}.
     *
     * @param subject for the log
     * @param ttl at least two seconds, or etcd makes it so
     * @param lookEvery how often it is looked whether the keys are still there
     * @param changed called when {@link #isInOrder} has changed, on a thread that must not be blocked
     */
    public EtcdLease(
            EtcdClient etcd, String subject, Duration ttl, Duration lookEvery, Deleted whenDeleted, Runnable changed) {
        this.etcd = etcd;
        this.log = Log.of(subject);
        this.askedTtl = ttl;
        this.ttl = ttl;
        this.lookEvery = lookEvery;
        this.whenDeleted = whenDeleted;
        this.changed = changed;
    }

    /** A key as we have put it. */
    private record Held(String value, long revision) {}

    /** These keys, with these values, from now on, and no others. */
    public void want(Map<String, String> keys) {
        Map<String, String> copy = new TreeMap<>(keys);
        toBeHeard.incrementAndGet();
        onTimer(() -> {
            outOfOrder();
            toBeHeard.decrementAndGet();
            if (ending != null) {
                return;
            }
            othersKeys.removeIf(key -> !Objects.equals(wanted.get(key), copy.get(key)));
            wanted = copy;
            tryAt = System.nanoTime();
            step();
        });
    }

    /** Whether etcd has what is wanted, as last heard. */
    public boolean isInOrder() {
        return inOrder && toBeHeard.get() == 0;
    }

    /** Why it is not in order, or null. */
    public Failure problem() {
        return problem;
    }

    /** How often the lease was lost. */
    public long losses() {
        return losses;
    }

    /** The lease's id, or 0; it changes. */
    public long id() {
        return id;
    }

    /**
     * Removes the keys that are still ours, and is of no more use afterwards. The future is true when they are gone, and
     * false when etcd has not said so in time: then they go when the TTL is over.
     */
    public CompletableFuture<Boolean> end(Duration within) {
        CompletableFuture<Boolean> ended = new CompletableFuture<>();
        onTimer(() -> {
            if (ending == null) {
                ending = ended;
                wanted = Map.of();
                tryAt = System.nanoTime();
                failures = 0;
                step();
            } else {
                ending.thenAccept(ended::complete);
            }
        });
        return ended.completeOnTimeout(false, within.toMillis(), TimeUnit.MILLISECONDS);
    }

    // --- one step after the other

    private void onTimer(Runnable what) {
        try {
            etcd.timer().execute(() -> {
                try {
                    what.run();
                } catch (RuntimeException | Error e) {
                    // Without an alarm the lease would not be renewed any more.
                    alarmIn(AFTER_A_DEFECT.toNanos());
                    log.error("a defect in keeping a lease: " + e);
                    log.trace(e);
                }
            });
        } catch (RejectedExecutionException e) {
            // The client is closed, and with it everything has ended.
        }
    }

    /** Does what is next, and sets the alarm for what comes after that. */
    private void step() {
        long now = System.nanoTime();
        if (id != 0 && wanted.isEmpty()) {
            retire();
        }
        if (id != 0 && now - renewed > ttl.toNanos() / 3 * 2) {
            lose("no renewal was answered for " + Durations.format(Duration.ofNanos(now - renewed))
                    + (notRenewed == null ? "" : ": " + notRenewed.getMessage()));
        }
        if (id != 0 && !renewing && now - renewAt >= 0) {
            renew();
        }
        if (mayRevoke() && now - tryAt >= 0) {
            revoke(former.peek());
        }
        if (!busy && !wanted.isEmpty() && now - tryAt >= 0) {
            if (id == 0) {
                grant();
            } else if (!isWritten()) {
                write();
            } else if (now - lookAt >= 0) {
                look();
            }
        }
        tell();
        setAlarm();
    }

    /** Not before the wanted keys hang on the new lease: nobody is to see them absent. */
    private boolean mayRevoke() {
        return !former.isEmpty() && !revoking && (wanted.isEmpty() ? id == 0 : id != 0 && isWritten());
    }

    private boolean isWritten() {
        return toPut().isEmpty() && toDelete().isEmpty();
    }

    private List<String> toPut() {
        return wanted.keySet().stream()
                .filter(key -> !othersKeys.contains(key))
                .filter(key -> !held.containsKey(key) || !held.get(key).value.equals(wanted.get(key)))
                .toList();
    }

    private List<String> toDelete() {
        return held.keySet().stream().filter(key -> !wanted.containsKey(key)).toList();
    }

    private void tell() {
        boolean now = toBeHeard.get() == 0 && (wanted.isEmpty() ? former.isEmpty() : id != 0 && isWritten());
        if (now) {
            problem = null;
        }
        if (!now) {
            outOfOrder();
        } else if (!inOrder) {
            inOrder = true;
            changed.run();
        }
        if (ending != null && id == 0 && former.isEmpty() && !busy && !revoking) {
            ending.complete(true);
        }
    }

    private void outOfOrder() {
        if (inOrder) {
            inOrder = false;
            changed.run();
        }
    }

    private void setAlarm() {
        long now = System.nanoTime();
        long next = Long.MAX_VALUE;
        if (id != 0) {
            next = renewing ? renewed + ttl.toNanos() / 3 * 2 - now : renewAt - now;
        }
        if (!busy && !wanted.isEmpty()) {
            boolean onlyToLook = id != 0 && isWritten();
            next = Math.min(next, onlyToLook ? Math.max(tryAt - now, lookAt - now) : tryAt - now);
        }
        if (mayRevoke()) {
            next = Math.min(next, tryAt - now);
        }
        alarmIn(next);
    }

    /** @param nanos {@link Long#MAX_VALUE} for never */
    private void alarmIn(long nanos) {
        if (alarm != null) {
            alarm.cancel(false);
            alarm = null;
        }
        if (nanos != Long.MAX_VALUE && !etcd.timer().isShutdown()) {
            // Never at once again: a condition that this does not know of must not make a busy loop.
            alarm = etcd.timer().schedule(() -> onTimer(this::step), Math.max(nanos, 1_000_000), TimeUnit.NANOSECONDS);
        }
    }

    private <T> void ask(Function<Client, CompletableFuture<T>> question, Consumer<T> done, Consumer<Failure> failed) {
        etcd.start(question)
                .whenComplete((answer, problem) -> onTimer(() -> {
                    if (problem == null) {
                        done.accept(answer);
                    } else {
                        failed.accept(etcd.failure(problem));
                    }
                    step();
                }));
    }

    /** As {@link #ask}, for what is done one after the other, with the pauses between attempts. */
    private <T> void work(Function<Client, CompletableFuture<T>> question, Consumer<T> done) {
        work(question, done, this::failed);
    }

    private <T> void work(
            Function<Client, CompletableFuture<T>> question, Consumer<T> done, Consumer<Failure> notDone) {
        busy = true;
        long lease = id;
        ask(
                question,
                answer -> {
                    busy = false;
                    failures = 0;
                    if (id == lease) {
                        done.accept(answer);
                    }
                },
                failure -> {
                    busy = false;
                    if (id == lease) {
                        notDone.accept(failure);
                    }
                });
    }

    private void failed(Failure failure) {
        if (id != 0 && EtcdClient.isLeaseNotFound(failure)) {
            lose("etcd has ended it");
            return;
        }
        failures++;
        tryAt = System.nanoTime()
                + (ending == null ? RETRY : HURRY).delay(failures).toNanos();
        // What was written is not known: look, as soon as something is answered again.
        lookAt = System.nanoTime();
        Failure before = problem;
        problem = failure;
        if (failure.isTransient()) {
            etcd.away(failure);
        } else if (before == null || before.exit() != failure.exit()) {
            log.error(failure.getMessage() + "; trying on");
        }
    }

    // --- what is done

    private void grant() {
        busy = true;
        long sent = System.nanoTime();
        long seconds = Math.max(1, (askedTtl.toMillis() + 999) / 1_000);
        ask(
                c -> c.getLeaseClient().grant(seconds),
                granted -> {
                    busy = false;
                    failures = 0;
                    id = granted.getID();
                    ttl = Duration.ofSeconds(granted.getTTL());
                    renewedAt(sent);
                    lookAt = System.nanoTime() + sometimeBefore(lookEvery).toNanos();
                    log.debug("lease", "id", Long.toHexString(id), "ttl", ttl);
                },
                failure -> {
                    busy = false;
                    failed(failure);
                });
    }

    private void renewedAt(long sent) {
        renewed = sent;
        renewalsFailed = 0;
        notRenewed = null;
        renewAt = sent + sometimeBefore(ttl.dividedBy(3)).toNanos();
    }

    /** So that what was granted together is not renewed together for ever. */
    private static Duration sometimeBefore(Duration time) {
        return Duration.ofNanos(
                (long) (time.toNanos() * ThreadLocalRandom.current().nextDouble(0.8, 1)));
    }

    private void renew() {
        renewing = true;
        long lease = id;
        long sent = System.nanoTime();
        ask(
                c -> c.getLeaseClient().keepAliveOnce(lease),
                (LeaseKeepAliveResponse answer) -> {
                    renewing = false;
                    if (id == lease && answer.getTTL() <= 0) {
                        lose("etcd has ended it");
                    } else if (id == lease) {
                        ttl = Duration.ofSeconds(answer.getTTL());
                        renewedAt(sent);
                    }
                },
                failure -> {
                    renewing = false;
                    if (id == lease && EtcdClient.isLeaseNotFound(failure)) {
                        lose("etcd has ended it");
                    } else if (id == lease) {
                        renewalFailed(failure);
                    }
                });
    }

    private void renewalFailed(Failure failure) {
        if (failure.isTransient()) {
            etcd.away(failure);
        } else if (notRenewed == null || notRenewed.exit() != failure.exit()) {
            log.error("the lease is not renewed: " + failure.getMessage() + "; trying on");
        }
        notRenewed = failure;
        renewalsFailed++;
        Backoff pause = new Backoff(ttl.dividedBy(20), ttl.dividedBy(6));
        renewAt = System.nanoTime() + pause.delay(renewalsFailed).toNanos();
    }

    /** The difference, as much of it as fits into one transaction; what is removed has to be as we have put it. */
    private void write() {
        long lease = id;
        PutOption onLease = PutOption.builder().withLeaseId(lease).build();
        Map<String, String> puts = new HashMap<>();
        toPut().stream().limit(MOST_OPERATIONS).forEach(key -> puts.put(key, wanted.get(key)));
        List<String> deletes =
                toDelete().stream().limit(MOST_OPERATIONS - puts.size()).toList();
        List<Op> ops = new ArrayList<>();
        puts.forEach((key, value) -> ops.add(Op.put(EtcdClient.bytes(key), EtcdClient.bytes(value), onLease)));
        for (String key : deletes) {
            ByteSequence name = EtcdClient.bytes(key);
            Cmp isOurs = new Cmp(name, Cmp.Op.EQUAL, CmpTarget.modRevision(held.get(key).revision));
            ops.add(Op.txn(new Cmp[] {isOurs}, new Op[] {Op.delete(name, DeleteOption.DEFAULT)}, new Op[0]));
        }
        work(
                c -> c.getKVClient().txn().Then(ops.toArray(Op[]::new)).commit(),
                (TxnResponse answer) -> {
                    long revision = answer.getHeader().getRevision();
                    puts.forEach((key, value) -> held.put(key, new Held(value, revision)));
                    deletes.forEach(held::remove);
                },
                failure -> {
                    doubtUntil = System.nanoTime() + ttl.toNanos();
                    failed(failure);
                });
    }

    /** Whether everything still hangs on our lease, and nothing else does; in doubt, whether the values are ours, too. */
    private void look() {
        long lease = id;
        boolean inDoubt = doubtUntil - System.nanoTime() > 0;
        lookAt = System.nanoTime() + sometimeBefore(lookEvery).toNanos();
        if (inDoubt) {
            lookSoon();
        }
        LeaseOption withKeys = LeaseOption.builder().withAttachedKeys().build();
        work(c -> c.getLeaseClient().timeToLive(lease, withKeys), (LeaseTimeToLiveResponse answer) -> {
            if (answer.getTTL() <= 0) {
                lose("etcd has ended it");
                return;
            }
            Set<String> attached = answer.getKeys().stream()
                    .map(key -> key.toString(StandardCharsets.UTF_8))
                    .collect(Collectors.toSet());
            if (attached.stream().anyMatch(key -> !held.containsKey(key) && !wanted.containsKey(key))) {
                // A write whose answer was lost was done after all, and is no longer wanted.
                retire();
                return;
            }
            Stream<String> ours = held.keySet().stream().filter(key -> inDoubt || !attached.contains(key));
            List<String> questionable = Stream.concat(ours, othersKeys.stream()).toList();
            if (!questionable.isEmpty()) {
                find(questionable);
            }
        });
    }

    private void lookSoon() {
        lookAt = Math.min(lookAt - System.nanoTime(), LOOK_SOON.toNanos()) + System.nanoTime();
    }

    /** What has become of keys, one transaction after the other. */
    private void find(List<String> all) {
        List<String> keys = all.subList(0, Math.min(all.size(), MOST_OPERATIONS));
        Op[] gets = keys.stream()
                .map(key -> Op.get(EtcdClient.bytes(key), GetOption.DEFAULT))
                .toArray(Op[]::new);
        work(c -> c.getKVClient().txn().Then(gets).commit(), (TxnResponse answer) -> {
            for (int i = 0; i < keys.size(); i++) {
                List<KeyValue> found = answer.getGetResponses().get(i).getKvs();
                if (found.isEmpty()) {
                    removedBySomebody(keys.get(i));
                } else if (found.get(0).getLease() == id) {
                    held.put(
                            keys.get(i),
                            new Held(
                                    found.get(0).getValue().toString(StandardCharsets.UTF_8),
                                    found.get(0).getModRevision()));
                    othersKeys.remove(keys.get(i));
                } else {
                    takenBySomebody(keys.get(i), found.get(0).getLease());
                }
            }
            if (!othersKeys.isEmpty()) {
                lookSoon();
            }
            if (keys.size() < all.size()) {
                find(all.subList(keys.size(), all.size()));
            }
        });
    }

    private void removedBySomebody(String key) {
        boolean ours = held.remove(key) != null;
        if (whenDeleted == Deleted.PUT_AGAIN) {
            othersKeys.remove(key);
            log.info("is gone, putting it again", "key", key);
        } else if (wanted.containsKey(key) && ours) {
            othersKeys.add(key);
            log.info("was removed by somebody, and stays so", "key", key);
        }
    }

    private void takenBySomebody(String key, long by) {
        held.remove(key);
        if (wanted.containsKey(key) && othersKeys.add(key)) {
            log.warn("is put by somebody else, who is let have it", "key", key, "lease", Long.toHexString(by));
        }
    }

    private void lose(String cause) {
        losses++;
        log.info("lease lost, getting a new one", "id", Long.toHexString(id), "cause", cause);
        tryAt = System.nanoTime() + RETRY.delay(1).toNanos();
        retire();
    }

    /** The lease is not renewed any more, and revoked when what is wanted hangs on another one. */
    private void retire() {
        former.add(id);
        id = 0;
        held.clear();
    }

    private void revoke(long lease) {
        revoking = true;
        ask(
                c -> c.getLeaseClient().revoke(lease),
                answer -> {
                    revoking = false;
                    former.remove(lease);
                },
                failure -> {
                    revoking = false;
                    if (EtcdClient.isLeaseNotFound(failure)) {
                        former.remove(lease);
                    } else {
                        failed(failure);
                    }
                });
    }
}
