package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.Slot;
import io.github.rollcall.SlotClaim;
import io.github.rollcall.harness.EtcdProxy;
import io.github.rollcall.harness.EtcdServer;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The protocol of {@code --slot}, on a real etcd and over connections that break. */
@Tag("once")
class SlotClaimTest {
    private final EtcdServer etcd = EtcdServer.start();
    private final EtcdProxy proxy = EtcdProxy.before(etcd);
    private final Slot slot = Slot.at(Instant.now(), "backup", Duration.ofSeconds(10));
    private final SlotClaim ours = claim(proxy.url(), "i-ours");
    private final SlotClaim theirs = claim(etcd.url(), "i-theirs");

    @AfterEach
    void end() {
        proxy.close();
        etcd.close();
    }

    private SlotClaim claim(URI url, String instance) {
        return new SlotClaim(EtcdServer.gateway(url), slot, instance);
    }

    private JsonObject kept() {
        return JsonParser.parseString(etcd.all(slot.key()).get(slot.key())).getAsJsonObject();
    }

    @Test
    void saysWhoRanItWhenAndHowItEnded() {
        assertThat(theirs.holder()).isEmpty();
        assertThat(ours.claim()).isTrue();
        assertThat(ours.start()).isTrue();
        ours.end(3);

        SlotClaim.Holder holder = theirs.holder().orElseThrow();
        assertThat(holder.instance()).isEqualTo("i-ours");
        assertThat(holder.exit()).isEqualTo(3);
        assertThat(List.of(holder.claimed(), holder.started(), holder.ended())).isSorted();
        assertThat(holder.toString()).startsWith("started by i-ours at ").contains("ended with 3 at ");
    }

    @Test
    void ofManyAtOnceOneGetsIt() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        Callable<Boolean> run = () -> {
            SlotClaim claim = claim(etcd.url(), "i-some");
            return claim.claim() && claim.start();
        };
        int taken = 0;
        for (Future<Boolean> one : threads.invokeAll(List.of(run, run, run, run, run, run, run, run))) {
            taken += one.get() ? 1 : 0;
        }
        threads.shutdown();

        assertThat(taken).isOne();
    }

    @Test
    void aClaimWhoseHolderDiedBeforeItStartedIsAnybodysAgain() {
        assertThat(ours.claim()).isTrue();
        assertThat(theirs.claim()).isFalse();

        await().atMost(Duration.ofSeconds(60)).until(theirs::claim);

        assertThat(theirs.start()).isTrue();
        assertThat(ours.start()).as("the first holder, back from the dead").isFalse();
        assertThat(kept().get("instance").getAsString()).isEqualTo("i-theirs");
    }

    @Test
    void oneThatHasStartedIsNotTakenOver() throws InterruptedException {
        assertThat(ours.claim()).isTrue();
        assertThat(ours.start()).isTrue();
        // Longer than a claim lives that has not.
        Thread.sleep(Duration.ofSeconds(14).toMillis());

        assertThat(theirs.claim()).isFalse();
        assertThat(theirs.holder().orElseThrow().started()).isNotNull();
    }

    @Test
    void theKeyOutlivesAnySkewAndThenGoes() {
        assertThat(ours.claim() && ours.start()).isTrue();
        ours.end(0);

        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(slot.key()));
        JsonObject kv =
                etcd.ask("kv/range", request).getAsJsonArray("kvs").get(0).getAsJsonObject();
        JsonObject lease = new JsonObject();
        lease.addProperty("ID", kv.get("lease").getAsString());
        long ttl = etcd.ask("lease/timetolive", lease).get("TTL").getAsLong();

        assertThat(ttl).isBetween(3 * slot.length().toSeconds(), slot.memory().toSeconds());
    }

    @Test
    void oneThatIsGivenBackIsFreeAtOnce() {
        assertThat(ours.claim()).isTrue();
        ours.release();

        assertThat(theirs.claim()).isTrue();
        ours.release();
        assertThat(theirs.start()).as("nobody gives back what is another's").isTrue();
    }

    // --- connections that break

    @ParameterizedTest
    @ValueSource(strings = {"kv/range", "lease/grant", "kv/txn"})
    void anAnswerThatWasLostIsResolvedByWhatTheKeySays(String path) {
        proxy.loseAnswer(path);
        assertThat(ours.holder()).isEmpty();
        assertThat(ours.claim()).isTrue();
        proxy.loseAnswer(path).loseAnswer(path);
        assertThat(ours.start()).isTrue();

        assertThat(theirs.claim()).isFalse();
        assertThat(kept().has("started")).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"kv/range", "lease/grant", "kv/txn"})
    void aRequestThatWasLostIsSentAgain(String path) {
        proxy.loseRequest(path).loseRequest(path);
        assertThat(ours.holder()).isEmpty();
        assertThat(ours.claim()).isTrue();
        proxy.loseRequest(path);
        assertThat(ours.start()).isTrue();
    }

    @Test
    void anAnswerThatWasLostIsNotTakenForOursWhenAnotherWasFaster() {
        proxy.loseRequest("kv/txn");
        assertThat(theirs.claim()).isTrue();

        assertThat(ours.claim()).isFalse();
    }

    @Test
    void withoutAnAcknowledgementOfTheStartNobodyMayRun() {
        assertThat(ours.claim()).isTrue();
        proxy.holdAllAnswers("kv/txn");

        assertThatThrownBy(ours::start)
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.UNAVAILABLE));

        assertThat(theirs.claim())
                .as("it may have started, as far as anybody can tell")
                .isFalse();
        assertThat(theirs.holder().orElseThrow().started()).isNotNull();
    }

    @Test
    void aRestartOfEtcdLosesNothing() {
        assertThat(ours.claim()).isTrue();
        etcd.kill();
        etcd.startAgain();
        assertThat(theirs.claim()).isFalse();
        assertThat(ours.start()).isTrue();
        etcd.kill();
        etcd.startAgain();
        assertThat(theirs.claim()).isFalse();
        assertThat(theirs.holder().orElseThrow().started()).isNotNull();
    }

    @Test
    void anEndpointThatIsSilentIsLeftForAnother() {
        EtcdServer silent = EtcdServer.start();
        try {
            silent.freeze();
            EtcdGateway both = new EtcdOptions().gateway(List.of(silent.url(), etcd.url()), Duration.ofMillis(500));

            assertThat(new SlotClaim(both, slot, "i-ours").claim()).isTrue();
        } finally {
            silent.close();
        }
    }

    @Test
    void aKeyThatHoldsSomethingElseIsNamed() {
        etcd.put(slot.key(), "hello");

        assertThatThrownBy(ours::claim)
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.DATA))
                .hasMessageContaining(slot.key());
    }

    @Test
    void whereEtcdIsAwayThatIsSaid() {
        etcd.kill();

        assertThatThrownBy(theirs::claim)
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.UNAVAILABLE))
                .hasMessageContaining(etcd.url().toString());
    }
}
