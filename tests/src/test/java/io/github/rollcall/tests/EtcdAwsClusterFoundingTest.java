package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.EtcdLab.Way;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** When a cluster is founded, and when it is not: a second one is the worst that the tool could do. */
@Tag("once")
class EtcdAwsClusterFoundingTest {
    private static final String HAS_NOT_SAID = "has not said that it has no data";

    private EtcdLab lab;

    @AfterEach
    void close() {
        lab.close();
    }

    @Test
    void firstNodesThatStartApartFindTogetherInTheThreeDocumentedWays() {
        lab = EtcdLab.of(3);
        List<Node> nodes = lab.nodes();

        Run first = waits(nodes.get(0)).says(nodes.get(1) + " (InService/running) " + HAS_NOT_SAID);
        Run second = waits(nodes.get(1)).says(nodes.get(2) + " (InService/running) " + HAS_NOT_SAID);
        Run dryRun = nodes.get(2).tool("--dry-run").run();
        Run third = waits(nodes.get(2));

        // Who looks only does not count, and sees who waits.
        assertThat(dryRun.err()).contains("seen=blank").contains("verdict new");
        for (Run run : List.of(first, second, third)) {
            assertThat(run.exit()).as("%s", run).isZero();
        }
        // Nobody had to wait for another's etcd: there is none yet.
        for (int i = 0; i < 3; i++) {
            assertThat(nodes.get(i).printed()).containsEntry("ETCD_INITIAL_CLUSTER_STATE", "new");
            nodes.get(i).startEtcd(Way.values()[i]);
        }
        lab.awaitMembers(nodes);
        assertThat(lab.clusters()).hasSize(1);
    }

    @Test
    void aMinorityThatIsBeingRestartedGetsNoSecondClusterBesideIt() {
        lab = EtcdLab.cluster(1);
        Node old = lab.nodes().get(0);
        String before = lab.clusters().iterator().next();
        old.kill();
        List<Node> newcomers = lab.scale(3);

        List<Run> runs = newcomers.stream().map(this::waits).toList();
        runs.forEach(run -> run.says(old + " (InService/running) " + HAS_NOT_SAID));
        Run given = newcomers.get(0).tool("--wait", "1s").run();
        assertThat(given.exit()).isEqualTo(75);
        assertThat(given.out()).isEmpty();
        assertThat(old.start().exit()).isZero();

        lab.startWhenDone(newcomers, runs);
        lab.awaitMembers(lab.nodes());
        assertThat(lab.clusters()).containsExactly(before);
    }

    @Test
    void aNodeThatLostItsDiskFoundsNothingWhileTheOthersAreOff() {
        lab = EtcdLab.cluster(3);
        List<Node> nodes = lab.nodes();
        String before = lab.clusters().iterator().next();
        nodes.forEach(Node::kill);
        nodes.get(1).loseDisk();

        Run run = waits(nodes.get(1)).says(HAS_NOT_SAID);
        assertThat(nodes.get(0).start().exit()).isZero();
        Awaitility.await().ignoreExceptions().until(() -> nodes.get(0).membersByPeerPort() != null);
        // etcd may have noted so little of what was agreed on that it looks like a first node which waits for the
        // others.
        assertThat(nodes.get(1).tool("--dry-run").run().err()).doesNotContain("verdict new");
        assertThat(nodes.get(2).start().exit()).isZero();

        lab.startWhenDone(List.of(nodes.get(1)), List.of(run));
        lab.awaitMembers(nodes);
        assertThat(lab.clusters()).containsExactly(before);
    }

    @Test
    void aNodeThatCrashedAfterItHadDecidedComesBackToTheClusterThatTheOthersFounded() {
        lab = EtcdLab.of(3);
        List<Node> nodes = lab.nodes();
        List<Run> runs = nodes.stream().map(this::waits).toList();
        runs.forEach(run -> assertThat(run.exit()).as("%s", run).isZero());

        // The second has decided, and its etcd has not opened its port yet; the third is where it was before.
        nodes.get(0).startEtcd(Way.ENVIRONMENT_FILE);
        nodes.get(2).loseDisk();
        Run again = waits(nodes.get(2))
                .says(nodes.get(1) + ", which they list too, neither has started nor says that it has no data");
        nodes.get(1).startEtcd(Way.ENVIRONMENT_FILE);

        lab.startWhenDone(List.of(nodes.get(2)), List.of(again));
        lab.awaitMembers(nodes);
        assertThat(lab.clusters()).hasSize(1);
    }

    @Test
    void firstNodesThatDecidedAndNeverStartedMayDecideAnew() {
        lab = EtcdLab.of(2);
        List<Node> nodes = lab.nodes();
        List<Run> runs = nodes.stream().map(this::waits).toList();
        runs.forEach(run -> assertThat(run.exit()).as("%s", run).isZero());

        nodes.get(0).terminate();
        lab.scale(3);
        List<Node> now = lab.nodes();
        lab.startWhenDone(now, now.stream().map(this::waits).toList());

        lab.awaitMembers(now);
        assertThat(lab.clusters()).hasSize(1);
        assertThat(nodes.get(1).printed().get("ETCD_INITIAL_CLUSTER")).doesNotContain(nodes.get(0).id);
    }

    @Test
    void strangersAtThePortDoNoHarm() throws IOException {
        lab = EtcdLab.of(2);
        List<Node> nodes = lab.nodes();
        Run first = waits(nodes.get(0)).says(HAS_NOT_SAID);
        URI peer = URI.create(nodes.get(0).peerUrl());

        try (Socket silent = new Socket(peer.getHost(), peer.getPort());
                Socket garbage = new Socket(peer.getHost(), peer.getPort())) {
            garbage.getOutputStream().write("\0\1\2 no HTTP\r\n\r\n".getBytes(StandardCharsets.UTF_8));
            for (String path : List.of("/members", "/raft", "/rollcall")) {
                HttpURLConnection http =
                        (HttpURLConnection) peer.resolve(path).toURL().openConnection();
                assertThat(http.getResponseCode()).isEqualTo(404);
                http.disconnect();
            }
            Run second = waits(nodes.get(1));

            lab.startWhenDone(nodes, List.of(first, second));
            assertThat(silent.isConnected()).isTrue();
        }
        lab.awaitMembers(nodes);
    }

    @Test
    void aSecondCopyOnANodeLeavesThePortToTheFirstAndToEtcd() {
        lab = EtcdLab.of(2);
        List<Node> nodes = lab.nodes();
        Run first = waits(nodes.get(0)).says(HAS_NOT_SAID);
        try (Run copy = nodes.get(0)
                .tool()
                .start()
                .says("leaves the word to another copy")
                .says(HAS_NOT_SAID)) {
            Run second = waits(nodes.get(1));

            lab.startWhenDone(nodes, List.of(first, second));
            lab.awaitMembers(nodes);
        }
    }

    @Test
    void aCopyThatWasRunByHandAndEndedHoldsNobodyUpForLong() {
        lab = EtcdLab.of(2);
        List<Node> nodes = lab.nodes();
        Run byHand = nodes.get(0).tool().start().says(HAS_NOT_SAID);
        Run first = waits(nodes.get(0)).says("leaves the word to another copy");

        byHand.signal("INT").exit();

        lab.startWhenDone(nodes, List.of(first, waits(nodes.get(1))));
        lab.awaitMembers(nodes);
    }

    @Test
    void anEndpointThatDoesNotAnswerStopsNew() {
        lab = EtcdLab.of(1);

        Run run = lab.nodes()
                .get(0)
                .tool("--endpoints", "http://127.0.0.1:9", "--wait", "1s")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(75);
        assertThat(run.err()).contains("nobody answers at http://127.0.0.1:9 of --endpoints");
    }

    @Test
    void aSignalWhileItWaitsEndsItWithASentenceAndNoParameters() {
        lab = EtcdLab.of(2);
        for (String signal : List.of("TERM", "INT")) {
            Run run = lab.nodes().get(0).tool().start().says(HAS_NOT_SAID);

            run.signal(signal);

            assertThat(run.exit()).isEqualTo(75);
            assertThat(run.out()).isEmpty();
            assertThat(run.err()).contains("stopped by SIG" + signal + ": nothing is printed");
        }
    }

    // ---

    private Run waits(Node node) {
        return node.begin("--wait", "80s");
    }
}
