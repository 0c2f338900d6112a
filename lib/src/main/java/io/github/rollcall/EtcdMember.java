package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import java.util.ArrayList;
import java.util.List;

/**
 * One member of an etcd cluster, as the cluster lists it. Immutable.
 *
 * @param id its id, to be read as unsigned
 * @param name empty while a member that was added has not started
 * @param peerUrls where other members reach it; never empty
 * @param clientUrls empty as long as it has not started and been heard of
 * @param learner whether it has no vote yet
 */
public record EtcdMember(long id, String name, List<String> peerUrls, List<String> clientUrls, boolean learner) {
    /** A copy of the lists, so that nothing changes behind its back. */
    public EtcdMember {
        peerUrls = List.copyOf(peerUrls);
        clientUrls = List.copyOf(clientUrls);
    }

    /** Whether it has ever run: on its start a member tells the others its client URLs. */
    public boolean hasStarted() {
        return !clientUrls.isEmpty();
    }

    /** The id as etcdctl shows it. */
    public String hexId() {
        return Long.toHexString(id);
    }

    /** How people know it: by its name, else by where it is. */
    public String label() {
        return name.isEmpty() ? "unstarted member at " + String.join(",", peerUrls) : name;
    }

    /**
     * A member in the JSON of either the gateway ({@code ID}, a string) or a peer port ({@code id}, a number).
     *
     * @throws RuntimeException when it is none: of what kind depends on what is wrong
     */
    static EtcdMember of(JsonObject json) {
        JsonElement id = json.has("ID") ? json.get("ID") : json.get("id");
        List<String> peerUrls = strings(json, "peerURLs");
        if (id == null || peerUrls.isEmpty()) {
            throw new JsonParseException("a member without id or peer URL");
        }
        return new EtcdMember(
                Long.parseUnsignedLong(id.getAsString()),
                json.has("name") ? json.get("name").getAsString() : "",
                peerUrls,
                strings(json, "clientURLs"),
                json.has("isLearner") && json.get("isLearner").getAsBoolean());
    }

    private static List<String> strings(JsonObject json, String key) {
        List<String> all = new ArrayList<>();
        if (json.has(key) && json.get(key).isJsonArray()) {
            JsonArray array = json.getAsJsonArray(key);
            array.forEach(e -> all.add(e.getAsString()));
        }
        return all;
    }
}
