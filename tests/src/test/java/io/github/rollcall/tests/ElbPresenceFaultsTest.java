package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static io.github.rollcall.harness.MetadataServer.Mood.BROKEN;
import static io.github.rollcall.harness.MetadataServer.Mood.GARBAGE;
import static io.github.rollcall.harness.MetadataServer.Mood.SILENT_ON_DATA;
import static io.github.rollcall.harness.MetadataServer.Mood.SILENT_ON_TOKENS;
import static io.github.rollcall.harness.MetadataServer.Mood.UNAUTHORIZED;
import static io.github.rollcall.harness.MetadataServer.Mood.WELL;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.Table;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner.Run;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** What is promised of elb-presence, where AWS, the metadata service, or the tool itself, breaks. */
@Tag("once")
class ElbPresenceFaultsTest extends ElbPresenceScene {
    private static final Map<String, String> REPORT = new ConcurrentHashMap<>();

    /** What can be wrong with an AWS call for a while. */
    enum Fault {
        THROTTLED,
        DEPENDENCY_THROTTLED,
        UNAVAILABLE,
        CUT,
        GARBLED,
        ANSWER_LOST;

        void on(AwsProxy aws, String operation, int times) {
            switch (this) {
                case THROTTLED -> aws.throttle(operation, times);
                case DEPENDENCY_THROTTLED -> aws.error(operation, times, 400, "DependencyThrottle", "Slow down");
                case UNAVAILABLE -> aws.unavailable(operation, times);
                case CUT -> aws.cut(operation, times);
                case GARBLED -> aws.garble(operation, times);
                case ANSWER_LOST -> aws.delay(operation, times, Duration.ofSeconds(3));
            }
        }
    }

    @AfterAll
    static void printTheFaultsAsATable() {
        Table table = new Table("FAULT", "WHERE", "WHAT HAPPENED");
        new TreeMap<>(REPORT).forEach((where, what) -> {
            String[] both = where.split("@");
            table.row(both[0], both[1], what);
        });
        System.out.print("\nelb-presence under faults\n" + table);
    }

    private static void report(Object fault, String where, String what) {
        REPORT.put(fault + "@" + where, what);
    }

    // --- AWS answers badly for a while: it is said once, and everything is done in the end

    @ParameterizedTest
    @EnumSource(Fault.class)
    void aClassicRegistrationComesThroughAndIsSaidOnce(Fault fault) {
        String web = moto.classic();
        fault.on(aws, "RegisterInstancesWithLoadBalancer", 2);

        comesThrough(fault, "RegisterInstancesWithLoadBalancer", "--elb", web);

        assertThat(moto.members(web)).containsExactly(id);
    }

    @ParameterizedTest
    @EnumSource(Fault.class)
    void aTargetGroupsRegistrationComesThroughAndIsSaidOnce(Fault fault) {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        fault.on(aws, "RegisterTargets", 2);

        comesThrough(fault, "RegisterTargets", "--target-group", api);

        assertThat(moto.targets(api)).containsExactly(id + ":8080");
    }

    @ParameterizedTest
    @CsvSource({"DescribeInstanceHealth,elb", "DescribeTargetGroups,tg", "DescribeTargetHealth,tg"})
    void aReadThatFailsIsRepeated(String operation, String kind) {
        String name = kind.equals("elb") ? moto.classic() : moto.targetGroup(TargetTypeEnum.INSTANCE);
        Fault.THROTTLED.on(aws, operation, 1);
        Fault.CUT.on(aws, operation, 1);

        comesThrough("THROTTLED, CUT", operation, kind.equals("elb") ? "--elb" : "--target-group", name);
    }

    private void comesThrough(Object fault, String operation, String option, String name) {
        Run run = started(option, name, "--aws-retries", "0", "--aws-timeout", "1s")
                .says("ready");
        assertThat(run.count("trying again")).as("%s", run).isEqualTo(1);
        assertThat(run.count("answers again")).as("%s", run).isEqualTo(1);
        report(fault, operation, "said once, tried again, registered; said when it was back");
    }

    @ParameterizedTest
    @EnumSource(Fault.class)
    void aDeregistrationThatFailsIsTriedAgain(Fault fault) {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        Run run = started("--elb", web, "--target-group", api, "--aws-retries", "0", "--aws-timeout", "1s")
                .says("ready");
        fault.on(aws, "DeregisterInstancesFromLoadBalancer", 2);

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(moto.members(web)).isEmpty();
        assertThat(moto.targets(api)).isEmpty();
        report(fault, "DeregisterInstancesFromLoadBalancer", "tried again, deregistered, exit 0");
    }

    @ParameterizedTest
    @ValueSource(strings = {"throttled", "refused", "unavailable"})
    void aDeregistrationThatGoesOnFailingIs75AfterTheStopTimeoutAndHindersNoOther(String fault) {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        Run run = started("--elb", web, "--target-group", api, "--stop-timeout", "2s", "--aws-retries", "0")
                .says("ready");
        switch (fault) {
            case "throttled" -> aws.throttle("DeregisterInstancesFromLoadBalancer", ALWAYS);
            case "refused" -> aws.refuse("DeregisterInstancesFromLoadBalancer", ALWAYS);
            default -> aws.unavailable("DeregisterInstancesFromLoadBalancer", ALWAYS);
        }

        assertThat(run.signal("TERM").exit()).as("%s", run).isEqualTo(75);

        assertThat(run.err())
                .contains("elb/" + web + ": error: not deregistered, and it may still be registered: "
                        + fault.replace("unavailable", "AWS is not in order"));
        assertThat(aws.calls("DeregisterInstancesFromLoadBalancer")).isGreaterThan(1);
        assertThat(moto.targets(api)).isEmpty();
        report(fault + " for ever", "DeregisterInstancesFromLoadBalancer", "tried until --stop-timeout, exit 75");
    }

    @Test
    void aDeregistrationThatIsNeverAnsweredEndsWithTheStopTimeout() {
        String web = moto.classic();
        Run run = started("--elb", web, "--stop-timeout", "1s", "--aws-timeout", "1h")
                .says("ready");
        aws.delay("DeregisterInstancesFromLoadBalancer", ALWAYS, Duration.ofMinutes(2));

        assertThat(run.signal("TERM").exit()).isEqualTo(75);

        assertThat(run.err())
                .contains("elb/" + web + ": error: AWS has not answered in time; it may still be registered");
        report("never answered", "DeregisterInstancesFromLoadBalancer", "given up after --stop-timeout, exit 75");
    }

    // --- AWS or the metadata service is away at the start

    @Test
    void startedWhileAwsIsAwayItWaitsSayingSoOnceAndRegistersWhenItComes() {
        String web = moto.classic();
        aws.cut(ANY, ALWAYS);
        Run run = started("--elb", web, "-v", "--aws-retries", "0").says("still failing");
        assertThat(run.count("AWS cannot be reached")).isGreaterThan(1);
        assertThat(run.count("trying again")).isOne();
        assertThat(run.isAlive()).isTrue();

        aws.heal();

        run.says("answers again").says("ready");
        assertThat(moto.members(web)).containsExactly(id);
        report("away at start", "AWS", "waited, said so once, registered when it came");
    }

    @ParameterizedTest
    @EnumSource(names = {"SILENT_ON_TOKENS", "SILENT_ON_DATA", "BROKEN", "GARBAGE"})
    void startedWhileTheMetadataServiceIsAwayItWaitsSayingSoOnce(MetadataServer.Mood mood) {
        String web = moto.classic();
        metadata.is(mood);
        Run run = started("--elb", web, "-v").says("still failing");
        assertThat(run.count("trying again")).isOne();

        metadata.is(WELL);

        run.says("answers again").says("ready");
        assertThat(moto.members(web)).containsExactly(id);
        report(mood, "metadata service", "waited, said so once, registered when it came");
    }

    @Test
    void aTokenThatTimesOutNamesTheHopLimitAndTheWayOut() {
        metadata.is(SILENT_ON_TOKENS);

        Run run = elbPresence("--register-only", "--elb", "web").run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.err())
                .contains("hop limit")
                .contains("--http-put-response-hop-limit 2")
                .contains("--instance-id");
    }

    @Test
    void aMetadataServiceThatAnswersNothingButTokensIs69AndIsNoHopLimit() {
        metadata.is(SILENT_ON_DATA);

        Run run = elbPresence("--register-only", "--elb", "web").run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.err()).contains("did not answer in 1s").doesNotContain("hop limit");
    }

    @ParameterizedTest
    @CsvSource({"UNAUTHORIZED,HTTP 401", "TURNED_OFF,it is turned off for this instance"})
    void aMetadataServiceThatRefusesIs77AtOnce(MetadataServer.Mood mood, String words) {
        metadata.is(mood);

        Run run = elbPresence("--elb", "web").run();

        assertThat(run.exit()).isEqualTo(77);
        assertThat(run.err()).contains("refuses").contains(words);
        report(mood, "metadata service", "exit 77 at once");
    }

    @Test
    void aMetadataServiceThatAnswersGarbageIs69() {
        metadata.is(GARBAGE);

        Run run = elbPresence("--register-only", "--elb", "web").run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.err()).contains("answered with an identity document that is not JSON");
    }

    @Test
    void onlyImdsV2IsAskedAlsoForCredentials() {
        String web = moto.classic();
        metadata.withRole("AKIAFROMTHEROLE", "secret-of-the-role", "token-of-the-role");

        Run run = elbPresence("--register-only", "--elb", web, "-vv")
                .env("AWS_ACCESS_KEY_ID", null)
                .env("AWS_SECRET_ACCESS_KEY", null)
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(aws.accessKeys()).containsExactly("AKIAFROMTHEROLE");
        assertThat(metadata.requestsWithoutToken()).isZero();
        assertThat(run.err()).doesNotContain("secret-of-the-role").doesNotContain("token-of-the-role");

        metadata.is(UNAUTHORIZED);
        Run refused = elbPresence("--register-only", "--elb", web, "--instance-id", id)
                .env("AWS_ACCESS_KEY_ID", null)
                .env("AWS_SECRET_ACCESS_KEY", null)
                .run();
        assertThat(refused.exit()).isIn(69, 77);
        assertThat(refused.err()).contains("no AWS credentials");
        assertThat(metadata.requestsWithoutToken()).as("no fall-back to IMDSv1").isZero();
    }

    // --- something is missing or refused

    @Test
    void aMissingLoadBalancerIs78AtOnce() {
        Run run = elbPresence("--elb", "nope", "--target-group", "nope").run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err())
                .contains("elb/nope: error: not found: There is no ACTIVE Load Balancer named 'nope'")
                .contains("tg/nope: error: not found: One or more target groups not found");
        report("missing", "load balancer", "exit 78 at once");
    }

    @Test
    void aMissingLoadBalancerBesideOneThatWorksIsSaidAndTriedOn() {
        String web = moto.classic();
        String late = Moto.name("late");
        Run run = started("--elb", web, "--elb", late).says("ready");
        assertThat(run.err())
                .contains("elb/" + late + ": error: not found")
                .contains("ready present=elb/" + web + " still-trying=elb/" + late);
        assertThat(moto.members(web)).containsExactly(id);

        moto.classic(late);

        await().atMost(Duration.ofSeconds(60)).until(() -> moto.members(late).contains(id));
        assertThat(run.signal("TERM").exit()).isZero();
        assertThat(moto.members(late)).isEmpty();
        report("missing beside one that works", "load balancer", "said, the other registered; registered when it came");
    }

    @Test
    void refusedByIamIs77AtOnceUnlessAnotherTargetWorks() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.refuse("RegisterInstancesWithLoadBalancer", ALWAYS);

        Run alone = elbPresence("--elb", web).run();
        assertThat(alone.exit()).isEqualTo(77);
        assertThat(alone.err())
                .contains("elb/" + web + ": error: refused by AWS")
                .contains("AccessDenied");

        Run beside = started("--elb", web, "--target-group", api).says("ready");
        assertThat(moto.targets(api)).hasSize(1);
        assertThat(beside.signal("TERM").exit()).isZero();
        assertThat(moto.targets(api)).isEmpty();
        report("refused", "RegisterInstancesWithLoadBalancer", "exit 77 at once, unless another target works");
    }

    @Test
    void theExitCodeSaysTheWorstAndOneThatFailsKeepsNoOtherFromBeingRegistered() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.throttle("RegisterTargets", ALWAYS);

        Run run = elbPresence("--register-only", "--aws-retries", "0")
                .args("--elb", web, "--elb", "nope", "--target-group", api)
                .run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(moto.members(web)).containsExactly(id);
        assertThat(elbPresence("--register-only", "--aws-retries", "0", "--elb", web, "--target-group", api)
                        .run()
                        .exit())
                .isEqualTo(75);
    }

    @Test
    void aLoadBalancerThatIsDeletedMeanwhileIsNothingToLeave() {
        String web = moto.classic();
        Run run = started("--elb", web).says("ready");
        moto.elb.deleteLoadBalancer(r -> r.loadBalancerName(web));

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();
        report("deleted meanwhile", "load balancer", "nothing to leave, exit 0");
    }

    @Test
    void aDeregistrationThatAwsRejectsForAReasonOfItsOwnIsNotTakenForDone() {
        String web = moto.classic();
        Run run = started("--elb", web, "--stop-timeout", "1s").says("ready");
        aws.error("DeregisterInstancesFromLoadBalancer", ALWAYS, 400, "InvalidConfigurationRequest", "Not like this");

        assertThat(run.signal("TERM").exit()).isEqualTo(75);

        assertThat(run.err()).contains("may still be registered").contains("Not like this");
        report("rejected", "DeregisterInstancesFromLoadBalancer", "tried until --stop-timeout, exit 75");
    }

    @Test
    void anInstanceThatIsNotRunningYetIsRegisteredWhenItIs() {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        moto.ec2.stopInstances(r -> r.instanceIds(id));
        Run run = started("--target-group", api, "--aws-retries", "0").says("InvalidTarget");

        moto.ec2.startInstances(r -> r.instanceIds(id));

        run.says("ready");
        report("not running yet", "instance", "tried on, registered when it ran");
    }

    @Test
    void anotherKindOfFailureIsSaidToo() {
        aws.cut("DescribeInstanceHealth", 1);

        Run run = elbPresence("--elb", "nope", "--aws-retries", "0").run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err())
                .containsSubsequence(
                        "elb/nope: warning: AWS cannot be reached", "; trying again", "elb/nope: error: not found");
    }

    @Test
    void oneTargetIsNotKeptWaitingByAnother() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.delay("DescribeInstanceHealth", ALWAYS, Duration.ofMinutes(2));

        Run run = started("--register-only", "--aws-timeout", "1h", "--elb", web, "--target-group", api);

        run.says("tg/" + api + ": registered");
        assertThat(run.isAlive()).isTrue();
    }

    // --- a signal at the worst moment

    @Test
    void aSignalInTheMiddleOfRegisteringEndsDeregistered() {
        String web = moto.classic();
        aws.delay("RegisterInstancesWithLoadBalancer", 1, Duration.ofSeconds(2));
        Run run = started("--elb", web);
        await().atMost(Duration.ofSeconds(30)).until(() -> moto.members(web).contains(id));

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(moto.members(web)).isEmpty();
        report("SIGTERM", "while registering", "deregistered, exit 0");
    }

    @Test
    void aSignalInTheMiddleOfARetryEndsDeregisteredFromEverything() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.throttle("RegisterTargets", ALWAYS);
        // The SDK would go on retrying for minutes.
        Run run = started("--elb", web, "--target-group", api, "--aws-retries", "50")
                .says("registered");
        await().until(() -> aws.calls("RegisterTargets") > 1);

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(moto.members(web)).isEmpty();
        assertThat(moto.targets(api)).isEmpty();
        report("SIGTERM", "while trying again", "deregistered, exit 0");
    }

    @Test
    void aSecondSignalEndsAtOnce() {
        String web = moto.classic();
        Run run = started("--elb", web, "--stop-timeout", "1h", "--", "sleep", "1000")
                .says("ready");
        ProcessHandle command = run.handle().children().findFirst().orElseThrow();
        aws.throttle("DeregisterInstancesFromLoadBalancer", ALWAYS);
        run.signal("TERM").says("stopping");

        assertThat(run.signal("TERM").exit()).isEqualTo(75);

        assertThat(run.err()).contains("second signal, ending at once");
        await().until(() -> !command.isAlive());
    }

    @Test
    void aSignalThatComesAsTheCommandEndsIsNotASecondOne() {
        String web = moto.classic();
        aws.delay("DeregisterInstancesFromLoadBalancer", 1, Duration.ofSeconds(1));
        // As systemd does: the signal goes to the tool and to the command.
        Run run = started("--elb", web, "--", "sleep", "1000").says("ready");
        run.handle().children().forEach(ProcessHandle::destroy);
        run.says("stopping");

        assertThat(run.signal("TERM").exit()).as("%s", run).isEqualTo(143);

        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void aSignalBeforeAnythingIsKnownTriesAndIs75() {
        metadata.is(BROKEN);
        Run run = started("--elb", "web", "--stop-timeout", "1s").says("trying again");

        assertThat(run.signal("TERM").exit()).isEqualTo(75);

        assertThat(run.err()).contains("may still be registered");
        report("SIGTERM", "before the metadata service ever answered", "tried until --stop-timeout, exit 75");
    }
}
