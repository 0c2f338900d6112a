package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.gson.JsonObject;
import io.github.rollcall.harness.DockerProxy;
import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.EtcdWatcher;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** What is promised of etcd-presence, where Docker, etcd or the way to them breaks. */
@Tag("once")
class EtcdPresenceFaultsTest extends EtcdPresenceScene {
    private static final Map<String, String> NOTHING = Map.of();

    private final EtcdServer etcd = closed(EtcdServer.start());

    @Override
    EtcdServer etcd() {
        return etcd;
    }

    // --- Docker

    @Test
    void dockerMayBeAwayAtTheStartAndRestartedLater() {
        DockerServer docker = closed(DockerServer.start());
        docker.runContainer("always", "-p", "80", "--restart", "always");
        docker.runContainer("once", "-p", "80");
        docker.kill();
        Run run = closed(etcdPresence("--all", "--interval", "1h")
                .env("DOCKER_HOST", docker.host())
                .start());
        run.says("docker: warning: Docker at " + docker.host() + " cannot be reached");
        docker.startAgain();
        run.says("docker: answers again").says("always: published");

        docker.kill();
        run.says("; trying again", 2);
        assertThat(etcd.all(root)).as("nothing is known of the containers").hasSize(2);
        docker.startAgain();
        docker.docker("start", "once");

        run.says("docker: answers again", 2);
        await().untilAsserted(() -> assertThat(etcd.all(root))
                .hasSize(4)
                .containsEntry(
                        root + "/always/80/port", docker.port("always", "80").replaceFirst(".*:", ""))
                .containsEntry(root + "/once/80/port", docker.port("once", "80").replaceFirst(".*:", "")));
        assertThat(run.count("trying again")).isEqualTo(2);
        docker.docker("rm", "-f", "always", "once");
        awaitKeys(NOTHING);
    }

    @Test
    void withNothingToPublishItIsReadyAsSoonAsDockerAnswersAndSaysBeforeWhyNot() throws Exception {
        Path socket = folder.resolve("sock");
        Run run = started(
                        "--container",
                        web,
                        "--interval",
                        "1h",
                        "--http",
                        "127.0.0.1:0",
                        "--docker-host",
                        "unix://" + socket)
                .says("trying again");
        HttpResponse<String> before = http(run, "/readyz");

        Files.createSymbolicLink(socket, docker().socket());
        run.says("docker: answers again").says("ready published=\"nothing yet\"");

        assertThat(before.statusCode()).isEqualTo(503);
        assertThat(before.body()).contains("Docker at unix://" + socket + " cannot be reached");
        assertThat(http(run, "/readyz").statusCode()).isEqualTo(200);
    }

    @Test
    void aStreamOfEventsThatIsCutLosesNothing() {
        DockerProxy proxy = closed(DockerProxy.before(docker()));
        Run run = closed(etcdPresence("--container", web, "--interval", "1h")
                .env("DOCKER_HOST", proxy.host())
                .start());
        run.says("ready");

        proxy.cut();
        container(web, "-p", "80");

        awaitKeys(() -> keys(web, "80"));
        run.says("docker: answers again");
        docker().docker("stop", web);
        awaitKeys(NOTHING);
    }

    @Test
    void dockerThatDoesNotAnswerIsWaitedFor() {
        DockerServer docker = closed(DockerServer.start());
        docker.runContainer("web", "-p", "80");
        Run run = closed(etcdPresence("--container", "web", "--interval", "1s")
                .env("DOCKER_HOST", docker.host())
                .start());
        run.says("published");

        docker.freeze();
        run.says("did not answer in 10s; trying again");
        assertThat(etcd.all(root)).hasSize(2);
        docker.thaw();

        run.says("docker: answers again");
        docker.docker("rm", "-f", "web");
        awaitKeys(NOTHING);
    }

    @Test
    void aSocketWithoutPermissionIs77WithTheWayOut() throws Exception {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can become somebody else");

        ToolRunner tool = etcdPresence("--all", "--docker-host", docker().host())
                .under("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups");
        Files.setPosixFilePermissions(
                docker().socket().getParent(), java.nio.file.attribute.PosixFilePermissions.fromString("rwxr-xr-x"));
        Run run = tool.run();

        assertThat(run.exit()).as("%s", run).isEqualTo(77);
        assertThat(run.err())
                .contains("permission denied on its socket; run this as root or as a member of the group")
                .doesNotContain("trying again");
    }

    @Test
    void dockerByTlsIsReachedWithTheUsualVariables() {
        DockerProxy proxy = closed(DockerProxy.withTls(docker(), folder));
        container(web, "-p", "80");
        ToolRunner tool = etcdPresence("--container", web).env("DOCKER_HOST", proxy.host());
        closed(tool.env("DOCKER_TLS_VERIFY", "1")
                        .env("DOCKER_CERT_PATH", proxy.certPath())
                        .start())
                .says("published");

        Run without = closed(tool.start()).says("trying again");
        Run noFiles = tool.env("DOCKER_TLS_VERIFY", "1")
                .env("DOCKER_CERT_PATH", "/nowhere")
                .run();

        assertThat(without.isAlive()).isTrue();
        assertThat(noFiles.exit()).isEqualTo(78);
        assertThat(noFiles.err()).containsPattern("cannot read /nowhere/\\w+.pem: no such file");
    }

    @Test
    void whatIsNotDockerIsSaidToBeNone() throws Exception {
        Run run =
                etcdPresence("--all").env("DOCKER_HOST", etcd.url().toString()).run();
        assertThat(run.exit()).as("%s", run).isEqualTo(78);
        assertThat(run.err()).contains("says: HTTP 404: 404 page not found");
        try (ServerSocket silent = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            closed(etcdPresence("--all")
                            .env("DOCKER_HOST", "tcp://127.0.0.1:" + silent.getLocalPort())
                            .start())
                    .says("did not answer in 10s");
        }
    }

    @Test
    void whereThereIsNoBridgeTheAddressHasToBeGiven() {
        DockerServer docker = closed(DockerServer.start("--bridge", "none"));

        Run run = etcdPresence("--all").env("DOCKER_HOST", docker.host()).run();

        assertThat(run.exit()).as("%s", run).isEqualTo(78);
        assertThat(run.err()).contains("has no default bridge: give the address with --host-ip");
        closed(etcdPresence("--all", "--host-ip", "10.0.0.1")
                        .env("DOCKER_HOST", docker.host())
                        .start())
                .says("ready");
    }

    // --- etcd

    @Test
    void whatHappensWhileEtcdIsAwayShowsWhenItIsBack() {
        container(web, "-p", "80");
        container(db, "-p", "80");
        docker().docker("stop", db);
        Run run = started("--container", web, "--container", db).says("published");
        etcd.kill();

        docker().docker("rm", "-f", web);
        docker().docker("start", db);
        run.says("etcd: warning: ");
        etcd.startAgain();

        // Before the lease, to which a restart gives its full minute again, ends.
        await().atMost(Duration.ofSeconds(40))
                .untilAsserted(() -> assertThat(etcd.all(root)).isEqualTo(keys(db, "80")));
        run.says("etcd: answers again");
        assertThat(run.count("trying again")).isOne();
    }

    @Test
    void etcdMayBeAwayAtTheStart() throws Exception {
        container(web, "-p", "80");
        etcd.kill();
        Run run = started("--container", web, "--http", "127.0.0.1:0").says("etcd: warning: ");
        assertThat(run.count("ready")).isZero();
        await().untilAsserted(() -> {
            HttpResponse<String> readiness = http(run, "/readyz");
            assertThat(readiness.statusCode()).isEqualTo(503);
            assertThat(readiness.body()).startsWith(web + ": ").contains("cannot be reached");
        });
        etcd.startAgain();

        run.says("ready");

        awaitKeys(keys(web, "80"));
    }

    @Test
    void keysAreBackWhenEtcdWasFrozenForLongerThanTheTtlOrHasLostItsData() {
        container(web, "-p", "80");
        Run run = started("--container", web, "--ttl", "3s", "--interval", "1s").says("published");
        etcd.freeze();
        run.says("lease lost");
        etcd.thaw();
        run.says("published again");
        awaitKeys(keys(web, "80"));

        etcd.kill();
        etcd.loseData();
        etcd.startAgain();

        awaitKeys(keys(web, "80"));
    }

    @Test
    void aSignalWhileEtcdIsFrozenIsOverInTimeAndIs75() {
        container(web, "-p", "80");
        Run run = started("--container", web, "--ttl", "10s", "--stop-timeout", "2s")
                .says("published");
        etcd.freeze();

        assertThat(run.signal("TERM").exit()).as("%s", run).isEqualTo(75);
        etcd.thaw();

        assertThat(run.err())
                .contains("not withdrawn, because etcd does not answer")
                .contains(web);
        awaitKeys(NOTHING);
    }

    @Test
    void aSignalWhileEtcdIsSlowWithdrawsAllTheSame() {
        container(web, "-p", "80");
        Run run = started("--container", web).says("published");
        etcd.freeze();
        run.signal("TERM").says("stopping");
        await().during(Duration.ofSeconds(2)).until(run::isAlive);
        etcd.thaw();

        assertThat(run.exit()).as("%s", run).isZero();

        assertThat(etcd.all(root)).isEmpty();
    }

    @Test
    void whatDockerTellsAfterASignalLeavesNothingInEtcd() {
        DockerProxy proxy = closed(DockerProxy.before(docker()));
        container(web, "-p", "80");
        Run run = closed(etcdPresence("--container", web, "--container", db, "--interval", "1h")
                .env("DOCKER_HOST", proxy.host())
                .start());
        run.says("published");
        proxy.holdLists();
        container(db, "-p", "80");
        await().until(() -> proxy.listsHeld() > 0);
        // So that the end takes longer than Docker's answer.
        etcd.freeze();
        run.signal("TERM").says("stopping");
        proxy.letListsGo();
        await().during(Duration.ofSeconds(1)).until(run::isAlive);
        etcd.thaw();

        assertThat(run.exit()).as("%s", run).isZero();

        assertThat(etcd.all(root)).isEmpty();
        assertThat(etcd.ask("lease/leases", new JsonObject()).has("leases")).isFalse();
    }

    @Test
    void aWrongPasswordIs77AndTheRightOneFromTheEnvironmentWorks() {
        container(web, "-p", "80");
        EtcdServer guarded = closed(EtcdServer.start("--auth-token-ttl", "1"));
        guarded.enableAuth("right");
        ToolRunner tool = etcdPresence("--container", web, "--user", "root", "--ttl", "9s", "--interval", "1s")
                .env("ETCDCTL_ENDPOINTS", guarded.url().toString());

        Run wrong = tool.env("ETCDCTL_PASSWORD", "wrong").run();
        Run nobody = etcdPresence("--container", web)
                .env("ETCDCTL_ENDPOINTS", guarded.url().toString())
                .run();
        Run right = closed(tool.env("ETCDCTL_PASSWORD", "right").start()).says("published");
        // Tokens that nobody uses for a second expire in between.
        await().during(Duration.ofSeconds(8)).until(right::isAlive);
        docker().docker("stop", web);
        right.says("withdrawn");

        assertThat(wrong.exit()).as("%s", wrong).isEqualTo(77);
        assertThat(wrong.err()).contains("authentication failed");
        assertThat(nobody.exit()).isEqualTo(77);
        assertThat(right.count("lease lost")).isZero();
        assertThat(right.signal("TERM").exit()).isZero();
    }

    @Test
    void aUserWhoMayReadAndWriteBelowTheRootIsEnoughAndOneWhoMayNotIs77() {
        container(web, "-p", "80");
        EtcdServer guarded = closed(EtcdServer.start());
        guarded.addUser("presence", "right", root + "/");
        guarded.addUser("stranger", "right", "/elsewhere/");
        guarded.enableAuth("secret");
        ToolRunner tool = etcdPresence("--container", web, "--ttl", "3s", "--interval", "1s")
                .env("ETCDCTL_ENDPOINTS", guarded.url().toString());

        Run stranger = tool.env("ETCDCTL_USER", "stranger:right").run();
        Run run = closed(tool.env("ETCDCTL_USER", "presence:right").start()).says("published");
        // The lease is kept alive, and what is there is compared, by this user as well.
        await().during(Duration.ofSeconds(4)).until(run::isAlive);
        docker().docker("stop", web);
        run.says("withdrawn");

        assertThat(stranger.exit()).as("%s", stranger).isEqualTo(77);
        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();
        assertThat(run.err()).doesNotContain("warning", "error");
    }

    @Test
    void etcdByTlsIsReachedWithACertificate() {
        container(web, "-p", "80");
        EtcdServer secure = closed(EtcdServer.startWithTls());

        Run run = closed(etcdPresence("--container", web)
                .env("ETCDCTL_ENDPOINTS", secure.url().toString())
                .args(secure.tlsOptions())
                .start());

        run.says("published");
        assertThat(run.signal("TERM").exit()).isZero();
    }

    @Test
    void aClusterMayLoseItsLeaderAndItsQuorumAndBeCompacted() {
        container(web, "-p", "80");
        List<EtcdServer> members = EtcdServer.startCluster(3);
        members.forEach(this::closed);
        Run run = closed(etcdPresence("--container", web, "--ttl", "6s", "--interval", "1s")
                .env(
                        "ETCDCTL_ENDPOINTS",
                        members.stream().map(m -> m.url().toString()).collect(Collectors.joining(",")))
                .start());
        run.says("published");
        EtcdServer leader =
                members.stream().filter(EtcdServer::isLeader).findFirst().orElseThrow();
        List<EtcdServer> rest = members.stream().filter(m -> m != leader).toList();
        EtcdWatcher watcher = closed(EtcdWatcher.of(rest.get(0), root + "/"));
        leader.kill();
        await().during(Duration.ofSeconds(8)).until(run::isAlive);
        assertThat(rest.get(0).all(root)).isEqualTo(keys(web, "80"));
        assertThat(watcher.deleted()).isEmpty();
        rest.get(0).compact();

        rest.get(1).kill();
        run.says("etcd: warning: ");
        leader.startAgain();

        await().ignoreExceptions()
                .untilAsserted(() -> assertThat(leader.all(root)).isEqualTo(keys(web, "80")));
        docker().docker("stop", web);
        await().until(() -> leader.all(root).isEmpty());
    }
}
