package io.github.rollcall;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;

/**
 * The members of one etcd cluster, as one of them tells. Immutable.
 *
 * @param clusterId the cluster's id, to be read as unsigned
 */
public record EtcdMembership(long clusterId, List<EtcdMember> members) {
    /** A copy of the list, so that nothing changes behind its back. */
    public EtcdMembership {
        members = List.copyOf(members);
    }

    /** The member of that id, or null. */
    public EtcdMember byId(long id) {
        return members.stream().filter(m -> m.id() == id).findFirst().orElse(null);
    }

    /**
     * Whether this is the list of a new cluster that has never had a quorum: nobody's start has been agreed on yet, and
     * the ids are those that etcd derives from a first list ({@code computeMemberId} and {@code genID} in
     * {@code server/etcdserver/api/membership}: SHA-1 of the peer URLs and the token, and of the member ids). A member
     * that was added later has the time in its id, so no grown cluster passes for a new one.
     *
     * @param token the {@code initial-cluster-token} that its members start with
     */
    public boolean isFounding(String token) {
        return !members.isEmpty()
                && members.stream()
                        .noneMatch(
                                m -> m.hasStarted() || m.name().isEmpty() || m.id() != foundingId(m.peerUrls(), token))
                && clusterId == clusterId(members.stream().map(EtcdMember::id).toList());
    }

    /** The id that etcd gives a member of a first list. */
    static long foundingId(List<String> peerUrls, String token) {
        return firstEightOfSha1(
                (String.join("", peerUrls.stream().sorted().toList()) + token).getBytes(StandardCharsets.UTF_8));
    }

    /** The id that etcd gives a cluster of these first members. */
    static long clusterId(List<Long> memberIds) {
        ByteBuffer ids = ByteBuffer.allocate(8 * memberIds.size());
        memberIds.stream().sorted(Long::compareUnsigned).forEach(ids::putLong);
        return firstEightOfSha1(ids.array());
    }

    private static long firstEightOfSha1(byte[] bytes) {
        try {
            return ByteBuffer.wrap(MessageDigest.getInstance("SHA-1").digest(bytes))
                    .getLong();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What {@code cluster/member/list}, {@code add} and {@code remove} of the gateway answer with. */
    public static EtcdMembership ofList(JsonObject json) {
        try {
            List<EtcdMember> members = new ArrayList<>();
            for (JsonElement member : json.getAsJsonArray("members")) {
                members.add(EtcdMember.of(member.getAsJsonObject()));
            }
            return new EtcdMembership(
                    Long.parseUnsignedLong(
                            json.getAsJsonObject("header").get("cluster_id").getAsString()),
                    members);
        } catch (RuntimeException e) {
            throw new Failure(Exit.UNAVAILABLE, "etcd's answer has no list of members in it", e);
        }
    }

    /** What a peer port answers with. @param clusterId from the header, in hexadecimal */
    static EtcdMembership ofPeer(String clusterId, String body) {
        List<EtcdMember> members = new ArrayList<>();
        for (JsonElement member : JsonParser.parseString(body).getAsJsonArray()) {
            members.add(EtcdMember.of(member.getAsJsonObject()));
        }
        return new EtcdMembership(Long.parseUnsignedLong(String.valueOf(clusterId), 16), members);
    }
}
