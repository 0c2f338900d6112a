package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonObject;
import io.github.rollcall.harness.EtcdProxy;
import io.github.rollcall.harness.EtcdServer;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;

/** An etcd of its own, a proxy before it that breaks nothing unless it is told to, and who is told of the keys. */
abstract class EtcdPrefixScene {
    static final String P = "/p/";
    static final String A = P + "a";
    static final String B = P + "b";
    static final String C = P + "c";
    static final String D = P + "d";
    /** More than a page, which has 5,000. */
    static final int TWO_PAGES = 5_100;
    /** Longer than any test. */
    static final Duration LONG = Duration.ofMinutes(5);

    static final Duration SHORT = Duration.ofSeconds(1);

    final EtcdServer etcd = EtcdServer.start();
    final EtcdProxy proxy = EtcdProxy.before(etcd);
    final ExecutorService threads = Executors.newFixedThreadPool(8);
    final Told told = new Told();
    final List<AutoCloseable> open = new ArrayList<>(List.of(etcd, proxy));
    Thread runner;

    @AfterEach
    void close() throws Exception {
        if (runner != null) {
            runner.interrupt();
        }
        threads.shutdownNow();
        for (AutoCloseable one : open) {
            one.close();
        }
    }

    /** Takes down what is told. */
    static final class Told implements EtcdPrefix.Listener {
        final List<Map<String, Long>> changes = new CopyOnWriteArrayList<>();
        final List<String> inOrder = new CopyOnWriteArrayList<>();
        final Map<String, Long> now = new ConcurrentHashMap<>();
        final List<String> twice = new CopyOnWriteArrayList<>();
        volatile boolean refusesNext;

        @Override
        public void changed(Map<String, Long> revisions) {
            if (refusesNext) {
                refusesNext = false;
                throw new Failure(Exit.TEMPORARY, "not now");
            }
            revisions.forEach((key, revision) -> {
                Long before = revision == EtcdPrefix.GONE ? now.remove(key) : now.put(key, revision);
                if (revision.equals(before)) {
                    twice.add(key);
                }
            });
            inOrder.add("changed");
            changes.add(revisions);
        }

        @Override
        public void reset(String why) {
            inOrder.add(why);
        }

        /** All that was told after the first call, as if at once. */
        Map<String, Long> since() {
            Map<String, Long> all = new HashMap<>();
            changes.stream().skip(1).forEach(all::putAll);
            return all;
        }
    }

    EtcdPrefix prefix(URI... endpoints) {
        return prefix(LONG, endpoints);
    }

    EtcdPrefix prefix(Duration recheck, URI... endpoints) {
        EtcdGateway gateway = new EtcdOptions().gateway(List.of(endpoints), Duration.ofSeconds(2));
        return new EtcdPrefix(gateway, P, recheck, told);
    }

    /** Lets it run, and returns when it has told for the first time. */
    EtcdPrefix run(EtcdPrefix prefix) {
        runner = new Thread(prefix::run, "prefix");
        runner.setDaemon(true);
        runner.start();
        await().until(() -> !told.changes.isEmpty());
        return prefix;
    }

    void awaitAllOf(EtcdServer server) {
        Map<String, Long> all = revisions(server);
        await().pollInterval(Duration.ofMillis(20)).until(() -> told.now.equals(all));
        assertThat(told.twice).isEmpty();
    }

    static EtcdGateway patient(EtcdServer server) {
        return new EtcdOptions().gateway(List.of(server.url()), Duration.ofSeconds(30));
    }

    static Map<String, Long> revisions(EtcdServer server) {
        return patient(server).revisions(P);
    }

    void delete(String key) {
        new EtcdTxn().delete(key).commit(patient(etcd));
    }

    void deleteAll() {
        new EtcdTxn().deleteRange(P, "/p0").commit(patient(etcd));
    }

    static String key(int n) {
        return P + "%06d".formatted(n);
    }

    void putMany(EtcdServer server, int from, int to) throws Exception {
        EtcdGateway gateway = patient(server);
        List<Callable<JsonObject>> all = new ArrayList<>();
        for (int begin = from; begin < to; begin += EtcdTxn.MOST) {
            EtcdTxn txn = new EtcdTxn();
            IntStream.range(begin, begin + EtcdTxn.MOST).forEach(n -> txn.put(key(n), "", null));
            all.add(() -> txn.commit(gateway));
        }
        for (Future<JsonObject> one : threads.invokeAll(all)) {
            one.get();
        }
    }

    EtcdServer another() {
        EtcdServer other = EtcdServer.start();
        open.add(other);
        return other;
    }
}
