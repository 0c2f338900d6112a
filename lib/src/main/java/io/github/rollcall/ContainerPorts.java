package io.github.rollcall;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.Comparator;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A container and its published ports, as Docker's list of containers has them ({@code GET /containers/json}). Immutable.
 *
 * @param name without the slash; empty for one that is just being removed
 * @param state Docker's word: running, paused, restarting, exited and so on
 * @param health Docker's word: healthy, unhealthy or starting; empty without a health check
 * @param ports where each published port is found, by its name: the container's port, with {@code -udp} or {@code -sctp}
 *     after it where it is not TCP
 */
public record ContainerPorts(String id, String name, String state, String health, SortedMap<String, Address> ports) {
    /** Docker has a container's health nowhere else in the list than here: "Up 5 minutes (healthy)". */
    private static final Pattern HEALTH = Pattern.compile("\\((?:health: )?(healthy|unhealthy|starting)\\)$");

    /**
     * Where a port is published. A port may be published several times; the first of these is taken, because one that
     * everybody reaches is more use than one for some, and a tool that starts again has to find the same.
     */
    private static final Comparator<Address> BEST = Comparator.comparing((Address a) -> !a.isWildcard())
            .thenComparing(Address::isLoopback)
            .thenComparing(Address::isIpv6)
            .thenComparing(Address::host)
            .thenComparing(Address::port);

    /** An address of the host and a port on it. */
    public record Address(String host, int port) {
        /** Whether it is every address of the host. */
        public boolean isWildcard() {
            return host.isEmpty() || host.equals("0.0.0.0") || host.equals("::");
        }

        private boolean isLoopback() {
            return host.startsWith("127.") || host.equals("::1");
        }

        private boolean isIpv6() {
            return host.contains(":");
        }

        /** With brackets around an IPv6 address. */
        @Override
        public String toString() {
            return (isIpv6() ? "[" + host + "]" : host) + ":" + port;
        }
    }

    /**
     * One element of the list. What is missing in it counts as not there.
     *
     * @throws RuntimeException when it is something else than a container
     */
    public static ContainerPorts of(JsonObject listed) {
        String status = text(listed, "Status");
        Matcher health = HEALTH.matcher(status);
        SortedMap<String, Address> ports = new TreeMap<>();
        for (JsonElement element : array(listed, "Ports")) {
            JsonObject port = element.getAsJsonObject();
            // A port that is exposed and not published has no public one, or 0.
            int published = port.has("PublicPort") ? port.get("PublicPort").getAsInt() : 0;
            if (published != 0) {
                String type = text(port, "Type");
                String name = port.get("PrivatePort").getAsString()
                        + (type.isEmpty() || type.equals("tcp") ? "" : "-" + type);
                Address address = new Address(text(port, "IP"), published);
                ports.merge(name, address, (a, b) -> BEST.compare(a, b) <= 0 ? a : b);
            }
        }
        return new ContainerPorts(
                text(listed, "Id"),
                name(array(listed, "Names")),
                text(listed, "State"),
                health.find() ? health.group(1) : "",
                ports);
    }

    /** A container has its own name, and one more for each that links to it: those have a second slash. */
    private static String name(JsonArray names) {
        for (JsonElement name : names) {
            String text = name.getAsString();
            if (text.lastIndexOf('/') <= 0) {
                return text.replaceFirst("^/", "");
            }
        }
        return "";
    }

    private static String text(JsonObject object, String member) {
        JsonElement value = object.get(member);
        return value == null || value.isJsonNull() ? "" : value.getAsString();
    }

    private static JsonArray array(JsonObject object, String member) {
        JsonElement value = object.get(member);
        return value == null || value.isJsonNull() ? new JsonArray() : value.getAsJsonArray();
    }

    /**
     * Why it is not to be published, in a word or two, or null when it is. A paused one answers nobody.
     *
     * @param ignoreHealth whether it may be unhealthy
     */
    public String obstacle(boolean ignoreHealth) {
        if (!state.equals("running")) {
            return state.isEmpty() ? "unknown" : state;
        }
        if (!ignoreHealth && !health.isEmpty() && !health.equals("healthy")) {
            return health.equals("starting") ? "not healthy yet" : health;
        }
        return ports.isEmpty() ? "without a published port" : null;
    }

    /**
     * The keys and values: {@code ROOT/NAME/PORT/host} and {@code ROOT/NAME/PORT/port}.
     *
     * @param root with the prefix, without a final slash
     * @param hostIp what stands for every address of the host
     */
    public Map<String, String> keys(String root, String hostIp) {
        Map<String, String> keys = new TreeMap<>();
        ports.forEach((port, address) -> {
            String key = root + "/" + name + "/" + port;
            keys.put(key + "/host", address.isWildcard() ? hostIp : address.host());
            keys.put(key + "/port", String.valueOf(address.port()));
        });
        return keys;
    }
}
