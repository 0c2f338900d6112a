package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.MalformedJsonException;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.URLEncoder;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;
import jdk.net.ExtendedSocketOptions;

/**
 * The three questions that are put to Docker, over its API: which containers there are, what happens to them, and what
 * the bridge's address is. Thread-safe.
 *
 * <p>It is spoken to in HTTP/1.0, in which an answer ends with the connection: a client library for the whole API would be
 * four times the size of the tool, with more memory than the rest of it.
 */
public final class Docker {
    private static final String DEFAULT = "unix:///var/run/docker.sock";

    private final String host;
    private final SSLSocketFactory tls;
    private final Duration timeout;

    private Docker(String host, SSLSocketFactory tls, Duration timeout) {
        this.host = host;
        this.tls = tls;
        this.timeout = timeout;
    }

    /**
     * Docker where the option says, or else {@code DOCKER_HOST}, or else its usual socket; by TLS where
     * {@code DOCKER_TLS_VERIFY} is set, with ca.pem, cert.pem and key.pem from {@code DOCKER_CERT_PATH}.
     *
     * @param option null when it was not given
     * @param timeout for connecting, and for each answer
     * @throws IllegalArgumentException with a sentence, when it is no address that can be used
     * @throws Failure configuration when a certificate or key cannot be read
     */
    public static Docker at(String option, Map<String, String> environment, Duration timeout) {
        String variable = environment.getOrDefault("DOCKER_HOST", "");
        String from = option != null ? "--docker-host" : "DOCKER_HOST";
        String host = option != null ? option : variable.isBlank() ? DEFAULT : variable;
        boolean verify = !environment.getOrDefault("DOCKER_TLS_VERIFY", "").isEmpty();
        if (!isAddress(host)) {
            throw new IllegalArgumentException(
                    from + " is '" + host + "': expected unix:///PATH, tcp://HOST:PORT or https://HOST:PORT");
        }
        boolean secure = host.startsWith("https:") || verify && !host.startsWith("unix:");
        return new Docker(host, secure ? sockets(environment) : null, timeout);
    }

    private static boolean isAddress(String host) {
        try {
            URI uri = URI.create(host);
            return "unix".equals(uri.getScheme())
                    ? uri.getPath() != null && uri.getPath().startsWith("/") && uri.getAuthority() == null
                    : host.matches("(tcp|https?)://[^/]+/?") && uri.getHost() != null && uri.getPort() > 0;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    private static SSLSocketFactory sockets(Map<String, String> environment) {
        String certPath = environment.getOrDefault("DOCKER_CERT_PATH", "");
        Path folder =
                certPath.isBlank() ? Path.of(environment.getOrDefault("HOME", "/"), ".docker") : Path.of(certPath);
        return Pem.socketFactory(folder.resolve("ca.pem"), folder.resolve("cert.pem"), folder.resolve("key.pem"));
    }

    /** Where it is. */
    @Override
    public String toString() {
        return host;
    }

    /**
     * The containers, running or not.
     *
     * @param filters as {@code docker ps --filter} has them; the values of one are alternatives, except for labels, of which
     *     all have to be there
     * @throws Failure unavailable when Docker cannot be reached or does not answer in time, refused where it lets us not in
     */
    public List<ContainerPorts> containers(Map<String, List<String>> filters) {
        return get("/containers/json?all=1&filters=" + encode(filters), json -> {
            List<ContainerPorts> containers = new ArrayList<>();
            json.beginArray();
            // One at a time: with all their labels a thousand are many megabytes.
            while (json.hasNext()) {
                containers.add(ContainerPorts.of(JsonParser.parseReader(json).getAsJsonObject()));
            }
            json.endArray();
            return containers;
        });
    }

    /**
     * The address of the host on Docker's default bridge.
     *
     * @throws Failure configuration when it has none; else as {@link #containers}
     */
    public String bridgeAddress() {
        JsonElement network;
        try {
            network = get("/networks/bridge", JsonParser::parseReader);
        } catch (Failure f) {
            if (f.exit() == Exit.CONFIG) {
                throw new Failure(
                        Exit.CONFIG,
                        "Docker at " + host + " has no default bridge: give the address with --host-ip",
                        f);
            }
            throw f;
        }
        try {
            JsonArray pools = network.getAsJsonObject().getAsJsonObject("IPAM").getAsJsonArray("Config");
            for (JsonElement element : pools) {
                JsonObject pool = element.getAsJsonObject();
                String address = pool.has("Gateway")
                        ? pool.get("Gateway").getAsString()
                        : firstOf(pool.get("Subnet").getAsString());
                if (!address.contains(":")) {
                    return address;
                }
            }
        } catch (RuntimeException e) {
            throw notDocker(e);
        }
        throw new Failure(Exit.CONFIG, "Docker's default bridge has no IPv4 address: give the address with --host-ip");
    }

    /** What Docker takes for itself where nothing else was said, and does not always tell. */
    private static String firstOf(String subnet) {
        String network = subnet.replaceFirst("/.*", "");
        int dot = network.lastIndexOf('.');
        return dot < 0 ? network : network.substring(0, dot + 1) + (Integer.parseInt(network.substring(dot + 1)) + 1);
    }

    /**
     * Opens the stream of what happens to containers: from the return of this on, nothing is missed until
     * {@code ended} is called.
     *
     * @param happened called with the id of a container that something has happened to, on a thread of the stream
     * @param ended called once, with the reason, after the last event
     */
    public Closeable events(Consumer<String> happened, Consumer<Failure> ended) {
        Map<String, List<String>> filters = Map.of(
                "type", List.of("container", "network"),
                "event",
                        List.of(
                                "start",
                                "restart",
                                "die",
                                "stop",
                                "pause",
                                "unpause",
                                "rename",
                                "destroy",
                                "health_status",
                                "connect",
                                "disconnect"));
        Connection connection = ask("/events?filters=" + encode(filters));
        Thread thread = new Thread(() -> ended.accept(read(connection, happened)), "docker-events");
        thread.setDaemon(true);
        thread.start();
        return connection;
    }

    private Failure read(Connection connection, Consumer<String> happened) {
        try (connection;
                JsonReader reader = new JsonReader(new InputStreamReader(connection.body, StandardCharsets.UTF_8))) {
            reader.setStrictness(com.google.gson.Strictness.LENIENT);
            while (reader.hasNext()) {
                JsonObject event = JsonParser.parseReader(reader).getAsJsonObject();
                JsonObject actor = event.getAsJsonObject("Actor");
                // That of a network tells which container was connected to it; a container's has its labels there.
                JsonElement id = event.get("Type").getAsString().equals("network")
                        ? actor.getAsJsonObject("Attributes").get("container")
                        : actor.get("ID");
                if (id != null && !id.getAsString().isEmpty()) {
                    happened.accept(id.getAsString());
                }
            }
            return broken(new EOFException("the end of its events"));
        } catch (IOException e) {
            return broken(e);
        } catch (JsonParseException e) {
            return e.getCause() instanceof IOException cause ? broken(cause) : notDocker(e);
        } catch (RuntimeException | Error e) {
            // An error, too, has to be told as the end: else nobody would know that nothing comes any more.
            return notDocker(e);
        }
    }

    // --- HTTP

    private interface Answer<T> {
        T read(JsonReader json) throws IOException;
    }

    private <T> T get(String path, Answer<T> answer) {
        try (Connection connection = ask(path);
                JsonReader json = new JsonReader(new InputStreamReader(connection.body, StandardCharsets.UTF_8))) {
            CompletableFuture<Void> done = connection.closeAfter(timeout);
            try {
                return answer.read(json);
            } catch (JsonParseException e) {
                throw e.getCause() instanceof IOException cause && !(cause instanceof MalformedJsonException)
                        ? broken(cause)
                        : notDocker(e);
            } catch (MalformedJsonException | RuntimeException e) {
                throw notDocker(e);
            } finally {
                done.complete(null);
            }
        } catch (IOException e) {
            throw broken(e);
        }
    }

    /** Sends a question, and reads the answer as far as it is about the answer. */
    private Connection ask(String path) {
        Connection connection = connect();
        CompletableFuture<Void> done = connection.closeAfter(timeout);
        try {
            connection.out.write(("GET " + path + " HTTP/1.0\r\nHost: docker\r\nAccept: application/json\r\n\r\n")
                    .getBytes(StandardCharsets.US_ASCII));
            connection.out.flush();
            String status = line(connection.body);
            if (!status.matches("HTTP/1\\.[01] \\d{3}.*")) {
                throw notDocker(null);
            }
            while (!line(connection.body).isEmpty()) {
                // Nothing in the headers matters.
            }
            int code = Integer.parseInt(status.substring(9, 12));
            if (code != 200) {
                throw said(code, new String(connection.body.readNBytes(10_000), StandardCharsets.UTF_8));
            }
            return connection;
        } catch (IOException e) {
            connection.close();
            throw broken(e);
        } catch (RuntimeException e) {
            connection.close();
            throw e;
        } finally {
            done.complete(null);
        }
    }

    private static String line(InputStream in) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0 || line.length() > 10_000) {
                throw new EOFException("the connection was closed");
            }
            line.append((char) c);
        }
        return line.toString().strip();
    }

    private Connection connect() {
        try {
            if (host.startsWith("unix:")) {
                SocketChannel channel = SocketChannel.open(
                        UnixDomainSocketAddress.of(Path.of(URI.create(host).getPath())));
                return new Connection(Channels.newInputStream(channel), Channels.newOutputStream(channel), channel);
            }
            URI uri = URI.create(host);
            Socket socket = new Socket();
            try {
                socket.connect(new InetSocketAddress(uri.getHost().replaceAll("[\\[\\]]", ""), uri.getPort()), (int)
                        timeout.toMillis());
                // Events may be far between, and the other end may vanish without a word.
                socket.setKeepAlive(true);
                if (socket.supportedOptions().contains(ExtendedSocketOptions.TCP_KEEPIDLE)) {
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 30);
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, 10);
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, 3);
                }
                socket.setSoTimeout(tls == null ? 0 : (int) timeout.toMillis());
                Socket used = tls == null ? socket : secure(socket, uri);
                socket.setSoTimeout(0);
                return new Connection(used.getInputStream(), used.getOutputStream(), socket);
            } catch (IOException e) {
                socket.close();
                throw e;
            }
        } catch (IOException e) {
            throw unreached(e);
        }
    }

    private Socket secure(Socket socket, URI uri) throws IOException {
        SSLSocket secure =
                (SSLSocket) tls.createSocket(socket, uri.getHost().replaceAll("[\\[\\]]", ""), uri.getPort(), true);
        SSLParameters parameters = secure.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        secure.setSSLParameters(parameters);
        secure.startHandshake();
        return secure;
    }

    private Failure unreached(IOException e) {
        String words = String.valueOf(e.getMessage());
        if (words.contains("Permission denied")) {
            return new Failure(
                    Exit.REFUSED,
                    "Docker at " + host + " refuses us: permission denied on its socket; run this as root or as a"
                            + " member of the group that the socket has",
                    e);
        }
        String hint = host.startsWith("unix:") ? "; is Docker running?" : "";
        String cause = e instanceof java.net.UnknownHostException ? "unknown host " + words : words;
        return new Failure(Exit.UNAVAILABLE, "Docker at " + host + " cannot be reached: " + cause + hint, e);
    }

    private Failure broken(IOException e) {
        boolean closed = e instanceof ClosedChannelException
                || e.getCause() instanceof ClosedChannelException
                || String.valueOf(e.getMessage()).contains("Socket closed");
        return closed
                ? new Failure(
                        Exit.UNAVAILABLE, "Docker at " + host + " did not answer in " + Durations.format(timeout), e)
                : new Failure(Exit.UNAVAILABLE, "Docker at " + host + " broke off: " + e.getMessage(), e);
    }

    private Failure said(int code, String body) {
        String words = "HTTP " + code;
        try {
            words = JsonParser.parseString(body)
                    .getAsJsonObject()
                    .get("message")
                    .getAsString();
        } catch (RuntimeException notJson) {
            words += body.isBlank() ? "" : ": " + body.strip();
        }
        int exit =
                switch (code) {
                    case 401, 403 -> Exit.REFUSED;
                    case 429, 503 -> Exit.TEMPORARY;
                    default -> code >= 500 ? Exit.UNAVAILABLE : Exit.CONFIG;
                };
        return new Failure(exit, "Docker at " + host + " says: " + words);
    }

    private Failure notDocker(Throwable cause) {
        return new Failure(Exit.UNAVAILABLE, "what answers at " + host + " is not Docker's API", cause);
    }

    private static String encode(Map<String, List<String>> filters) {
        JsonObject json = new JsonObject();
        filters.forEach((name, values) -> {
            JsonArray array = new JsonArray();
            values.forEach(array::add);
            json.add(name, array);
        });
        return URLEncoder.encode(json.toString(), StandardCharsets.UTF_8);
    }

    /** An answer on its way. */
    private static final class Connection implements Closeable {
        final InputStream body;
        final OutputStream out;
        private final Closeable socket;

        Connection(InputStream in, OutputStream out, Closeable socket) {
            // Headers are read byte by byte.
            this.body = new java.io.BufferedInputStream(in);
            this.out = out;
            this.socket = socket;
        }

        /** Cuts it off, unless what is returned is completed before. */
        CompletableFuture<Void> closeAfter(Duration time) {
            CompletableFuture<Void> done = new CompletableFuture<>();
            done.orTimeout(time.toMillis(), TimeUnit.MILLISECONDS).exceptionally(tooLong -> {
                close();
                return null;
            });
            return done;
        }

        @Override
        public void close() {
            try {
                socket.close();
            } catch (IOException e) {
                // It is of no more use either way.
            }
        }
    }
}
