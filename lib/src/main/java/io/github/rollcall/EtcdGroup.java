package io.github.rollcall;

import java.util.Comparator;
import java.util.List;
import java.util.Set;

/**
 * The instances of an Auto Scaling group, and such others as were asked for, as EC2 knows them at one moment. Immutable.
 *
 * @param name the group's name
 * @param desired its desired capacity
 * @param nodes the instances, sorted by id
 * @param asked the instance ids and addresses that EC2 was asked about: what it does not know of these does not exist
 */
public record EtcdGroup(String name, int desired, List<Node> nodes, Set<String> asked) {
    private static final Set<String> GOING = Set.of("shutting-down", "terminated");

    /** Sorts the nodes, for the same order everywhere. */
    public EtcdGroup {
        nodes = nodes.stream().sorted(Comparator.comparing(Node::id)).toList();
        asked = Set.copyOf(asked);
    }

    /**
     * An instance.
     *
     * @param lifecycle its state in the group, or null where it is in another group or none
     * @param state its state in EC2, or null where EC2 does not know it
     * @param addresses all private addresses of all its interfaces; first the one where members are reached, which is the
     *     primary interface's, IPv4 where it has one; empty as long as there is none
     * @param weight how much of the desired capacity it makes up; 1 without weights
     */
    public record Node(String id, String lifecycle, String state, List<String> addresses, int weight) {
        /** A copy of the list, so that nothing changes behind its back. */
        public Node {
            addresses = List.copyOf(addresses);
        }

        /** Where a member on it is reached, or null. */
        public String address() {
            return addresses.isEmpty() ? null : addresses.get(0);
        }

        /** @param address as {@link EtcdUrls#address} gives it, which is EC2's way */
        boolean has(String address) {
            return addresses.contains(address);
        }

        /** Whether EC2 says that it is gone for good: terminated or on the way there, which cannot be undone. */
        public boolean isGone() {
            return state != null && GOING.contains(state);
        }

        /** Whether the group counts it towards its desired capacity, as starting or in service. */
        public boolean counts() {
            return lifecycle != null && (lifecycle.startsWith("Pending") || lifecycle.equals("InService"));
        }

        /** Whether something may run on it. */
        public boolean isAlive() {
            return state != null && !isGone() && !state.equals("stopped");
        }

        /** The state for people. */
        public String words() {
            return lifecycle == null ? state : lifecycle + "/" + state;
        }
    }

    /** The instance of that id, or null. */
    public Node byId(String id) {
        return nodes.stream().filter(n -> n.id().equals(id)).findFirst().orElse(null);
    }

    /** The instance that has the address now, or null. */
    public Node byAddress(String address) {
        return nodes.stream()
                .filter(n -> n.state() != null && !n.isGone() && n.has(address))
                .findFirst()
                .orElse(null);
    }

    /** The instances that count. */
    public List<Node> counted() {
        return nodes.stream().filter(Node::counts).toList();
    }

    /**
     * Whether EC2 says that a member's instance is gone for good, or does not know it any more, as it is an hour later. One
     * that has not started has no name yet, and is known by its URL: it is gone when that is made as every URL of the
     * group's is, and no instance has the address on any interface. Any other member may be anywhere, and is never said to
     * be gone: one that is named otherwise, or was added by hand under a host name or at another port. Nor is one without a
     * name as long as EC2 has no state or no address yet for an instance of the group: it may be that one's.
     */
    public boolean isGone(EtcdMember member, EtcdUrls urls) {
        if (isInstanceId(member.name())) {
            Node node = byId(member.name());
            if (node == null) {
                return asked.contains(member.name());
            }
            return node.isGone();
        }
        String url = member.peerUrls().get(0);
        String address = EtcdUrls.address(url);
        return member.name().isEmpty()
                && member.peerUrls().size() == 1
                && urls.isPeer(url)
                && asked.contains(address)
                && byAddress(address) == null
                && nodes.stream()
                        .allMatch(n -> n.isGone()
                                || n.state() != null && !n.addresses().isEmpty());
    }

    /** Whether a name has the form of an instance id. */
    public static boolean isInstanceId(String name) {
        return name.matches("i-[0-9a-f]{8}(?:[0-9a-f]{9})?");
    }
}
