package io.github.rollcall.harness;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The instance metadata service, version 2 only: a token by PUT with a time to live, then GETs with the token, 401
 * without. It can be told to misbehave. Thread-safe.
 */
public final class MetadataServer implements AutoCloseable {
    /** What can be wrong with it. */
    public enum Mood {
        /** As on EC2. */
        WELL,
        /** Never answers a token request, as behind one network hop too many. */
        SILENT_ON_TOKENS,
        /** Gives tokens and answers nothing else. */
        SILENT_ON_DATA,
        /** Says 401 whatever the token. */
        UNAUTHORIZED,
        /** Says 403, as when it is turned off for the instance. */
        TURNED_OFF,
        /** Answers 500. */
        BROKEN,
        /** Answers with an identity document that is not JSON. */
        GARBAGE
    }

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Map<String, String> data = new ConcurrentHashMap<>();
    private final Set<String> tokens = ConcurrentHashMap.newKeySet();
    private final AtomicInteger withoutToken = new AtomicInteger();
    private volatile Mood mood = Mood.WELL;

    private MetadataServer(int port) {
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        server.setExecutor(threads);
        server.createContext("/", this::handle);
        server.start();
    }

    /** The service of one instance. */
    public static MetadataServer of(String instanceId, String privateIp) {
        return of(instanceId, privateIp, 0);
    }

    /** As {@link #of(String, String)}, on a given port. */
    public static MetadataServer of(String instanceId, String privateIp, int port) {
        MetadataServer server = new MetadataServer(port);
        String document =
                """
                {"instanceId": "%s", "privateIp": "%s", "region": "%s", "availabilityZone": "%<sa", "version": "2017-09-30"}
                """
                        .formatted(instanceId, privateIp, Moto.REGION);
        server.data.put("/latest/dynamic/instance-identity/document", document);
        server.data.put("/latest/meta-data/instance-id", instanceId);
        server.data.put("/latest/meta-data/local-ipv4", privateIp);
        server.data.put("/latest/meta-data/placement/region", Moto.REGION);
        return server;
    }

    /** Gives the instance a role with these credentials. */
    public MetadataServer withRole(String accessKey, String secretKey, String sessionToken) {
        String list = "/latest/meta-data/iam/security-credentials/";
        data.put(list, "role");
        data.put(
                list + "role",
                """
                {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "%s", "SecretAccessKey": "%s", "Token": "%s",
                 "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2126-01-01T00:00:00Z"}
                """
                        .formatted(accessKey, secretKey, sessionToken));
        return this;
    }

    /** Takes a path away, which then is 404. */
    public MetadataServer without(String path) {
        data.remove(path);
        return this;
    }

    /** From now on it behaves like this. */
    public MetadataServer is(Mood next) {
        mood = next;
        return this;
    }

    /** Where it listens; for {@code AWS_EC2_METADATA_SERVICE_ENDPOINT}. */
    public URI url() {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    /** How many GETs came without a good token, as IMDSv1 would send them. */
    public int requestsWithoutToken() {
        return withoutToken.get();
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }

    private void handle(HttpExchange exchange) throws IOException {
        boolean forToken = exchange.getRequestMethod().equals("PUT")
                && exchange.getRequestURI().getPath().equals("/latest/api/token");
        switch (mood) {
            case SILENT_ON_TOKENS -> silence();
            case SILENT_ON_DATA -> {
                if (!forToken) {
                    silence();
                }
            }
            case TURNED_OFF -> {
                answer(exchange, 403, "Forbidden");
                return;
            }
            case BROKEN -> {
                answer(exchange, 500, "Internal Server Error");
                return;
            }
            default -> {}
        }
        if (forToken) {
            giveToken(exchange);
        } else {
            giveData(exchange);
        }
    }

    private void giveToken(HttpExchange exchange) throws IOException {
        if (exchange.getRequestHeaders().getFirst("X-aws-ec2-metadata-token-ttl-seconds") == null) {
            answer(exchange, 400, "Bad Request");
            return;
        }
        String token = UUID.randomUUID().toString();
        tokens.add(token);
        answer(exchange, 200, token);
    }

    private void giveData(HttpExchange exchange) throws IOException {
        String token = exchange.getRequestHeaders().getFirst("X-aws-ec2-metadata-token");
        if (token == null || !tokens.contains(token)) {
            withoutToken.incrementAndGet();
            answer(exchange, 401, "Unauthorized");
        } else if (mood == Mood.UNAUTHORIZED) {
            answer(exchange, 401, "Unauthorized");
        } else if (mood == Mood.GARBAGE) {
            answer(exchange, 200, "<html>please log in</html>");
        } else {
            String text = data.get(exchange.getRequestURI().getPath());
            answer(exchange, text == null ? 404 : 200, text == null ? "Not Found" : text);
        }
    }

    private static void silence() {
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        try (exchange) {
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
        }
    }
}
