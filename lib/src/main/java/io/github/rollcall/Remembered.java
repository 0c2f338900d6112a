package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;

/**
 * What {@code lbmanager} has to know after a restart, and keeps in etcd beside its configuration:
 *
 * <pre>
 * /rollcall/lbmanager/lbManager/managed/elb/us-east-1/web   had a key once, and has not been emptied since; the value
 *                                                           names the members that lbmanager itself added, with
 *                                                           --policy owned only: {"owned":["i-1"]}
 * /rollcall/lbmanager/lbManager/cluster                     the id of the etcd cluster that removals are made for
 * /rollcall/lbmanager/lbManager/leader                      see {@link Leadership}
 * </pre>
 *
 * <p>The third part is the configuration's path. It is not below that path, so that deleting the whole configuration
 * does not make it forget what is to be emptied. Blocks; every method throws a {@link Failure} as {@link EtcdGateway#ask}.
 * Thread-safe.
 */
public final class Remembered {
    private static final String ROOT = "/rollcall/lbmanager";

    private final EtcdGateway etcd;
    private final String path;
    private final UnaryOperator<EtcdTxn> fence;

    /**
     * @param configPath such as {@code /lbManager}
     * @param fence adds what has to hold for anything to be written
     */
    public Remembered(EtcdGateway etcd, String configPath, UnaryOperator<EtcdTxn> fence) {
        this.etcd = etcd;
        this.path = ROOT + configPath;
        this.fence = fence;
    }

    /** The election's key. @param configPath such as {@code /lbManager} */
    public static String leaderKey(String configPath) {
        return ROOT + configPath + "/leader";
    }

    /** The load balancers that are managed, each with those of its members that lbmanager itself added. */
    public Map<BalancerName, Set<Member>> managed() {
        Map<BalancerName, Set<Member>> all = new HashMap<>();
        String prefix = path + "/managed/";
        etcd.all(prefix).forEach((key, value) -> {
            try {
                BalancerName balancer = BalancerKey.parseBalancer(key.substring(prefix.length()) + "/multiple")
                        .balancer();
                all.put(balancer, owned(balancer, value));
            } catch (IllegalArgumentException | IllegalStateException | JsonParseException e) {
                Log.of("etcd").warn("is not ours, ignored", "key", key);
            }
        });
        return all;
    }

    private static Set<Member> owned(BalancerName balancer, String value) {
        Set<Member> owned = new HashSet<>();
        if (!value.isEmpty()) {
            for (JsonElement id :
                    JsonParser.parseString(value).getAsJsonObject().getAsJsonArray("owned")) {
                owned.add(BalancerKey.parse(balancer + "/multiple/" + id.getAsString())
                        .member());
            }
        }
        return owned;
    }

    /** Whether a load balancer is still remembered as managed. */
    public boolean isManaged(BalancerName balancer) {
        return get(key(balancer)) != null;
    }

    /** These are managed from now on; of those that already are nothing is to be told. */
    public void manage(Collection<BalancerName> balancers) {
        EtcdTxn txn = new EtcdTxn();
        for (BalancerName balancer : balancers) {
            txn.put(key(balancer), "", null);
            if (txn.size() == EtcdTxn.MOST) {
                write(txn);
                txn = new EtcdTxn();
            }
        }
        if (!txn.isEmpty()) {
            write(txn);
        }
    }

    /** These are the members that lbmanager itself has added, or is about to. */
    public void own(BalancerName balancer, Set<Member> members) {
        JsonArray ids = new JsonArray();
        members.stream().map(Member::toString).sorted().forEach(ids::add);
        JsonObject value = new JsonObject();
        value.add("owned", ids);
        write(new EtcdTxn().put(key(balancer), value.toString(), null));
    }

    /** It is managed no more. */
    public void letGo(BalancerName balancer) {
        write(new EtcdTxn().delete(key(balancer)));
    }

    /** The cluster id that removals are made for, and the revision at which that was said. */
    public record Cluster(String id, long revision) {}

    /** The cluster id that removals are made for, or null when there was none yet. */
    public Cluster cluster() {
        JsonObject kv = get(path + "/cluster");
        return kv == null
                ? null
                : new Cluster(
                        EtcdGateway.decode(kv.get("value").getAsString()),
                        kv.get("mod_revision").getAsLong());
    }

    /** Removals are made for this cluster id. */
    public void setCluster(String id) {
        write(new EtcdTxn().put(path + "/cluster", id, null));
    }

    /** Removes keys that nobody has put again since. */
    public void removeUnchanged(Collection<Roll.Entry> entries) {
        EtcdTxn txn = new EtcdTxn();
        for (Roll.Entry entry : entries) {
            txn.then(new EtcdTxn().ifPut(entry.key(), entry.revision()).delete(entry.key()));
            if (txn.size() == EtcdTxn.MOST) {
                write(txn);
                txn = new EtcdTxn();
            }
        }
        if (!txn.isEmpty()) {
            write(txn);
        }
    }

    private void write(EtcdTxn txn) {
        if (!EtcdTxn.succeeded(fence.apply(txn).commit(etcd))) {
            throw new Failure(Exit.TEMPORARY, "does not lead any more");
        }
    }

    private JsonObject get(String key) {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(key));
        JsonObject answer = etcd.ask("kv/range", request);
        return answer.has("kvs") ? answer.getAsJsonArray("kvs").get(0).getAsJsonObject() : null;
    }

    private String key(BalancerName balancer) {
        return path + "/managed/" + balancer;
    }
}
