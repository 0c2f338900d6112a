package io.github.rollcall;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.net.ConnectException;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * An EC2 instance, as the load balancers and the cluster know it. Immutable.
 *
 * @param id the instance id
 * @param privateIp the primary private address, or null where it is not known
 * @param region where it runs, or null where it is not known
 */
public record Instance(String id, String privateIp, String region) {
    private static Instance here;
    private static Failure lastFailure;
    private static long lastFailureAt;

    /**
     * This instance, from the metadata service: IMDSv2 only, at {@code AWS_EC2_METADATA_SERVICE_ENDPOINT} when that is
     * set. Asked until it has answered once, then remembered. Thread-safe; those who ask at once share one answer.
     *
     * @throws Failure unavailable when the service does not answer, refused when it says no, and configuration when it
     *     is turned off
     */
    public static Instance here() {
        long asked = System.nanoTime();
        synchronized (Instance.class) {
            if (here == null && lastFailure != null && lastFailureAt - asked > 0) {
                throw lastFailure;
            }
            try {
                here = here != null ? here : new MetadataService(MetadataService.endpoint()).instance();
                return here;
            } catch (Failure f) {
                lastFailure = f;
                lastFailureAt = System.nanoTime();
                throw f;
            }
        }
    }

    /**
     * The instance metadata service, version 2: a token by PUT, then GETs with the token. The rules are those of the
     * EC2 User Guide, "Use the Instance Metadata Service to access instance metadata". Written out here because no
     * client tells a token that timed out, which is how a hop limit shows, from any other time-out.
     */
    static final class MetadataService {
        private static final Duration TIMEOUT = Duration.ofSeconds(1);
        private static final int ATTEMPTS = 3;
        private static final int LARGEST_ANSWER = 64 * 1024;

        private final String endpoint;

        MetadataService(String endpoint) {
            this.endpoint = endpoint.replaceAll("/+$", "");
        }

        static String endpoint() {
            if ("true".equalsIgnoreCase(System.getenv("AWS_EC2_METADATA_DISABLED"))) {
                throw new Failure(
                        Exit.CONFIG,
                        "the metadata service is turned off by AWS_EC2_METADATA_DISABLED: name this instance by"
                                + " --instance-id and --region");
            }
            String set = System.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
            if (set != null && !set.isBlank()) {
                return set;
            }
            boolean six = "IPv6".equalsIgnoreCase(System.getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"));
            return six ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
        }

        Instance instance() {
            Failure last = null;
            for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
                try {
                    return read(token());
                } catch (Failure f) {
                    if (!f.isTransient()) {
                        throw f;
                    }
                    last = f;
                }
            }
            throw last;
        }

        private String token() {
            try {
                return request("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "300");
            } catch (SocketTimeoutException e) {
                throw new Failure(
                        Exit.UNAVAILABLE,
                        "the metadata service at " + endpoint + " did not answer the token request in "
                                + Durations.format(TIMEOUT)
                                + "; in a bridged container its hop limit is the likely cause: allow 2 hops (aws ec2"
                                + " modify-instance-metadata-options --http-put-response-hop-limit 2), use the host's"
                                + " network, or give --instance-id and --region",
                        e);
            } catch (IOException e) {
                throw away(e);
            }
        }

        private Instance read(String token) {
            try {
                String document = get("/latest/dynamic/instance-identity/document", token);
                if (document == null) {
                    return fromCategories(token);
                }
                JsonObject json = JsonParser.parseString(document).getAsJsonObject();
                return checked(new Instance(text(json, "instanceId"), text(json, "privateIp"), text(json, "region")));
            } catch (JsonParseException | IllegalStateException e) {
                throw nonsense("an identity document that is not JSON", e);
            } catch (IOException e) {
                throw away(e);
            }
        }

        /** Where there is no identity document, as with some emulators, the categories say the same. */
        private Instance fromCategories(String token) throws IOException {
            return checked(new Instance(
                    get("/latest/meta-data/instance-id", token),
                    get("/latest/meta-data/local-ipv4", token),
                    get("/latest/meta-data/placement/region", token)));
        }

        private Instance checked(Instance i) {
            if (i.id() == null || !i.id().matches("[a-zA-Z0-9-]{1,64}")) {
                throw nonsense("no instance id", null);
            }
            return i;
        }

        private static String text(JsonObject json, String key) {
            return json.has(key) && json.get(key).isJsonPrimitive()
                    ? json.get(key).getAsString()
                    : null;
        }

        private String get(String path, String token) throws IOException {
            return request("GET", path, "X-aws-ec2-metadata-token", token);
        }

        /** The body of the answer, or null where there is no such thing. */
        private String request(String method, String path, String header, String value) throws IOException {
            HttpURLConnection http = open(path);
            try {
                http.setRequestMethod(method);
                http.setConnectTimeout((int) TIMEOUT.toMillis());
                http.setReadTimeout((int) TIMEOUT.toMillis());
                http.setRequestProperty(header, value);
                int status = http.getResponseCode();
                if (status == 200) {
                    try (InputStream body = http.getInputStream()) {
                        return new String(body.readNBytes(LARGEST_ANSWER), StandardCharsets.UTF_8).strip();
                    }
                }
                if (status == 404 && method.equals("GET")) {
                    return null;
                }
                if (status == 401 || status == 403) {
                    throw new Failure(
                            Exit.REFUSED,
                            "the metadata service at " + endpoint + " refuses " + path + " with HTTP " + status
                                    + (status == 403 ? ": it is turned off for this instance" : "")
                                    + "; see aws ec2 modify-instance-metadata-options, or give --instance-id");
                }
                throw nonsense("HTTP " + status + " for " + path, null);
            } catch (IllegalArgumentException e) {
                throw nonsense("a token that no header can hold", e);
            } finally {
                http.disconnect();
            }
        }

        private HttpURLConnection open(String path) throws IOException {
            try {
                return (HttpURLConnection) URI.create(endpoint + path).toURL().openConnection(Proxy.NO_PROXY);
            } catch (IllegalArgumentException | ClassCastException e) {
                throw new Failure(
                        Exit.CONFIG,
                        "AWS_EC2_METADATA_SERVICE_ENDPOINT is '" + endpoint + "': expected an http URL",
                        e);
            }
        }

        private Failure away(IOException e) {
            String how = e instanceof SocketTimeoutException
                    ? "did not answer in " + Durations.format(TIMEOUT)
                    : e instanceof ConnectException ? "cannot be reached" : "broke off";
            return new Failure(
                    Exit.UNAVAILABLE,
                    "the metadata service at " + endpoint + " " + how + " (" + e.getMessage()
                            + "); where this is no EC2 instance, give --instance-id and --region",
                    e);
        }

        private Failure nonsense(String what, Exception cause) {
            return new Failure(
                    Exit.UNAVAILABLE, "the metadata service at " + endpoint + " answered with " + what, cause);
        }
    }
}
