package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.harness.EtcdProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of clustercron: {@code --slot}, {@code --job} and {@code --grace}. */
@Tag("once")
class ClusterCronSlotTest extends ClusterCronScene {
    private static final Duration LONG = Duration.ofSeconds(60);
    /** No test crosses the boundary of a slot this long, but for one time a day. */
    private static final String DAY = "24h";

    private final EtcdServer etcd = EtcdServer.start();
    private final EtcdProxy proxy = EtcdProxy.before(etcd);
    private final String web = classic();

    @AfterEach
    void end() {
        proxy.close();
        etcd.close();
    }

    private ToolRunner tool(String id, String... options) {
        String slot = List.of(options).contains("--slot") ? "-v" : "--slot=" + DAY;
        return plainOn(id, "-v", slot)
                .env("ETCDCTL_ENDPOINTS", proxy.url().toString())
                .args("--job", "backup")
                .args(options)
                .args("elb", web, "sh", "-c", "echo ran >>" + ran());
    }

    private Path ran() {
        return folder.resolve("ran");
    }

    private int timesRun() throws IOException {
        return Files.exists(ran()) ? Files.readAllLines(ran()).size() : 0;
    }

    private String kept() {
        var all = etcd.all("/clustercron/backup/");
        assertThat(all).as("the keys of the job").hasSizeLessThan(2);
        return all.values().stream().findFirst().orElse("");
    }

    // --- once

    @Test
    void runsOnceInASlotAndSaysWhoRanItWhenAndHowItEnded() throws IOException {
        assertThat(tool(first).run().exit()).isZero();
        Run again = tool(first).run();
        Run explained = tool(second, "--explain").run();

        assertThat(again.exit()).isEqualTo(1);
        assertThat(again.err()).contains("slot is taken job=backup").contains("started by " + first);
        assertThat(timesRun()).isOne();
        assertThat(kept())
                .contains("\"instance\":\"" + first + "\"")
                .contains("\"started\":\"20")
                .contains("\"exit\":0");
        assertThat(explained.out())
                .contains(" of job backup: started by " + first)
                .contains("ended with 0");
        assertThat(etcd.all("/clustercron/").keySet())
                .singleElement()
                .asString()
                .matches("/clustercron/backup/20..-..-..T00:00:00Z");
    }

    @Test
    void aNodeThatIsNotMasterDoesNotEvenAskEtcd() throws IOException {
        etcd.kill();
        assertThat(tool(second).run().exit()).isEqualTo(1);
        assertThat(timesRun()).isZero();
    }

    @Test
    void howeverManyBelieveTheyAreMasterOneRuns() throws IOException {
        aws.unavailable(ANY, ALWAYS);
        List<Run> runs = new ArrayList<>();
        for (String id : List.of(first, second, third, first, second)) {
            runs.add(closedAfterwards(tool(id, "--on-error", "run").start()));
        }

        assertThat(runs.stream().map(Run::exit)).containsExactlyInAnyOrder(0, 1, 1, 1, 1);
        assertThat(timesRun()).isOne();
    }

    @Test
    void theJobIsTheCommandLineAndItsWordsAreNotShown() {
        ToolRunner tool =
                plainOn(first).env("ETCDCTL_ENDPOINTS", etcd.url().toString()).args("--slot", DAY, "elb", web);
        assertThat(tool.args("/bin/echo", "secret").run().exit()).isZero();
        assertThat(tool.args("/bin/echo", "secret").run().exit()).isEqualTo(1);
        assertThat(tool.args("/bin/echo", "other").run().exit()).isZero();

        assertThat(etcd.all("/clustercron/")).hasSize(2).allSatisfy((key, value) -> assertThat(key + value)
                .contains("/clustercron/echo-")
                .doesNotContain("secret"));
    }

    @Test
    void withoutACommandTheSlotItselfIsTheAnswer() {
        ToolRunner tool = plainOn(first)
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args("--slot", DAY, "--job", "j", "elb", web);

        assertThat(tool.run().exit()).isZero();
        assertThat(tool.run().exit()).isEqualTo(1);
    }

    @Test
    void theNextSlotIsTheNextRun() throws IOException {
        ToolRunner tool = plainOn(first)
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args("--slot", "5s", "--job", "j", "elb", web);
        assertThat(tool.run().exit()).isZero();

        await().atMost(LONG).until(() -> tool.run().exit() == 0);

        List<Instant> slots = etcd.all("/clustercron/j/").keySet().stream()
                .map(key -> Instant.parse(key.substring("/clustercron/j/".length())))
                .toList();
        assertThat(slots).hasSize(2);
        assertThat(Duration.between(slots.get(0), slots.get(1)).toSeconds() % 5).isZero();
    }

    // --- nodes that die

    @Test
    void aClaimWhoseHolderDiedBeforeTheCommandStartedIsTakenOver() throws IOException {
        // The claim is done, and what comes next is not answered.
        proxy.pass("lease/grant").loseAnswer("lease/grant");
        proxy.pass("kv/txn");
        for (int i = 0; i < 50; i++) {
            proxy.loseAnswer("lease/grant");
        }
        Run dies = closedAfterwards(tool(first).start());
        await().atMost(LONG).until(() -> proxy.done("kv/txn") == 1);
        dies.handle().destroyForcibly();

        Run heir = tool(first).env("ETCDCTL_ENDPOINTS", etcd.url().toString()).run();

        assertThat(heir.exit()).as("%s", heir).isZero();
        assertThat(timesRun()).isOne();
        // What was held ready for the dead one has gone without running.
        assertThat(dies.exit()).isEqualTo(137);
    }

    @Test
    void oneWhoseCommandHadStartedIsNotTakenOverEver() throws Exception {
        ToolRunner tool = plainOn(first, "-v")
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args("--slot", DAY, "--job", "backup", "--grace", "1s");
        Run dies = closedAfterwards(tool.args("elb", web, "sh", "-c", "echo $$ >>" + ran() + "; sleep 300")
                .start());
        await().atMost(LONG).until(() -> timesRun() == 1);
        dies.handle().destroyForcibly();
        // Longer than a claim without a start lives.
        Thread.sleep(13_000);

        assertThat(tool.args("elb", web, "sh", "-c", "echo again >>" + ran())
                        .run()
                        .exit())
                .isEqualTo(1);
        assertThat(tool(second, "--grace", "1s").run().exit()).isEqualTo(1);
        assertThat(timesRun()).isOne();
        ProcessHandle.of(Long.parseLong(Files.readAllLines(ran()).get(0))).ifPresent(ProcessHandle::destroyForcibly);
    }

    // --- grace

    @Test
    void whereNobodyHasTakenTheSlotAHealthyNodeThatIsNotMasterDoes() throws IOException {
        Run second = closedAfterwards(tool(this.second, "--grace", "2s").start());
        Run third = closedAfterwards(tool(this.third, "--grace", "2s").start());

        assertThat(List.of(second.exit(), third.exit())).containsExactlyInAnyOrder(0, 1);
        assertThat(timesRun()).isOne();
    }

    @Test
    void aNodeThatStandsByGoesWhenTheMasterHasRun() throws IOException {
        Run standby = closedAfterwards(tool(second, "--grace", "1h").start()).says("not master");

        assertThat(tool(first, "--grace", "1h").run().exit()).isZero();

        assertThat(standby.exit()).isEqualTo(1);
        assertThat(standby.err()).contains("slot is taken job=backup");
        assertThat(timesRun()).isOne();
    }

    @Test
    void aNodeThatIsNotHealthyTakesNothing() throws IOException {
        moto.ec2.stopInstances(r -> r.instanceIds(second));
        assertThat(tool(second, "--grace", "1s").run().exit()).isEqualTo(1);

        Run third = closedAfterwards(tool(this.third, "--grace", "6s").start()).says("not master");
        moto.ec2.stopInstances(r -> r.instanceIds(this.third));
        assertThat(third.exit()).as("it was healthy at first").isEqualTo(1);
        assertThat(third.err()).contains("not in service any more");
        assertThat(timesRun()).isZero();
    }

    @Test
    void aNodeThatStandsByAsksAwsAgainWhateverTheCacheSays() throws IOException {
        Run standby = closedAfterwards(tool(second, "-c", "--grace", "6s")
                        .env("XDG_CACHE_HOME", folder.resolve("cache").toString())
                        .start())
                .says("not master");
        moto.ec2.stopInstances(r -> r.instanceIds(second));

        assertThat(standby.exit()).isEqualTo(1);

        assertThat(standby.err()).contains("not in service any more");
        assertThat(timesRun()).isZero();
    }

    @Test
    void withoutAJobNameTheLoadBalancerAndTheSlotArePartOfTheJob() throws IOException {
        String other = classic();
        for (String[] words : new String[][] {{DAY, web}, {DAY, other}, {"12h", web}, {DAY, web}}) {
            plainOn(first, "--slot", words[0])
                    .env("ETCDCTL_ENDPOINTS", proxy.url().toString())
                    .args("elb", words[1], "sh", "-c", "echo ran >>" + ran())
                    .run();
        }

        assertThat(timesRun()).as("the last is the first again").isEqualTo(3);
    }

    @Test
    void whereTheMasterCannotAskAwsAnotherRuns() throws IOException {
        aws.throttle(ANY, 2);
        assertThat(tool(first, "--grace", "1s").run().exit()).isEqualTo(75);
        assertThat(tool(second, "--grace", "1s").run().exit()).isZero();
        assertThat(timesRun()).isOne();
    }

    // --- etcd

    @Test
    void whereEtcdIsAwayOnErrorDecidesAndTheDefaultDoesNotRun() throws IOException {
        etcd.kill();

        Run fail = tool(first).env("ETCDCTL_ENDPOINTS", etcd.url().toString()).run();
        assertThat(fail.exit()).isEqualTo(69);
        assertThat(fail.err()).contains("clustercron: error: etcd at " + etcd.url() + " cannot be reached");
        assertThat(tool(first, "--on-error", "skip").run().exit()).isEqualTo(1);
        assertThat(tool(second, "--grace", "1s", "--on-error", "run").run().exit())
                .as("that is for the master to do")
                .isNotZero();
        assertThat(timesRun()).isZero();

        assertThat(tool(first, "--on-error", "run").run().exit()).isZero();
        assertThat(timesRun()).isOne();
    }

    @Test
    void aRestartOfEtcdIsSatOut() throws IOException {
        etcd.kill();
        Run run = closedAfterwards(tool(first, "-v").start()).says("this instance is master");
        etcd.startAgain();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(timesRun()).isOne();
    }

    @Test
    void aRunThatIsHeldUpForTooLongDoesNotRunWhateverOnErrorSays() throws Exception {
        proxy.pass("kv/txn").pass("lease/grant").holdAllAnswers("lease/grant");
        Run run = closedAfterwards(
                tool(first, "--slot", "8s", "--on-error", "run").start());
        await().atMost(LONG).until(() -> proxy.done("kv/txn") == 1);

        // As a suspended machine does; the claim is long gone when it wakes up.
        run.signal("STOP");
        Thread.sleep(18_000);
        proxy.heal();
        run.signal("CONT");

        assertThat(run.exit()).as("%s", run).isEqualTo(75);
        assertThat(run.err()).contains("held up for too long");
        assertThat(timesRun()).isZero();
    }

    @Test
    void whereTheStartIsNotAcknowledgedItDoesNotRun() throws IOException {
        proxy.pass("kv/txn").holdAllAnswers("kv/txn");

        Run run = tool(first, "--slot", "20s").run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(timesRun()).isZero();
        assertThat(kept()).as("and nobody else will").contains("started").doesNotContain("ended");
    }

    @ParameterizedTest
    @ValueSource(strings = {"kv/range", "lease/grant", "kv/txn"})
    void anAnswerThatWasLostIsResolved(String path) throws IOException {
        proxy.loseAnswer(path).pass(path).loseAnswer(path).loseRequest(path);

        Run run = tool(first).run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(timesRun()).isOne();
        assertThat(kept()).contains("\"exit\":0");
    }

    @Test
    void theEndIsToldAsABestEffort() throws IOException {
        for (int i = 0; i < 50; i++) {
            proxy.loseRequest("kv/put");
        }

        Run run = tool(first).run();

        assertThat(run.exit()).as("the command's own code").isZero();
        assertThat(run.err()).contains("clustercron: warning: the end of the run is not recorded");
        assertThat(kept()).contains("started").doesNotContain("exit");
    }

    // --- signals

    @Test
    void aSignalWhileItStandsByEndsItAndLeavesTheSlotFree() {
        Run standby = closedAfterwards(tool(second, "--grace", "1h").start()).says("not master");

        assertThat(standby.signal("TERM").exit()).isEqualTo(143);

        assertThat(kept()).isEmpty();
    }

    @Test
    void aSignalReachesTheCommandAndItsEndIsRecorded() throws IOException {
        Run run = closedAfterwards(plainOn(first)
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args("--slot", DAY, "--job", "backup", "--timeout", "5m", "elb", web)
                .args("sh", "-c", "echo ready >>" + ran() + "; sleep 300")
                .start());
        await().atMost(LONG).until(() -> timesRun() == 1);

        assertThat(run.signal("TERM").exit()).isEqualTo(143);

        assertThat(kept()).contains("\"exit\":143");
    }
}
