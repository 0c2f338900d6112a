package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.google.gson.JsonObject;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** {@link EtcdGateway}: what it makes of answers that no etcd in order gives. */
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

    private int exitOf(EtcdOptions.Login login) {
        return catchThrowableOfType(Failure.class, () -> gateway(login).ask("maintenance/status", new JsonObject()))
                .exit();
    }

    private EtcdGateway gateway(EtcdOptions.Login login) {
        URI url = URI.create("http://127.0.0.1:" + server.getAddress().getPort());
        return new EtcdGateway(List.of(url), null, login, Duration.ofSeconds(5));
    }
}
