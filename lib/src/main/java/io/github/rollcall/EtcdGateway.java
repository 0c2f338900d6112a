package io.github.rollcall;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLSocketFactory;

/**
 * etcd's v3 API by its JSON gateway, for tools that ask a few questions and end: it starts in milliseconds, where a gRPC
 * client takes half a second. Keys and values are base64 both ways; see {@link #encode} and {@link #decode}. The paths
 * and fields are those of etcd's "gRPC gateway" page; etcd 3.4 and later. Thread-safe.
 */
public final class EtcdGateway {
    static {
        // The JDK would send a POST a second time, unasked, when the connection breaks before the answer.
        System.setProperty("sun.net.http.retryPost", "false");
    }

    /** In bytes. More would not fit into the memory that there is, as text and as objects, whoever sends it. */
    private static final int LARGEST_ANSWER =
            (int) Math.min(Runtime.getRuntime().maxMemory() / 8, Integer.MAX_VALUE - 8);
    /** What a peer port tells is a hundred members at most. */
    private static final int LARGEST_PEER_ANSWER = 256 * 1024;

    private final List<URI> endpoints;
    private final SSLSocketFactory sockets;
    private final EtcdOptions.Login login;
    private final Duration timeout;
    private volatile String token;
    /** Where to begin: the one that answered last, or the one after that which let us down. */
    private volatile int first;

    EtcdGateway(List<URI> endpoints, SSLSocketFactory sockets, EtcdOptions.Login login, Duration timeout) {
        this.endpoints = endpoints;
        this.sockets = sockets;
        this.login = login;
        this.timeout = timeout;
    }

    /**
     * Asks the first endpoint that can be reached. A request that may have arrived is not sent to another endpoint, for
     * it may have been done; the next request begins with that one.
     *
     * @param path such as {@code kv/range}
     * @throws Failure unavailable when no endpoint can be reached or the one asked breaks off, temporary when etcd cannot
     *     do it now, refused by its auth; the exit code is the whole distinction
     */
    public JsonObject ask(String path, JsonObject request) {
        return firstReached(endpoint -> withToken(endpoint, token -> post(endpoint, path, token, request)));
    }

    /**
     * Opens an answer that goes on: a watch.
     *
     * @param path such as {@code watch}
     * @param silence how long {@link EtcdStream#next} waits
     * @throws Failure as {@link #ask}
     */
    public EtcdStream stream(String path, JsonObject request, Duration silence) {
        return firstReached(endpoint -> withToken(endpoint, token -> open(endpoint, path, token, request, silence)));
    }

    private interface Question<T> {
        T put(URI endpoint) throws Unreached;
    }

    private <T> T firstReached(Question<T> question) {
        Failure last = null;
        int begin = first;
        for (int i = 0; i < endpoints.size(); i++) {
            int n = (begin + i) % endpoints.size();
            URI endpoint = endpoints.get(n);
            try {
                T answer = question.put(endpoint);
                first = n;
                return answer;
            } catch (Unreached e) {
                last = new Failure(
                        Exit.UNAVAILABLE, "etcd at " + endpoint + " cannot be reached: " + e.getMessage(), e);
            } catch (Failure f) {
                first = f.isTransient() ? n + 1 : n;
                throw f;
            }
        }
        throw last;
    }

    /** A key or value as the gateway wants it. */
    public static String encode(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    /** A key or value as the gateway gives it. */
    public static String decode(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    }

    /** The keys that begin with {@code prefix}, which is not empty, sorted, and their values. @throws Failure as {@link #ask} */
    public SortedMap<String, String> all(String prefix) {
        // What is empty is left out of the JSON.
        return range(prefix, kv -> kv.has("value") ? decode(kv.get("value").getAsString()) : "");
    }

    /** The keys that begin with {@code prefix}, which is not empty, sorted, and the revisions of their last puts. */
    public SortedMap<String, Long> revisions(String prefix) {
        return range(prefix, kv -> kv.get("mod_revision").getAsLong());
    }

    private <T> SortedMap<String, T> range(String prefix, Function<JsonObject, T> what) {
        JsonObject range = new JsonObject();
        range.addProperty("key", encode(prefix));
        // The first key that does not begin so: no byte of UTF-8 is 255, so the last one has a next.
        byte[] end = prefix.getBytes(StandardCharsets.UTF_8);
        end[end.length - 1]++;
        range.addProperty("range_end", Base64.getEncoder().encodeToString(end));
        SortedMap<String, T> found = new TreeMap<>();
        JsonObject answer = ask("kv/range", range);
        if (answer.has("kvs")) {
            answer.getAsJsonArray("kvs")
                    .forEach(kv -> found.put(
                            decode(kv.getAsJsonObject().get("key").getAsString()), what.apply(kv.getAsJsonObject())));
        }
        return found;
    }

    /**
     * The members, as {@code cluster/member/list} of the endpoint asked has them. etcd 3.4 answers from what it knows by
     * itself, later versions through the leader; what has been applied before a linearizable read that went before is
     * in the list either way.
     *
     * @throws Failure as {@link #ask}
     */
    public EtcdMembership members() {
        JsonObject request = new JsonObject();
        request.addProperty("linearizable", true);
        return EtcdMembership.ofList(ask("cluster/member/list", request));
    }

    /**
     * The members as the endpoint, which must be a peer URL, tells other members that start ({@code GET /members}). Peer
     * ports answer this from the start, also as long as there is no quorum and the client port is silent.
     *
     * @throws Failure unavailable when it cannot be reached or is no etcd, whatever it answers
     */
    public EtcdMembership membersByPeerPort() {
        URI peer = endpoints.get(0);
        HttpURLConnection http = null;
        try {
            http = open(peer.resolve("/members"));
            int status = http.getResponseCode();
            if (status != 200) {
                throw new Failure(
                        Exit.UNAVAILABLE, "what answers at " + peer + " with HTTP " + status + " is no etcd peer");
            }
            try (InputStream body = http.getInputStream()) {
                return EtcdMembership.ofPeer(http.getHeaderField("X-Etcd-Cluster-Id"), text(body, LARGEST_PEER_ANSWER));
            }
        } catch (IOException e) {
            throw new Failure(
                    Exit.UNAVAILABLE, "etcd's peer port at " + peer + " did not answer: " + e.getMessage(), e);
        } catch (Failure f) {
            throw f;
        } catch (RuntimeException e) {
            throw new Failure(Exit.UNAVAILABLE, "what answers at " + peer + " is no etcd peer", e);
        } finally {
            if (http != null) {
                http.disconnect();
            }
        }
    }

    private interface Request<T> {
        /** @param token or null */
        T send(String token) throws Unreached, Said;
    }

    private <T> T withToken(URI endpoint, Request<T> request) throws Unreached {
        // Others may ask for a new one meanwhile: this request is sent with that which it was given.
        String current = token;
        try {
            return request.send(login == null || current != null ? current : authenticate(endpoint));
        } catch (Said e) {
            if (login == null || !e.isAboutToken()) {
                throw e.failure(endpoint);
            }
        } catch (Failure f) {
            // Some versions break off in place of saying that they do not know a token: etcd's issue 15256.
            token = null;
            throw f;
        }
        try {
            return request.send(authenticate(endpoint));
        } catch (Said e) {
            throw e.failure(endpoint);
        }
    }

    /** @return the token, or null where authentication is off */
    private String authenticate(URI endpoint) throws Unreached {
        JsonObject request = new JsonObject();
        request.addProperty("name", login.name());
        request.addProperty("password", login.password());
        try {
            JsonElement given =
                    post(endpoint, "auth/authenticate", null, request).get("token");
            if (given == null || !given.isJsonPrimitive()) {
                throw new Failure(
                        Exit.UNAVAILABLE, "what answers at " + endpoint + " gives no token, and is not etcd's v3 API");
            }
            String fresh = given.getAsString();
            token = fresh;
            return fresh;
        } catch (Said e) {
            token = null;
            // Asking for a token needs a quorum, as a change does: that there is none now is no refusal.
            if (!e.getMessage().contains("authentication is not enabled")) {
                throw EtcdStatus.exit(e.code, e.getMessage()) == Exit.REFUSED
                        ? new Failure(
                                Exit.REFUSED,
                                "etcd at " + endpoint + " refuses user '" + login.name() + "': " + e.getMessage(),
                                e)
                        : e.failure(endpoint);
            }
            return null;
        }
    }

    private JsonObject post(URI endpoint, String path, String token, JsonObject request) throws Unreached, Said {
        HttpURLConnection http = request(endpoint, path, token, timeout);
        connect(http);
        try {
            int status = send(http, request);
            try (InputStream body = status == 200 ? http.getInputStream() : http.getErrorStream()) {
                return answer(endpoint, status, text(body, LARGEST_ANSWER));
            }
        } catch (IOException e) {
            throw brokenOff(endpoint, timeout, e);
        } finally {
            http.disconnect();
        }
    }

    private EtcdStream open(URI endpoint, String path, String token, JsonObject request, Duration silence)
            throws Unreached, Said {
        HttpURLConnection http = request(endpoint, path, token, silence);
        // A member that is cut off from the others is to say so, and not to be silent.
        http.setRequestProperty("Grpc-Metadata-Hasleader", "true");
        connect(http);
        boolean opened = false;
        try {
            int status = send(http, request);
            if (status != 200) {
                InputStream body = http.getErrorStream();
                answer(endpoint, status, text(body, LARGEST_ANSWER));
            }
            EtcdStream stream = new EtcdStream(endpoint, http, http.getInputStream());
            opened = true;
            return stream;
        } catch (IOException e) {
            throw brokenOff(endpoint, silence, e);
        } finally {
            if (!opened) {
                http.disconnect();
            }
        }
    }

    /** @param body or null for none */
    private static String text(InputStream body, int largest) throws IOException {
        byte[] bytes = body == null ? new byte[0] : body.readNBytes(largest + 1);
        if (bytes.length > largest) {
            throw new IOException("the answer is larger than " + largest + " bytes");
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static int send(HttpURLConnection http, JsonObject request) throws IOException {
        http.getOutputStream().write(request.toString().getBytes(StandardCharsets.UTF_8));
        return http.getResponseCode();
    }

    private static Failure brokenOff(URI endpoint, Duration patience, IOException e) {
        String how = e instanceof SocketTimeoutException
                ? "did not answer in " + Durations.format(patience)
                : "broke off: " + e.getMessage();
        return new Failure(Exit.UNAVAILABLE, "etcd at " + endpoint + " " + how, e);
    }

    private HttpURLConnection request(URI endpoint, String path, String token, Duration patience) throws Unreached {
        try {
            HttpURLConnection http = open(endpoint.resolve("/v3/" + path));
            http.setReadTimeout((int) patience.toMillis());
            http.setRequestMethod("POST");
            http.setDoOutput(true);
            if (token != null) {
                http.setRequestProperty("Authorization", token);
            }
            return http;
        } catch (IOException e) {
            throw new Unreached(e);
        }
    }

    private static void connect(HttpURLConnection http) throws Unreached {
        try {
            http.connect();
        } catch (IOException e) {
            throw new Unreached(e);
        }
    }

    private HttpURLConnection open(URI url) throws IOException {
        HttpURLConnection http = (HttpURLConnection) url.toURL().openConnection(Proxy.NO_PROXY);
        if (http instanceof HttpsURLConnection https) {
            https.setSSLSocketFactory(sockets);
        }
        http.setConnectTimeout((int) timeout.toMillis());
        http.setReadTimeout((int) timeout.toMillis());
        return http;
    }

    private static JsonObject answer(URI endpoint, int status, String text) throws Said {
        JsonObject json;
        try {
            json = JsonParser.parseString(text).getAsJsonObject();
        } catch (JsonParseException | IllegalStateException e) {
            throw noEtcd(endpoint, status, e);
        }
        if (status != 200) {
            // An object it is where an answer was to go on.
            JsonObject details = json.get("error") instanceof JsonObject error ? error : json;
            throw new Said(EtcdStatus.code(details), EtcdStatus.words(details, "HTTP " + status));
        }
        if (!json.has("header") && !json.has("result")) {
            throw noEtcd(endpoint, status, null);
        }
        return json;
    }

    private static Failure noEtcd(URI endpoint, int status, Exception cause) {
        return new Failure(
                Exit.UNAVAILABLE,
                "what answers at " + endpoint + " with HTTP " + status + " is not etcd's v3 API",
                cause);
    }

    /** No connection: nothing has been asked. */
    private static final class Unreached extends Exception {
        private static final long serialVersionUID = 1;

        Unreached(IOException cause) {
            super(cause.getMessage(), cause);
        }
    }

    /** etcd's own error, by its gRPC code. */
    private static final class Said extends Exception {
        private static final long serialVersionUID = 1;
        final int code;

        Said(int code, String words) {
            super(words);
            this.code = code;
        }

        /** A token lives for five minutes, and dies with the server; a JWT does so with any change of users or roles. */
        boolean isAboutToken() {
            return code == EtcdStatus.UNAUTHENTICATED || getMessage().contains("revision of auth store is old");
        }

        Failure failure(URI endpoint) {
            return new Failure(
                    EtcdStatus.exit(code, getMessage()), "etcd at " + endpoint + " says: " + getMessage(), this);
        }
    }
}
