package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonParser;
import com.sun.net.httpserver.HttpServer;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.EtcdLab.Way;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What etcd-aws-cluster prints, and what it does when AWS, etcd or what it is told is not in order. */
@Tag("once")
class EtcdAwsClusterFaultsTest {
    private final EtcdLab lab = EtcdLab.of(1);
    private final Node node = lab.nodes().get(0);

    @TempDir
    private Path folder;

    @AfterEach
    void close() {
        lab.close();
    }

    // --- the output

    @Test
    void stdoutHoldsTheParametersAndNothingElseEvenWithVv() {
        Run good = node.own(ToolRunner.tool("etcd-aws-cluster")).args("-vv").run();
        assertThat(good.exit()).as("%s", good).isZero();
        assertThat(good.out())
                .isEqualTo(
                        """
                        ETCD_NAME=%1$s
                        ETCD_LISTEN_CLIENT_URLS=%2$s
                        ETCD_LISTEN_PEER_URLS=%3$s
                        ETCD_ADVERTISE_CLIENT_URLS=%2$s
                        ETCD_INITIAL_ADVERTISE_PEER_URLS=%3$s
                        ETCD_INITIAL_CLUSTER_STATE=new
                        ETCD_INITIAL_CLUSTER=%1$s=%3$s
                        ETCD_INITIAL_CLUSTER_TOKEN=%4$s
                        """
                                .formatted(node.id, node.clientUrl(), node.peerUrl(), lab.group));
    }

    @Test
    void listensOnEveryAddressOfTheUsualPortsUnlessTold() {
        Run run = lab.bare(node).args("--data-dir", folder.toString()).run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out())
                .contains("ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\n")
                .contains("ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380\n")
                .contains("ETCD_ADVERTISE_CLIENT_URLS=http://" + node.address + ":2379\n");
    }

    @Test
    void theFileKeepsItsPermissionsAndIsNotTouchedWhenNothingChanges() throws IOException {
        Files.writeString(node.parameters, "OLD=1\n");
        Files.setPosixFilePermissions(node.parameters, PosixFilePermissions.fromString("rw-r-----"));

        assertThat(node.tool("--output", node.parameters.toString()).run().exit())
                .isZero();
        assertThat(Files.readString(node.parameters)).startsWith("ETCD_NAME=").doesNotContain("OLD");
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(node.parameters)))
                .isEqualTo("rw-r-----");

        Object inode = Files.getAttribute(node.parameters, "unix:ino");
        Object written = Files.getLastModifiedTime(node.parameters);
        assertThat(node.tool("--output", node.parameters.toString()).run().exit())
                .isZero();
        assertThat(Files.getAttribute(node.parameters, "unix:ino")).isEqualTo(inode);
        assertThat(Files.getLastModifiedTime(node.parameters)).isEqualTo(written);
    }

    @Test
    void aLinkStaysALinkAndNothingIsLeftBeside() throws IOException {
        Path target = Files.writeString(folder.resolve("target"), "OLD=1\n");
        Path link = Files.createSymbolicLink(folder.resolve("link"), target);

        assertThat(node.tool("--output", link.toString()).run().exit()).isZero();

        assertThat(link).isSymbolicLink();
        assertThat(Files.readString(target)).startsWith("ETCD_NAME=");
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).containsExactlyInAnyOrder(target, link);
        }
    }

    @Test
    void anOutputThatCannotBeWrittenIsNamedBeforeAnythingIsChanged() throws Exception {
        startFirst();
        Node second = lab.scale(2).get(0);

        Run run =
                second.tool("--output", folder.resolve("none/file").toString()).run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err()).contains("--output").contains("there is no directory");
        assertThat(lab.members()).hasSize(1);
    }

    @Test
    void valuesThatWouldNeedQuotesAreRefused() {
        Run run = node.tool("--token", "my group").run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err())
                .contains("ETCD_INITIAL_CLUSTER_TOKEN would be 'my group'")
                .contains("--token");
        assertThat(run.out()).isEmpty();
    }

    @Test
    void aDryRunSaysTheVerdictAndItsReasonsAndChangesNothing() throws Exception {
        startFirst();
        Node second = lab.scale(2).get(0);

        Run run = second.tool("--dry-run", "--output", second.parameters.toString())
                .run();

        assertThat(run.exit()).isZero();
        assertThat(run.out()).isEmpty();
        assertThat(run.err()).contains("seen=serving").contains("verdict join reason=");
        assertThat(second.parameters).doesNotExist();
        assertThat(lab.members()).hasSize(1);
    }

    // --- AWS

    @Test
    void throttledAndBrokenCallsAreTriedAgainUntilWaitIsOver() {
        lab.aws.throttle("DescribeInstances", 4).unavailable("DescribeAutoScalingGroups", 4);

        assertThat(node.tool("--aws-retries", "1").run().exit()).isZero();

        lab.aws.throttle(AwsProxy.ANY, AwsProxy.ALWAYS);
        Run throttled = node.tool("--wait", "1s", "--aws-retries", "0").run();
        assertThat(throttled.exit()).isEqualTo(75);
        assertThat(throttled.out()).isEmpty();
        lab.aws.heal();
        lab.aws.unavailable(AwsProxy.ANY, AwsProxy.ALWAYS);
        Run away = node.tool("--wait", "1s", "--aws-retries", "0").run();
        assertThat(away.exit()).isEqualTo(69);
        lab.aws.heal();
        lab.aws.garble(AwsProxy.ANY, AwsProxy.ALWAYS);
        Run garbled = node.tool("--wait", "1s", "--aws-retries", "0").run();
        assertThat(garbled.exit()).as("%s", garbled).isEqualTo(69);
        lab.aws.heal();
        lab.aws.refuse(AwsProxy.ANY, AwsProxy.ALWAYS);
        assertThat(node.tool().run().exit()).isEqualTo(77);
    }

    @Test
    void aNodeWithItsDataRestartsWithoutAws() throws Exception {
        startFirst();
        node.kill();
        lab.aws.unavailable(AwsProxy.ANY, AwsProxy.ALWAYS);

        Run run = node.start("--aws-retries", "0");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.err()).contains("going on without the group").contains("verdict restart");
        lab.awaitMembers(lab.nodes());
    }

    @Test
    void anInstanceThatIsInNoGroupIsToldSo() {
        Run run = node.tool("--instance-id", "i-0123456789abcdef0", "--wait", "1s")
                .run();

        assertThat(run.exit()).isEqualTo(75);
        assertThat(run.err()).contains("i-0123456789abcdef0 is in no Auto Scaling group yet");
    }

    @Test
    void aGroupThatDoesNotExistIs78() {
        Run run = node.tool("--asg", "nonesuch").run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err()).contains("there is no Auto Scaling group 'nonesuch'");
    }

    // --- etcd

    @Test
    void withAuthenticationOnTheRefusalIs77AndTheUserGetsIn() throws Exception {
        startFirst();
        auth("auth/user/add", "{\"name\": \"root\", \"password\": \"secret\"}");
        auth("auth/role/add", "{\"name\": \"root\"}");
        auth("auth/user/grant", "{\"user\": \"root\", \"role\": \"root\"}");
        auth("auth/enable", "{}");
        Node second = lab.scale(2).get(0);

        Run refused = second.tool().run();
        assertThat(refused.exit()).as("%s", refused).isEqualTo(77);
        assertThat(refused.out()).isEmpty();

        Run run = second.tool("--output", second.parameters.toString(), "-vv")
                .env("ETCDCTL_USER", "root")
                .env("ETCDCTL_PASSWORD", "secret")
                .run();
        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.err()).doesNotContain("secret");
        second.startEtcd(Way.ENVIRONMENT_FILE);
        // Where authentication is on, the lab has no user to look with.
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .ignoreExceptions()
                .until(() -> second.membersByPeerPort().members().stream().allMatch(EtcdMember::hasStarted));
    }

    @Test
    void somethingElseOnThePortIsNeverNew() throws Exception {
        Node second = lab.scale(2).get(0);
        HttpServer web = HttpServer.create(
                new InetSocketAddress(
                        second.address, URI.create(second.clientUrl()).getPort()),
                0);
        web.createContext("/", exchange -> {
            try (exchange) {
                exchange.sendResponseHeaders(200, 0);
                exchange.getResponseBody().write("<html>".getBytes());
            }
        });
        web.start();
        try {
            Run run = node.tool("--wait", "1s").run();

            assertThat(run.exit()).as("%s", run).isEqualTo(69);
            assertThat(run.err()).contains("is not etcd's v3 API");
            assertThat(run.out()).isEmpty();
        } finally {
            web.stop(0);
        }
    }

    @Test
    void etcdThatRunsHereOnOtherDataIsNotReplaced() throws Exception {
        startFirst();

        Run run = lab.bare(node)
                .args(lab.options(folder.resolve("other")).toArray(String[]::new))
                .run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err()).contains("--data-dir is not its data directory");
    }

    @Test
    void aDamagedDataDirectoryIs65() throws IOException {
        Path wal = Files.createDirectories(node.dataDir.resolve("member/wal"));
        Files.write(wal.resolve("0.wal"), new byte[] {1, 2, 3});

        Run run = node.tool().run();

        assertThat(run.exit()).isEqualTo(65);
        assertThat(run.err()).contains("0.wal");
    }

    @Test
    void aLogThatIsLostBesideTheRestOfAMemberIs65AndWhatAFailedStartHasLeftIsNoMember() throws IOException {
        startFirst();
        node.kill();
        Path wal = node.dataDir.resolve("member/wal");
        Path elsewhere = folder.resolve("wal");
        Files.move(wal, elsewhere);

        Run lost = node.tool().run();
        assertThat(lost.exit()).as("%s", lost).isEqualTo(65);
        assertThat(lost.err()).contains("member/snap/db is a member's").contains("move " + node.dataDir + " away");
        Run apart = node.tool("--wal-dir", elsewhere.toString()).run();
        assertThat(apart.err()).contains("verdict restart");
        Files.move(elsewhere, wal);
        Run misled = node.tool("--wal-dir", elsewhere.toString()).run();
        assertThat(misled.exit()).isEqualTo(65);

        node.loseDisk();
        Files.writeString(node.parameters, Files.readString(printedAnew()).replace("STATE=new", "STATE=existing"));
        node.startEtcd(Way.ENVIRONMENT_FILE);
        Awaitility.await().until(() -> !node.isRunning());
        assertThat(node.dataDir.resolve("member/snap/db")).exists();
        assertThat(node.tool().run().err()).contains("verdict new");
    }

    private Path printedAnew() {
        assertThat(node.tool("--output", node.parameters.toString()).run().exit())
                .isZero();
        return node.parameters;
    }

    private void startFirst() {
        assertThat(node.start().exit()).isZero();
        lab.awaitMembers(lab.nodes());
    }

    private void auth(String path, String json) {
        node.gateway().ask(path, JsonParser.parseString(json).getAsJsonObject());
    }
}
