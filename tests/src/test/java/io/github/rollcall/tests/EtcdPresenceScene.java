package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.abort;

import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.EtcdWatcher;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;

/** Docker and etcd, both real, and names that no other test has. */
abstract class EtcdPresenceScene {
    private static final AtomicInteger TESTS = new AtomicInteger();
    /** The address of the host on Docker's bridge, where nothing else was said. */
    static final String BRIDGE = "172.17.0.1";

    /** So long that nothing happens by it: then it was an event. */
    static final String[] ONLY_EVENTS = {"--interval", "1h"};

    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    final String own = "t" + TESTS.incrementAndGet();
    final String root = "/" + own;
    final String web = own + "-web";
    final String db = own + "-db";

    @TempDir
    Path folder;

    @BeforeAll
    static void dockerMustRun() {
        String whyNot = DockerServer.whyNot();
        if (whyNot != null && "true".equals(System.getenv("CI"))) {
            fail(whyNot);
        } else if (whyNot != null) {
            abort(whyNot);
        }
    }

    private static final class SharedEtcd {
        static final EtcdServer SERVER = EtcdServer.start();
    }

    DockerServer docker() {
        return DockerServer.shared();
    }

    EtcdServer etcd() {
        return SharedEtcd.SERVER;
    }

    @AfterEach
    void endWhatWasStarted() throws Exception {
        while (!open.isEmpty()) {
            open.pop().close();
        }
    }

    <T extends AutoCloseable> T closed(T one) {
        open.push(one);
        return one;
    }

    ToolRunner etcdPresence(String... args) {
        return ToolRunner.installed("etcd-presence")
                .env("DOCKER_HOST", docker().host())
                .env("ETCDCTL_ENDPOINTS", etcd().url().toString())
                .args("--root", root)
                .args(args);
    }

    Run started(String... args) {
        return closed(etcdPresence(args).start());
    }

    /** What a tool that was started with {@code --http 127.0.0.1:0} answers. */
    static HttpResponse<String> http(Run run, String path) throws Exception {
        String address = run.says("http: listening")
                .err()
                .lines()
                .filter(line -> line.startsWith("http: listening"))
                .map(line -> line.replaceAll(".*127\\.0\\.0\\.1:(\\d+).*", "http://127.0.0.1:$1"))
                .findFirst()
                .orElseThrow();
        return HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(URI.create(address + path)).build(), HttpResponse.BodyHandlers.ofString());
    }

    /** A container that sleeps, until the test ends. */
    String container(String name, String... options) {
        String id = docker().runContainer(name, options);
        closed(() -> docker().docker("rm", "-f", id));
        return id;
    }

    EtcdWatcher watcher() {
        return closed(EtcdWatcher.of(etcd(), root + "/"));
    }

    /** The port of the host on which a container's port is published. */
    String published(String container, String port) {
        return docker().port(container, port).replaceFirst(".*:", "");
    }

    /** The keys of a container with one port, which is published on every address. */
    Map<String, String> keys(String name, String port) {
        return Map.of(
                root + "/" + name + "/" + port + "/host",
                BRIDGE,
                root + "/" + name + "/" + port + "/port",
                published(name, port));
    }

    void awaitKeys(Map<String, String> keys) {
        awaitKeys(() -> keys);
    }

    void awaitKeys(Supplier<Map<String, String>> keys) {
        await().atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(50))
                .ignoreExceptions()
                .untilAsserted(() -> assertThat(etcd().all(root + "/")).isEqualTo(new TreeMap<>(keys.get())));
    }

    /** @return whether the keys were these all the time */
    void keysStay(Duration time, Map<String, String> keys) {
        await().atMost(time.multipliedBy(3)).during(time).until(() -> etcd().all(root + "/")
                .equals(keys));
    }
}
