package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;

/** A transaction of etcd's: if all that is compared holds, all that is asked for is done, else nothing. Not thread-safe. */
public final class EtcdTxn {
    /** How many operations to put in one at most: etcd takes 128 by default, and nested ones count against that. */
    public static final int MOST = 100;

    private final JsonArray compare = new JsonArray();
    private final JsonArray success = new JsonArray();
    private final JsonArray failure = new JsonArray();

    /** If the key was created at this revision; 0 if it is not there. */
    public EtcdTxn ifCreated(String key, long revision) {
        return compare(key, "CREATE", "create_revision", revision);
    }

    /** If the key was last put at this revision. */
    public EtcdTxn ifPut(String key, long revision) {
        return compare(key, "MOD", "mod_revision", revision);
    }

    /** @param lease the lease's id, or null for none */
    public EtcdTxn put(String key, String value, String lease) {
        JsonObject put = key(key);
        put.addProperty("value", EtcdGateway.encode(value));
        if (lease != null) {
            put.addProperty("lease", lease);
        }
        return then("request_put", put);
    }

    /** Deletes a key, which need not be there. */
    public EtcdTxn delete(String key) {
        return then("request_delete_range", key(key));
    }

    /** Deletes all keys from one to before another. */
    public EtcdTxn deleteRange(String from, String end) {
        JsonObject range = key(from);
        range.addProperty("range_end", EtcdGateway.encode(end));
        return then("request_delete_range", range);
    }

    /** Does another transaction within this one, on its own conditions. */
    public EtcdTxn then(EtcdTxn nested) {
        return then("request_txn", nested.request());
    }

    /** If what is compared does not hold, says what there is instead. */
    public EtcdTxn elseGet(String key) {
        failure.add(operation("request_range", key(key)));
        return this;
    }

    /** Whether nothing is asked for. */
    public boolean isEmpty() {
        return success.isEmpty();
    }

    /** How many operations are asked for. */
    public int size() {
        return success.size();
    }

    /** etcd's whole answer; {@code succeeded} is left out when it is false. @throws Failure as {@link EtcdGateway#ask} */
    public JsonObject commit(EtcdGateway etcd) {
        return etcd.ask("kv/txn", request());
    }

    private JsonObject request() {
        JsonObject request = new JsonObject();
        request.add("compare", compare);
        request.add("success", success);
        request.add("failure", failure);
        return request;
    }

    /** Whether what was compared did hold. @param answer of {@link #commit} */
    public static boolean succeeded(JsonObject answer) {
        return answer.has("succeeded") && answer.get("succeeded").getAsBoolean();
    }

    private EtcdTxn then(String name, JsonObject what) {
        success.add(operation(name, what));
        return this;
    }

    private EtcdTxn compare(String key, String target, String field, long expected) {
        JsonObject comparison = key(key);
        comparison.addProperty("target", target);
        comparison.addProperty("result", "EQUAL");
        comparison.addProperty(field, expected);
        compare.add(comparison);
        return this;
    }

    private static JsonObject key(String key) {
        JsonObject object = new JsonObject();
        object.addProperty("key", EtcdGateway.encode(key));
        return object;
    }

    private static JsonObject operation(String name, JsonObject what) {
        JsonObject operation = new JsonObject();
        operation.add(name, what);
        return operation;
    }
}
