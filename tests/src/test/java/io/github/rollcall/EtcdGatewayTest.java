package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.google.gson.JsonObject;
import com.sun.net.httpserver.HttpServer;
import io.github.rollcall.harness.EtcdProxy;
import io.github.rollcall.harness.EtcdServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.time.Duration;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@link EtcdGateway}: what it makes of answers that no etcd in order gives, and of logins that are over. */
@Tag("once")
class EtcdGatewayTest {
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private HttpServer server;
    private int status = 200;
    private String answer = "";
    private boolean isEndless;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.createContext("/", exchange -> {
            try (exchange) {
                exchange.getRequestBody().readAllBytes();
                exchange.getResponseHeaders().add("X-Etcd-Cluster-Id", "7");
                exchange.sendResponseHeaders(status, 0);
                OutputStream body = exchange.getResponseBody();
                do {
                    body.write(answer.getBytes(StandardCharsets.UTF_8));
                } while (isEndless);
            }
        });
        server.start();
    }

    @AfterEach
    void stop() {
        isEndless = false;
        server.stop(0);
        threads.shutdownNow();
    }

    @Test
    void aPeerPortsMalformedAnswerIsThatOfNoEtcd() {
        for (String malformed : List.of(
                "[{}]",
                "{}",
                "[null]",
                "null",
                "<html>",
                "[".repeat(20_000),
                "[{\"id\":1}]",
                "[{\"id\":{},\"peerURLs\":[\"http://127.0.0.1:2380\"]}]",
                "[{\"id\":1,\"peerURLs\":[null]}]",
                "[{\"id\":1,\"peerURLs\":[]}]")) {
            answer = malformed;

            Failure failure =
                    catchThrowableOfType(Failure.class, () -> gateway(null).membersByPeerPort());

            assertThat(failure).as(malformed).isNotNull().hasMessageContaining("is no etcd peer");
            assertThat(failure.exit()).isEqualTo(Exit.UNAVAILABLE);
        }
    }

    @Test
    void aPeerPortsAnswerWithoutEndIsGivenUp() {
        answer = " ".repeat(10_000);
        isEndless = true;

        Failure failure =
                catchThrowableOfType(Failure.class, () -> gateway(null).membersByPeerPort());

        assertThat(failure).hasMessageContaining("the answer is larger than");
        assertThat(failure.exit()).isEqualTo(Exit.UNAVAILABLE);
    }

    @Test
    void onlyARefusedLoginIsARefusal() {
        EtcdOptions.Login login = new EtcdOptions.Login("root", "secret");
        status = 503;
        answer = "{\"code\":14,\"message\":\"x\",\"error\":\"etcdserver: leader changed\"}";
        assertThat(exitOf(login)).isEqualTo(Exit.UNAVAILABLE);

        status = 400;
        answer = "{\"code\":3,\"error\":\"etcdserver: authentication failed, invalid user ID or password\"}";
        assertThat(exitOf(login)).isEqualTo(Exit.REFUSED);

        status = 200;
        answer = "{}";
        assertThat(exitOf(login)).isEqualTo(Exit.UNAVAILABLE);
    }

    @Test
    void anAnswerThatIsNoneOfEtcdsIsAFailureNoDefect() {
        for (String malformed : List.of("", "<html>", "{}", "[]", "null", "7", "{\"a\":1}", "{\"header\":{\"clust")) {
            answer = malformed;
            assertIsNoEtcd(() -> gateway(null).ask("kv/range", new JsonObject()));
        }
        status = 404;
        answer = "{\"error\":[],\"code\":\"not_found\"}";
        assertThat(catchThrowableOfType(Failure.class, () -> gateway(null).ask("kv/range", new JsonObject())))
                .hasMessageEndingWith("says: HTTP 404");
    }

    @Test
    void aWatchThatIsNoneOfEtcdsIsAFailureNoDefect() {
        for (String malformed : List.of(
                "<html>", "{}", "[]", "null", "7", "{\"result\":{}}", "{\"result\":7}", "{\"error\":\"down\"}")) {
            answer = malformed;
            assertIsNoEtcd(this::next);
        }
        for (String end : List.of("", "{\"result\":{\"header\":{\"clust")) {
            answer = end;
            assertThat(catchThrowableOfType(Failure.class, this::next)).hasMessageContaining("broke off");
        }
    }

    @Test
    void theErrorsOfEtcd36AreUnderstoodAsThoseOfEarlierOnes() {
        status = 401;
        for (String old : List.of("\"error\":\"etcdserver: invalid auth token\",", "")) {
            answer = "{" + old + "\"code\":16,\"message\":\"etcdserver: invalid auth token\"}";
            Failure failure =
                    catchThrowableOfType(Failure.class, () -> gateway(null).ask("kv/range", new JsonObject()));
            assertThat(failure).hasMessageEndingWith("says: etcdserver: invalid auth token");
            assertThat(failure.exit()).isEqualTo(Exit.REFUSED);
        }
        status = 200;
        for (String name : List.of("grpc_code", "code")) {
            answer = "{\"error\":{\"" + name + "\":14,\"message\":\"etcdserver: no leader\"}}";
            Failure failure = catchThrowableOfType(Failure.class, this::next);
            assertThat(failure).hasMessageEndingWith("says: etcdserver: no leader");
            assertThat(failure.exit()).isEqualTo(Exit.UNAVAILABLE);
        }
    }

    private static void assertIsNoEtcd(ThrowingCallable question) {
        Failure failure = catchThrowableOfType(Failure.class, question);
        assertThat(failure).isNotNull().hasMessageContaining("is not etcd's v3 API");
        assertThat(failure.exit()).isEqualTo(Exit.UNAVAILABLE);
    }

    private JsonObject next() {
        try (EtcdStream stream = gateway(null).stream("watch", new JsonObject(), Duration.ofSeconds(5))) {
            return stream.next();
        }
    }

    // --- logins, with a real etcd

    @Test
    void manyAtOnceMakeTheirLoginAnewAndNoneIsRefused() throws Exception {
        try (EtcdServer etcd = EtcdServer.start()) {
            etcd.enableAuth("secret");
            EtcdGateway gateway = loggedIn(etcd.url());
            gateway.all("/");
            etcd.kill();
            // It does not know the token any more.
            etcd.startAgain();

            for (Future<Object> one : threads.invokeAll(Collections.nCopies(16, () -> gateway.all("/")))) {
                assertThat(one.get()).isEqualTo(Map.of());
            }
        }
    }

    @Test
    void aConnectionThatBreaksMakesTheLoginAnewForSomeVersionsDoSoWhenItHasExpired() {
        try (EtcdServer etcd = EtcdServer.start();
                EtcdProxy proxy = EtcdProxy.before(etcd)) {
            etcd.enableAuth("secret");
            EtcdGateway gateway = loggedIn(proxy.url());
            gateway.all("/");
            gateway.all("/");
            assertThat(proxy.done("auth/authenticate")).isEqualTo(1);

            proxy.loseRequest("kv/range");
            assertThat(catchThrowableOfType(Failure.class, () -> gateway.all("/")))
                    .isNotNull();
            gateway.all("/");

            assertThat(proxy.done("auth/authenticate")).isEqualTo(2);
        }
    }

    @Test
    void aJwtThatIsOlderThanTheUsersAreIsMadeAnew(@TempDir Path folder) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(2048);
        KeyPair keys = generator.generateKeyPair();
        Path ours = pem(folder, "PRIVATE", keys.getPrivate());
        Path theirs = pem(folder, "PUBLIC", keys.getPublic());
        String option = "jwt,sign-method=RS256,ttl=10m,priv-key=" + ours + ",pub-key=" + theirs;
        try (EtcdServer etcd = EtcdServer.start("--auth-token", option)) {
            etcd.enableAuth("secret");
            EtcdGateway gateway = loggedIn(etcd.url());
            gateway.all("/");
            JsonObject another = new JsonObject();
            another.addProperty("name", "another");
            another.addProperty("password", "secret");
            loggedIn(etcd.url()).ask("auth/user/add", another);

            assertThat(gateway.all("/")).isEmpty();
        }
    }

    private static Path pem(Path folder, String kind, Key key) throws IOException {
        String text = Base64.getMimeEncoder().encodeToString(key.getEncoded());
        return Files.writeString(
                folder.resolve(kind),
                "-----BEGIN " + kind + " KEY-----\n" + text + "\n-----END " + kind + " KEY-----\n");
    }

    private static EtcdGateway loggedIn(URI url) {
        return new EtcdGateway(List.of(url), null, new EtcdOptions.Login("root", "secret"), Duration.ofSeconds(30));
    }

    private int exitOf(EtcdOptions.Login login) {
        return catchThrowableOfType(Failure.class, () -> gateway(login).ask("maintenance/status", new JsonObject()))
                .exit();
    }

    private EtcdGateway gateway(EtcdOptions.Login login) {
        URI url = URI.create("http://127.0.0.1:" + server.getAddress().getPort());
        return new EtcdGateway(List.of(url), null, login, Duration.ofSeconds(5));
    }
}
