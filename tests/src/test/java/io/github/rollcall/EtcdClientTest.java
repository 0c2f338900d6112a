package io.github.rollcall;

import static io.github.rollcall.EtcdClient.bytes;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.awaitility.Awaitility.await;

import io.etcd.jetcd.Client;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.options.WatchOption;
import io.github.rollcall.harness.EtcdServer;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@link EtcdClient}: what a tool that stays may expect of etcd. */
@Tag("once")
class EtcdClientTest {
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

    private EtcdClient client(String... options) {
        Options parsed = new Options();
        new CommandLine(parsed).parseArgs(options);
        return closed(parsed.etcd.client(Duration.ofSeconds(2)));
    }

    private static GetResponse get(EtcdClient etcd) {
        return etcd.ask(c -> c.getKVClient().get(bytes("/k")));
    }

    private static Failure failureOf(EtcdClient etcd) {
        return catchThrowableOfType(Failure.class, () -> get(etcd));
    }

    @Test
    void asksWhicheverEndpointAnswers() {
        EtcdServer server = closed(EtcdServer.start());
        EtcdClient etcd = client("--endpoints", "http://127.0.0.1:9," + server.url());

        for (int i = 0; i < 5; i++) {
            assertThat(get(etcd).getCount()).isZero();
        }
    }

    @Test
    void showsItsCertificateAlsoToSeveralEndpoints() {
        EtcdServer server = closed(EtcdServer.startWithTls());
        String url = server.url().toString();
        List<String> options = new ArrayList<>(List.of(server.tlsOptions()));
        options.addAll(List.of("--endpoints", url + "," + url.replace("127.0.0.1", "127.0.0.2")));

        assertThat(get(client(options.toArray(String[]::new))).getCount()).isZero();
        Failure failure = failureOf(client("--endpoints", url));

        assertThat(failure.exit()).isEqualTo(69);
        assertThat(failure).hasMessageContaining("cannot be reached").hasMessageContaining("certificat");
    }

    @Test
    void whatCannotBeReachedIs69() {
        Failure failure = failureOf(client("--endpoints", "http://127.0.0.1:9"));

        assertThat(failure.exit()).isEqualTo(69);
        assertThat(failure)
                .hasMessageContaining("etcd at http://127.0.0.1:9 cannot be reached")
                .hasMessageContaining("refused");
    }

    @Test
    void whatDoesNotAnswerIs69InTime() throws Exception {
        try (ServerSocket silent = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            Failure failure = failureOf(client("--endpoints", "http://127.0.0.1:" + silent.getLocalPort()));

            assertThat(failure.exit()).isEqualTo(69);
        }
        EtcdServer server = closed(EtcdServer.start());
        EtcdClient etcd = client("--endpoints", server.url().toString());
        get(etcd);
        server.freeze();

        Failure failure = failureOf(etcd);

        assertThat(failure.exit()).isEqualTo(69);
        assertThat(failure).hasMessageContaining("did not answer in 2s");
        server.thaw();
        await().untilAsserted(() -> assertThat(get(etcd).getCount()).isZero());
    }

    @Test
    void isBackSoonAfterALongTimeWithoutEtcd() throws Exception {
        EtcdServer server = closed(EtcdServer.start());
        EtcdClient etcd = client("--endpoints", server.url().toString());
        server.kill();
        // gRPC's own pause would be some ten seconds by then.
        await().pollInterval(Duration.ofMillis(200))
                .during(Duration.ofSeconds(16))
                .atMost(Duration.ofSeconds(20))
                .until(() -> failureOf(etcd) != null);
        server.startAgain();
        AtomicInteger asked = new AtomicInteger();

        await().pollInterval(Duration.ofMillis(200)).ignoreExceptions().until(() -> {
            asked.incrementAndGet();
            return get(etcd).getCount() == 0;
        });

        assertThat(asked.get()).as("questions, five a second").isLessThan(40);
    }

    @Test
    void certificatesThatCannotBeReadWhenTheConnectionIsMadeAnewHinderNothing(@TempDir Path folder) throws Exception {
        EtcdServer server = closed(EtcdServer.startWithTls());
        List<String> options = new ArrayList<>(List.of(server.tlsOptions()));
        int ca = options.indexOf("--cacert") + 1;
        Path replaced = Files.copy(Path.of(options.get(ca)), folder.resolve("ca.pem"));
        options.set(ca, replaced.toString());
        options.addAll(List.of("--endpoints", server.url().toString()));
        EtcdClient etcd = client(options.toArray(String[]::new));
        get(etcd);
        Client before = etcd.jetcd();
        server.kill();

        Files.writeString(replaced, "half of it");
        // Connections are made anew after five seconds without an answer.
        await().during(Duration.ofSeconds(7))
                .atMost(Duration.ofSeconds(20))
                .until(() ->
                        catchThrowable(() -> etcd.start(c -> c.getKVClient().get(bytes("/k")))
                                        .get(10, TimeUnit.SECONDS))
                                instanceof ExecutionException);
        assertThat(etcd.jetcd()).isSameAs(before);
        server.startAgain();

        await().ignoreExceptions().until(() -> get(etcd).getCount() == 0);
    }

    @Test
    void passwordsOfUsersComeFromTheEnvironmentAndAWrongOneIs77() {
        EtcdServer server = closed(EtcdServer.start());
        String url = server.url().toString();
        server.enableAuth("right");

        assertThat(get(authenticated(url, "right")).getCount()).isZero();
        Failure wrong = failureOf(authenticated(url, "wrong"));
        Failure nobody = failureOf(client("--endpoints", url));

        assertThat(wrong.exit()).isEqualTo(77);
        assertThat(wrong).hasMessageContaining("authentication failed").hasMessageNotContaining("wrong");
        assertThat(nobody.exit()).isEqualTo(77);
        assertThat(nobody).hasMessageContaining("user name is empty");
    }

    @Test
    void aUserIsNoHindranceWhereAuthenticationIsOffNorWhenItIsTurnedOnLater() {
        EtcdServer server = closed(EtcdServer.start());
        EtcdClient etcd = authenticated(server.url().toString(), "right");
        await().untilAsserted(() -> assertThat(get(etcd).getCount()).isZero());

        server.enableAuth("right");

        await().untilAsserted(() -> assertThat(get(etcd).getCount()).isZero());
    }

    @Test
    void aTokenThatHasExpiredIsRenewed() throws Exception {
        EtcdServer server = closed(EtcdServer.start("--auth-token-ttl", "1"));
        server.enableAuth("right");
        EtcdClient etcd = authenticated(server.url().toString(), "right");
        List<String> seen = new ArrayList<>();
        get(etcd);

        for (int i = 0; i < 3; i++) {
            // Longer than a token lives that nobody uses.
            Thread.sleep(3_000);
            assertThat(get(etcd).getCount()).isEqualTo(i == 0 ? 0 : 1);
            Thread.sleep(3_000);
            String value = "v" + i;
            try (var watcher = etcd.jetcd()
                    .getWatchClient()
                    .watch(
                            bytes("/k"),
                            WatchOption.builder().withCreateNotify(true).build(),
                            response -> {
                                seen.add(response.isCreatedNotify() ? "created" : "event");
                            })) {
                await().until(() -> seen.contains("created"));
                etcd.ask(c -> c.getKVClient().put(bytes("/k"), bytes(value)));
                await().until(() -> seen.contains("event"));
                seen.clear();
            }
        }
    }

    @Test
    void aTokenThatARestartedEtcdDoesNotKnowIsRenewed() {
        EtcdServer server = closed(EtcdServer.start());
        server.enableAuth("right");
        EtcdClient etcd = authenticated(server.url().toString(), "right");
        get(etcd);

        server.kill();
        server.startAgain();

        await().ignoreExceptions().until(() -> get(etcd).getCount() == 0);
    }

    @Test
    void survivesTheLossOfALeaderAndOfTheQuorum() {
        List<EtcdServer> members = EtcdServer.startCluster(3);
        members.forEach(this::closed);
        EtcdClient etcd = client(
                "--endpoints",
                String.join(",", members.stream().map(m -> m.url().toString()).toList()));
        get(etcd);
        EtcdServer leader =
                members.stream().filter(EtcdServer::isLeader).findFirst().orElseThrow();

        leader.kill();
        await().ignoreExceptions().until(() -> get(etcd).getCount() == 0);
        EtcdServer second =
                members.stream().filter(m -> m != leader).findFirst().orElseThrow();
        second.kill();
        assertThat(failureOf(etcd).isTransient()).isTrue();
        leader.startAgain();

        await().ignoreExceptions().until(() -> get(etcd).getCount() == 0);
    }

    private EtcdClient authenticated(String url, String password) {
        Options parsed = new Options();
        new CommandLine(parsed).parseArgs("--endpoints", url, "--user", "root");
        parsed.etcd.environment = Map.of("ETCDCTL_PASSWORD", password);
        return closed(parsed.etcd.client(Duration.ofSeconds(2)));
    }
}
