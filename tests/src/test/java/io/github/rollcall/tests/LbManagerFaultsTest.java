package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.harness.EtcdProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What lbmanager does when etcd, AWS or itself lets it down. */
@Tag("once")
class LbManagerFaultsTest extends LbManagerScene {
    // --- etcd

    @Test
    void etcdMayBeAwayWhenItStarts() {
        String id = instance();
        put("multiple", id);
        etcd.kill();
        Run run = started().says("cannot be reached").says("trying again");

        etcd.startAgain();

        run.says("ready");
        awaitMembers(id);
        assertThat(run.count("cannot be reached")).isEqualTo(1);
    }

    @Test
    void etcdMayBeAwayForAWhile() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        Run run = manager();
        awaitMembers(ids[0]);

        etcd.kill();
        run.says("trying again");
        etcd.startAgain();
        put("multiple", ids[1]);

        run.says("etcd: works again");
        awaitMembers(ids);
        assertThat(run.count("warning")).isEqualTo(1);
    }

    @Test
    void whatWasCompactedBehindItsBackIsReadAgain() {
        String[] ids = instances(3);
        put("multiple", ids[0], ids[1]);
        Run run = manager();
        awaitMembers(ids[0], ids[1]);

        run.signal("STOP");
        delete(elb(web, "multiple", ids[0]));
        put("multiple", ids[2]);
        // Its connection is of no use afterwards, and what it has not seen is history.
        etcd.kill();
        etcd.startAgain();
        etcd.compact();
        run.signal("CONT");

        awaitMembers(ids[1], ids[2]);
    }

    @Test
    void aSilentWatchIsNotTrustedForLong() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        Run run = manager("--resync", "2s");
        awaitMembers(ids[0]);

        etcd.freeze();
        run.says("did not answer in");
        etcd.thaw();
        put("multiple", ids[1]);

        awaitMembers(ids);
    }

    @Test
    void anotherEtcdMakesRemovalsWaitForAcceptReset() {
        String[] ids = instances(3);
        put("multiple", ids[0], ids[1]);
        Run run = manager();
        awaitMembers(ids[0], ids[1]);

        etcd.kill();
        etcd.loseData();
        etcd.startAgain();
        put("multiple", ids[2]);

        run.says("etcd's revision went back", 1);
        run.says("removals wait until it is started again with --accept-reset");
        awaitMembers(ids);
        run.says("held back: etcd's");
        assertThat(deregistrations()).isZero();

        run.signal("TERM").exit();
        Run again = manager();
        again.says("held back: etcd is not the one that it was");
        assertThat(moto.members(web)).containsExactlyInAnyOrder(ids);
        again.signal("TERM").exit();

        Run leader = manager("--ha", "--resync", "1s").says("held back: etcd is not the one that it was");
        manager("--ha", "--accept-reset");
        leader.says("reset accepted, removals go on");
        awaitMembers(ids[2]);
    }

    @Test
    void anEtcdThatWasRestoredWhileItWasAwayIsKnownByTheRevisionThatItNoted(@TempDir Path folder) {
        String[] ids = instances(2);
        put("multiple", ids);
        Run run = closedAfterwards(
                lbmanager().env("STATE_DIRECTORY", folder.toString()).start());
        awaitMembers(ids);
        assertThat(run.signal("TERM").exit()).isZero();

        etcd.kill();
        etcd.loseData();
        etcd.startAgain();
        put("multiple", ids[0]);
        Run again = closedAfterwards(
                lbmanager().env("STATE_DIRECTORY", folder.toString()).start());

        again.says("removals wait until it is started again with --accept-reset");
        again.says("held back: etcd is not the one that it was", 1);
        assertThat(moto.members(web)).containsExactlyInAnyOrder(ids);
        again.signal("TERM").exit();
        closedAfterwards(lbmanager("--accept-reset")
                .env("STATE_DIRECTORY", folder.toString())
                .start());
        awaitMembers(ids[0]);
    }

    @Test
    void aLoginThatARestartedEtcdDoesNotKnowIsMadeAnew() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        etcd.enableAuth("secret");
        Run run = closedAfterwards(
                        lbmanager().env("ETCDCTL_USER", "root:secret").start())
                .says("ready");
        awaitMembers(ids[0]);

        etcd.kill();
        etcd.startAgain();
        run.says("etcd: works again");
        closedAfterwards(lbmanager("announce", "elb/us-east-1/" + web + "/multiple/" + ids[1])
                .env("ETCDCTL_USER", "root:secret")
                .start());

        awaitMembers(ids);
        assertThat(run.err()).doesNotContain("secret");
    }

    @Test
    void aLoginThatHasExpiredIsMadeAnew() throws Exception {
        String[] ids = instances(3);
        String other = moto.classic();
        try (EtcdServer guarded = EtcdServer.start("--auth-token-ttl", "1");
                EtcdProxy proxy = EtcdProxy.before(guarded)) {
            guarded.put(elb(web, "multiple", ids[0]), "");
            guarded.enableAuth("secret");
            Run run = closedAfterwards(loggedIn(proxy.url()).start()).says("ready");
            awaitMembers(ids[0]);

            // Longer than a token lives that nobody uses.
            await().during(Duration.ofSeconds(4)).until(run::isAlive);
            int logins = proxy.done("auth/authenticate");
            // That it is managed from now on has to be written first.
            announce(guarded, other, ids[1]);
            awaitMembersOf(other, ids[1]);
            assertThat(proxy.done("auth/authenticate")).isGreaterThan(logins);
            assertThat(run.err()).doesNotContain("warning", "error");

            await().during(Duration.ofSeconds(4)).until(run::isAlive);
            int again = proxy.done("auth/authenticate");
            proxy.endWatches();
            announce(guarded, web, ids[2]);
            awaitMembers(ids[0], ids[2]);
            assertThat(proxy.done("auth/authenticate")).isGreaterThan(again);
            assertThat(run.err()).doesNotContain("error", "secret");
        }
    }

    private ToolRunner loggedIn(URI etcd, String... args) {
        return lbmanager(args).env("ETCDCTL_ENDPOINTS", etcd.toString()).env("ETCDCTL_USER", "root:secret");
    }

    private void announce(EtcdServer guarded, String name, String id) {
        closedAfterwards(loggedIn(guarded.url(), "announce", "elb/us-east-1/" + name + "/multiple/" + id)
                .start());
    }

    @Test
    void aWrongPasswordIs77() {
        etcd.enableAuth("secret");

        Run run = lbmanager("plan").env("ETCDCTL_USER", "root:wrong").run();

        assertThat(run.exit()).as("%s", run).isEqualTo(77);
        assertThat(run.err()).hasLineCount(1).doesNotContain("wrong");
    }

    @Test
    void etcdOutOfReachIs69ForWhatEnds() {
        etcd.kill();

        for (List<String> what : List.of(List.of("plan"), List.of("status"), List.of("purge"), List.of("--once"))) {
            Run run = lbmanager(what.toArray(String[]::new)).run();
            assertThat(run.exit()).as("%s", run).isEqualTo(69);
            assertThat(run.err()).hasLineCount(1);
        }
    }

    // --- AWS

    @ParameterizedTest
    @ValueSource(strings = {"DescribeLoadBalancers", "RegisterInstancesWithLoadBalancer"})
    void whatAwsThrottlesOrCutsIsTriedUntilItWorks(String operation) {
        String id = instance();
        put("multiple", id);
        aws.throttle(operation, 2).unavailable(operation, 2).cut(operation, 2).garble(operation, 1);
        Run run = manager("--aws-retries", "0");

        awaitMembers(id);

        run.says("works again");
        assertThat(run.count("warning")).isEqualTo(1);
    }

    @Test
    void aRefusalByIamIsSaidOnceAndMendedWithoutAnEvent() {
        String id = instance();
        put("multiple", id);
        aws.refuse("RegisterInstancesWithLoadBalancer", ALWAYS);
        Run run = manager().says("error: refused by AWS");

        aws.heal();

        awaitMembers(id);
        assertThat(run.count("error: refused by AWS")).isEqualTo(1);
    }

    @Test
    void nothingIsPlannedFromAFailedRead() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        Run run = manager("--resync", "1s", "--aws-retries", "0");
        awaitMembers(ids[0]);
        aws.garble("DescribeLoadBalancers", 2).unavailable("DescribeLoadBalancers", 2);

        run.says("warning");
        run.says("works again");

        awaitCalls(1, this::registrations);
        assertThat(deregistrations()).isZero();
    }

    @Test
    void aDeletedLoadBalancerWithoutKeysIsForgotten() {
        String id = instance();
        put("multiple", id);
        Run run = manager();
        awaitMembers(id);

        moto.elb.deleteLoadBalancer(r -> r.loadBalancerName(web));
        delete(elb(web, "multiple", id));

        run.says("let go: does not exist any more");
        await().until(() -> etcd.all(MANAGED).isEmpty());
    }

    // --- itself

    @Test
    void killedInTheMidstOfAChangeItGoesOnWhereItWas() {
        String[] ids = instances(3);
        put("single", ids[0]);
        Run run = manager();
        awaitMembers(ids[0]);
        aws.delay("RegisterInstancesWithLoadBalancer", 1, Duration.ofSeconds(3));
        put("single", ids[1]);
        await().until(() -> registrations() == 2);

        run.close();
        manager();

        awaitMembers(ids[1]);
    }

    @Test
    void sigtermEndsItWith0EvenWhenNothingAnswers() {
        put("multiple", instance());
        aws.cut(ANY, ALWAYS);
        Run run = manager();
        etcd.freeze();

        assertThat(run.signal("TERM").exit()).isZero();
    }

    @Test
    void twoCopiesWithoutHaDoNoHarm() {
        String[] ids = instances(3);
        put("multiple", ids[0]);
        // What one of them does on an old reading is mended at the next.
        manager("--resync", "5s");
        manager("--resync", "5s");
        awaitMembers(ids[0]);

        put("multiple", ids[1], ids[2]);
        awaitMembers(ids);
        put("single", ids[1]);
        awaitMembers(ids[1]);
    }
}
