package io.github.rollcall;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * What a node that has no data says of itself, at its peer port, while it waits to be one of the first of a new cluster.
 * That a port refuses connections says only that nothing runs there now; this says that there is nothing to run. Immutable.
 *
 * <p>Plain HTTP, also where etcd's peer ports have TLS: nothing in it is secret, and whoever forges it can at most have a
 * cluster founded of the very instances that EC2 names, as the list has to be the asker's own.
 *
 * @param instance whose answer this is
 * @param list the {@code initial-cluster} that it would start with, which is that of a first node that has started where
 *     it has seen one, or null while it does not see the whole group
 * @param token the {@code initial-cluster-token} that it would start with
 * @param decided whether it has made up its mind, and starts etcd with these
 */
public record FirstNode(String instance, String list, String token, boolean decided) {
    /** Where it is asked for. */
    static final String PATH = "/rollcall/first-node";

    private static final int LARGEST_ANSWER = 64 * 1024;

    /** Whether it would found the same cluster: etcd makes the cluster's id of the list and the token. */
    boolean agreesWith(String otherList, String otherToken) {
        return otherList.equals(list) && otherToken.equals(token);
    }

    /**
     * Whether it may start etcd with another list than this, or has: then the two would be two clusters. As long as it
     * does not see the whole group it can start with nothing but a list that it follows, and says that first.
     */
    public boolean objectsTo(String otherList, String otherToken) {
        return (list != null || decided) && !agreesWith(otherList, otherToken);
    }

    /**
     * Asks at a peer port.
     *
     * @param peerUrl of which only host and port count
     * @param timeout for connecting, and for each part of the answer
     * @return what it says, or null where something else answers, or nobody
     */
    public static FirstNode at(URI peerUrl, Duration timeout) {
        try {
            URI url = URI.create("http://" + peerUrl.getRawAuthority() + PATH);
            HttpURLConnection http = (HttpURLConnection) url.toURL().openConnection(Proxy.NO_PROXY);
            http.setConnectTimeout((int) timeout.toMillis());
            http.setReadTimeout((int) timeout.toMillis());
            http.setInstanceFollowRedirects(false);
            try (InputStream body = http.getInputStream()) {
                return of(new String(body.readNBytes(LARGEST_ANSWER), StandardCharsets.UTF_8));
            } finally {
                http.disconnect();
            }
        } catch (IOException | RuntimeException somethingElse) {
            return null;
        }
    }

    private static FirstNode of(String text) {
        JsonObject json = JsonParser.parseString(text).getAsJsonObject();
        return new FirstNode(
                json.get("instance").getAsString(),
                json.has("initialCluster") ? json.get("initialCluster").getAsString() : null,
                json.get("token").getAsString(),
                json.get("decided").getAsBoolean());
    }

    String json() {
        JsonObject json = new JsonObject();
        json.addProperty("instance", instance);
        if (list != null) {
            json.addProperty("initialCluster", list);
        }
        json.addProperty("token", token);
        json.addProperty("decided", decided);
        return json.toString();
    }
}
