package io.github.rollcall.tests;

import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.harness.EtcdLab;
import java.util.ArrayList;
import java.util.List;

/** Puts keys, one after the other, and remembers which were acknowledged; from the start until it is closed. */
final class EtcdWriter implements AutoCloseable {
    private final EtcdLab lab;
    private final List<String> acknowledged = new ArrayList<>();
    private final Thread thread = new Thread(this::write, "writer");
    private volatile boolean stopped;

    EtcdWriter(EtcdLab lab) {
        this.lab = lab;
        thread.start();
    }

    private void write() {
        for (int i = 0; !stopped; i++) {
            JsonObject put = new JsonObject();
            put.addProperty("key", EtcdGateway.encode("/w/" + i));
            put.addProperty("value", EtcdGateway.encode("v"));
            try {
                lab.client().ask("kv/put", put);
                acknowledged.add("/w/" + i);
                Thread.sleep(20);
            } catch (RuntimeException notAcknowledged) {
                // The next one.
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    @Override
    public void close() throws InterruptedException {
        stopped = true;
        thread.join();
    }

    /** The keys of all writes that etcd has acknowledged. */
    List<String> acknowledged() {
        return acknowledged;
    }

    /** The keys that are there. */
    List<String> found() {
        JsonObject range = new JsonObject();
        range.addProperty("key", EtcdGateway.encode("/w/"));
        range.addProperty("range_end", EtcdGateway.encode("/w0"));
        range.addProperty("keys_only", true);
        List<String> found = new ArrayList<>();
        lab.client()
                .ask("kv/range", range)
                .getAsJsonArray("kvs")
                .forEach(kv -> found.add(
                        EtcdGateway.decode(kv.getAsJsonObject().get("key").getAsString())));
        return found;
    }
}
