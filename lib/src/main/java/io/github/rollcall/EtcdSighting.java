package io.github.rollcall;

/**
 * What was seen of etcd at one address, by knocking at its client and its peer port. Immutable.
 *
 * @param who the instance, or else the URL, for people
 * @param clientUrl where its client port would be
 * @param peerUrl where its peer port would be, or empty where that is not known
 * @param client what its client port did with a connection
 * @param peer what its peer port did with a connection
 * @param status what it says of itself on its client port, or null
 * @param list what it lists on its client port or else on its peer port, or null
 * @param first what etcd-aws-cluster says at the peer port while it waits there, or null
 * @param problem what came in place of an answer that can be understood, or null
 */
public record EtcdSighting(
        String who,
        String clientUrl,
        String peerUrl,
        Door client,
        Door peer,
        Status status,
        EtcdMembership list,
        FirstNode first,
        Failure problem) {

    /** What a port does with a connection. */
    public enum Door {
        /** Takes it. */
        OPEN,
        /** Refuses it: the host is up, and nothing listens. */
        REFUSED,
        /** Nothing came back: the host is off, not up yet, or cut off from here. */
        SILENT
    }

    /**
     * What a member says of itself ({@code maintenance/status}).
     *
     * @param hasLeader whether its cluster had a leader, and a quorum to read from, just now
     * @param appliedIndex how much of the cluster's log it has applied
     */
    public record Status(long memberId, long clusterId, boolean hasLeader, boolean learner, long appliedIndex) {}

    /** What it comes to. */
    public enum Kind {
        /** A voting member of a cluster that has a quorum. */
        SERVING,
        /** A learner of a cluster that has a quorum. */
        LEARNING,
        /** A member of a cluster that has had a quorum, and shows none now. */
        LEADERLESS,
        /** A first node of a new cluster that has not had its first quorum. */
        FOUNDING,
        /** Something answers, and it cannot be understood: TLS, authentication, another program. */
        UNREADABLE,
        /** Something takes connections and does not answer: starting, paused, overloaded. */
        HANGING,
        /** No etcd runs, and etcd-aws-cluster says that there is no data for one. */
        BLANK,
        /** Nothing came back, not even a refusal. */
        SILENT,
        /** The host says that nothing listens: no etcd runs there now, whether or not there is data for one. */
        NOBODY
    }

    /** @param token the {@code initial-cluster-token} of the cluster that is looked for */
    public Kind kind(String token) {
        if (status != null && status.hasLeader() && (status.learner() || list != null)) {
            return status.learner() ? Kind.LEARNING : Kind.SERVING;
        }
        if (problem != null) {
            return Kind.UNREADABLE;
        }
        if (status != null) {
            return Kind.LEADERLESS;
        }
        if (list != null) {
            return list.isFounding(token) ? Kind.FOUNDING : Kind.LEADERLESS;
        }
        if (isThere()) {
            return Kind.HANGING;
        }
        if (first != null && client == Door.REFUSED) {
            return Kind.BLANK;
        }
        return client == Door.SILENT || peer == Door.SILENT ? Kind.SILENT : Kind.NOBODY;
    }

    /** Whether anything is there, other than one who says that no etcd is. */
    public boolean isThere() {
        return client == Door.OPEN || peer == Door.OPEN && first == null;
    }

    /** The cluster it speaks for, as an unsigned number; 0 where it speaks for none. */
    public long clusterId() {
        return status != null ? status.clusterId() : list != null ? list.clusterId() : 0;
    }
}
