package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.harness.DockerProxy;
import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.EtcdWatcher;
import io.github.rollcall.harness.NotifySocket;
import io.github.rollcall.harness.ToolRunner.Run;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of etcd-presence, where nothing breaks. */
@Tag("once")
class EtcdPresenceTest extends EtcdPresenceScene {
    private static final Map<String, String> NOTHING = Map.of();

    // --- what is published

    @Test
    void eachPublishedPortHasItsHostAndItsPort() {
        container(web, "-p", "80", "-p", "127.0.0.1::53/udp", "-p", "127.0.0.1::53/tcp", "--expose", "99");

        Run run = started("--container", web).says("ready");

        awaitKeys(Map.of(
                root + "/" + web + "/80/host",
                BRIDGE,
                root + "/" + web + "/80/port",
                published(web, "80"),
                root + "/" + web + "/53/host",
                "127.0.0.1",
                root + "/" + web + "/53/port",
                published(web, "53/tcp"),
                root + "/" + web + "/53-udp/host",
                "127.0.0.1",
                root + "/" + web + "/53-udp/port",
                published(web, "53/udp")));
        assertThat(run.out()).isEmpty();
        assertThat(run.err())
                .contains(web + ": published ports=")
                .contains("80=" + BRIDGE + ":" + published(web, "80"));
    }

    @Test
    void ofSeveralBindingsTheWildcardIsTakenAndAnIpv6AddressStays() {
        container(web, "-p", "127.0.0.1::80", "-p", "0.0.0.0::80");
        container(db, "-p", "[::1]::5432");

        started("--container", web + "," + db);

        String everywhere = docker().docker("port", web, "80")
                .lines()
                .filter(line -> line.startsWith("0.0.0.0:"))
                .findFirst()
                .orElseThrow()
                .replace("0.0.0.0:", "");
        awaitKeys(Map.of(
                root + "/" + web + "/80/host",
                BRIDGE,
                root + "/" + web + "/80/port",
                everywhere,
                root + "/" + db + "/5432/host",
                "::1",
                root + "/" + db + "/5432/port",
                published(db, "5432")));
    }

    @Test
    void rootPrefixAndHostIpAreWhatTheOptionsSay() {
        container(web, "-p", "80");

        started("--container", web, "--prefix", "eu/one", "--host-ip", "10.1.2.3");

        awaitKeys(Map.of(
                root + "/eu/one/" + web + "/80/host",
                "10.1.2.3",
                root + "/eu/one/" + web + "/80/port",
                published(web, "80")));
    }

    @Test
    void aContainerOfTheHostsNetworkPublishesNothingAndOneOfAUserNetworkDoes() {
        docker().docker("network", "create", own);
        closed(() -> docker().docker("network", "rm", own));
        container(web, "--network", "host");
        container(db, "--network", own, "-p", "80");

        Run run = started("--container", web, "--container", db).says("ready");

        awaitKeys(keys(db, "80"));
        assertThat(run.err()).contains(web + ": without a published port, waiting");
    }

    // --- which containers

    @Test
    void aContainerThatDoesNotExistYetOrIsStoppedIsWaitedForAndThatIsSaidOnce() {
        container(db, "-p", "80");
        docker().docker("stop", db);
        Run run = started("--container", web, "--container", db, "--interval", "1s")
                .says(web + ": does not exist, waiting")
                .says(db + ": exited, waiting")
                .says("ready");
        await().during(Duration.ofSeconds(3)).until(run::isAlive);
        assertThat(run.count("waiting")).isEqualTo(2);

        container(web, "-p", "80");
        awaitKeys(() -> keys(web, "80"));
        docker().docker("start", db);

        awaitKeys(() -> {
            Map<String, String> both = new HashMap<>(keys(web, "80"));
            both.putAll(keys(db, "80"));
            return both;
        });
    }

    @Test
    void ofAllContainersOnlyThoseWithTheLabels() {
        container(web, "-p", "80", "--label", own + "=yes", "--label", "tier=front");
        container(db, "-p", "80", "--label", own + "=yes");
        container(own + "-other", "-p", "80", "--label", own + "=no");

        try (Run run = etcdPresence("--all", "--label", own + "=yes", "--label", "tier")
                .start()) {
            awaitKeys(keys(web, "80"));
            run.signal("TERM").exit();
        }
        started("--all", "--label", own, "--prefix", "x");

        await().until(() -> etcd().all(root + "/x/").size() == 6);
    }

    @Test
    void manyContainersAtOnceAreAllThere() {
        int many = Integer.getInteger("rollcall.containers", 20);
        DockerServer docker = closed(DockerServer.start());
        EtcdWatcher watcher = watcher();
        Run run = closed(etcdPresence("--all", "--interval", "1h", "--ttl", "10s")
                .env("DOCKER_HOST", docker.host())
                .start());
        run.says("ready");

        List<String> names = IntStream.range(0, many).mapToObj(n -> "c" + n).toList();
        names.parallelStream().forEach(name -> docker.runContainer(name, "-p", "80"));

        await().until(() -> watcher.now().size() == 2 * many);
        names.forEach(name -> assertThat(watcher.now())
                .containsEntry(
                        root + "/" + name + "/80/port", docker.port(name, "80").replaceFirst(".*:", "")));
        assertThat(watcher.events()).hasSize(2 * many);
        assertThat(run.signal("TERM").exit()).isZero();
        awaitKeys(NOTHING);
    }

    // --- what happens to them, at once

    @Test
    void whateverHappensToAContainerShowsAtOnce() {
        container(web, "-p", "80");
        started("--container", web, "--interval", "1h");
        awaitKeys(keys(web, "80"));

        docker().docker("stop", web);
        awaitKeys(NOTHING);
        docker().docker("start", web);
        awaitKeys(() -> keys(web, "80"));
        docker().docker("pause", web);
        awaitKeys(NOTHING);
        docker().docker("unpause", web);
        awaitKeys(() -> keys(web, "80"));
        docker().docker("kill", web);
        awaitKeys(NOTHING);
        docker().docker("restart", "-t", "0", web);
        awaitKeys(() -> keys(web, "80"));
        docker().docker("rename", web, db);
        awaitKeys(NOTHING);
        docker().docker("rename", db, web);
        awaitKeys(() -> keys(web, "80"));
        docker().docker("network", "disconnect", "bridge", web);
        awaitKeys(NOTHING);
        docker().docker("rm", "-f", web);
        container(web, "-p", "81");
        awaitKeys(() -> keys(web, "81"));
    }

    @Test
    void aRenamedContainerIsFoundUnderItsNewName() {
        String label = "renamed=" + own;
        container(web, "-p", "80", "--label", label);
        started("--all", "--label", label, "--interval", "1h");
        awaitKeys(keys(web, "80"));

        docker().docker("rename", web, db);

        awaitKeys(() -> keys(db, "80"));
    }

    @Test
    void twoContainersThatChangeNamesChangeTheirPorts() {
        container(web, "-p", "80");
        container(db, "-p", "80");
        // Named twice it is one all the same.
        Run run = started("--container", web, "--container", db, "--container", web, "--interval", "1h")
                .says("published", 2);
        String port = published(web, "80");

        docker().docker("rename", web, own + "-aside");
        docker().docker("rename", db, web);
        docker().docker("rename", own + "-aside", db);

        assertThat(published(db, "80")).isEqualTo(port);
        Map<String, String> both = new HashMap<>(keys(web, "80"));
        both.putAll(keys(db, "80"));
        awaitKeys(both);
        assertThat(run.signal("TERM").exit()).isZero();
        awaitKeys(NOTHING);
    }

    @ParameterizedTest
    @CsvSource({"false", "true"})
    void aContainerWithAHealthCheckIsThereWhileItIsHealthyUnlessHealthIsIgnored(boolean ignored) {
        container(
                web, "-p", "80", "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1");
        String[] options = {"--container", web, "--interval", "1h", ignored ? "--ignore-health" : "-v"};
        Run run = started(options);
        if (ignored) {
            awaitKeys(keys(web, "80"));
            await().until(() -> docker().docker("ps").contains("(unhealthy)"));
            keysStay(Duration.ofSeconds(1), keys(web, "80"));
            return;
        }
        run.says("healthy");
        assertThat(etcd().all(root)).isEmpty();

        docker().docker("exec", web, "/bin/busybox", "touch", "/ok");
        awaitKeys(keys(web, "80"));
        docker().docker("exec", web, "/bin/busybox", "rm", "/ok");
        awaitKeys(NOTHING);
        run.says(web + ": withdrawn reason=unhealthy");
    }

    @ParameterizedTest
    @ValueSource(strings = {"container=other", "container="})
    void aLabelIsNotTakenForWhatHappens(String label) {
        Run run = started("--container", web, "--interval", "10m").says("ready");

        container(web, "-p", "80", "--label", label);

        awaitKeys(keys(web, "80"));
        docker().docker("kill", web);
        awaitKeys(NOTHING);
        assertThat(run.isAlive()).isTrue();
    }

    @Test
    void whatEventsMissedIsCaughtByTheInterval() {
        DockerProxy proxy = closed(DockerProxy.before(docker()));
        proxy.swallowEvents();
        closed(etcdPresence("--container", web, "--interval", "1s")
                        .env("DOCKER_HOST", proxy.host())
                        .start())
                .says("does not exist");

        container(web, "-p", "80");
        awaitKeys(() -> keys(web, "80"));
        docker().docker("stop", web);
        awaitKeys(NOTHING);
    }

    // --- the lease

    @Test
    void aRefreshIsNoEventAndNoWrite() {
        container(web, "-p", "80");
        EtcdServer etcd = closed(EtcdServer.start());
        EtcdWatcher watcher = closed(EtcdWatcher.of(etcd, "/"));
        closed(etcdPresence("--container", web, "--ttl", "9s", "--interval", "1s")
                        .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                        .start())
                .says("published");
        long revision = etcd.revision();

        await().during(Duration.ofSeconds(10)).until(() -> etcd.revision() == revision);

        assertThat(watcher.events()).hasSize(2);
        assertThat(watcher.now()).isEqualTo(etcd.all("/"));
    }

    @Test
    void aStartWithinTheTtlAfterAKillLeavesNoGap() {
        container(web, "-p", "80");
        String[] options = {"--container", web, "--ttl", "6s"};
        Run first = started(options).says("published");
        EtcdWatcher watcher = watcher();
        first.signal("KILL").exit();

        started(options).says("published");
        keysStay(Duration.ofSeconds(9), keys(web, "80"));

        assertThat(watcher.deleted()).isEmpty();
    }

    @Test
    void aSecondCopyTakesOverAndTheEndOfTheFirstRemovesNothing() {
        container(web, "-p", "80");
        EtcdWatcher watcher = watcher();
        Run first = started("--container", web).says("published");
        Run second = started("--container", web).says("published");
        keysStay(Duration.ofSeconds(1), keys(web, "80"));

        assertThat(first.signal("TERM").exit()).isZero();
        keysStay(Duration.ofSeconds(1), keys(web, "80"));
        assertThat(watcher.deleted()).isEmpty();
        Run third = started("--container", web).says("published");

        docker().docker("stop", web);
        awaitKeys(NOTHING);
        docker().docker("start", web);
        awaitKeys(() -> keys(web, "80"));
        third.signal("TERM").exit();
        second.signal("TERM").exit();
        awaitKeys(NOTHING);
    }

    @Test
    void twoCopiesAgreeOnAPortThatChanges() {
        container(web, "-p", "80");
        Run first = started("--container", web, "--interval", "1s").says("published");
        Run second = started("--container", web, "--interval", "1s").says("published");
        String before = published(web, "80");

        docker().docker("rm", "-f", web);
        container(web, "-p", "80");

        assertThat(published(web, "80")).isNotEqualTo(before);
        awaitKeys(keys(web, "80"));
        keysStay(Duration.ofSeconds(3), keys(web, "80"));
        // Whoever has the keys: the other puts them again.
        first.signal("TERM").exit();
        awaitKeys(keys(web, "80"));
        second.signal("TERM").exit();
        awaitKeys(NOTHING);
    }

    @Test
    void aKillLeavesNothingAfterTheTtl() {
        container(web, "-p", "80");
        Run run = started("--container", web, "--ttl", "3s").says("published");
        assertThat(etcd().all(root)).hasSize(2);

        run.signal("KILL").exit();

        awaitKeys(NOTHING);
    }

    @Test
    void onePausedForLongerThanTheTtlHasItsKeysAgainWhenItWakes() {
        container(web, "-p", "80");
        Run run = started("--container", web, "--ttl", "3s", "--interval", "1s").says("published");

        run.signal("STOP");
        awaitKeys(NOTHING);
        run.signal("CONT");

        awaitKeys(keys(web, "80"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"TERM", "INT", "HUP"})
    void aSignalWithdrawsEverythingAndIs0(String signal) {
        container(web, "-p", "80");
        container(db, "-p", "80");
        Run run = started("--container", web, "--container", db).says("published", 2);

        assertThat(run.signal(signal).exit()).as("%s", run).isZero();

        assertThat(etcd().all(root)).isEmpty();
        assertThat(run.err()).contains("stopping reason=SIG" + signal).contains("withdrawn containers=2");
    }

    // --- what others see

    @Test
    void systemdIsToldAndItsWatchdogFed() {
        container(web, "-p", "80");
        try (NotifySocket systemd = new NotifySocket(folder)) {
            Run run = closed(etcdPresence("--container", web)
                    .env("NOTIFY_SOCKET", systemd.path().toString())
                    .env("WATCHDOG_USEC", "200000")
                    .start());
            await().until(() -> systemd.said().contains("READY=1"));
            assertThat(etcd().all(root)).isEqualTo(keys(web, "80"));
            assertThat(systemd.said()).contains("STATUS=published: " + web);
            await().until(() ->
                    systemd.said().stream().filter("WATCHDOG=1"::equals).count() > 3);

            run.signal("TERM").exit();

            await().until(() -> systemd.said().contains("STOPPING=1"));
        }
    }

    @Test
    void httpServesReadinessAndMetrics() throws Exception {
        container(web, "-p", "80");
        Run run = started("--container", web, "--http", "127.0.0.1:0").says("ready");

        assertThat(http(run, "/readyz").statusCode()).isEqualTo(200);
        assertThat(http(run, "/healthz").statusCode()).isEqualTo(200);
        assertThat(http(run, "/metrics").body())
                .contains("rollcall_container_published{container=\"" + web + "\"} 1.0")
                .contains("rollcall_docker_last_seen_timestamp_seconds")
                .contains("rollcall_docker_events_total")
                .contains("rollcall_lease_losses_total 0.0");
    }
}
