package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonObject;
import io.github.rollcall.harness.EtcdServer;
import java.net.URI;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link EtcdPrefix}: what it promises, on a real etcd and over connections that break. */
@Tag("once")
class EtcdPrefixTest extends EtcdPrefixScene {
    // --- reading

    @Test
    void allAreReadInPagesAtOneRevisionAndWhatIsWrittenMeanwhileComesByTheWatch() throws Exception {
        putMany(etcd, 0, 12_000);
        Map<String, Long> before = revisions(etcd);
        proxy.meanwhile("kv/range", () -> {
            etcd.put(key(0), "on the page that was read");
            delete(key(1));
            etcd.put(key(11_999), "on a page yet to come");
            delete(key(7_000));
            etcd.put(A, "");
        });

        run(prefix(proxy.url()));

        awaitAllOf(etcd);
        assertThat(told.changes.get(0)).isEqualTo(before);
        assertThat(told.since()).containsOnlyKeys(key(0), key(1), key(11_999), key(7_000), A);
    }

    @Test
    void ofAHundredThousandThatAreWrittenAllTheTimeNoneIsLostOrToldTwice() throws Exception {
        putMany(etcd, 0, 100_000);
        Future<?> writer = threads.submit(() -> {
            for (int n = 0; told.since().size() < 100; n += 7) {
                etcd.put(key(n * 31 % 100_000), "again");
                delete(key(n * 37 % 100_000));
            }
        });
        run(prefix(etcd.url()));
        writer.get();
        awaitAllOf(etcd);

        deleteAll();

        await().until(told.now::isEmpty);
        assertThat(told.inOrder).containsOnly("changed");
    }

    @Test
    void noTwoKeysAreEverOneWhateverBytesTheyHave() {
        for (int last : List.of(0, 0x7f, 0xc3, 0xfe, 0xff)) {
            JsonObject put = new JsonObject();
            put.addProperty("key", Base64.getEncoder().encodeToString(new byte[] {'/', 'p', '/', (byte) last}));
            etcd.ask("kv/put", put);
        }

        prefix(etcd.url()).readOnce();

        assertThat(told.now).containsOnlyKeys(P + '\0', P + '\u007f', P + '\u00c3', P + '\u00fe', P + '\u00ff');
    }

    @Test
    void whatIsCompactedInTheMidstOfReadingHasToBeReadAnew() throws Exception {
        putMany(etcd, 0, TWO_PAGES);
        EtcdPrefix prefix = prefix(proxy.url());
        proxy.meanwhile("kv/range", () -> {
            delete(key(0));
            etcd.compact();
        });

        assertFails(Exit.TEMPORARY, prefix);
        prefix.readOnce();

        awaitAllOf(etcd);
    }

    @Test
    void thePagesOfTwoEtcdsAreNotTakenForOne() throws Exception {
        EtcdServer other = another();
        putMany(etcd, 0, TWO_PAGES);
        putMany(other, 10_000, 16_000);
        EtcdPrefix prefix = prefix(proxy.url());
        proxy.meanwhile("kv/range", () -> proxy.turnTo(other));

        assertFails(Exit.TEMPORARY, prefix);
        prefix.readOnce();

        awaitAllOf(other);
        assertThat(told.inOrder).containsExactly("etcd's cluster id has changed", "changed");
    }

    @Test
    void aPageThatIsGarbageOrEndsInTheMiddleOrDoesNotComeIsAFailureAndNothingIsTold() throws Exception {
        putMany(etcd, 0, TWO_PAGES);
        EtcdPrefix prefix = prefix(proxy.url());
        proxy.garble("kv/range", "<html>");
        proxy.pass("kv/range").garble("kv/range", "{}");
        proxy.pass("kv/range").cutAnswer("kv/range");
        proxy.pass("kv/range").loseAnswer("kv/range");

        for (int attempt = 1; attempt <= 4; attempt++) {
            assertFails(Exit.UNAVAILABLE, prefix);
        }
        prefix.readOnce();
        awaitAllOf(etcd);
    }

    private void assertFails(int exit, EtcdPrefix prefix) {
        Failure failure = catchThrowableOfType(Failure.class, prefix::readOnce);
        assertThat(failure).isNotNull();
        assertThat(failure.exit()).isEqualTo(exit);
        assertThat(told.changes).isEmpty();
    }

    // --- watching

    @Test
    void whatHappensInOneTransactionIsToldTogetherAndSoIsADeleteOfARange() throws Exception {
        run(prefix(etcd.url()));

        putMany(etcd, 0, 100);
        awaitAllOf(etcd);
        deleteAll();
        await().until(told.now::isEmpty);

        assertThat(told.changes.stream().map(Map::size)).containsExactly(0, 100, 100);
    }

    @Test
    void keysGoWithTheirLease() {
        JsonObject grant = new JsonObject();
        grant.addProperty("TTL", 3);
        String lease = etcd.ask("lease/grant", grant).get("ID").getAsString();
        new EtcdTxn().put(A, "", lease).put(B, "", lease).put(C, "", null).commit(patient(etcd));
        run(prefix(etcd.url()));

        await().until(() -> told.now.keySet().equals(Set.of(C)));

        assertThat(told.since()).containsOnlyKeys(A, B);
    }

    @Test
    void whatWasCompactedBehindItsBackIsReadAgain() {
        etcd.put(A, "");
        etcd.put(B, "");
        // After the reading, and before the watch that is to go on from there.
        proxy.meanwhile("kv/range", () -> {
            delete(A);
            etcd.put(B, "again");
            etcd.put(C, "");
            etcd.compact();
        });

        EtcdPrefix prefix = run(prefix(proxy.url()));

        awaitAllOf(etcd);
        etcd.put(D, "");
        awaitAllOf(etcd);
        assertThat(prefix.problem()).isNull();
    }

    @Test
    void aWatchThatBreaksOffGoesOnAfterOneRequestWhateverTheNumberOfKeys() throws Exception {
        putMany(etcd, 0, 12_000);
        run(prefix(proxy.url()));
        assertThat(proxy.done("kv/range")).isEqualTo(3);
        await().until(() -> proxy.done("watch") == 1);

        proxy.endWatches();
        await().until(() -> proxy.done("watch") == 2);
        assertThat(proxy.done("kv/range")).isEqualTo(3 + 1);
        etcd.put(key(0), "again");

        awaitAllOf(etcd);
        assertThat(told.since()).containsOnlyKeys(key(0));
    }

    @Test
    void aWatchThatIsGarbageOrEndsInTheMiddleIsTriedAgainAndNothingIsTold() {
        etcd.put(A, "");
        proxy.garble("watch", "<html>").garble("watch", "{}").cutAnswer("watch");
        proxy.garble("watch", "{\"result\":{\"header\":{\"clust");

        EtcdPrefix prefix = run(prefix(proxy.url()));

        // The one that was cut, and one that is in order.
        await().until(() -> proxy.done("watch") >= 2);
        assertThat(told.changes).hasSize(1);
        assertThat(prefix.problem()).isNull();
        etcd.put(B, "");
        awaitAllOf(etcd);
    }

    @Test
    void aSilentWatchIsNotTrustedForLongerThanWasSaid() {
        etcd.put(A, "");
        etcd.put(B, "");
        run(prefix(SHORT, proxy.url()));

        proxy.muteWatches();
        etcd.put(C, "");
        awaitAllOf(etcd);
        delete(B);
        awaitAllOf(etcd);
        etcd.put(D, "");
        delete(D);
        delete(C);
        awaitAllOf(etcd);
    }

    @Test
    void whatTheListenerCouldNotTakeIsToldAgain() {
        told.refusesNext = true;
        etcd.put(A, "");
        run(prefix(etcd.url()));

        told.refusesNext = true;
        new EtcdTxn().delete(A).put(B, "", null).commit(patient(etcd));

        awaitAllOf(etcd);
        assertThat(told.since()).isEqualTo(Map.of(A, EtcdPrefix.GONE, B, etcd.revision()));
    }

    @Test
    void endsWhenItsThreadIsInterrupted() {
        run(prefix(SHORT, etcd.url()));

        runner.interrupt();

        await().until(() -> !runner.isAlive());
    }

    // --- another etcd, or none

    @Test
    void anotherClusterIsToldBeforeWhatHasChangedByIt() {
        etcd.put(A, "");
        EtcdServer other = another();
        other.put(B, "");
        EtcdPrefix prefix = prefix(proxy.url());
        prefix.readOnce();

        proxy.turnTo(other);
        prefix.readOnce();

        awaitAllOf(other);
        assertThat(told.inOrder).containsExactly("changed", "etcd's cluster id has changed", "changed");
    }

    @Test
    void aWatchOfAnotherClusterIsNotBelieved() throws Exception {
        etcd.put(A, "");
        EtcdServer other = another();
        putMany(other, 0, 1_000);
        proxy.meanwhile("kv/range", () -> proxy.turnTo(other));

        run(prefix(proxy.url()));

        awaitAllOf(other);
        assertThat(told.inOrder).containsExactly("changed", "etcd's cluster id has changed", "changed");
    }

    @ParameterizedTest
    @CsvSource({
        "a, 0, etcd's revision went back from 3 to 2",
        // Meanwhile it has overtaken, and only the keys are known to be older.
        "a, 9, etcd's keys are of an earlier state than they were",
        // They are as many, and as old, as they were.
        "c d, 9, etcd's keys are of an earlier state than they were"
    })
    void anEtcdThatWasPutBackIsToldBeforeWhatHasChangedByIt(String keys, int more, String why) {
        etcd.put(B, "");
        etcd.put(A, "");
        EtcdPrefix prefix = prefix(etcd.url());
        prefix.readOnce();

        etcd.kill();
        etcd.loseData();
        etcd.startAgain();
        List.of(keys.split(" ")).forEach(key -> etcd.put(P + key, ""));
        IntStream.range(0, more).forEach(n -> etcd.put("/q", ""));
        prefix.readOnce();

        awaitAllOf(etcd);
        assertThat(told.inOrder).containsExactly("changed", why, "changed");
    }

    @Test
    void whatChangedByAnotherEtcdIsToldAlsoWhenItCouldNotBeReadAtOnce() {
        etcd.put(A, "");
        EtcdServer other = another();
        other.put(B, "");
        EtcdPrefix prefix = prefix(proxy.url());
        prefix.readOnce();

        // As many keys, and of the same revision.
        proxy.turnTo(other).pass("kv/range").loseAnswer("kv/range");
        assertThat(catchThrowableOfType(Failure.class, prefix::readOnce)).isNotNull();
        prefix.readOnce();

        awaitAllOf(other);
        assertThat(told.inOrder).containsExactly("changed", "etcd's cluster id has changed", "changed");
    }

    @Test
    void anEtcdThatIsStartedAgainIsWatchedOn() {
        etcd.put(A, "");
        EtcdPrefix prefix = run(prefix(etcd.url()));

        etcd.kill();
        await().until(() -> prefix.problem() != null);
        assertThat(prefix.problem().exit()).isEqualTo(Exit.UNAVAILABLE);
        Instant heard = prefix.heard();
        etcd.startAgain();
        etcd.put(B, "");

        awaitAllOf(etcd);
        await().until(() -> prefix.problem() == null);
        assertThat(prefix.heard()).isAfter(heard);
        assertThat(told.inOrder).containsExactly("changed", "changed");
    }

    @Test
    void aMemberThatFallsSilentIsLeftForAnotherAndSoIsOneThatIsAlone() {
        List<EtcdServer> members = EtcdServer.startCluster(3);
        open.addAll(members);
        EtcdServer last = members.get(2);
        EtcdPrefix prefix =
                run(prefix(SHORT, members.stream().map(EtcdServer::url).toArray(URI[]::new)));

        members.get(0).freeze();
        awaitToldWhenPut(last, A);
        members.get(1).kill();
        await().until(() -> prefix.problem() != null);
        members.get(0).thaw();
        awaitToldWhenPut(last, B);

        await().until(() -> prefix.problem() == null);
        assertThat(told.inOrder).containsOnly("changed");
    }

    /** While there is no leader a put fails, and may be done nevertheless. */
    private void awaitToldWhenPut(EtcdServer member, String key) {
        await().ignoreExceptions().until(() -> {
            if (!member.all(P).containsKey(key)) {
                member.put(key, "");
            }
            return told.now.containsKey(key);
        });
    }
}
