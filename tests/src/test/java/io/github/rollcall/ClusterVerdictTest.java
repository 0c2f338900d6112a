package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.ClusterVerdict.Act;
import io.github.rollcall.ClusterVerdict.Situation;
import io.github.rollcall.EtcdGroup.Node;
import io.github.rollcall.EtcdSighting.Door;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Every arm of the verdict, from the point of view of the instance {@code i-0000000a}. */
class ClusterVerdictTest {
    private static final String TOKEN = "etcd";
    private static final EtcdUrls URLS = new EtcdUrls("http", 2379, "http", 2380);
    private static final String A = "i-0000000a";
    private static final String B = "i-0000000b";
    private static final String C = "i-0000000c";
    private static final String D = "i-0000000d";

    private final List<Node> nodes = new ArrayList<>();
    private final Set<String> asked = new HashSet<>();
    private final List<EtcdSighting> sightings = new ArrayList<>();
    private final List<EtcdMember> listed = new ArrayList<>();
    private EtcdDataDir data = new EtcdDataDir(EtcdDataDir.State.EMPTY, 0, 0);
    private int desired = 3;
    private int maxMembers = 7;
    private boolean asLearner;

    // --- nobody answers

    @Test
    void newWhenTheGroupHasItsDesiredSizeWithAnAddressForEachAndAllSayThatTheyHaveNoData() {
        group(C, A, B);
        nobodyAt(A);
        blankAt(B, A, B, C);
        blankAt(C, A, B, C);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster())
                .isEqualTo(A + "=" + url(A) + "," + B + "=" + url(B) + "," + C + "=" + url(C));
    }

    @Test
    void newAloneWhenOneIsDesired() {
        desired = 1;
        group(A);
        nobodyAt(A);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster()).isEqualTo(A + "=" + url(A));
    }

    @Test
    void fewerInstancesThanDesiredWait() {
        group(A, B);
        nobodyAt(A, B);

        waits("the group etcd has 2 instances where 3 are desired");
    }

    @Test
    void moreInstancesThanDesiredWaitToo() {
        group(A, B, C, D);
        nobodyAt(A, B, C, D);

        waits("has 4 instances where 3 are desired");
    }

    @Test
    void weightsCountTowardsTheDesiredSize() {
        desired = 4;
        nodes.add(new Node(A, "InService", "running", List.of(address(A)), 2));
        nodes.add(new Node(B, "InService", "running", List.of(address(B)), 2));
        nobodyAt(A);
        blankAt(B, A, B);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
    }

    @Test
    void pendingInstancesCountAndTerminatingOnesDoNot() {
        node(A, "InService", "running");
        node(B, "Pending:Wait", "running");
        node(C, "Terminating", "shutting-down");
        node(D, "Pending", "pending");
        nobodyAt(A, C);
        blankAt(B, A, B, D);
        blankAt(D, A, B, D);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster()).contains(A, B, D).doesNotContain(C);
    }

    @Test
    void anInstanceWithoutAnAddressIsWaitedFor() {
        group(A, B);
        nodes.add(new Node(C, "Pending", "pending", List.of(), 1));
        nobodyAt(A, B);

        waits(C + " (Pending/pending) has no address yet");
    }

    @Test
    void anInstanceThatEc2DoesNotKnowYetIsWaitedFor() {
        group(A, B);
        nodes.add(new Node(C, "Pending", null, List.of(), 1));
        nobodyAt(A, B);

        waits(C);
    }

    @Test
    void anInstanceThatNeitherAnswersNorRefusesIsWaitedForBecauseItMayBeAMemberThatIsCutOff() {
        group(A, B, C);
        nobodyAt(A, B);
        sightings.add(
                new EtcdSighting(C, URLS.client(address(C)), url(C), Door.SILENT, Door.SILENT, null, null, null, null));

        waits(C + " does not refuse either");
        assertThat(verdict().reason()).contains("port 2379 and port 2380");
    }

    @Test
    void anInstanceThatIsGoneMayBeSilent() {
        group(A, B, D);
        node(C, "Terminating", "shutting-down");
        nobodyAt(A);
        blankAt(B, A, B, D);
        blankAt(D, A, B, D);
        sightings.add(
                new EtcdSighting(C, URLS.client(address(C)), url(C), Door.SILENT, Door.SILENT, null, null, null, null));

        assertThat(verdict().act()).isEqualTo(Act.NEW);
    }

    @Test
    void somebodyWhoTakesConnectionsAndDoesNotAnswerIsWaitedFor() {
        group(A, B, C);
        nobodyAt(A, B);
        sightings.add(
                new EtcdSighting(C, URLS.client(address(C)), url(C), Door.OPEN, Door.REFUSED, null, null, null, null));

        waits(C + " takes connections and does not answer");
    }

    @Test
    void aGroupLargerThanASensibleClusterIsFoundedByTheFirst() {
        maxMembers = 2;
        group(A, B, C);
        for (String id : List.of(A, B, C)) {
            blankAt(id, A, B);
        }

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster()).contains(A, B).doesNotContain(C);
        assertThat(ClusterVerdict.of(situation(C)).act()).isEqualTo(Act.WAIT);
        assertThat(ClusterVerdict.of(situation(C)).reason()).contains("the first 2 by id found the cluster");
    }

    @Test
    void anInstanceInStandbyFoundsNoCluster() {
        node(A, "Standby", "running");
        node(B, "InService", "running");
        node(C, "InService", "running");
        node(D, "InService", "running");
        nobodyAt(A, B, C, D);

        waits("this instance is Standby/running");
    }

    @Test
    void whoRefusesTheConnectionIsWaitedForBecauseItMayHaveData() {
        group(A, B, C);
        nobodyAt(A, C);
        blankAt(B, A, B, C);

        waits(C + " (InService/running) has not said that it has no data");
    }

    @Test
    void whoHasNoDataButDoesNotSeeTheWholeGroupYetIsWaitedFor() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(B, A, B, C);
        sightings.add(blank(C, new FirstNode(C, null, TOKEN, false)));

        waits(C + ", which has no data either, does not see the whole group yet");
    }

    @Test
    void whoWouldFoundAnotherClusterIsWaitedFor() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(B, A, B, C);
        blankAt(C, A, B);
        waits(C + ", which has no data either, would found another cluster");

        sightings.remove(2);
        sightings.add(blank(C, new FirstNode(C, list(A, B, C), "other", false)));
        waits("token other; here it is");
    }

    @Test
    void theWordOfAnotherInstanceIsNotTheInstancesOwn() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(B, A, B, C);
        sightings.add(blank(C, new FirstNode(D, list(A, B, C), TOKEN, false)));

        waits("at the address of " + C + " it is " + D + " that has no data");
    }

    @Test
    void whoHasDecidedForTheSameClusterAgrees() {
        group(A, B, C);
        nobodyAt(A);
        sightings.add(blank(B, new FirstNode(B, list(A, B, C), TOKEN, true)));
        blankAt(C, A, B, C);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
    }

    @Test
    void instancesThatWouldBeNoFirstNodesHaveToSayThatTheyHaveNoDataToo() {
        maxMembers = 2;
        group(A, B, C);
        nobodyAt(A, C);
        blankAt(B, A, B);

        waits(C + " (InService/running) has not said");
    }

    @Test
    void instancesInStandbyOrStoppedOrGoingMayHaveData() {
        for (Node kept : List.of(
                new Node(D, "Standby", "running", List.of(address(D)), 1),
                new Node(D, "Standby", "stopped", List.of(address(D)), 1),
                new Node(D, "Terminating:Wait", "running", List.of(address(D)), 1))) {
            nodes.clear();
            sightings.clear();
            group(A, B, C);
            nodes.add(kept);
            nobodyAt(A, D);
            blankAt(B, A, B, C);
            blankAt(C, A, B, C);

            waits(D + " (" + kept.words() + ") has not said");

            sightings.remove(1);
            blankAt(D, A, B, C);
            assertThat(verdict().act()).isEqualTo(Act.NEW);
        }
    }

    @Test
    void whoSaysThatItHasNoDataMustBeReachableByClientsToo() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(B, A, B, C);
        sightings.add(new EtcdSighting(
                C,
                URLS.client(address(C)),
                url(C),
                Door.SILENT,
                Door.OPEN,
                null,
                null,
                new FirstNode(C, list(A, B, C), TOKEN, false),
                null));

        waits("the security group's rules for port 2379");
        assertThat(verdict().reason()).doesNotContain("2380");
    }

    @Test
    void anotherCopyOfTheToolOnThisNodeIsNoEtcd() {
        group(A, B, C);
        blankAt(A, A, B, C);
        blankAt(B, A, B, C);
        blankAt(C, A, B, C);
        assertThat(verdict().act()).isEqualTo(Act.NEW);

        sightings.remove(0);
        blankAt(A, A, B);
        waits(A + ", which has no data either, would found another cluster");
    }

    @Test
    void anEndpointThatDoesNotAnswerStopsNew() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(B, A, B, C);
        blankAt(C, A, B, C);
        for (Door door : Door.values()) {
            EtcdSighting named = new EtcdSighting(
                    "http://10.0.0.9:2379", "http://10.0.0.9:2379", "", door, door, null, null, null, null);
            sightings.add(named);

            waits("nobody answers at http://10.0.0.9:2379 of --endpoints");
            sightings.remove(named);
        }
    }

    // --- first nodes of a new cluster

    @Test
    void aFirstNodeThatHasStartedIsFollowed() {
        group(A, B, C);
        nobodyAt(A);
        blankAt(C, A, B, C);
        foundingAt(B, A, B, C);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster())
                .isEqualTo(A + "=" + url(A) + "," + B + "=" + url(B) + "," + C + "=" + url(C));
    }

    @Test
    void aFirstNodesListIsFollowedWhateverTheGroupLooksLikeMeanwhile() {
        group(A, B, D);
        asked.add(C);
        nobodyAt(A, D);
        foundingAt(B, A, B, C);

        assertThat(verdict().act()).isEqualTo(Act.NEW);
        assertThat(verdict().initialCluster()).contains(C).doesNotContain(D);
    }

    @Test
    void aNodeThatIsNotInTheFirstNodesListWaits() {
        group(A, B, C);
        nobodyAt(A, C);
        foundingAt(B, B, C, D);

        waits("this one is not among them");
    }

    @Test
    void aFirstNodeThatHasStartedIsNotFollowedWhileAnotherOfItsListMayHaveData() {
        group(A, B, C);
        nobodyAt(A, C);
        foundingAt(B, A, B, C);

        waits("but " + C + ", which they list too, neither has started nor says that it has no data");
    }

    @Test
    void aFirstNodeThatHasStartedIsNotFollowedWhileAnotherOfItsListWouldFoundAnotherCluster() {
        for (boolean decided : List.of(true, false)) {
            nodes.clear();
            sightings.clear();
            group(A, B, C);
            nobodyAt(A);
            foundingAt(B, A, B, C);
            sightings.add(blank(C, new FirstNode(C, list(A, C, D), TOKEN, decided)));
            waits(C + ", which they list too, would found another cluster");

            sightings.remove(2);
            sightings.add(blank(C, new FirstNode(C, list(A, B, C), "other", decided)));
            waits("token other");
        }

        // It does not see the whole group, and can found nothing.
        sightings.remove(2);
        sightings.add(blank(C, new FirstNode(C, null, TOKEN, false)));
        assertThat(verdict().act()).isEqualTo(Act.NEW);

        // Another copy on this node speaks for it.
        sightings.remove(0);
        blankAt(A, A, C, D);
        waits(A + ", which they list too, would found another cluster");
    }

    @Test
    void whoFollowsAFirstNodeSaysItsListInsteadOfItsOwn() {
        group(A, B, C);
        nobodyAt(A, C);
        assertThat(situation(A).followed()).isNull();
        foundingAt(B, A, B, D);

        assertThat(situation(A).followed()).isEqualTo(list(A, B, D));
        assertThat(situation(A).firstNode(list(A, B, D)).list()).isEqualTo(list(A, B, D));
        assertThat(situation(A).firstNode(null).list()).isEqualTo(list(A, B, C));
        assertThat(situation(C).followed()).isNull();
    }

    @Test
    void whereTheFirstNodesCanNeverBeAQuorumTheWayOutIsSaid() {
        group(A, B);
        asked.addAll(Set.of(C, D));
        nobodyAt(A);
        foundingAt(B, B, C, D);
        waits("empty the data directory of " + B + " and restart it, or terminate the instance");

        asked.remove(D);
        assertThat(verdict().reason()).contains("not among them").doesNotContain("empty");
    }

    @Test
    void firstNodesWithDifferentListsAreRefused() {
        group(A, B, C);
        nobodyAt(A);
        foundingAt(B, A, B, C);
        foundingAt(C, A, C, D);

        refuses("different lists");
    }

    @Test
    void aListOfAnotherTokenIsNoNewClusterOfOurs() {
        group(A, B, C);
        nobodyAt(A, C);
        sightings.add(new EtcdSighting(
                B,
                URLS.client(address(B)),
                url(B),
                Door.OPEN,
                Door.OPEN,
                null,
                founding("other", A, B, C),
                null,
                null));

        assertThat(verdict().act()).isNotEqualTo(Act.NEW);
    }

    @Test
    void aMemberWhoseClusterHadAQuorumIsNeverTakenForAFirstNode() {
        group(A, B, C);
        nobodyAt(A, C);
        EtcdMembership first = founding(TOKEN, A, B, C);
        List<EtcdMember> members = first.members().stream()
                .map(m -> m.name().equals(B) ? started(m.id(), B) : m)
                .toList();
        sightings.add(new EtcdSighting(
                B,
                URLS.client(address(B)),
                url(B),
                Door.OPEN,
                Door.OPEN,
                null,
                new EtcdMembership(first.clusterId(), members),
                null,
                null));

        waits("has no quorum");
    }

    // --- a cluster without a quorum

    @Test
    void neverNewBesideAClusterWithoutQuorumWhichIsToldWhatIsMissing() {
        group(A, B, C);
        node(D, null, "terminated");
        nobodyAt(A, C);
        members(started(2, B), started(3, C), started(4, D));
        leaderlessAt(B, 2);

        waits("has no quorum: of 3 voting members 2 are needed; missing: " + C + " (InService/running, nobody), " + D
                + " (its instance is gone)");
    }

    @Test
    void aMemberThatNeverStartedRejoinsAClusterWithoutQuorumBecauseItMayBeWhatIsMissing() {
        group(A, B);
        nobodyAt(A);
        members(unstarted(1, A), started(2, B));
        leaderlessAt(B, 2);

        assertThat(verdict().act()).isEqualTo(Act.REJOIN);
    }

    @Test
    void withoutQuorumAMemberIsTakenForNeverStartedOnlyIfNobodyCanKnowBetter() {
        group(A, B, C);
        nobodyAt(A, C);
        members(unstarted(1, A), started(2, B), started(3, C));
        leaderlessAt(B, 2);
        waits("missing: unstarted member at " + url(A));

        // Nothing can be hidden behind a disk that is lost.
        sightings.remove(1);
        blankAt(C);
        assertThat(verdict().act()).isEqualTo(Act.REJOIN);

        // The other one knows that this node has started.
        sightings.remove(2);
        leaderlessAt(C, 3, started(1, A), started(2, B), started(3, C));
        waits("has no quorum");
    }

    @Test
    void aLearnerThatStillNamesALeaderIsNoQuorum() {
        group(A, B, C);
        nobodyAt(A);
        EtcdMember learner = new EtcdMember(3, C, List.of(url(C)), List.of("http://c:2379"), true);
        members(unstarted(1, A), started(2, B), learner);
        leaderlessAt(B, 2);
        sightings.add(new EtcdSighting(
                C,
                URLS.client(address(C)),
                url(C),
                Door.OPEN,
                Door.OPEN,
                new EtcdSighting.Status(3, 7, true, true, 5),
                new EtcdMembership(7, listed),
                null,
                null));

        assertThat(verdict().act()).isEqualTo(Act.REJOIN);
        assertThat(situation(A).hasToBeHeard()).isTrue();
    }

    @Test
    void aListThatIsOnlyJustBeingReadIsNotBelieved() {
        group(A, B);
        nobodyAt(A);
        members(unstarted(1, A));
        leaderlessAt(B, 2);

        waits("has no quorum");
    }

    @Test
    void aFirstMemberIsNotTakenForNeverStartedWithoutQuorum() {
        group(A, B);
        nobodyAt(A);
        members(new EtcdMember(1, A, List.of(url(A)), List.of(), false), started(2, B));
        leaderlessAt(B, 2);

        waits("has no quorum");
    }

    @Test
    void aLostDiskIsNotReplacedWithoutQuorum() {
        group(A, B, C);
        nobodyAt(A, C);
        members(started(1, A), started(2, B), started(3, C));
        leaderlessAt(B, 2);

        waits("no quorum");
    }

    // --- beside a cluster with a quorum

    @Test
    void joinsAClusterThatAnswers() {
        group(A, B, C);
        nobodyAt(A, C);
        members(started(2, B));
        servingAt(B, 2);

        assertThat(verdict().act()).isEqualTo(Act.JOIN);
    }

    @Test
    void aDeadMemberIsEjectedBeforeJoining() {
        group(A, B, C);
        node(D, null, "terminated");
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
        assertThat(verdict().member().name()).isEqualTo(D);
    }

    @Test
    void deadMembersAreEjectedOneAtATimeInTheSameOrderEverywhere() {
        desired = 5;
        group(A, B, C, "i-0000000e");
        asked.addAll(List.of(D, "i-0000000f"));
        nobodyAt(A);
        members(started(2, B), started(3, C), started(5, "i-0000000e"), started(9, D), started(4, "i-0000000f"));
        servingAt(B, 2);
        servingAt(C, 3);
        servingAt("i-0000000e", 5);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
        assertThat(verdict().member().id()).isEqualTo(4);
    }

    @Test
    void anInstanceThatEc2NoLongerKnowsIsGone() {
        group(A, B, C);
        asked.add(D);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
    }

    @Test
    void aMemberOfWhichEc2WasNotAskedStays() {
        group(A, B, C);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        waits("missing: " + D);
    }

    @Test
    void membersOfInstancesThatAreStoppedOrInStandbyOrDetachedStay() {
        for (Node kept : List.of(
                new Node(D, null, "stopped", List.of(address(D)), 1),
                new Node(D, "Standby", "running", List.of(address(D)), 1),
                new Node(D, "Terminating:Wait", "running", List.of(address(D)), 1),
                new Node(D, null, "running", List.of(address(D)), 1))) {
            nodes.clear();
            sightings.clear();
            listed.clear();
            group(A, B, C);
            nodes.add(kept);
            nobodyAt(A, D);
            members(started(2, B), started(3, C), started(4, D));
            servingAt(B, 2);
            servingAt(C, 3);

            waits("missing: " + D);
        }
    }

    @Test
    void aMemberThatAnswersStaysThoughItsInstanceIsShuttingDown() {
        group(A, B, C);
        node(D, "Terminating", "shutting-down");
        nobodyAt(A);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);
        servingAt(D, 4);

        assertThat(verdict().act()).isEqualTo(Act.JOIN);
    }

    @Test
    void aMemberThatIsNotNamedByAnInstanceStays() {
        group(A, B, C);
        nobodyAt(A);
        members(started(2, B), started(3, C), started(4, "old-server"));
        servingAt(B, 2);
        servingAt(C, 3);

        waits("missing: old-server");
    }

    @Test
    void nobodyIsEjectedWhenTheRestWouldBeNoQuorum() {
        group(A, B, C);
        asked.add(D);
        nobodyAt(A, C, D);
        members(started(2, B), started(3, C), started(4, D));
        // The cluster has a leader, though from here only one of its members is seen.
        servingAt(B, 2);

        waits("no quorum until this node has started");
    }

    @Test
    void anUnstartedMemberWhoseAddressNoInstanceHasIsEjected() {
        group(A, B, C);
        asked.add(address(D));
        nobodyAt(A, D);
        members(started(2, B), started(3, C), unstarted(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
        assertThat(verdict().member().id()).isEqualTo(4);
    }

    @Test
    void anUnstartedMemberStaysWhileEc2HasNoStateOrAddressForAnInstanceThatMayBeItsOwn() {
        for (Node unknown :
                List.of(new Node(D, "Pending", null, List.of(), 1), new Node(D, "Pending", "pending", List.of(), 1))) {
            nodes.clear();
            sightings.clear();
            listed.clear();
            group(A, B, C);
            nodes.add(unknown);
            asked.add(address(D));
            nobodyAt(A);
            members(started(2, B), started(3, C), unstarted(4, D));
            servingAt(B, 2);
            servingAt(C, 3);

            assertThat(verdict().act()).isNotEqualTo(Act.EJECT);

            nodes.remove(unknown);
            assertThat(verdict().act()).isEqualTo(Act.EJECT);
        }
    }

    @Test
    void anUnstartedMemberThatCannotBeAttributedStays() {
        nodes.add(new Node(
                "i-0000000e", null, "running", List.of("10.0.0.1", "10.0.0.2", "fd00::4", address("i-0000000e")), 1));
        asked.addAll(List.of("etcd-4.internal", "10.0.0.2", "fd00::4", "fd00::5", "10.0.0.3"));
        group(A, B, C);
        nobodyAt(A);
        for (String elsewhere : List.of(
                "http://etcd-4.internal:2380",
                // The second address of an interface, and its IPv6 address, written in another way.
                "http://10.0.0.2:2380",
                "http://[fd00:0:0::4]:2380",
                // Neither is how the group's URLs are made.
                "http://10.0.0.3:2390",
                "https://10.0.0.3:2380")) {
            listed.clear();
            sightings.subList(1, sightings.size()).clear();
            members(started(2, B), started(3, C), new EtcdMember(4, "", List.of(elsewhere), List.of(), false));
            servingAt(B, 2);
            servingAt(C, 3);

            waits("missing: unstarted member at " + elsewhere);
        }
        listed.clear();
        sightings.subList(1, sightings.size()).clear();
        members(
                started(2, B),
                started(3, C),
                new EtcdMember(4, "", List.of("http://[fd00:0::5]:2380"), List.of(), false));
        servingAt(B, 2);
        servingAt(C, 3);
        assertThat(verdict().act()).isEqualTo(Act.EJECT);
    }

    @Test
    void anUnstartedMemberWhoseInstanceRunsIsAnotherJoinerAndStays() {
        desired = 4;
        group(A, B, C, D);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), unstarted(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        waits("missing: unstarted member at " + url(D) + " (InService/running, nobody)");
    }

    @Test
    void withOneMemberMissingNobodyIsAddedBecauseTheClusterMightStandStill() {
        desired = 4;
        group(A, B, C, D);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        waits("with one member more the cluster would have no quorum until this node has started");
    }

    @Test
    void aLearnerNeverCostsAQuorum() {
        asLearner = true;
        desired = 4;
        group(A, B, C, D);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.JOIN);
    }

    @Test
    void aLearnerAmongTheMembersHasNoVote() {
        group(A, B, C);
        asked.addAll(List.of(D, "i-0000000e"));
        nobodyAt(A, D, "i-0000000e");
        members(
                started(2, B),
                new EtcdMember(3, C, List.of(url(C)), List.of("http://c:2379"), true),
                started(4, D),
                started(5, "i-0000000e"));
        servingAt(B, 2);

        // Without D two votes are left, of which one is seen; with the learner's it would be a quorum.
        waits("no quorum until this node has started");
    }

    @Test
    void aFullClusterIsStayedOutOf() {
        maxMembers = 2;
        group(A, B, C);
        nobodyAt(A);
        members(started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REFUSE);
        assertThat(verdict().exit()).isEqualTo(Exit.TEMPORARY);
        assertThat(verdict().reason()).contains("--max-members is 2: this node stays out");
    }

    @Test
    void inAFullClusterADeadMemberMakesRoom() {
        maxMembers = 3;
        group(A, B, C);
        asked.add(D);
        nobodyAt(A, D);
        members(started(2, B), started(3, C), started(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
    }

    @Test
    void anInstanceThatIsGoingDoesNotJoin() {
        node(A, "Terminating:Wait", "running");
        node(B, "InService", "running");
        nobodyAt(A);
        members(started(2, B));
        servingAt(B, 2);

        waits("this instance is Terminating:Wait/running");
    }

    @Test
    void aDeadMembersAddressMayBeOursNow() {
        group(A, B, C);
        asked.add(D);
        nobodyAt(A);
        members(started(2, B), started(3, C), new EtcdMember(4, D, List.of(url(A)), List.of("http://a:2379"), false));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.EJECT);
        assertThat(verdict().member().name()).isEqualTo(D);
    }

    @Test
    void ourAddressHeldByAMemberThatIsNotGoneIsRefused() {
        group(A, B, C, D);
        nobodyAt(A);
        members(started(2, B), started(3, C), new EtcdMember(4, D, List.of(url(A)), List.of("http://a:2379"), false));
        servingAt(B, 2);
        servingAt(C, 3);

        refuses("is listed with this node's address");
    }

    // --- rejoin

    @Test
    void rejoinsWhenItWasAddedAndCrashedBeforeEtcdFirstStarted() {
        group(A, B, C);
        nobodyAt(A);
        members(unstarted(1, A), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REJOIN);
        assertThat(verdict().initialCluster())
                .isEqualTo(A + "=" + url(A) + "," + B + "=" + url(B) + "," + C + "=" + url(C));
    }

    @Test
    void whoJoinedAsOneTooManyIsRemovedBeforeItStarts() {
        maxMembers = 3;
        group(A, B, C, D);
        nobodyAt(A, D);
        members(unstarted(1, A), started(2, B), started(3, C), unstarted(4, D));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REPLACE);
        assertThat(verdict().reason()).contains("4 members where --max-members is 3");
    }

    @Test
    void aFirstMemberThatNeverStartedRejoinsTheClusterThatTheOthersFounded() {
        group(A, B, C);
        nobodyAt(A);
        members(new EtcdMember(1, A, List.of(url(A)), List.of(), false), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REJOIN);
    }

    @Test
    void aMemberWhoseDiskWasLostIsReplacedNotRestarted() {
        group(A, B, C);
        nobodyAt(A);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REPLACE);
        assertThat(verdict().member().id()).isEqualTo(1);
    }

    @Test
    void aMemberWhoseDiskWasLostIsNotRemovedBeforeItMayComeBack() {
        node(A, "Standby", "running");
        group(B, C);
        nobodyAt(A);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        waits("this instance is Standby/running: its member is not replaced before");
    }

    @Test
    void aMemberWhoseDiskWasLostIsNotReplacedWhenTheRestWouldBeNoQuorum() {
        group(A, B, C);
        nobodyAt(A, C);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(B, 2);

        waits("it cannot be replaced");
    }

    @Test
    void aMemberThatIsListedAtAnotherAddressIsReplaced() {
        group(A, B, C);
        nobodyAt(A);
        members(new EtcdMember(1, A, List.of("http://127.0.0.1:2380"), List.of(), false), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.REPLACE);
    }

    @Test
    void etcdThatRunsHereOnOtherDataIsNeverReplaced() {
        group(A, B, C);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(A, 1);
        servingAt(B, 2);
        servingAt(C, 3);

        refuses("--data-dir is not its data directory");
    }

    // --- restart

    @Test
    void restartsWithItsData() {
        group(A, B, C);
        dataOf(1);
        nobodyAt(A);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        assertThat(verdict().act()).isEqualTo(Act.RESTART);
        assertThat(verdict().initialCluster()).contains(A, B, C);
    }

    @Test
    void restartsWithItsDataWhenNobodyAnswersBecauseItMayBeWhatIsMissing() {
        group(A, B, C);
        dataOf(1);
        nobodyAt(A, B, C);

        assertThat(verdict().act()).isEqualTo(Act.RESTART);
        assertThat(verdict().initialCluster()).isEqualTo(A + "=" + url(A));
    }

    @Test
    void aMemberThatWasRemovedWhileItWasOffIsRefusedWithTheWayOut() {
        group(A, B, C);
        dataOf(1);
        nobodyAt(A);
        members(started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        refuses("was removed from the cluster while it was off: to join anew, move its data directory away");
    }

    @Test
    void aCopiedDataDirectoryIsRefused() {
        group(A, B, C);
        dataOf(2);
        nobodyAt(A);
        members(started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        refuses("the data directory is that of " + B);
    }

    @Test
    void dataOfAnotherClusterIsRefused() {
        group(A, B, C);
        data = new EtcdDataDir(EtcdDataDir.State.INITIALISED, 1, 99);
        nobodyAt(A);
        members(started(2, B), started(3, C));
        servingAt(B, 2);
        servingAt(C, 3);

        refuses("the data directory belongs to cluster 63");
    }

    @Test
    void restartsInItsOwnClusterThoughAnotherAnswersToo() {
        group(A, B, C);
        dataOf(1);
        nobodyAt(A);
        members(started(1, A), started(2, B));
        servingAt(B, 2);
        sightings.add(serving(C, 3, new EtcdMembership(99, List.of(started(3, C)))));

        assertThat(verdict().act()).isEqualTo(Act.RESTART);
    }

    // --- what cannot be decided

    @Test
    void twoClustersAreRefused() {
        group(A, B, C);
        nobodyAt(A);
        members(started(2, B));
        servingAt(B, 2);
        sightings.add(serving(C, 3, new EtcdMembership(99, List.of(started(3, C)))));

        refuses("two clusters answer");
    }

    @Test
    void twoClustersAreRefusedAlsoWhenOneHasNoQuorum() {
        group(A, B, C);
        nobodyAt(A);
        members(started(2, B));
        servingAt(B, 2);
        sightings.add(new EtcdSighting(
                C,
                URLS.client(address(C)),
                url(C),
                Door.OPEN,
                Door.OPEN,
                new EtcdSighting.Status(3, 99, false, false, 5),
                new EtcdMembership(99, List.of(started(3, C))),
                null,
                null));

        refuses("two clusters answer");
    }

    @Test
    void etcdThatRefusesWithoutUserIsRefusedAs77() {
        group(A, B, C);
        nobodyAt(A, C);
        sightings.add(new EtcdSighting(
                B,
                URLS.client(address(B)),
                url(B),
                Door.OPEN,
                Door.OPEN,
                null,
                null,
                null,
                new Failure(Exit.REFUSED, "user name is empty")));

        assertThat(verdict().act()).isEqualTo(Act.REFUSE);
        assertThat(verdict().exit()).isEqualTo(Exit.REFUSED);
    }

    @Test
    void whatCannotBeUnderstoodIsNeverNew() {
        group(A, B, C);
        nobodyAt(A, C);
        sightings.add(new EtcdSighting(
                B,
                URLS.client(address(B)),
                url(B),
                Door.OPEN,
                Door.OPEN,
                null,
                null,
                null,
                new Failure(Exit.UNAVAILABLE, "not etcd's v3 API")));

        waits("answers, and cannot be understood: not etcd's v3 API");
    }

    // --- names

    @Test
    void noEmptyNameIsPrintedAndNoneThatNeedsQuotes() {
        group(A, B, C);
        nobodyAt(A);
        members(
                unstarted(1, A),
                started(2, B),
                unstarted(3, C),
                unstarted(0xd, D),
                new EtcdMember(
                        0xe, "my server", List.of("http://10.0.0.1:2380"), List.of("http://10.0.0.1:2379"), false));

        assertThat(situation(A).initialCluster(new EtcdMembership(7, listed)).split(","))
                .containsExactly(
                        A + "=" + url(A),
                        B + "=" + url(B),
                        C + "=" + url(C),
                        "member-d=" + url(D),
                        "member-e=http://10.0.0.1:2380");
    }

    @Test
    void twoMembersNeverShareAName() {
        group(A, B, C);
        members(started(1, A), new EtcdMember(2, "i-0000000b", List.of("http://b2:2380"), List.of(), false));
        listed.add(unstarted(3, B));

        assertThat(situation(A).initialCluster(new EtcdMembership(7, listed)))
                .contains("i-0000000b=http://b2:2380", "member-3=" + url(B));
    }

    // --- leaving

    @Test
    void leavesWhenTheRestKeepsAQuorum() {
        group(A, B, C);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(A, 1);
        servingAt(B, 2);
        servingAt(C, 3);

        ClusterVerdict verdict = ClusterVerdict.leaving(situation(A));

        assertThat(verdict.act()).isEqualTo(Act.LEAVE);
        assertThat(verdict.member().id()).isEqualTo(1);
    }

    @Test
    void doesNotLeaveWhenTheRestWouldBeNoQuorum() {
        group(A, B, C);
        members(started(1, A), started(2, B), started(3, C));
        servingAt(A, 1);
        servingAt(B, 2);
        nobodyAt(C);

        ClusterVerdict verdict = ClusterVerdict.leaving(situation(A));

        assertThat(verdict.act()).isEqualTo(Act.WAIT);
        assertThat(verdict.reason()).contains("of 2 voting members that would be left, 1 answer");
    }

    @Test
    void theLastMemberDoesNotLeave() {
        group(A);
        members(started(1, A));
        servingAt(A, 1);

        assertThat(ClusterVerdict.leaving(situation(A)).act()).isEqualTo(Act.WAIT);
    }

    @Test
    void whoIsNotListedHasLeft() {
        group(A, B);
        members(started(2, B));
        servingAt(B, 2);

        assertThat(ClusterVerdict.leaving(situation(A)).act()).isEqualTo(Act.DONE);
    }

    // --- promoting

    @Test
    void aLearnerIsPromotedAndAVotingMemberIsDone() {
        group(A, B);
        members(new EtcdMember(1, A, List.of(url(A)), List.of("http://a:2379"), true), started(2, B));
        servingAt(B, 2);
        assertThat(ClusterVerdict.promoting(situation(A)).act()).isEqualTo(Act.PROMOTE);

        assertThat(ClusterVerdict.promoting(situation(B)).act()).isEqualTo(Act.DONE);
        assertThat(ClusterVerdict.promoting(situation(C)).act()).isEqualTo(Act.WAIT);
    }

    @Test
    void nobodyIsPromotedOrSentToOneOfTwoClusters() {
        group(A, B, C);
        members(started(2, B));
        servingAt(B, 2);
        assertThat(ClusterVerdict.asClient(situation(A)).act()).isEqualTo(Act.DONE);
        sightings.add(serving(C, 3, new EtcdMembership(99, List.of(started(3, C)))));

        for (ClusterVerdict v :
                List.of(ClusterVerdict.asClient(situation(A)), ClusterVerdict.promoting(situation(A)))) {
            assertThat(v.act()).isEqualTo(Act.REFUSE);
            assertThat(v.reason()).contains("two clusters answer");
        }
    }

    @Test
    void clientsWaitForAClusterWithAQuorum() {
        group(B, C);
        members(started(2, B), started(3, C));
        leaderlessAt(B, 2);

        assertThat(ClusterVerdict.asClient(situation(A)).act()).isEqualTo(Act.WAIT);
    }

    // --- the scene

    private void waits(String why) {
        assertThat(verdict().act()).isEqualTo(Act.WAIT);
        assertThat(verdict().reason()).contains(why);
    }

    private void refuses(String why) {
        assertThat(verdict().act()).isEqualTo(Act.REFUSE);
        assertThat(verdict().reason()).contains(why);
        assertThat(verdict().exit()).isEqualTo(Exit.CONFIG);
    }

    private ClusterVerdict verdict() {
        return ClusterVerdict.of(situation(A));
    }

    private Situation situation(String self) {
        Set<String> all = new HashSet<>(asked);
        nodes.forEach(n -> all.add(n.id()));
        return new Situation(
                self,
                address(self),
                data,
                new EtcdGroup("etcd", desired, nodes, all),
                URLS,
                TOKEN,
                sightings,
                maxMembers,
                asLearner);
    }

    private void group(String... ids) {
        for (String id : ids) {
            node(id, "InService", "running");
        }
    }

    private void node(String id, String lifecycle, String state) {
        nodes.add(new Node(id, lifecycle, state, List.of(address(id)), 1));
    }

    private void nobodyAt(String... ids) {
        for (String id : ids) {
            sightings.add(new EtcdSighting(
                    id, URLS.client(address(id)), url(id), Door.REFUSED, Door.REFUSED, null, null, null, null));
        }
    }

    /** etcd-aws-cluster waits there, and would found a cluster of these. */
    private void blankAt(String id, String... first) {
        sightings.add(blank(id, new FirstNode(id, list(first), TOKEN, false)));
    }

    private static EtcdSighting blank(String id, FirstNode says) {
        return new EtcdSighting(id, URLS.client(address(id)), url(id), Door.REFUSED, Door.OPEN, null, null, says, null);
    }

    private static String list(String... ids) {
        return Stream.of(ids).map(id -> id + "=" + url(id)).sorted().collect(Collectors.joining(","));
    }

    private void members(EtcdMember... members) {
        listed.addAll(List.of(members));
    }

    private void servingAt(String id, long memberId) {
        sightings.add(serving(id, memberId, new EtcdMembership(7, listed)));
    }

    private static EtcdSighting serving(String id, long memberId, EtcdMembership list) {
        return new EtcdSighting(
                id,
                URLS.client(address(id)),
                url(id),
                Door.OPEN,
                Door.OPEN,
                new EtcdSighting.Status(memberId, list.clusterId(), true, false, 5),
                list,
                null,
                null);
    }

    private void leaderlessAt(String id, long memberId) {
        leaderlessAt(id, memberId, listed.toArray(new EtcdMember[0]));
    }

    private void leaderlessAt(String id, long memberId, EtcdMember... list) {
        sightings.add(new EtcdSighting(
                id,
                URLS.client(address(id)),
                url(id),
                Door.OPEN,
                Door.OPEN,
                new EtcdSighting.Status(memberId, 7, false, false, 5),
                new EtcdMembership(7, List.of(list)),
                null,
                null));
    }

    private void foundingAt(String id, String... ids) {
        sightings.add(new EtcdSighting(
                id, URLS.client(address(id)), url(id), Door.OPEN, Door.OPEN, null, founding(TOKEN, ids), null, null));
    }

    private static EtcdMembership founding(String token, String... ids) {
        List<EtcdMember> members = new ArrayList<>();
        for (String id : ids) {
            List<String> urls = List.of(url(id));
            members.add(new EtcdMember(EtcdMembership.foundingId(urls, token), id, urls, List.of(), false));
        }
        return new EtcdMembership(
                EtcdMembership.clusterId(members.stream().map(EtcdMember::id).toList()), members);
    }

    private void dataOf(long memberId) {
        data = new EtcdDataDir(EtcdDataDir.State.INITIALISED, memberId, 7);
    }

    private static EtcdMember started(long id, String name) {
        return new EtcdMember(id, name, List.of(url(name)), List.of(URLS.client(address(name))), false);
    }

    private static EtcdMember unstarted(long id, String instance) {
        return new EtcdMember(id, "", List.of(url(instance)), List.of(), false);
    }

    private static String address(String id) {
        return "127.77.1." + (int) id.charAt(id.length() - 1);
    }

    private static String url(String id) {
        return URLS.peer(address(id));
    }
}
