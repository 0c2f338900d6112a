package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import io.github.rollcall.harness.EtcdServer;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** {@link EtcdTxn}: what it promises, on a real etcd. */
@Tag("once")
class EtcdTxnTest {
    private final EtcdServer etcd = EtcdServer.start();
    private final EtcdGateway gateway = EtcdServer.gateway(etcd.url());

    @AfterEach
    void close() {
        etcd.close();
    }

    private static EtcdTxn txn() {
        return new EtcdTxn();
    }

    @Test
    void allThatIsAskedForIsDoneOrNothing() {
        JsonObject done = txn().ifCreated("/a", 0)
                .put("/a", "1", null)
                .put("/b", "1", null)
                .commit(gateway);
        JsonObject left = txn().ifCreated("/b", 0)
                .put("/a", "2", null)
                .delete("/b")
                .elseGet("/b")
                .commit(gateway);

        assertThat(EtcdTxn.succeeded(done)).isTrue();
        assertThat(EtcdTxn.succeeded(left)).isFalse();
        assertThat(left.toString()).contains(EtcdGateway.encode("/b"));
        assertThat(etcd.all("/")).isEqualTo(Map.of("/a", "1", "/b", "1"));
    }

    @Test
    void allThatIsComparedHasToHold() {
        etcd.put("/a", "1");
        long revision = etcd.revision();
        etcd.put("/b", "1");

        EtcdTxn both = txn().ifPut("/a", revision).ifPut("/b", revision).delete("/a");
        assertThat(EtcdTxn.succeeded(both.commit(gateway))).isFalse();
        EtcdTxn created = txn().ifCreated("/a", revision).ifPut("/a", revision).delete("/a");
        assertThat(EtcdTxn.succeeded(created.commit(gateway))).isTrue();
        assertThat(etcd.all("/")).containsOnlyKeys("/b");
    }

    @Test
    void nestedOnesAreDoneOnTheirOwnConditionsAndAsManyAsThereMayBe() {
        EtcdTxn puts = txn();
        IntStream.range(0, EtcdTxn.MOST).forEach(n -> puts.put("/k/" + n, "", null));
        puts.commit(gateway);
        Map<String, Long> before = gateway.revisions("/k/");
        etcd.put("/k/7", "again");

        EtcdTxn removals = txn().ifCreated("/k/0", before.get("/k/0"));
        before.forEach(
                (key, revision) -> removals.then(txn().ifPut(key, revision).delete(key)));
        assertThat(removals.size()).isEqualTo(EtcdTxn.MOST);

        assertThat(EtcdTxn.succeeded(removals.commit(gateway))).isTrue();
        assertThat(etcd.all("/k/")).isEqualTo(Map.of("/k/7", "again"));
    }

    @Test
    void aRangeIsDeletedToBeforeItsEnd() {
        for (String key : new String[] {"/a", "/b/", "/b/1", "/b/\u00e4", "/b0"}) {
            etcd.put(key, "");
        }

        txn().deleteRange("/b/", "/b0").commit(gateway);

        assertThat(etcd.all("/")).containsOnlyKeys("/a", "/b0");
    }
}
