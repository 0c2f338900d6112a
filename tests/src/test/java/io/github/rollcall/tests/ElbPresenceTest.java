package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.instanceHealth;
import static io.github.rollcall.harness.AwsProxy.targetHealth;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.NotifySocket;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** What is promised of elb-presence, where nothing breaks. */
class ElbPresenceTest extends ElbPresenceScene {
    private static final String PENDING = "Instance registration is still in progress.";
    private static final String LEAVING = "Instance deregistration currently in progress.";
    private static final String GONE = "Instance is not currently registered with the LoadBalancer.";

    // --- registering, and leaving on a signal

    @ParameterizedTest
    @ValueSource(strings = {"TERM", "INT", "HUP"})
    void registersWithAllAndOnASignalDeregistersFromAll(String signal) {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        Run run = started("--elb", web, "--target-group", api).says("ready");
        assertThat(moto.members(web)).containsExactly(id);
        assertThat(moto.targets(api)).containsExactly(id + ":8080");

        assertThat(run.signal(signal).exit()).as("%s", run).isZero();

        assertThat(moto.members(web)).isEmpty();
        assertThat(moto.targets(api)).isEmpty();
        assertThat(run.out()).isEmpty();
    }

    @Test
    void logsTheHealthOfEachTargetUntilItIsInServiceThenIsReady() {
        String web = moto.classic();
        aws.answer("DescribeInstanceHealth", 1, instanceHealth(id, "OutOfService", "Instance", GONE))
                .answer("DescribeInstanceHealth", 2, instanceHealth(id, "OutOfService", "Instance", PENDING));

        Run run = started("--elb", web).says("ready");

        assertThat(run.err())
                .containsSubsequence(
                        "elb/" + web + ": registered member=" + id,
                        "elb/" + web + ": health state=OutOfService description=\"" + PENDING + "\"",
                        "elb/" + web + ": health state=InService after=",
                        "elb-presence: ready present=elb/" + web);
        assertThat(run.count("state=OutOfService"))
                .as("an unchanged state is said once")
                .isOne();
    }

    @Test
    void targetsMayBeNamedByVariablesAndByTheOriginalsOption() {
        String a = moto.classic();
        String b = moto.classic();
        String c = moto.classic();
        String d = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);

        assertThat(elbPresence("--register-only")
                        .env("ELB_NAME", a + "," + b)
                        .run()
                        .exit())
                .isZero();
        assertThat(elbPresence("--register-only").env("TARGET_GROUP", api).run().exit())
                .isZero();
        assertThat(elbPresence("--register-only", "--lbname", c, "--elb", d)
                        .run()
                        .exit())
                .isZero();

        for (String name : List.of(a, b, c, d)) {
            assertThat(moto.members(name)).as(name).containsExactly(id);
        }
        assertThat(moto.targets(api)).containsExactly(id + ":8080");
    }

    @Test
    void aTargetGroupMayBeNamedByArnAndPort() {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);

        assertThat(elbPresence("--register-only", "--target-group", moto.arn(api) + ":9090")
                        .run()
                        .exit())
                .isZero();

        assertThat(moto.targets(api)).containsExactly(id + ":9090");
    }

    @Test
    void inATargetGroupOfAddressesTheMemberIsThePrivateAddress() {
        String api = moto.targetGroup(TargetTypeEnum.IP);

        Run run = started("--target-group", api).says("registered");

        assertThat(moto.targets(api)).containsExactly(privateIp + ":8080");
        assertThat(run.signal("TERM").exit()).isZero();
        assertThat(moto.targets(api)).isEmpty();
    }

    @Test
    void withAnInstanceIdTheAddressIsNotTakenFromTheMetadataOfAnotherInstance() {
        String api = moto.targetGroup(TargetTypeEnum.IP);

        Run run = elbPresence("--register-only", "--target-group", api, "--instance-id", "i-0123")
                .run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err()).contains("tg/" + api + ": error: ").contains("--private-ip");
        assertThat(moto.targets(api)).isEmpty();
    }

    @Test
    void theInstanceIdOptionOverridesTheMetadataService() {
        String web = moto.classic();
        String other = moto.instance().instanceId();
        metadata.is(MetadataServer.Mood.BROKEN);

        assertThat(elbPresence("--register-only", "--elb", web, "--instance-id", other)
                        .run()
                        .exit())
                .isZero();

        assertThat(moto.members(web)).containsExactly(other);
    }

    @Test
    void theRegionComesFromTheMetadataServiceWhenNothingElseSaysIt() {
        String web = moto.classic();

        assertThat(elbPresence("--register-only", "--elb", web)
                        .env("AWS_REGION", null)
                        .run()
                        .exit())
                .isZero();

        assertThat(moto.members(web)).containsExactly(id);
    }

    // --- one half, status, dry run

    @Test
    void registerOnlyAndDeregisterOnlyDoOneHalfAndMayBeRepeated() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        String[] both = {"--elb", web, "--target-group", api};

        for (int i = 0; i < 2; i++) {
            assertThat(elbPresence(both).args("--register-only").run().exit()).isZero();
            assertThat(moto.members(web)).containsExactly(id);
            assertThat(moto.targets(api)).hasSize(1);
        }
        assertThat(aws.calls("RegisterInstancesWithLoadBalancer"))
                .as("looks first")
                .isOne();
        assertThat(aws.calls("RegisterTargets")).as("looks first").isOne();
        for (int i = 0; i < 2; i++) {
            assertThat(elbPresence(both).args("--deregister-only").run().exit()).isZero();
            assertThat(moto.members(web)).isEmpty();
            assertThat(moto.targets(api)).isEmpty();
        }
    }

    @Test
    void statusPrintsATableOfTargetsAndHealth() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        elbPresence("--register-only", "--elb", web).run();

        Run run = elbPresence("--status", "--elb", web, "--target-group", api + ":81")
                .run();

        assertThat(run.exit()).isZero();
        assertThat(run.out().lines().map(line -> line.split(" {2,}")))
                .containsExactly(
                        new String[] {"TARGET", "MEMBER", "STATE", "AWS SAYS"},
                        new String[] {"elb/" + web, id, "in service", "InService"},
                        new String[] {
                            "tg/" + api + ":81",
                            id + ":81",
                            "absent",
                            "unused Target.NotRegistered: Target is not registered to the target group"
                        });
        assertThat(aws.calls("Register[A-Za-z]+"))
                .as("by the registering alone")
                .isOne();
    }

    @Test
    void dryRunSaysWhatWouldBeDoneAndChangesNothing() {
        String web = moto.classic();

        Run register = elbPresence("--dry-run", "--elb", web, "--", "touch", "/proc/nothing")
                .run();
        assertThat(register.exit()).isZero();
        assertThat(register.out())
                .isEqualTo("elb/" + web + ": would register " + id + ", now absent\n"
                        + "would run: touch /proc/nothing\n");
        assertThat(moto.members(web)).isEmpty();

        elbPresence("--register-only", "--elb", web).run();
        Run deregister =
                elbPresence("--dry-run", "--deregister-only", "--elb", web).run();
        assertThat(deregister.out()).isEqualTo("elb/" + web + ": would deregister " + id + ", now in service\n");
        assertThat(moto.members(web)).containsExactly(id);
    }

    // --- draining

    @Test
    void theDrainOfAClassicLoadBalancerEndsWithOutOfService() {
        String web = moto.classic();
        Run run = started("--elb", web, "--drain-timeout", "30s").says("ready");
        // While it is drained the real service goes on saying InService.
        aws.answer("DescribeInstanceHealth", 2, instanceHealth(id, "InService", "N/A", LEAVING))
                .answer("DescribeInstanceHealth", ALWAYS, instanceHealth(id, "OutOfService", "Instance", GONE));
        int before = aws.calls("DescribeInstanceHealth");

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(aws.calls("DescribeInstanceHealth") - before).isEqualTo(3);
        assertThat(run.err()).containsSubsequence(": deregistered", ": drained");
    }

    @ParameterizedTest
    @CsvSource({"unused,Target.NotRegistered", "absent,"})
    void theDrainOfATargetGroupEndsWithUnusedOrAbsent(String last, String reason) {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        Run run = started("--target-group", api, "--drain-timeout", "30s").says("ready");
        aws.answer("DescribeTargetHealth", 1, targetHealth(id, 8080, "unhealthy.draining", "", ""))
                .answer(
                        "DescribeTargetHealth",
                        1,
                        targetHealth(id, 8080, "draining", "Target.DeregistrationInProgress", "in progress"));
        if (last.equals("absent")) {
            aws.answer(
                    "DescribeTargetHealth",
                    ALWAYS,
                    targetHealth(id, 8080, "", "", "").replaceAll("(?s)<member>.*</member>", ""));
        } else {
            aws.answer("DescribeTargetHealth", ALWAYS, targetHealth(id, 8080, last, reason, ""));
        }
        int before = aws.calls("DescribeTargetHealth");

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(aws.calls("DescribeTargetHealth") - before).isEqualTo(3);
    }

    @Test
    void aDrainThatDoesNotEndIs75() {
        String web = moto.classic();
        Run run = started("--elb", web, "--drain-timeout", "1s").says("ready");
        aws.answer("DescribeInstanceHealth", ALWAYS, instanceHealth(id, "InService", "N/A", LEAVING));

        assertThat(run.signal("TERM").exit()).isEqualTo(75);

        assertThat(run.err())
                .contains("elb/" + web + ": error: not drained in 1s")
                .contains(LEAVING);
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void aNodeThatIsStillBeingDrainedIsRegisteredAgain() {
        String web = moto.classic();
        aws.answer("DescribeInstanceHealth", 1, instanceHealth(id, "InService", "N/A", LEAVING));

        started("--elb", web).says("ready");

        assertThat(moto.members(web)).containsExactly(id);
    }

    // --- a command

    @Test
    void runsTheCommandInBetweenAndExitsWithItsCode() throws Exception {
        String web = moto.classic();
        var go = folder.resolve("go");
        String script = "echo to-stdout; cat; while [ ! -e " + go + " ]; do sleep 0.05; done; exit 7";
        Run run = closedAfterwards(
                elbPresence("--elb", web, "--", "sh", "-c", script).start(folder, "from-stdin\n"));
        run.says("ready");
        assertThat(moto.members(web)).containsExactly(id);

        Files.createFile(go);

        assertThat(run.exit()).isEqualTo(7);
        assertThat(run.out()).isEqualTo("to-stdout\nfrom-stdin\n");
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void aCommandThatDiesOfASignalTakesTheInstanceOutAndIs128PlusN() {
        String web = moto.classic();

        Run run = elbPresence("--elb", web, "--", "sh", "-c", "sleep 1; kill -KILL $$")
                .run();

        assertThat(run.exit()).isEqualTo(137);
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void signalsReachTheCommandAndTermComesWhenTheInstanceHasLeft() {
        String web = moto.classic();
        String script = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit 3' TERM;"
                + " echo up >&2; while :; do sleep 0.05; done";
        Run run = started("--elb", web, "--", "sh", "-c", script).says("up").says("ready");

        run.signal("USR1");
        await().until(() -> run.out().contains("usr1"));
        run.signal("HUP");
        await().until(() -> run.out().contains("hup"));
        assertThat(moto.members(web)).as("neither is a reason to leave").containsExactly(id);
        aws.delay("DeregisterInstancesFromLoadBalancer", 1, Duration.ofSeconds(2));
        run.signal("TERM");
        run.says("stopping");
        assertThat(run.out()).doesNotContain("term");

        assertThat(run.exit()).isEqualTo(3);
        assertThat(run.out()).isEqualTo("usr1\nhup\nterm\n");
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void aCommandThatCannotBeStartedIs127Or126AndNothingIsRegistered() throws Exception {
        String web = moto.classic();
        var plain = Files.writeString(folder.resolve("plain"), "text");

        Run absent = elbPresence("--elb", web, "--", "/no/such/command").run();
        Run notExecutable = elbPresence("--elb", web, "--", plain.toString()).run();

        assertThat(absent.exit()).isEqualTo(127);
        assertThat(absent.err()).contains("cannot start '/no/such/command': no such command");
        assertThat(notExecutable.exit()).isEqualTo(126);
        assertThat(notExecutable.err()).contains("cannot start '" + plain + "': not executable");
        assertThat(aws.calls(AwsProxy.ANY)).isZero();
    }

    @Test
    void inATerminalAKeystrokeIsNotSentToTheCommandTwice() throws Exception {
        String web = moto.classic();
        var record = folder.resolve("record");
        String script = "trap 'echo int >> " + record + "' INT; echo up > " + record
                + "; i=0; while [ $i -lt 60 ]; do sleep 0.05; i=$((i+1)); done; exit 4";
        var code = folder.resolve("code");
        // A terminal of its own for the tool; Ctrl-C is typed when the command is up.
        String typist =
                """
                import os, pty, sys, time
                pid, fd = pty.fork()
                if pid == 0:
                    os.execvp(sys.argv[3], sys.argv[3:])
                while not (os.path.exists(sys.argv[1]) and b"ready" in os.read(fd, 65536)):
                    pass
                os.write(fd, b"\\x03")
                while True:
                    try:
                        if not os.read(fd, 65536): break
                    except OSError:
                        break
                status = os.waitpid(pid, 0)[1]
                open(sys.argv[2], "w").write(str(os.waitstatus_to_exitcode(status)))
                """;
        Run run = closedAfterwards(ToolRunner.command("python3", "-c", typist)
                .args(record.toString(), code.toString())
                .args(ToolRunner.root().resolve("jbang").toString(), "elb-presence")
                .args("--elb", web, "--", "sh", "-c", script)
                .aws(aws.url())
                .on(metadata)
                .start());

        run.exit();

        assertThat(Files.readString(code)).isEqualTo("4");
        assertThat(Files.readString(record).lines()).containsExactly("up", "int");
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void anInterruptThatIsNoKeystrokeReachesTheCommandInATerminalToo() throws Exception {
        String web = moto.classic();
        var code = folder.resolve("code");
        String killer =
                """
                import os, pty, signal, sys
                pid, fd = pty.fork()
                if pid == 0:
                    os.execvp(sys.argv[2], sys.argv[2:])
                while b"ready" not in os.read(fd, 65536):
                    pass
                os.kill(pid, signal.SIGINT)
                while True:
                    try:
                        if not os.read(fd, 65536): break
                    except OSError:
                        break
                open(sys.argv[1], "w").write(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                """;
        Run run = closedAfterwards(ToolRunner.command("python3", "-c", killer, code.toString())
                .args(ToolRunner.root().resolve("jbang").toString(), "elb-presence")
                .args("--elb", web, "--", "sleep", "1000")
                .aws(aws.url())
                .on(metadata)
                .start());

        run.exit();

        assertThat(Files.readString(code)).isEqualTo("143");
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void theCommandsArgumentsAreLeftAlone() throws Exception {
        var file = Files.writeString(folder.resolve("body"), "a b");

        Run run = elbPresence("--elb", moto.classic(), "--", "echo", "@" + file, "@@x", "$HOME", "--elb")
                .run();

        assertThat(run.out()).isEqualTo("@" + file + " @@x $HOME --elb\n");
    }

    @Test
    void whenTheCommandHasEndedThereIsNothingToDrain() {
        String web = moto.classic();
        Run run = started("--elb", web, "--drain-timeout", "1h", "--", "sleep", "1000")
                .says("ready");
        aws.answer("DescribeInstanceHealth", ALWAYS, instanceHealth(id, "InService", "N/A", LEAVING));

        run.handle().children().forEach(ProcessHandle::destroy);

        assertThat(run.exit()).isEqualTo(143);
        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void signalsThatAreForACommandDoNotEndItWhereThereIsNone() {
        String web = moto.classic();
        Run run = started("--elb", web).says("ready");

        run.signal("USR1").signal("USR2");

        assertThat(run.signal("TERM").exit()).isZero();
        assertThat(moto.members(web)).isEmpty();
    }

    // --- twice, again, put back

    @Test
    void isSafeToRunTwiceAndWritesNothingWhenNothingChanges() {
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        started("--elb", web, "--target-group", api).says("ready");

        started("--elb", web, "--target-group", api).says("ready");

        assertThat(aws.calls("RegisterInstancesWithLoadBalancer")).isOne();
        assertThat(aws.calls("RegisterTargets")).isOne();
    }

    @Test
    void isSafeToKillAndStartAgain() {
        String web = moto.classic();
        Run killed = started("--elb", web).says("ready");
        killed.signal("KILL").exit();
        assertThat(moto.members(web)).as("no outage by the restart").containsExactly(id);

        Run again = started("--elb", web).says("ready");
        assertThat(again.signal("TERM").exit()).isZero();

        assertThat(moto.members(web)).isEmpty();
    }

    @Test
    void reassertPutsTheInstanceBackWhenSomethingElseRemovedIt() {
        String web = moto.classic();
        Run run = started("--elb", web, "--reassert", "500ms").says("ready");

        moto.elb.deregisterInstancesFromLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(id)));

        run.says("was removed by something else, registering again");
        await().until(() -> moto.members(web).contains(id));
    }

    @Test
    void withoutReassertARemovalByOthersStands() {
        String web = moto.classic();
        Run run = started("--elb", web).says("ready");
        moto.elb.deregisterInstancesFromLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(id)));
        int before = aws.calls(AwsProxy.ANY);

        assertThat(run.signal("TERM").exit()).isZero();

        assertThat(aws.calls("RegisterInstancesWithLoadBalancer")).isOne();
        assertThat(aws.calls(AwsProxy.ANY) - before).isOne();
    }

    @Test
    void aTargetThatNothingUsesIsSaidAndNotWaitedFor() {
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        String why = "Target group is not configured to receive traffic from the load balancer";
        aws.answer("DescribeTargetHealth", ALWAYS, targetHealth(id, 8080, "unused", "Target.NotInUse", why));

        Run run = started("--target-group", api).says("ready");

        assertThat(run.err())
                .contains("tg/" + api + ": warning: registered, and will get no traffic")
                .contains(why);
    }

    // --- what a daemon shows

    @Test
    void tellsSystemdWhenItIsReadyAndStoppingAndFeedsItsWatchdog() {
        String web = moto.classic();
        try (NotifySocket systemd = new NotifySocket(folder)) {
            Run run = closedAfterwards(elbPresence("--elb", web)
                    .env("NOTIFY_SOCKET", systemd.path().toString())
                    .env("WATCHDOG_USEC", "400000")
                    .start());
            run.says("ready");
            await().until(() ->
                    systemd.said().stream().filter("WATCHDOG=1"::equals).count() >= 3);
            assertThat(systemd.said())
                    .contains("READY=1", "STATUS=present in elb/" + web)
                    .doesNotContain("STOPPING=1");

            run.signal("TERM").exit();

            await().until(() -> systemd.said().contains("STOPPING=1"));
            assertThat(run.err()).doesNotContain("WARNING");
        }
    }

    @Test
    void isNotReadyToSystemdBeforeItIsInService() {
        String web = moto.classic();
        aws.answer("DescribeInstanceHealth", 1, instanceHealth(id, "OutOfService", "Instance", GONE))
                .answer("DescribeInstanceHealth", ALWAYS, instanceHealth(id, "OutOfService", "ELB", PENDING));
        try (NotifySocket systemd = new NotifySocket(folder)) {
            Run run = closedAfterwards(elbPresence("--elb", web)
                    .env("NOTIFY_SOCKET", systemd.path().toString())
                    .start());
            run.says("state=OutOfService");
            assertThat(systemd.said()).isEmpty();

            aws.heal();

            await().until(() -> systemd.said().contains("READY=1"));
        }
    }

    @Test
    void servesMetricsHealthAndReadiness() throws Exception {
        String web = moto.classic();
        int port = Servers.freePort();
        aws.answer("DescribeInstanceHealth", 1, instanceHealth(id, "OutOfService", "Instance", GONE))
                .answer("DescribeInstanceHealth", ALWAYS, instanceHealth(id, "OutOfService", "ELB", PENDING));
        Run run = started("--elb", web, "--http", "127.0.0.1:" + port).says("state=OutOfService");
        assertThat(get(port, "/healthz").statusCode()).isEqualTo(200);
        assertThat(get(port, "/readyz").statusCode()).isEqualTo(503);
        assertThat(get(port, "/readyz").body()).isEqualTo("elb/" + web + ": OutOfService\n");

        aws.heal();
        run.says("ready");

        assertThat(get(port, "/readyz").statusCode()).isEqualTo(200);
        HttpResponse<String> metrics = get(port, "/metrics");
        assertThat(metrics.headers().firstValue("Content-Type").orElseThrow()).startsWith("text/plain; version=0.0.4");
        assertThat(metrics.body())
                .contains("rollcall_target_registered{target=\"elb/" + web + "\"} 1.0")
                .contains("rollcall_target_in_service{target=\"elb/" + web + "\"} 1.0")
                .contains("rollcall_target_last_seen_timestamp_seconds{target=\"elb/" + web + "\"}")
                .contains("rollcall_aws_calls_total{operation=\"DescribeInstanceHealth\",status=\"200\"}");
    }

    @Test
    void clientsThatSayNothingDoNotKeepOthersFromBeingAnswered() throws Exception {
        int port = Servers.freePort();
        started("--elb", moto.classic(), "--http", "127.0.0.1:" + port).says("listening");
        try (Socket a = new Socket("127.0.0.1", port);
                Socket b = new Socket("127.0.0.1", port);
                Socket c = new Socket("127.0.0.1", port)) {
            for (Socket silent : List.of(a, b, c)) {
                silent.getOutputStream().write("GET /healthz".getBytes(StandardCharsets.US_ASCII));
            }
            assertThat(get(port, "/healthz").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void anAddressThatCannotBeListenedOnIs78AndNothingIsRegistered() throws Exception {
        String web = moto.classic();
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Run run = elbPresence("--elb", web, "--http", "127.0.0.1:" + taken.getLocalPort())
                    .run();

            assertThat(run.exit()).isEqualTo(78);
            assertThat(run.err()).contains("cannot listen on --http").contains("in use");
            assertThat(moto.members(web)).isEmpty();
        }
    }

    @Test
    void jsonLogHasOneObjectALineWithTheSubject() {
        String web = moto.classic();

        Run run = elbPresence("--register-only", "--elb", web, "--log-format", "json")
                .run();

        List<JsonObject> lines = run.err()
                .lines()
                .map(line -> JsonParser.parseString(line).getAsJsonObject())
                .toList();
        assertThat(lines).hasSize(2).allSatisfy(line -> {
            assertThat(line.get("subject").getAsString()).isEqualTo("elb/" + web);
            assertThat(line.get("time").getAsString()).isNotEmpty();
            assertThat(line.get("level").getAsString()).isEqualTo("info");
        });
        assertThat(lines.get(0).get("event").getAsString()).isEqualTo("registered");
        assertThat(lines.get(0).get("member").getAsString()).isEqualTo(id);
    }

    private static HttpResponse<String> get(int port, String path) throws Exception {
        URI uri = URI.create("http://127.0.0.1:" + port + path);
        return HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
    }
}
