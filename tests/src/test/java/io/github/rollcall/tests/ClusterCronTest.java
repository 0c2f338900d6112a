package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static io.github.rollcall.harness.AwsProxy.instanceHealth;
import static io.github.rollcall.harness.AwsProxy.targetHealth;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetDescription;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** What is promised of clustercron: who is master, and what is said where that cannot be known. */
class ClusterCronTest extends ClusterCronScene {
    private void register(String group, TargetDescription... targets) {
        String arn = moto.arn(group);
        moto.elbv2.registerTargets(r -> r.targetGroupArn(arn).targets(targets));
    }

    private static TargetDescription target(String id, Integer port) {
        return TargetDescription.builder().id(id).port(port).build();
    }

    private int exit(String id, String... args) {
        return plainOn(id, args).run().exit();
    }

    // --- who is master

    @Test
    void theFirstOfThoseInServiceIsMasterAndWhenItStopsOrGoesTheNextIs() {
        String web = classic();
        assertThat(on(first, "elb", web).run().exit()).isZero();
        assertThat(on(second, "elb", web).run().exit()).isEqualTo(1);

        moto.ec2.stopInstances(r -> r.instanceIds(first));
        assertThat(exit(first, "elb", web)).isEqualTo(1);
        assertThat(exit(second, "elb", web)).isZero();

        moto.ec2.startInstances(r -> r.instanceIds(first));
        assertThat(exit(first, "elb", web)).isZero();

        moto.elb.deregisterInstancesFromLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(first)));
        moto.ec2.terminateInstances(r -> r.instanceIds(second));
        assertThat(exit(first, "elb", web)).isEqualTo(1);
        assertThat(exit(second, "elb", web)).isEqualTo(1);
        assertThat(exit(third, "elb", web)).isZero();
    }

    @Test
    void theOriginalsCommandLinesWork() {
        String web = classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        register(api, target(first, null), target(second, null));

        assertThat(exit(first, "elb", web)).isZero();
        assertThat(exit(first, "-v", "-o", "alb", api)).isZero();
        assertThat(exit(second, "-vv", "alb", api, "true")).isEqualTo(1);
        Run run = plainOn(first, "-v", "-c", "-o", "elb", web, "echo", "-n", "one  two", "-v")
                .run();
        assertThat(run.exit()).isZero();
        assertThat(run.out()).isEqualTo("one  two -v");
        assertThat(run.err())
                .contains("elb/" + web + ": this instance is master")
                .contains("clustercron: started command=echo")
                .contains("clustercron: ended command=echo exit=0");
        assertThat(plainOn(first, "-h").run().out()).contains("Usage: clustercron");
        assertThat(plainOn(first, "--version").run().out()).startsWith("clustercron ");
    }

    @ParameterizedTest
    @CsvSource({
        "InService, N/A, N/A, 0",
        "InService, N/A, Instance deregistration currently in progress., 1",
        "OutOfService, Instance, Instance has failed at least the UnhealthyThreshold number of health checks., 1",
        "OutOfService, ELB, Instance registration is still in progress., 1",
        "OutOfService, Instance, Instance is not currently registered with the LoadBalancer., 1",
        "OutOfService, Instance, Instance is in stopped state., 1",
        "Unknown, ELB, A transient error occurred. Please try again later., 1",
    })
    void onClassicOnlyOneInServiceAndNotBeingDeregisteredIsMaster(String state, String reason, String text, int exit) {
        String web = moto.classic();
        aws.answer("DescribeInstanceHealth", ALWAYS, instanceHealth(first, state, reason, text));

        Run run = plainOn(first, "elb", web).run();

        assertThat(run.exit()).as("%s", run).isEqualTo(exit);
        if (exit == 1) {
            assertThat(run.err())
                    .isEqualTo("elb/" + web + ": error: nobody is master: none of its 1 members is in service\n");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "healthy, '', 0",
        "initial, Elb.RegistrationInProgress, 1",
        "unhealthy, Target.FailedHealthChecks, 1",
        "unhealthy.draining, Target.FailedHealthChecks, 1",
        "unused, Target.NotInUse, 1",
        "unused, Target.NotRegistered, 1",
        "draining, Target.DeregistrationInProgress, 1",
        "unavailable, Target.HealthCheckDisabled, 1",
    })
    void inATargetGroupOnlyAHealthyTargetIsMaster(String state, String reason, int exit) {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.answer("DescribeTargetHealth", ALWAYS, targetHealth(first, 80, state, reason, ""));

        assertThat(exit(first, "alb", api)).isEqualTo(exit);
    }

    @Test
    void aTargetGroupMayBeNamedByArnOfAnyLoadBalancerAndByPort() {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        register(api, target(first, 8081), target(second, 8080));
        String arn = moto.arn(api);

        assertThat(exit(first, "nlb", api)).isZero();
        assertThat(exit(second, "nlb", api)).isEqualTo(1);
        assertThat(exit(second, "alb", api + ":8080")).isZero();
        int before = aws.calls(ANY);
        assertThat(exit(first, "alb", arn)).isZero();
        assertThat(aws.calls(ANY) - before)
                .as("one call where the ARN is known")
                .isOne();
        assertThat(exit(first, "alb", arn + ":8080")).isEqualTo(1);
    }

    @Test
    void targetsOfTypeIpAreComparedWithThePrivateAddress() {
        String api = moto.targetGroup(TargetTypeEnum.IP);
        register(api, target("10.1.2.3", null), target("10.1.2.4", null));
        try (MetadataServer a = MetadataServer.of("i-0b", "10.1.2.3");
                MetadataServer b = MetadataServer.of("i-0a", "10.1.2.4")) {
            ToolRunner tool = ToolRunner.installed("clustercron").aws(aws.url()).args("alb", api);
            assertThat(tool.on(a).run().exit()).isZero();
            assertThat(tool.on(b).run().exit()).isEqualTo(1);
            assertThat(a.requestsWithoutToken()).isZero();
        }
        assertThat(exit("i-0a", "--private-ip", "10.1.2.3", "alb", api)).isZero();
        Run unknown = plainOn("i-0a", "alb", api).run();
        assertThat(unknown.exit()).isEqualTo(78);
        assertThat(unknown.err()).contains("--private-ip");
    }

    @Test
    void jobsSpreadOverTheNodesAndEveryNodeAgrees() {
        String web = classic();
        for (String job : List.of("backup", "report")) {
            List<Integer> exits = List.of(
                    exit(first, "--spread", job, "elb", web),
                    exit(second, "--spread", job, "elb", web),
                    exit(third, "--spread", job, "elb", web));
            assertThat(exits).as(job).containsExactlyInAnyOrder(0, 1, 1);
        }
    }

    @Test
    void explainPrintsTheCandidatesTheirStatesTheChoiceAndWhyAndRunsNothing() {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        aws.answer(
                "DescribeTargetHealth",
                ALWAYS,
                targetHealth(
                                first,
                                80,
                                "draining",
                                "Target.DeregistrationInProgress",
                                "Target deregistration is in progress")
                        .replaceFirst(
                                "(?s)(<member>.*</member>)",
                                "$1" + member(second, 8080, "healthy") + member(second, 8081, "initial")
                                        + member(third, 8080, "healthy")));

        Run run = on(
                        third,
                        "--explain",
                        "alb",
                        api,
                        "touch",
                        folder.resolve("ran").toString())
                .run();

        assertThat(run.exit()).isEqualTo(1);
        assertThat(run.out().replaceAll(" {2,}", "  "))
                .isEqualTo(
                        """
                        ID  STATE  COUNTS  CHOSEN  THIS
                        %s  draining  no: is being deregistered (Target.DeregistrationInProgress: Target deregistration is in progress)  -  -
                        %s  8080 in service, 8081 initial  yes: gets traffic  master  -
                        %s  in service  yes: gets traffic  -  this instance
                        %s is master: the first in alphabetic order of 2 in service
                        this instance is not master
                        """
                                .formatted(first, second, third, second));
        assertThat(folder.resolve("ran")).doesNotExist();
    }

    private static String member(String id, int port, String state) {
        return "<member><Target><Id>" + id + "</Id><Port>" + port + "</Port></Target><TargetHealth><State>" + state
                + "</State></TargetHealth></member>";
    }

    // --- what cannot be known

    @ParameterizedTest
    @CsvSource({
        "throttled,   75, throttled by AWS",
        "refused,     77, refused by AWS",
        "unavailable, 69, AWS is not in order: Service is unavailable",
        "cut,         69, AWS cannot be reached",
        "silent,      69, AWS did not answer within --aws-timeout",
        "missing,     78, not found",
    })
    void anUnanswerableQuestionIsNeverOneAndOnErrorDecides(String what, int code, String sentence) {
        String web = what.equals("missing") ? "no-such-thing" : classic();
        switch (what) {
            case "throttled" -> aws.throttle(ANY, ALWAYS);
            case "refused" -> aws.refuse(ANY, ALWAYS);
            case "unavailable" -> aws.unavailable(ANY, ALWAYS);
            case "cut" -> aws.cut(ANY, ALWAYS);
            case "silent" -> aws.delay(ANY, ALWAYS, Duration.ofSeconds(4));
            default -> {}
        }
        String ran = folder.resolve("ran").toString();

        Run fail =
                plainOn(first, "--aws-timeout", "1s", "elb", web, "touch", ran).run();
        Run skip = plainOn(first, "--aws-timeout", "1s", "--on-error", "skip", "elb", web, "touch", ran)
                .run();
        assertThat(fail.exit()).as("%s", fail).isEqualTo(code);
        assertThat(fail.err())
                .startsWith("clustercron: error: ")
                .contains(sentence)
                .hasLineCount(1);
        assertThat(skip.exit()).isEqualTo(1);
        assertThat(skip.err()).contains(sentence).contains("skipped").hasLineCount(1);
        assertThat(folder.resolve("ran")).doesNotExist();

        Run run = plainOn(second, "--aws-timeout", "1s", "--on-error", "run", "elb", web, "touch", ran)
                .run();
        assertThat(run.exit()).isZero();
        assertThat(run.err()).contains(sentence).contains("--on-error run").hasLineCount(1);
        assertThat(folder.resolve("ran")).exists();
    }

    @Test
    void aTargetGroupThatDoesNotExistIsAMatterOfConfiguration() {
        String arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/gone/0123456789abcdef";
        assertThat(exit(first, "alb", "no-such-group")).isEqualTo(78);
        assertThat(exit(first, "alb", arn)).isEqualTo(78);
        assertThat(exit(first, "elb", Moto.name("no-such"))).isEqualTo(78);
    }

    @Test
    void anInstanceThatIsNotKnownIsNotNotMaster() {
        String web = classic();
        try (MetadataServer metadata = MetadataServer.of(first, "10.0.0.1").is(MetadataServer.Mood.SILENT_ON_TOKENS)) {
            Run run = ToolRunner.installed("clustercron")
                    .aws(aws.url())
                    .on(metadata)
                    .args("elb", web)
                    .run();
            assertThat(run.exit()).isEqualTo(69);
            assertThat(run.err()).contains("hop limit");
        }
    }

    @Test
    void asksAwsTwiceAtMostAndNeverForLong() {
        String web = classic();
        aws.throttle("DescribeInstanceHealth", 1);
        assertThat(exit(first, "elb", web)).isZero();
        assertThat(aws.calls(ANY)).isEqualTo(2);

        aws.heal();
        aws.unavailable(ANY, ALWAYS);
        assertThat(exit(first, "elb", web)).isEqualTo(69);
        assertThat(aws.calls(ANY)).isEqualTo(4);
    }

    // --- the command line

    @ParameterizedTest
    @ValueSource(
            strings = {
                " | Missing required parameter",
                "elb | Missing required parameter: 'NAME'",
                "glb web | expected one of [elb, alb, nlb]",
                "--on-error panic elb web | --on-error",
                "--slot 1s --job j elb web | --slot is 1s: expected at least 2s",
                "--slot 1m elb web | --slot needs --job",
                "--grace 5s elb web | --grace goes with --slot",
                "--job j elb web | --job goes with --slot",
                "--slot 1m --grace 1m elb web true | --grace is 60s: expected less than --slot, 60s",
                "--timeout 0 elb web true | --timeout is 0",
                "alb a/b | 'a/b' is not a target group",
            })
    void whatIsWrongIsNamedAndTheExitIs64(String line) {
        String[] both = line.split(" ?\\| ");
        String[] words = both[0].isBlank() ? new String[0] : both[0].strip().split(" ");

        Run run = plainOn(first, words).run();

        assertThat(run.exit()).as("%s", run).isEqualTo(64);
        assertThat(run.err())
                .startsWith("clustercron: error: ")
                .contains(both[1])
                .hasLineCount(1);
    }
}
