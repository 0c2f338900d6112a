package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import software.amazon.awssdk.services.ec2.model.Instance;

/** An etcd of its own, a classic load balancer, and AWS behind a proxy that breaks nothing unless it is told to. */
abstract class LbManagerScene {
    static final String PATH = "/lbManager/";
    static final String MANAGED = "/rollcall/lbmanager/lbManager/managed/";

    final Moto moto = Moto.shared();
    final AwsProxy aws = AwsProxy.before(moto);
    final EtcdServer etcd = EtcdServer.start();
    final String web = moto.classic();
    private final List<Run> runs = new ArrayList<>();

    @AfterEach
    void endWhatWasStarted() {
        runs.forEach(Run::close);
        aws.close();
        etcd.close();
    }

    // --- the tool

    ToolRunner lbmanager(String... args) {
        return ToolRunner.installed("lbmanager")
                .aws(aws.url())
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args(args);
    }

    /** Started, and ready. */
    Run manager(String... args) {
        return started(args).says("lbmanager: ready");
    }

    Run started(String... args) {
        return closedAfterwards(lbmanager(args).start());
    }

    Run closedAfterwards(Run run) {
        runs.add(run);
        return run;
    }

    // --- keys

    static String elb(String name, String memberClass, String member) {
        return PATH + "elb/us-east-1/" + name + "/" + memberClass + "/" + member;
    }

    void put(String memberClass, String... members) {
        for (String member : members) {
            etcd.put(elb(web, memberClass, member), "");
        }
    }

    /** In one transaction. */
    void putTogether(String memberClass, String... members) {
        JsonArray puts = new JsonArray();
        for (String member : members) {
            JsonObject put = keyed(elb(web, memberClass, member));
            put.addProperty("value", "");
            JsonObject operation = new JsonObject();
            operation.add("request_put", put);
            puts.add(operation);
        }
        JsonObject txn = new JsonObject();
        txn.add("success", puts);
        etcd.ask("kv/txn", txn);
    }

    void delete(String key) {
        etcd.ask("kv/deleterange", keyed(key));
    }

    void deleteAll(String prefix) {
        JsonObject range = keyed(prefix);
        range.addProperty("range_end", EtcdGateway.encode(prefix + '\u007f'));
        etcd.ask("kv/deleterange", range);
    }

    void putWithLease(String key, int seconds) {
        JsonObject grant = new JsonObject();
        grant.addProperty("TTL", seconds);
        String lease = etcd.ask("lease/grant", grant).get("ID").getAsString();
        JsonObject put = keyed(key);
        put.addProperty("value", "");
        put.addProperty("lease", lease);
        etcd.ask("kv/put", put);
    }

    static JsonObject keyed(String key) {
        JsonObject object = new JsonObject();
        object.addProperty("key", EtcdGateway.encode(key));
        return object;
    }

    /** The keys that there are, without what all of them begin with. */
    List<String> keys() {
        return etcd.all(PATH).keySet().stream()
                .map(key -> key.substring(PATH.length()))
                .toList();
    }

    // --- AWS

    String instance() {
        return moto.instance().instanceId();
    }

    String[] instances(int n) {
        return moto.ec2.runInstances(r -> r.imageId("ami-12c6146b").minCount(n).maxCount(n)).instances().stream()
                .map(Instance::instanceId)
                .sorted()
                .toArray(String[]::new);
    }

    void awaitMembers(String... ids) {
        awaitMembersOf(web, ids);
    }

    void awaitMembersOf(String name, String... ids) {
        List<String> expected = Stream.of(ids).sorted().toList();
        await(name + " has " + expected).until(() -> moto.members(name), expected::equals);
    }

    /** AWS has done it a moment before the proxy counts the call. */
    static void awaitCalls(int expected, Supplier<Integer> calls) {
        await().until(() -> calls.get() >= expected);
        assertThat(calls.get()).isEqualTo(expected);
    }

    int registrations() {
        return aws.calls("RegisterInstancesWithLoadBalancer");
    }

    int deregistrations() {
        return aws.calls("DeregisterInstancesFromLoadBalancer");
    }

    // --- HTTP

    static HttpResponse<String> get(int port, String path) throws Exception {
        URI uri = URI.create("http://127.0.0.1:" + port + path);
        return HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
    }
}
