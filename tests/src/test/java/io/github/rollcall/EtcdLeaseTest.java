package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonObject;
import io.github.rollcall.EtcdLease.Deleted;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.EtcdWatcher;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@link EtcdLease}: what it guarantees, on real etcd. */
@Tag("once")
class EtcdLeaseTest {
    private static final Duration TTL = Duration.ofSeconds(3);
    private static final Duration LOOK = Duration.ofSeconds(1);
    private static final Map<String, String> KEYS = Map.of("/p/web/80/host", "10.0.0.1", "/p/web/80/port", "8080");
    private static final Duration SOON = Duration.ofSeconds(10);

    private final List<AutoCloseable> open = new ArrayList<>();

    @AfterEach
    void close() throws Exception {
        for (AutoCloseable one : open) {
            one.close();
        }
    }

    @Command
    private static final class Options {
        @Mixin
        private EtcdOptions etcd;
    }

    private <T extends AutoCloseable> T closed(T one) {
        open.add(0, one);
        return one;
    }

    private EtcdServer etcd() {
        return closed(EtcdServer.start());
    }

    private EtcdClient client(EtcdServer... members) {
        Options parsed = new Options();
        String urls =
                java.util.Arrays.stream(members).map(m -> m.url().toString()).collect(Collectors.joining(","));
        new CommandLine(parsed).parseArgs("--endpoints", urls);
        return closed(parsed.etcd.client(Duration.ofSeconds(2)));
    }

    private static EtcdLease lease(EtcdClient client) {
        return lease(client, Deleted.PUT_AGAIN);
    }

    private static EtcdLease longLease(EtcdClient client) {
        return longLease(client, LOOK);
    }

    private static EtcdLease longLease(EtcdClient client, Duration lookEvery) {
        return new EtcdLease(client, "web", Duration.ofSeconds(15), lookEvery, Deleted.PUT_AGAIN, () -> {});
    }

    private static EtcdLease lease(EtcdClient client, Deleted deleted) {
        return new EtcdLease(client, "web", TTL, LOOK, deleted, () -> {});
    }

    private static void awaitKeys(EtcdServer etcd, Map<String, String> keys) {
        await().pollInterval(Duration.ofMillis(20)).ignoreExceptions().untilAsserted(() -> assertThat(etcd.all("/p/"))
                .isEqualTo(new TreeMap<>(keys)));
    }

    private static void awaitOrder(EtcdLease lease) {
        await().until(() -> lease.id() != 0 && lease.isInOrder());
    }

    private static void revoke(EtcdServer etcd, long id) {
        JsonObject request = new JsonObject();
        request.addProperty("ID", id);
        etcd.ask("lease/revoke", request);
    }

    private static void delete(EtcdServer etcd, String key) {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(key));
        etcd.ask("kv/deleterange", request);
    }

    @Test
    void keysComeInOneTransactionAndARefreshWritesNothing() {
        EtcdServer etcd = etcd();
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));
        EtcdLease lease = longLease(client(etcd));

        lease.want(KEYS);
        awaitOrder(lease);
        long revision = etcd.revision();
        await().during(Duration.ofSeconds(11)).until(() -> etcd.all("/p/").equals(KEYS));

        assertThat(watcher.now()).isEqualTo(new TreeMap<>(KEYS));
        assertThat(watcher.events()).hasSize(2);
        assertThat(watcher.events().stream().map(EtcdWatcher.Event::revision).distinct())
                .hasSize(1);
        assertThat(etcd.revision()).isEqualTo(revision);
        assertThat(lease.losses()).isZero();
    }

    @Test
    void onlyTheDifferenceIsWritten() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(Map.of("/p/a", "1", "/p/b", "2", "/p/c", "3"));
        awaitOrder(lease);
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));

        lease.want(Map.of("/p/a", "1", "/p/b", "22", "/p/d", "4"));
        awaitKeys(etcd, Map.of("/p/a", "1", "/p/b", "22", "/p/d", "4"));

        await().until(() -> watcher.events().size() == 3);
        assertThat(watcher.deleted()).containsExactly("/p/c");
        assertThat(watcher.events().stream().map(EtcdWatcher.Event::revision).distinct())
                .hasSize(1);

        lease.want(Map.of());
        awaitKeys(etcd, Map.of());
        await().until(() -> lease.id() == 0);
        lease.want(KEYS);
        awaitKeys(etcd, KEYS);
    }

    @Test
    void moreKeysThanATransactionTakesAreThereAsWell() throws Exception {
        EtcdServer etcd = etcd();
        Map<String, String> many =
                IntStream.range(0, 333).boxed().collect(Collectors.toMap(n -> "/p/" + n, n -> "v" + n));
        EtcdLease lease = lease(client(etcd));
        lease.want(many);
        awaitKeys(etcd, many);
        Map<String, String> others =
                IntStream.range(150, 500).boxed().collect(Collectors.toMap(n -> "/p/" + n, n -> "v" + n % 200));
        lease.want(others);
        awaitKeys(etcd, others);

        assertThat(lease.end(SOON).get()).isTrue();
        awaitKeys(etcd, Map.of());
    }

    @Test
    void ofManyKeysThatSomebodyRemovesAllAreBackAtOnce() {
        EtcdServer etcd = etcd();
        Map<String, String> many =
                IntStream.range(0, 250).boxed().collect(Collectors.toMap(n -> "/p/" + n, n -> "v" + n));
        EtcdLease lease = longLease(client(etcd), Duration.ofSeconds(6));
        lease.want(many);
        awaitOrder(lease);
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));

        JsonObject all = new JsonObject();
        all.addProperty("key", EtcdGateway.encode("/p/"));
        all.addProperty("range_end", EtcdGateway.encode("/p0"));
        etcd.ask("kv/deleterange", all);
        awaitKeys(etcd, many);

        await().until(() -> watcher.events().size() == 500);
        List<Instant> put =
                watcher.events().stream().skip(250).map(EtcdWatcher.Event::at).toList();
        // By one look, not by the next one, which is four seconds later at least.
        assertThat(Duration.between(put.get(0), put.get(249))).isLessThan(Duration.ofSeconds(4));
    }

    @Test
    void aWriteThatIsDoneAfterItsSuccessorIsNoticed() {
        EtcdServer etcd = etcd();
        EtcdLease lease = longLease(client(etcd));
        lease.want(Map.of("/p/a", "1"));
        awaitOrder(lease);
        etcd.freeze();
        lease.want(Map.of("/p/a", "2"));
        await().until(() -> lease.problem() != null);
        lease.want(Map.of("/p/a", "3"));
        etcd.thaw();
        awaitKeys(etcd, Map.of("/p/a", "3"));
        awaitOrder(lease);

        JsonObject late = new JsonObject();
        late.addProperty("key", EtcdGateway.encode("/p/a"));
        late.addProperty("value", EtcdGateway.encode("2"));
        late.addProperty("lease", lease.id());
        etcd.ask("kv/put", late);

        awaitKeys(etcd, Map.of("/p/a", "3"));
    }

    @Test
    void aLostLeaseIsReplaced() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);

        revoke(etcd, lease.id());

        awaitKeys(etcd, Map.of());
        awaitKeys(etcd, KEYS);
        assertThat(lease.losses()).isOne();
    }

    @Test
    void keysThatSomebodyRemovesAreBackOrStayAway() {
        EtcdServer etcd = etcd();
        EtcdClient client = client(etcd);
        EtcdLease back = lease(client);
        EtcdLease away = lease(client, Deleted.LET_BE);
        back.want(Map.of("/p/back", "1"));
        away.want(Map.of("/p/away", "1", "/p/other", "1"));
        awaitKeys(etcd, Map.of("/p/back", "1", "/p/away", "1", "/p/other", "1"));

        delete(etcd, "/p/back");
        delete(etcd, "/p/away");

        await().during(LOOK.multipliedBy(3))
                .until(() -> etcd.all("/p/").equals(Map.of("/p/back", "1", "/p/other", "1")));
        away.want(Map.of("/p/away", "2"));
        awaitKeys(etcd, Map.of("/p/back", "1", "/p/away", "2"));
    }

    @Test
    void whoPutsLastHasAKeyAndWhenItIsGoneItIsPutAgain() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);

        etcd.put("/p/web/80/port", "9090");
        Map<String, String> mixed = Map.of("/p/web/80/host", "10.0.0.1", "/p/web/80/port", "9090");
        await().during(LOOK.multipliedBy(3)).until(() -> etcd.all("/p/").equals(mixed));
        delete(etcd, "/p/web/80/port");

        awaitKeys(etcd, KEYS);
    }

    @Test
    void aSuccessorTakesTheKeysOverAndKeepsThemWhenTheOldOneEnds() throws Exception {
        EtcdServer etcd = etcd();
        EtcdLease old = longLease(client(etcd));
        old.want(KEYS);
        awaitOrder(old);
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));
        EtcdLease successor = longLease(client(etcd));
        successor.want(KEYS);
        awaitOrder(successor);

        assertThat(old.end(SOON).get()).isTrue();
        await().during(TTL).until(() -> etcd.all("/p/").equals(KEYS));

        assertThat(watcher.deleted()).isEmpty();
        assertThat(successor.end(SOON).get()).isTrue();
        awaitKeys(etcd, Map.of());
    }

    @Test
    void anOldOneThatIsStillThereRemovesNothingOfItsSuccessors() {
        EtcdServer etcd = etcd();
        EtcdLease old = longLease(client(etcd));
        old.want(KEYS);
        awaitOrder(old);
        EtcdLease successor = longLease(client(etcd));
        successor.want(KEYS);
        awaitOrder(successor);
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));

        old.want(Map.of("/p/other", "1"));
        await().until(() -> etcd.all("/p/other").size() == 1);

        assertThat(watcher.deleted()).isEmpty();
    }

    @Test
    void aCopyThatDiesLeavesNothingAfterTheTtlAndAnotherWithinItLeavesNoGap() {
        EtcdServer etcd = etcd();
        EtcdClient dying = client(etcd);
        EtcdLease old = lease(dying);
        old.want(KEYS);
        awaitOrder(old);
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/p/"));
        // As with kill -9: nothing more is said to etcd.
        dying.close();

        EtcdClient client = client(etcd);
        EtcdLease successor = lease(client);
        successor.want(KEYS);
        awaitOrder(successor);
        await().during(TTL.multipliedBy(2)).atMost(TTL.multipliedBy(3)).until(() -> etcd.all("/p/")
                .equals(KEYS));
        assertThat(watcher.deleted()).isEmpty();
        client.close();

        await().atMost(TTL.multipliedBy(3)).until(() -> etcd.all("/p/").isEmpty());
    }

    @Test
    void etcdAwayForLessThanTheTtlIsNoticedByNobody() {
        EtcdServer etcd = etcd();
        EtcdLease lease = longLease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);
        long id = lease.id();
        long revision = etcd.revision();

        etcd.kill();
        etcd.startAgain();

        // Renewed every five seconds, lost after ten.
        await().during(Duration.ofSeconds(11)).until(() -> etcd.all("/p/").equals(KEYS));
        assertThat(lease.id()).isEqualTo(id);
        assertThat(etcd.revision()).isEqualTo(revision);
    }

    @Test
    void tokensThatExpireHarmNothing() throws Exception {
        EtcdServer etcd = closed(EtcdServer.start("--auth-token-ttl", "1"));
        etcd.enableAuth("secret");
        Options parsed = new Options();
        new CommandLine(parsed).parseArgs("--endpoints", etcd.url().toString());
        parsed.etcd.environment = Map.of("ETCDCTL_USER", "root:secret");
        EtcdClient client = closed(parsed.etcd.client(Duration.ofSeconds(2)));
        EtcdLease lease = longLease(client);
        lease.want(KEYS);
        awaitOrder(lease);
        Map<String, String> others = Map.of("/p/a", "1");

        await().during(Duration.ofSeconds(7)).until(() -> lease.isInOrder() && lease.losses() == 0);
        lease.want(others);
        await().until(() -> lease.isInOrder()
                && client.ask(c -> c.getKVClient().get(EtcdClient.bytes("/p/a")))
                                .getCount()
                        == 1);
        await().during(Duration.ofSeconds(4)).until(() -> lease.isInOrder() && lease.losses() == 0);
        assertThat(lease.end(SOON).get()).isTrue();
    }

    @Test
    void etcdFrozenForLongerThanTheTtlHasTheKeysAgainAfterwards() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);

        etcd.freeze();
        await().atMost(Duration.ofSeconds(30)).until(() -> lease.losses() == 1);
        assertThat(lease.isInOrder()).isFalse();
        etcd.thaw();

        awaitOrder(lease);
        await().during(TTL.multipliedBy(2)).atMost(TTL.multipliedBy(3)).until(() -> etcd.all("/p/")
                .equals(KEYS));
    }

    @Test
    void etcdThatHasLostItsDataHasTheKeysAgain() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);

        etcd.kill();
        etcd.loseData();
        etcd.startAgain();

        awaitKeys(etcd, KEYS);
    }

    @Test
    void whatIsNoLongerWantedGoesAlsoWhenEtcdWasAwayMeanwhile() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);
        etcd.kill();

        lease.want(Map.of());
        etcd.startAgain();

        // Not only when the lease, to which a restart gives its full time again, has ended.
        awaitKeys(etcd, Map.of());
        await().until(lease::isInOrder);
    }

    @Test
    void anEndWhileEtcdIsSilentIsOverInTimeAndSaysThatKeysMayBeLeft() throws Exception {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);
        etcd.freeze();

        assertThat(lease.end(Duration.ofSeconds(1)).get()).isFalse();

        etcd.thaw();
        awaitKeys(etcd, Map.of());
    }

    @Test
    void aCompactionHarmsNothing() {
        EtcdServer etcd = etcd();
        EtcdLease lease = lease(client(etcd));
        lease.want(KEYS);
        awaitOrder(lease);
        etcd.put("/q", "1");
        etcd.compact();

        await().during(TTL.multipliedBy(2)).atMost(TTL.multipliedBy(3)).until(() -> etcd.all("/p/")
                .equals(KEYS));
        lease.want(Map.of("/p/a", "1"));
        awaitKeys(etcd, Map.of("/p/a", "1"));
    }

    @Test
    void withThreeMembersTheLeaderMayDieAndTheQuorumBeLost() {
        List<EtcdServer> members = EtcdServer.startCluster(3);
        members.forEach(this::closed);
        EtcdLease lease = lease(client(members.toArray(EtcdServer[]::new)));
        lease.want(KEYS);
        awaitOrder(lease);
        EtcdServer leader =
                members.stream().filter(EtcdServer::isLeader).findFirst().orElseThrow();
        List<EtcdServer> rest = members.stream().filter(m -> m != leader).toList();

        leader.kill();
        await().during(TTL.multipliedBy(2))
                .atMost(Duration.ofSeconds(30))
                .ignoreExceptions()
                .until(() -> rest.get(0).all("/p/").equals(KEYS));
        rest.get(1).kill();
        await().atMost(Duration.ofSeconds(30)).until(() -> lease.losses() >= 1);
        leader.startAgain();

        awaitKeys(leader, KEYS);
        awaitOrder(lease);
        await().during(TTL.multipliedBy(2)).atMost(Duration.ofSeconds(30)).until(() -> leader.all("/p/")
                .equals(KEYS));
    }
}
