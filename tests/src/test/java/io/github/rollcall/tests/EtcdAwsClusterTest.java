package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.ToolRunner.Run;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Clusters of real etcd members on a real Auto Scaling group of moto, where nothing breaks that is not said. */
class EtcdAwsClusterTest {
    private EtcdLab lab;

    @AfterEach
    void close() {
        lab.close();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 5})
    void bootstrapsAWholeGroupAtOnce(int size) {
        lab = EtcdLab.of(size);

        lab.startAll(lab.nodes());

        lab.awaitMembers(lab.nodes());
        assertThat(lab.clusters()).hasSize(1);
        assertThat(lab.nodes()).allSatisfy(n -> assertThat(n.printed().get("ETCD_INITIAL_CLUSTER"))
                .isEqualTo(lab.nodes().get(0).printed().get("ETCD_INITIAL_CLUSTER")));
        // Who comes when the others have their quorum already finds itself listed by a cluster that exists.
        assertThat(lab.nodes())
                .filteredOn(n -> n.printed().get("ETCD_INITIAL_CLUSTER_STATE").equals("new"))
                .hasSizeGreaterThan(size / 2);
    }

    @Tag("once")
    @Test
    void scalesFromOneToThreeToFiveWithJoinersAtOnce() {
        lab = EtcdLab.of(1);
        lab.startAll(lab.nodes());
        lab.awaitMembers(lab.nodes());

        lab.startAll(lab.scale(3), "--wait", "80s");
        lab.awaitMembers(lab.nodes());
        lab.startAll(lab.scale(5), "--wait", "80s");

        lab.awaitMembers(lab.nodes());
        assertThat(lab.nodes()).hasSize(5);
        assertThat(lab.clusters()).hasSize(1);
    }

    @Test
    void replacesADeadNodeByRemovingItBeforeItAddsItself() {
        lab = EtcdLab.cluster(3);
        Node dead = lab.nodes().get(0);
        List<Node> before = lab.nodes();

        dead.terminate();
        Node replacement = lab.nodes().stream()
                .filter(n -> !before.contains(n))
                .findFirst()
                .orElseThrow();
        Run run = replacement.start();

        assertThat(run.exit()).as("%s", run).isZero();
        lab.awaitMembers(lab.nodes());
        assertThat(run.err()).containsSubsequence(dead + ": removed from the cluster", "added to the cluster");
    }

    @Tag("once")
    @Test
    void replacesAllNodesOneByOneWhileAWriterWritesAndNothingAcknowledgedIsLost() throws Exception {
        lab = EtcdLab.cluster(3);
        try (EtcdWriter writer = new EtcdWriter(lab)) {
            for (Node old : lab.nodes()) {
                List<Node> before = lab.nodes();
                old.terminate();
                Node replacement = lab.nodes().stream()
                        .filter(n -> !before.contains(n))
                        .findFirst()
                        .orElseThrow();
                Run run = replacement.start("--wait", "60s");
                assertThat(run.exit()).as("%s", run).isZero();
                lab.awaitMembers(lab.nodes());
            }
            writer.close();

            assertThat(writer.acknowledged()).hasSizeGreaterThan(10);
            assertThat(writer.found()).containsAll(writer.acknowledged());
        }
        assertThat(lab.clusters()).hasSize(1);
    }

    @Tag("once")
    @Test
    void leavesAndComesDownToOneMember() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();

        for (Node node : nodes.subList(0, 2)) {
            Run leave = node.tool("--leave").run();
            assertThat(leave.exit()).as("%s", leave).isZero();
            node.kill();
        }

        assertThat(lab.members()).extracting(EtcdMember::name).containsExactly(nodes.get(2).id);
        Run last = nodes.get(2).tool("--leave", "--wait", "10s").run();
        assertThat(last.exit()).isEqualTo(75);
        assertThat(last.err()).contains("the rest would be no quorum without this node");
        assertThat(nodes.get(0).tool("--leave").run().exit()).isZero();
    }

    @Tag("once")
    @Test
    void doesNotLeaveWhenTheRestWouldBeNoQuorum() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();
        nodes.get(2).kill();

        Run leave = nodes.get(0).tool("--leave", "--wait", "15s").run();

        assertThat(leave.exit()).isEqualTo(75);
        assertThat(leave.err()).contains("of 2 voting members that would be left, 1 answer");
        assertThat(lab.members()).hasSize(3);
    }

    @Tag("once")
    @Test
    void withoutAQuorumItIsNeverNewAndWithTheQuorumBackItGoesOn() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();
        nodes.get(1).kill();
        nodes.get(2).loseDisk();

        Run lost = nodes.get(2).start("--wait", "2s");
        assertThat(lost.exit()).isEqualTo(75);
        assertThat(lost.err()).contains("has no quorum").contains("missing: ");
        assertThat(nodes.get(2).parameters).doesNotExist();

        assertThat(nodes.get(1).start().exit()).isZero();
        Run back = nodes.get(2).start("--wait", "60s");
        assertThat(back.exit()).as("%s", back).isZero();
        lab.awaitMembers(nodes);
        assertThat(lab.clusters()).hasSize(1);
    }

    @Tag("once")
    @Test
    void aPausedMemberIsNobodyWhoIsGone() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();
        nodes.forEach(Node::freeze);
        Node newcomer = lab.scale(4).get(0);

        Run run = newcomer.start("--wait", "3s", "--peer-timeout", "500ms");

        assertThat(run.exit()).isEqualTo(75);
        assertThat(run.err()).contains("takes connections and does not answer");
        nodes.forEach(Node::thaw);
        assertThat(newcomer.start("--wait", "60s").exit()).isZero();
        lab.awaitMembers(lab.nodes());
    }

    @Tag("once")
    @Test
    void restartsAllAtOnceWithTheirData() {
        lab = EtcdLab.cluster(3);
        String cluster = lab.clusters().iterator().next();
        lab.nodes().forEach(Node::kill);

        lab.startAll(lab.nodes());

        lab.awaitMembers(lab.nodes());
        assertThat(lab.clusters()).containsExactly(cluster);
        assertThat(lab.nodes())
                .allSatisfy(n -> assertThat(n.printed()).containsEntry("ETCD_INITIAL_CLUSTER_STATE", "existing"));
    }

    @Tag("once")
    @Test
    void aNodeThatLostItsDiskIsReplacedUnderItsName() {
        lab = EtcdLab.cluster(3);
        Node node = lab.nodes().get(1);
        long before = idOf(node);
        node.loseDisk();

        Run run = node.start("--wait", "60s");

        assertThat(run.exit()).as("%s", run).isZero();
        lab.awaitMembers(lab.nodes());
        assertThat(idOf(node)).isNotEqualTo(before);
    }

    @Tag("once")
    @Test
    void aNodeThatWasRemovedWhileItWasOffIsToldTheWayOutAndJoinsAnew() {
        lab = EtcdLab.cluster(3);
        Node node = lab.nodes().get(1);
        node.kill();
        assertThat(lab.nodes().get(1).tool("--leave", "--wait", "30s").run().exit())
                .isZero();

        Run refused = node.start();
        assertThat(refused.exit()).isEqualTo(78);
        assertThat(refused.err()).contains("was removed from the cluster while it was off");

        node.loseDisk();
        assertThat(node.start("--wait", "60s").exit()).isZero();
        lab.awaitMembers(lab.nodes());
    }

    @Tag("once")
    @Test
    void aCrashAfterEachStepLeadsToTheSameEnd() {
        lab = EtcdLab.cluster(3);
        List<Node> before = lab.nodes();
        before.get(0).terminate();
        Node newcomer = lab.nodes().stream()
                .filter(n -> !before.contains(n))
                .findFirst()
                .orElseThrow();

        // After the removal: it would say so just before it goes on.
        Run removed = newcomer.tool("--output", newcomer.parameters.toString()).start();
        removed.says("removed from the cluster").signal("KILL");
        assertThat(removed.exit()).isEqualTo(137);
        // After the add, before anything was written.
        Run added = newcomer.tool("--output", "/dev/full").run();
        assertThat(added.exit()).as("%s", added).isEqualTo(75);
        assertThat(lab.members()).hasSize(3);

        Run run = newcomer.start("--wait", "60s");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.err()).contains("verdict rejoin");
        lab.awaitMembers(lab.nodes());
    }

    @Tag("once")
    @Test
    void aMemberInStandbyOrDetachedStays() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();
        lab.detach(nodes.get(0));
        Node newcomer = lab.scale(3).get(0);

        Run run = newcomer.start("--wait", "60s");

        assertThat(run.exit()).as("%s", run).isZero();
        nodes = new ArrayList<>(nodes);
        nodes.add(newcomer);
        lab.awaitMembers(nodes);
    }

    @Tag("once")
    @Test
    void joinsAsALearnerAndIsPromotedWhenInSync() {
        lab = EtcdLab.cluster(1);
        Node learner = lab.scale(2).get(0);

        assertThat(learner.start("--learner").exit()).isZero();
        Run promote = learner.tool("--promote", "--wait", "60s").run();

        assertThat(promote.exit()).as("%s", promote).isZero();
        assertThat(promote.err()).contains("is a voting member now");
        lab.awaitMembers(lab.nodes());
        assertThat(lab.members()).noneMatch(EtcdMember::learner);
        assertThat(learner.tool("--promote").run().exit()).isZero();
    }

    @Tag("once")
    @Test
    void tlsFromEndToEnd() {
        lab = EtcdLab.withTls(3);
        lab.startAll(lab.nodes());
        lab.awaitMembers(lab.nodes());

        Node newcomer = lab.scale(4).get(0);
        assertThat(newcomer.start("--wait", "60s").exit()).isZero();

        lab.awaitMembers(lab.nodes());
        assertThat(newcomer.printed().get("ETCD_INITIAL_CLUSTER"))
                .contains("https://")
                .doesNotContain("http://");
    }

    @Tag("once")
    @Test
    void schemeThatDoesNotFitIsNeverNew() {
        lab = EtcdLab.withTls(3);
        lab.startAll(lab.nodes());
        lab.awaitMembers(lab.nodes());
        Node newcomer = lab.scale(4).get(0);

        Run run = lab.bare(newcomer)
                .args(lab.plainOptions(newcomer.dataDir).toArray(String[]::new))
                .args("--wait", "1s")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(run.err()).contains("cannot be understood");
    }

    @Tag("once")
    @Test
    void aFullClusterIsStayedOutOfWithAClearMessage() {
        lab = EtcdLab.cluster(1);
        Node newcomer = lab.scale(2).get(0);

        Run run = newcomer.start("--max-members", "1", "--wait", "1s");

        assertThat(run.exit()).isEqualTo(75);
        assertThat(run.err()).contains("this node stays out");
    }

    @Tag("once")
    @Test
    void ofTwoJoinersAtOnceOnlyOneGetsTheLastPlace() {
        lab = EtcdLab.cluster(3);
        List<Run> runs = lab.scale(5).stream()
                .map(n -> n.begin("--max-members", "4", "--wait", "20s"))
                .toList();

        assertThat(runs).extracting(Run::exit).containsExactlyInAnyOrder(0, 75);
        assertThat(lab.members()).hasSize(4);
    }

    @Test
    void clientPrintsTheEndpointsOfTheGroupsClusterAndNothingElse() {
        lab = EtcdLab.cluster(3);

        Run run = lab.nodes().get(0).tool("--client", "--asg", lab.group, "-vv").run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out())
                .isEqualTo("ETCDCTL_ENDPOINTS="
                        + String.join(
                                ",",
                                lab.nodes().stream()
                                        .map(Node::clientUrl)
                                        .sorted()
                                        .toList())
                        + "\n");
    }

    // ---

    private long idOf(Node node) {
        return lab.members().stream()
                .filter(m -> m.name().equals(node.id))
                .mapToLong(EtcdMember::id)
                .findFirst()
                .orElseThrow();
    }
}
