package io.github.rollcall;

import io.github.rollcall.EtcdGroup.Node;
import io.github.rollcall.EtcdSighting.Door;
import io.github.rollcall.EtcdSighting.Kind;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * What a node has to do about its place in the cluster, decided from what was observed and nothing else. Pure: it asks
 * nobody and changes nothing. Whoever carries out EJECT or REPLACE looks again afterwards, so that a crash after any
 * step leads to the same end.
 *
 * <pre>
 * own data      who answers                       own membership, the group                    verdict
 * ------------  --------------------------------  -------------------------------------------  --------
 * a member's    its cluster, with a quorum        listed under this instance                   RESTART
 *               its cluster, with a quorum        not listed: was removed while it was off     REFUSE
 *               its cluster                       listed under another instance: a copied disk REFUSE
 *               another cluster, with a quorum    any                                          REFUSE
 *               nobody with a quorum              any: it may be what is missing               RESTART
 * none          anything at this node's own ports any: etcd runs here on other data            REFUSE
 *               two clusters                      any                                          REFUSE
 *               a cluster with a quorum           listed, never started                        REJOIN
 *                                                 listed, has run: its disk was lost           REPLACE, then as not listed
 *                                                 listed, never started, one too many: two
 *                                                   joined at once                             REPLACE, then as not listed
 *                                                   the rest would have no quorum              WAIT
 *                                                   this instance is not to serve              WAIT
 *                                                 not listed:
 *                                                   this instance is not to serve              WAIT
 *                                                   a member's instance is gone, the member
 *                                                     silent, the rest a quorum                EJECT, then again
 *                                                   its peer URL is another's who is not gone  REFUSE
 *                                                   the cluster has --max-members              REFUSE
 *                                                   one more would leave it without a quorum
 *                                                     until this node has started              WAIT
 *                                                   else                                       JOIN
 *               something that is not understood  any: WAIT if that may pass, else             REFUSE
 *               a cluster without a quorum        listed, never started, and no other member
 *                                                   can know better: it may be what is missing REJOIN
 *                                                 else; never NEW                              WAIT
 *               one of --endpoints is not seen    any: a cluster is expected there             WAIT
 *               first nodes of a new cluster,     they have different lists                    REFUSE
 *                 no quorum yet                   not in their list                            WAIT
 *                                                 one of the list neither has started, nor
 *                                                   says that it has no data, nor is gone      WAIT
 *                                                 one of the list would found another cluster  WAIT
 *                                                 else                                         NEW, their list
 *               somebody takes connections        any                                          WAIT
 *               nobody                            this instance is not to serve                WAIT
 *                                                 not at its desired size, or an address
 *                                                   is missing                                 WAIT
 *                                                 an instance neither answers nor refuses      WAIT
 *                                                 one that is not gone does not say that it
 *                                                   has no data, and the same list             WAIT
 *                                                 not among the first --max-members            WAIT
 *                                                 else                                         NEW
 * </pre>
 *
 * <p>Rules and reasons are those of etcd's "Runtime reconfiguration" page. Three of them need saying. A port that refuses
 * connections says nothing about the disk behind it, so NEW needs every other instance's own word ({@link FirstNode}) that
 * there is no data, and that it would found the same cluster. Whoever has said so can only found that cluster, or join
 * one that this instance sees too; and whoever has decided is seen by its word, then not at all, then by etcd's peer port:
 * never as somebody who might be left out. A first node that has
 * started is known by its peer port, which names the whole list before there is a quorum: the others follow that list,
 * whatever the group looks like meanwhile, and say it instead of their own. Everybody says a list before it asks whether
 * all agree on it, so that of two who would start with different lists one hears the other, and waits. And a member whose disk was lost never comes back under its old id, for it
 * has forgotten what it had acknowledged: it is removed and added anew.
 *
 * @param act what to do
 * @param reason why, in plain words
 * @param initialCluster what etcd has to start with, for the acts that end the matter; else null
 * @param member whom a step is about; else null
 * @param exit what a refusal exits with, and a wait that lasts too long
 */
public record ClusterVerdict(Act act, String reason, String initialCluster, EtcdMember member, int exit) {

    /** What there is to do. */
    public enum Act {
        /** Start as one of the first members of a new cluster. */
        NEW,
        /** Add this node to the cluster, then start it. */
        JOIN,
        /** Start as the member that is listed already. */
        REJOIN,
        /** Start with the data that is there. */
        RESTART,
        /** Remove a dead member, then look again. */
        EJECT,
        /** Remove what this node used to be, then look again. */
        REPLACE,
        /** Remove this node: it leaves. */
        LEAVE,
        /** Make this learner a voting member. */
        PROMOTE,
        /** Nothing is left to do. */
        DONE,
        /** Look again later. */
        WAIT,
        /** Do nothing until somebody has mended what is wrong. */
        REFUSE
    }

    /**
     * Everything that the decision depends on.
     *
     * @param id this instance
     * @param address this instance's address
     * @param data its data directory
     * @param group the instances
     * @param urls how members' URLs are made
     * @param token the new cluster's token
     * @param sightings what was seen of etcd on each instance, this one included, and at each member that is none of them
     * @param maxMembers the largest cluster
     * @param asLearner whether to join as a learner
     */
    public record Situation(
            String id,
            String address,
            EtcdDataDir data,
            EtcdGroup group,
            EtcdUrls urls,
            String token,
            List<EtcdSighting> sightings,
            int maxMembers,
            boolean asLearner) {

        String peerUrl() {
            return urls.peer(address);
        }

        List<EtcdSighting> seen(Kind... kinds) {
            return sightings.stream()
                    .filter(s -> Set.of(kinds).contains(s.kind(token)))
                    .toList();
        }

        /** Whom to believe and to ask: the one with a quorum that has applied most of its cluster's log. Or null. */
        public EtcdSighting voice() {
            return seen(Kind.SERVING).stream()
                    .max(Comparator.comparing(s -> s.status().appliedIndex(), Long::compareUnsigned))
                    .orElse(null);
        }

        /** The members, as those know them who know most; or null where nobody has a cluster. */
        public EtcdMembership known() {
            EtcdSighting voice = voice();
            return voice != null
                    ? voice.list()
                    : seen(Kind.LEADERLESS, Kind.LEARNING).stream()
                            .filter(x -> x.list() != null)
                            .max(Comparator.comparing(
                                    x -> x.status() == null ? 0 : x.status().appliedIndex(), Long::compareUnsigned))
                            .map(EtcdSighting::list)
                            .orElse(null);
        }

        /**
         * Members that are about to start for the first time, as this node is, and go before it: those on instances that
         * are alive, with a smaller id. etcd 3.4 asks every member for its version before it joins and before it
         * answers such a question itself, so that two that start at the same moment wait for each other for ever.
         */
        public List<EtcdMember> goBefore(EtcdMembership cluster) {
            EtcdMember me = mineIn(cluster);
            return cluster.members().stream()
                    .filter(m -> me != null && Long.compareUnsigned(m.id(), me.id()) < 0)
                    .filter(m -> !m.hasStarted() && !isGone(m))
                    .toList();
        }

        /** The ids of all clusters that ever had a quorum and of which somebody answers. */
        Set<Long> clusters() {
            return seen(Kind.SERVING, Kind.LEARNING, Kind.LEADERLESS).stream()
                    .map(EtcdSighting::clusterId)
                    .filter(id -> id != 0)
                    .collect(Collectors.toCollection(TreeSet::new));
        }

        /** The member that is this node, or null. */
        public EtcdMember mineIn(EtcdMembership cluster) {
            return cluster.members().stream().filter(this::isMine).findFirst().orElse(null);
        }

        /** A member that is this node: by its name, or unnamed and at its address. */
        boolean isMine(EtcdMember m) {
            return m.name().equals(id) || m.name().isEmpty() && m.peerUrls().contains(peerUrl());
        }

        /** Whether a member, or something that may be it, answers. */
        boolean answers(EtcdMember m) {
            return sightings.stream()
                    .anyMatch(s -> s.status() != null
                            ? s.status().memberId() == m.id()
                            : s.isThere() && m.peerUrls().contains(s.peerUrl()));
        }

        boolean isGone(EtcdMember m) {
            return group.isGone(m, urls);
        }

        /** Whether nothing can be hidden behind a member: it is seen as one of {@code kinds}, has no data, or is gone. */
        boolean isAccountedFor(EtcdMember m, Kind... kinds) {
            EtcdSighting seen = at(m.peerUrls().get(0));
            return isGone(m)
                    || seen != null
                            && (seen.kind(token) == Kind.BLANK || Set.of(kinds).contains(seen.kind(token)));
        }

        /** Whether others have to hear that this node has no data: as long as there is no quorum, or no cluster at all. */
        public boolean hasToBeHeard() {
            return !data.isInitialised() && seen(Kind.SERVING).isEmpty();
        }

        /**
         * What a node says of itself as long as it {@link #hasToBeHeard()}.
         *
         * @param followed as of the look before, {@link #followed()}
         */
        public FirstNode firstNode(String followed) {
            String list = followed != null
                    ? followed
                    : FirstList.of(group, urls, maxMembers).list();
            return new FirstNode(id, list, token, false);
        }

        /**
         * The list of the first nodes that have started, where this node is in it; else null. It has to be said before
         * it is looked whether all agree: of two nodes that would start with different lists at least one hears so.
         */
        public String followed() {
            List<EtcdSighting> founders = seen(Kind.FOUNDING);
            EtcdMembership list = founders.isEmpty() ? null : founders.get(0).list();
            return list != null && lists(list) ? initialCluster(list) : null;
        }

        /** Whether a first list has this node, as it is. */
        boolean lists(EtcdMembership first) {
            return first.members().stream()
                    .anyMatch(m -> m.name().equals(id) && m.peerUrls().equals(List.of(peerUrl())));
        }

        /** What is said where a member would be that no etcd has been started for, or null. */
        FirstNode wordOf(EtcdMember m) {
            EtcdSighting seen = isGone(m) ? null : at(m.peerUrls().get(0));
            return seen == null ? null : seen.first();
        }

        /** Whether another copy of the tool, on this node, listens on its peer port. */
        public boolean isSpokenFor() {
            EtcdSighting here = at(peerUrl());
            return here != null && here.first() != null;
        }

        /** Whether a first node that has started is there, whose list has to be followed. */
        public boolean followsAnother() {
            return !seen(Kind.FOUNDING).isEmpty();
        }

        EtcdSighting at(String peerUrl) {
            return sightings.stream()
                    .filter(x -> x.peerUrl().equals(peerUrl))
                    .findFirst()
                    .orElse(null);
        }

        /** How many voting members have been seen at work, of those that the condition holds for. */
        int healthy(EtcdMembership cluster, Predicate<EtcdMember> condition) {
            return (int) cluster.members().stream()
                    .filter(m -> !m.learner())
                    .filter(condition)
                    .filter(m ->
                            seen(Kind.SERVING).stream().anyMatch(s -> s.status().memberId() == m.id()))
                    .count();
        }

        /** Whether what is left without a member would be a quorum, as far as can be seen from here. */
        boolean canSpare(EtcdMembership cluster, EtcdMember gone) {
            int left = voters(cluster) - (gone.learner() ? 0 : 1);
            return left > 0 && healthy(cluster, m -> m.id() != gone.id()) >= quorum(left);
        }

        /**
         * The list for {@code initial-cluster}, the same wherever it is made from the same members. etcd compares the
         * peer URLs, and of the names only this node's; so a member that has no name yet, or one that would need
         * quoting, is called by its instance where that is known, else by its id.
         */
        public String initialCluster(EtcdMembership cluster) {
            Set<String> taken = new HashSet<>(Set.of(id));
            List<String> list = new ArrayList<>();
            cluster.members().stream()
                    .sorted(Comparator.comparing(EtcdMember::id, Long::compareUnsigned))
                    .forEach(m -> {
                        String name = isMine(m) ? id : printable(m, taken);
                        taken.add(name);
                        m.peerUrls().forEach(url -> list.add(name + "=" + url));
                    });
            return list.stream().sorted().collect(Collectors.joining(","));
        }

        private String printable(EtcdMember m, Set<String> taken) {
            Node node = group.byAddress(EtcdUrls.address(m.peerUrls().get(0)));
            String name = !m.name().isEmpty() ? m.name() : node != null ? node.id() : "";
            return name.matches("[A-Za-z0-9_.-]+") && !taken.contains(name) ? name : "member-" + m.hexId();
        }

        /** What is wrong with each member that was not seen at work, for people. */
        String missing(EtcdMembership cluster) {
            return cluster.members().stream()
                    .filter(m -> sightings.stream()
                            .noneMatch(s -> s.status() != null && s.status().memberId() == m.id()))
                    .map(m -> m.label() + " (" + whatIsWrong(m) + ")")
                    .collect(Collectors.joining(", "));
        }

        private String whatIsWrong(EtcdMember m) {
            Node node = m.name().isEmpty()
                    ? group.byAddress(EtcdUrls.address(m.peerUrls().get(0)))
                    : group.byId(m.name());
            String where = isGone(m) ? "its instance is gone" : node == null ? "no instance known" : node.words();
            return sightings.stream()
                    .filter(s -> m.peerUrls().contains(s.peerUrl()))
                    .findFirst()
                    .map(s -> where + ", " + s.kind(token).name().toLowerCase(Locale.ROOT))
                    .orElse(where);
        }
    }

    /** The list of a cluster's first members, as a group's instances make it up, or what is missing for one. */
    private record FirstList(String list, String missing, List<Node> nodes) {
        static FirstList of(EtcdGroup group, EtcdUrls urls, int maxMembers) {
            List<Node> counted = group.counted();
            int size = counted.stream().mapToInt(Node::weight).sum();
            boolean weighted = counted.stream().anyMatch(n -> n.weight() != 1);
            if (size < group.desired() || size > group.desired() && !weighted) {
                return missing("the group " + group.name() + " has " + size + " instances where " + group.desired()
                        + " are desired");
            }
            for (Node node : counted) {
                if (node.address() == null || !node.isAlive()) {
                    return missing(node.id() + " (" + node.words() + ") "
                            + (node.isAlive() ? "has no address yet" : "does not run"));
                }
            }
            List<Node> first = counted.subList(0, Math.min(counted.size(), maxMembers));
            return new FirstList(
                    first.stream()
                            .map(n -> n.id() + "=" + urls.peer(n.address()))
                            .sorted()
                            .collect(Collectors.joining(",")),
                    null,
                    first);
        }

        private static FirstList missing(String what) {
            return new FirstList(null, what, List.of());
        }
    }

    // --- starting

    /** The verdict for a node that is about to start etcd: the table above, from top to bottom. */
    public static ClusterVerdict of(Situation s) {
        return s.data().isInitialised() ? withData(s) : withoutData(s);
    }

    private static ClusterVerdict withData(Situation s) {
        EtcdSighting voice = s.voice();
        EtcdMembership own = listOfOwnCluster(s);
        EtcdMember me = own == null ? null : own.byId(s.data().memberId());
        if (me != null && !s.isMine(me)) {
            return refuse("the data directory is that of " + me.label()
                    + ", not of this instance: it was copied with a disk or"
                    + " an image; move it away and start again");
        }
        EtcdSighting others = s.seen(Kind.SERVING).stream()
                .filter(x -> x.clusterId() != s.data().clusterId())
                .findFirst()
                .orElse(null);
        boolean ownHasQuorum = s.seen(Kind.SERVING).stream()
                .anyMatch(x -> x.clusterId() == s.data().clusterId());
        if (!ownHasQuorum && others != null) {
            return refuse("the data directory belongs to cluster "
                    + Long.toHexString(s.data().clusterId()) + ", but "
                    + others.who() + " answers for cluster " + Long.toHexString(others.clusterId())
                    + ": find out which is right, and move this directory away if it is not");
        }
        if (ownHasQuorum && me == null) {
            return refuse(
                    "this member (" + Long.toHexString(s.data().memberId()) + ") was removed from the cluster while"
                            + " it was off: to join anew, move its data directory away and start again");
        }
        // Of a list from elsewhere etcd would take nothing, as long as there is data.
        String list = me != null ? s.initialCluster(own) : s.id() + "=" + s.peerUrl();
        String why = voice == null
                ? "its data is here, and nobody seen has a quorum: this member may be what is missing"
                : "its data is here, and the cluster lists it";
        return new ClusterVerdict(Act.RESTART, why, list, me, Exit.OK);
    }

    private static EtcdMembership listOfOwnCluster(Situation s) {
        return s.sightings().stream()
                .filter(x -> x.list() != null && x.clusterId() == s.data().clusterId())
                .max(Comparator.comparing((EtcdSighting x) -> x.kind(s.token()) == Kind.SERVING)
                        .thenComparing(x -> x.status() == null ? 0 : x.status().appliedIndex(), Long::compareUnsigned))
                .map(EtcdSighting::list)
                .orElse(null);
    }

    private static ClusterVerdict withoutData(Situation s) {
        EtcdSighting here = s.sightings().stream()
                .filter(x -> x.peerUrl().equals(s.peerUrl()))
                .filter(EtcdSighting::isThere)
                .findFirst()
                .orElse(null);
        if (here != null) {
            return refuse("something listens on this node's own etcd ports, and there is no member's data in the data"
                    + " directory: if etcd runs already, --data-dir is not its data directory");
        }
        if (s.clusters().size() > 1) {
            return twoClusters(s);
        }
        EtcdSighting voice = s.voice();
        if (voice != null) {
            return besideQuorum(s, voice.list());
        }
        for (EtcdSighting odd : s.seen(Kind.UNREADABLE)) {
            Failure problem = odd.problem();
            return new ClusterVerdict(
                    problem.isTransient() ? Act.WAIT : Act.REFUSE,
                    odd.who() + " answers, and cannot be understood: " + problem.getMessage(),
                    null,
                    null,
                    problem.exit());
        }
        if (!s.clusters().isEmpty()) {
            return withoutQuorum(s);
        }
        for (EtcdSighting named : s.seen(Kind.HANGING, Kind.SILENT, Kind.NOBODY)) {
            if (named.peerUrl().isEmpty()) {
                return wait("nobody answers at " + named.who() + " of --endpoints, where a cluster is expected");
            }
        }
        if (!s.seen(Kind.FOUNDING).isEmpty()) {
            return besideFounders(s);
        }
        for (EtcdSighting hanging : s.seen(Kind.HANGING)) {
            return wait(hanging.who() + " takes connections and does not answer: it may be a member of a cluster");
        }
        return withNobodyThere(s);
    }

    private static ClusterVerdict besideQuorum(Situation s, EtcdMembership cluster) {
        List<EtcdMember> mine = cluster.members().stream()
                .filter(s::isMine)
                .sorted(Comparator.comparing(EtcdMember::hasStarted).reversed())
                .toList();
        if (mine.isEmpty()) {
            return notListed(s, cluster);
        }
        EtcdMember me = mine.get(0);
        int members = cluster.members().size();
        boolean isAsAdded =
                mine.size() == 1 && !me.hasStarted() && me.peerUrls().equals(List.of(s.peerUrl()));
        if (isAsAdded && members <= s.maxMembers()) {
            return new ClusterVerdict(
                    Act.REJOIN,
                    "the cluster lists this node, and it has never started",
                    s.initialCluster(cluster),
                    me,
                    Exit.OK);
        }
        Node self = s.group().byId(s.id());
        if (self == null || !self.counts() || !self.isAlive()) {
            return wait("the cluster lists this node, which has no data, and this instance is "
                    + (self == null ? "not in the group" : self.words())
                    + ": its member is not replaced before it is in service or on the way there");
        }
        String why = me.hasStarted()
                ? "the cluster lists this node, which has run, but its data is gone"
                : isAsAdded
                        ? "the cluster lists this node, which has never started, and has " + members
                                + " members where --max-members is " + s.maxMembers()
                        : "the cluster lists this node at " + String.join(",", me.peerUrls()) + ", where it is not";
        return s.canSpare(cluster, me)
                ? new ClusterVerdict(Act.REPLACE, why + ": it is removed", null, me, Exit.OK)
                : wait(why + "; it cannot be replaced, because the rest would be no quorum: " + s.missing(cluster));
    }

    private static ClusterVerdict notListed(Situation s, EtcdMembership cluster) {
        Node self = s.group().byId(s.id());
        if (self == null || !self.counts() || !self.isAlive()) {
            return wait("this instance is " + (self == null ? "not in the group" : self.words())
                    + ": it does not join before it is in service or on the way there");
        }
        List<EtcdMember> dead = cluster.members().stream()
                .filter(m -> s.isGone(m) && !s.answers(m))
                .sorted(Comparator.comparing(EtcdMember::id, Long::compareUnsigned))
                .toList();
        for (EtcdMember m : dead) {
            if (s.canSpare(cluster, m)) {
                return new ClusterVerdict(
                        Act.EJECT,
                        m.label() + " does not answer, and EC2 says that its instance is gone",
                        null,
                        m,
                        Exit.OK);
            }
        }
        for (EtcdMember m : cluster.members()) {
            if (m.peerUrls().contains(s.peerUrl())) {
                String who = m.label() + " is listed with this node's address";
                return dead.contains(m)
                        ? wait(who + ", and cannot be removed, because the rest would be no quorum: "
                                + s.missing(cluster))
                        : refuse(who + ", and EC2 does not say that its instance is gone: remove that member by hand");
            }
        }
        int members = cluster.members().size();
        if (members >= s.maxMembers()) {
            return new ClusterVerdict(
                    Act.REFUSE,
                    "the cluster has " + members + " members, and --max-members is " + s.maxMembers()
                            + ": this node stays out until one leaves",
                    null,
                    null,
                    Exit.TEMPORARY);
        }
        int voters = voters(cluster);
        // One to two cannot be done without a pause; every other step can.
        if (!s.asLearner() && voters > 1 && s.healthy(cluster, m -> true) < quorum(voters + 1)) {
            return wait("with one member more the cluster would have no quorum until this node has started; missing: "
                    + s.missing(cluster));
        }
        return new ClusterVerdict(
                Act.JOIN,
                "a cluster of " + members + " with a quorum answers" + (s.asLearner() ? ", to join as a learner" : ""),
                null,
                null,
                Exit.OK);
    }

    private static ClusterVerdict withoutQuorum(Situation s) {
        EtcdMembership cluster = s.known();
        if (cluster == null) {
            return wait("a cluster answers, but no voting member of it with a quorum: " + whoIsWhere(s));
        }
        EtcdMember me = s.mineIn(cluster);
        if (me != null && neverStartedForSure(s, cluster, me)) {
            return new ClusterVerdict(
                    Act.REJOIN,
                    "the cluster has no quorum, and lists this node, which has never started and may be what is missing",
                    s.initialCluster(cluster),
                    me,
                    Exit.OK);
        }
        return wait("the cluster " + Long.toHexString(cluster.clusterId()) + " has no quorum: of " + voters(cluster)
                + " voting members " + quorum(voters(cluster)) + " are needed; missing: " + s.missing(cluster));
    }

    /**
     * Without a quorum a list may be an old one, of a member that was off when this node started, or is only just reading
     * its log. A member that was added, and has no name yet, has never started if all who could know better say so, each in
     * a list with itself in it. A learner is no voter, and goes on naming a leader that it has not heard of for long.
     */
    private static boolean neverStartedForSure(Situation s, EtcdMembership cluster, EtcdMember me) {
        Set<Long> ids = ids(cluster);
        for (EtcdSighting teller : s.seen(Kind.LEADERLESS, Kind.LEARNING)) {
            EtcdMembership list = teller.list();
            EtcdMember meThere = list == null ? null : list.byId(me.id());
            if (meThere == null
                    || !meThere.name().isEmpty()
                    || meThere.hasStarted()
                    || !ids(list).equals(ids)
                    || list.members().stream().noneMatch(m -> m.peerUrls().contains(teller.peerUrl()))) {
                return false;
            }
        }
        return me.peerUrls().equals(List.of(s.peerUrl()))
                && cluster.members().stream()
                        .allMatch(m -> m.id() == me.id() || s.isAccountedFor(m, Kind.LEADERLESS, Kind.LEARNING));
    }

    private static Set<Long> ids(EtcdMembership list) {
        return list.members().stream().map(EtcdMember::id).collect(Collectors.toSet());
    }

    private static ClusterVerdict besideFounders(Situation s) {
        List<EtcdSighting> founders = s.seen(Kind.FOUNDING);
        EtcdMembership list = founders.get(0).list();
        if (founders.stream().anyMatch(f -> f.clusterId() != list.clusterId())) {
            return refuse("first nodes have started with different lists: " + whoIsWhere(s)
                    + "; none has data yet, so empty the data directories of all and start again");
        }
        String who = founders.stream().map(EtcdSighting::who).collect(Collectors.joining(", "));
        if (!s.lists(list)) {
            long left = list.members().stream().filter(m -> !s.isGone(m)).count();
            String wayOut = left >= quorum(list.members().size())
                    ? ""
                    : "; too many of these are gone for a quorum ever to be, so empty the data directory of " + who
                            + " and restart it, or terminate the instance";
            return wait("first nodes of a new cluster wait for their quorum, and this one is not among them: they are "
                    + s.missing(list) + wayOut);
        }
        String initialCluster = s.initialCluster(list);
        String why = "first nodes of a new cluster have started, and list this one: " + who;
        for (EtcdMember m : list.members()) {
            if (!m.name().equals(s.id()) && !s.isAccountedFor(m, Kind.FOUNDING)) {
                return wait(why + "; but " + m.label()
                        + ", which they list too, neither has started nor says that it has no data");
            }
            FirstNode word = s.wordOf(m);
            if (word != null && word.objectsTo(initialCluster, s.token())) {
                return wait(why + "; but " + m.label() + ", which they list too, would found another cluster: "
                        + word.list() + ", token " + word.token());
            }
        }
        return new ClusterVerdict(Act.NEW, why, initialCluster, null, Exit.OK);
    }

    private static ClusterVerdict withNobodyThere(Situation s) {
        EtcdGroup group = s.group();
        Node self = group.byId(s.id());
        if (self == null || !self.counts()) {
            return wait("this instance is " + (self == null ? "not in the group" : self.words())
                    + ": it founds no cluster before it is in service or on the way there");
        }
        FirstList first = FirstList.of(group, s.urls(), s.maxMembers());
        if (first.list() == null) {
            return wait("nobody answers, and " + first.missing());
        }
        for (EtcdSighting silent : s.seen(Kind.SILENT)) {
            Node node = group.byAddress(EtcdUrls.address(silent.peerUrl()));
            if (node != null && node.isAlive()) {
                return wait("nobody answers, but " + silent.who() + " does not refuse either: it may be starting, or a"
                        + " member that is cut off; if it stays so, look at the security group's rules for "
                        + ports(s, silent));
            }
        }
        for (Node node : group.nodes()) {
            String why = whyNotWith(s, node, first.list());
            if (why != null) {
                return wait("nobody answers, but " + why);
            }
        }
        if (!first.nodes().contains(self)) {
            return wait("nobody answers, and of " + group.counted().size() + " instances the first "
                    + first.nodes().size() + " by id found the cluster (--max-members); this is not one of them");
        }
        return new ClusterVerdict(
                Act.NEW,
                group.nodes().size() == 1
                        ? "this is the only instance of the group, and it has no data"
                        : "no instance of the group has data, and all would found the same cluster",
                first.list(),
                null,
                Exit.OK);
    }

    /** Why no cluster may be founded yet as far as one instance is concerned, or null. */
    private static String whyNotWith(Situation s, Node node, String list) {
        boolean itself = node.id().equals(s.id());
        if (node.lifecycle() == null || node.isGone()) {
            return null;
        }
        EtcdSighting seen = node.address() == null ? null : s.at(s.urls().peer(node.address()));
        if (seen == null || seen.first() == null) {
            return itself
                    ? null
                    : node.id() + " (" + node.words() + ") has not said that it has no data: etcd-aws-cluster does not"
                            + " wait there yet, or a member of a cluster is being started; if neither comes, start it"
                            + " there, or terminate the instance";
        }
        if (!seen.first().instance().equals(node.id())) {
            return "at the address of " + node.id() + " it is " + seen.first().instance() + " that has no data";
        }
        if (seen.first().list() == null) {
            return node.id() + ", which has no data either, does not see the whole group yet";
        }
        return seen.first().agreesWith(list, s.token())
                ? null
                : node.id() + ", which has no data either, would found another cluster: "
                        + seen.first().list()
                        + ", token " + seen.first().token() + "; here it is " + list + ", token " + s.token()
                        + "; if it stays so, give the same options on every node";
    }

    private static String ports(Situation s, EtcdSighting silent) {
        List<String> ports = new ArrayList<>();
        if (silent.client() == Door.SILENT) {
            ports.add("port " + s.urls().clientPort());
        }
        if (silent.peer() == Door.SILENT) {
            ports.add("port " + s.urls().peerPort());
        }
        return String.join(" and ", ports);
    }

    // --- leaving, and the second half of joining as a learner

    /** The verdict for a node whose instance is about to end. */
    public static ClusterVerdict leaving(Situation s) {
        EtcdSighting voice = s.voice();
        if (s.clusters().size() > 1) {
            return twoClusters(s);
        }
        if (voice == null) {
            return wait("no member that answers has a quorum, so nothing can be removed: " + whoIsWhere(s));
        }
        EtcdMember me = voice.list().members().stream()
                .filter(m -> s.isMine(m)
                        || s.data().isInitialised()
                                && m.id() == s.data().memberId()
                                && m.name().isEmpty())
                .findFirst()
                .orElse(null);
        if (me == null) {
            return new ClusterVerdict(Act.DONE, "the cluster does not list this node", null, null, Exit.OK);
        }
        return s.canSpare(voice.list(), me)
                ? new ClusterVerdict(Act.LEAVE, "the rest is a quorum without this node", null, me, Exit.OK)
                : wait("the rest would be no quorum without this node: of " + (voters(voice.list()) - 1)
                        + " voting members that would be left, "
                        + s.healthy(voice.list(), m -> m.id() != me.id()) + " answer");
    }

    /** The verdict for a node that has joined as a learner, and whose etcd has been started. */
    public static ClusterVerdict promoting(Situation s) {
        EtcdSighting voice = s.voice();
        if (s.clusters().size() > 1) {
            return twoClusters(s);
        }
        if (voice == null) {
            return wait("no member that answers has a quorum: " + whoIsWhere(s));
        }
        EtcdMember me = s.mineIn(voice.list());
        if (me == null) {
            return wait("the cluster does not list this node");
        }
        return me.learner()
                ? new ClusterVerdict(Act.PROMOTE, "this node is a learner", null, me, Exit.OK)
                : new ClusterVerdict(Act.DONE, "this node is a voting member", null, me, Exit.OK);
    }

    // --- talking to it only

    /** The verdict for a machine that is no member: DONE when one cluster with a quorum answers. */
    public static ClusterVerdict asClient(Situation s) {
        if (s.clusters().size() > 1) {
            return twoClusters(s);
        }
        return s.voice() == null
                ? wait("no member of a cluster with a quorum answers: " + whoIsWhere(s))
                : new ClusterVerdict(Act.DONE, "a cluster with a quorum answers", null, null, Exit.OK);
    }

    // ---

    private static int voters(EtcdMembership cluster) {
        return (int) cluster.members().stream().filter(m -> !m.learner()).count();
    }

    private static int quorum(int voters) {
        return voters / 2 + 1;
    }

    private static String whoIsWhere(Situation s) {
        String all = s.sightings().stream()
                .map(x -> x.who() + " " + x.kind(s.token()).name().toLowerCase(Locale.ROOT)
                        + (x.clusterId() == 0 ? "" : " (cluster " + Long.toHexString(x.clusterId()) + ")"))
                .collect(Collectors.joining(", "));
        return all.isEmpty() ? "nobody to ask" : all;
    }

    private static ClusterVerdict twoClusters(Situation s) {
        return refuse("two clusters answer: " + whoIsWhere(s) + "; find out which is right, and stop the other");
    }

    private static ClusterVerdict refuse(String reason) {
        return new ClusterVerdict(Act.REFUSE, reason, null, null, Exit.CONFIG);
    }

    private static ClusterVerdict wait(String reason) {
        return new ClusterVerdict(Act.WAIT, reason, null, null, Exit.TEMPORARY);
    }
}
