package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.NotifySocket;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** What is promised of lbmanager, where nothing fails. */
class LbManagerTest extends LbManagerScene {
    // --- source of truth

    @Test
    void puttingAKeyRegistersAndDeletingItDeregisters() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        manager();
        awaitMembers(ids[0]);

        put("multiple", ids[1]);
        awaitMembers(ids);

        delete(elb(web, "multiple", ids[0]));
        awaitMembers(ids[1]);
    }

    @Test
    void leaseExpiriesAndDeletesOfAWholeDirectoryCount() {
        String[] ids = instances(3);
        put("multiple", ids[0], ids[1]);
        putWithLease(elb(web, "multiple", ids[2]), 10);
        manager();
        awaitMembers(ids);

        awaitMembers(ids[0], ids[1]);

        deleteAll(PATH);
        awaitMembers();
    }

    @Test
    void targetGroupsTakeInstancesAndAddressesWithAndWithoutPorts() {
        String instances = moto.targetGroup(TargetTypeEnum.INSTANCE);
        String addresses = moto.targetGroup(TargetTypeEnum.IP);
        String[] ids = instances(2);
        etcd.put(PATH + "alb/us-east-1/" + instances + "/multiple/" + ids[0], "");
        etcd.put(PATH + "alb/us-east-1/" + instances + "/multiple/" + ids[1] + ":9090", "");
        etcd.put(PATH + "alb/us-east-1/" + addresses + "/multiple/172.31.0.7", "");
        manager();

        await().until(() -> moto.targets(instances), List.of(ids[0] + ":8080", ids[1] + ":9090")::equals);
        await().until(() -> moto.targets(addresses), List.of("172.31.0.7:8080")::equals);

        delete(PATH + "alb/us-east-1/" + instances + "/multiple/" + ids[1] + ":9090");
        await().until(() -> moto.targets(instances), List.of(ids[0] + ":8080")::equals);
    }

    @Test
    void zonesGetAddressesOfBothKindsWithATtlOf60() {
        String zone = moto.route53
                .createHostedZone(r -> r.name("example.com").callerReference(Moto.name("zone")))
                .hostedZone()
                .id()
                .replace("/hostedzone/", "");
        String www = PATH + "route53/us-east-1/" + zone + "/www.example.com/multiple/";
        String elsewhere = PATH + "route53/eu-west-1/" + zone + "/www.example.com/multiple/";
        etcd.put(www + "10.0.0.5", "");
        etcd.put(elsewhere + "10.0.0.6", "");
        etcd.put(www + "fd00::5", "");
        manager();

        await().until(() -> records(zone), List.of("A 60 10.0.0.5 10.0.0.6", "AAAA 60 fd00::5")::equals);

        deleteAll(www);
        await().until(() -> records(zone), List.of("A 60 10.0.0.6")::equals);
        deleteAll(elsewhere);
        await().until(() -> records(zone), List.of()::equals);
    }

    private List<String> records(String zone) {
        return moto.route53.listResourceRecordSets(r -> r.hostedZoneId(zone)).resourceRecordSets().stream()
                .filter(set -> set.name().equals("www.example.com."))
                .map(set -> set.typeAsString() + " " + set.ttl() + " "
                        + String.join(
                                " ",
                                set.resourceRecords().stream()
                                        .map(r -> r.value())
                                        .sorted()
                                        .toList()))
                .sorted()
                .toList();
    }

    // --- operations

    @Test
    void changesThatArriveTogetherAreOneCall() {
        String[] ids = instances(10);
        put("multiple", ids[0]);
        manager();
        awaitMembers(ids[0]);

        putTogether("multiple", ids);

        awaitMembers(ids);
        awaitCalls(2, this::registrations);
    }

    @Test
    void aBurstIsFewCalls() {
        String[] ids = instances(60);
        put("multiple", ids[0]);
        manager();
        awaitMembers(ids[0]);
        aws.delay("RegisterInstancesWithLoadBalancer", AwsProxy.ALWAYS, Duration.ofSeconds(1));

        put("multiple", ids);

        awaitMembers(ids);
        assertThat(registrations()).isLessThanOrEqualTo(8);
    }

    @Test
    void aColdStartReadsTogetherAndWritesOncePerLoadBalancer() {
        String[] ids = instances(5);
        List<String> names = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            String name = moto.classic();
            names.add(name);
            for (String id : ids) {
                etcd.put(elb(name, "multiple", id), "");
            }
        }
        manager();

        names.forEach(name -> awaitMembersOf(name, ids));
        assertThat(aws.calls(AwsProxy.ANY)).isEqualTo(11);
    }

    @Test
    void aSlowLoadBalancerDelaysNoOther() {
        String other = moto.classic();
        String id = instance();
        aws.delay("RegisterInstancesWithLoadBalancer", 1, Duration.ofSeconds(4));
        put("multiple", id);
        manager();
        await().until(() -> registrations() == 1);

        etcd.put(elb(other, "multiple", id), "");

        await().atMost(3, TimeUnit.SECONDS).until(() -> moto.members(other), List.of(id)::equals);
    }

    @Test
    void aTargetGroupThatAwsDoesNotAnswerForDelaysNoOther() {
        String slow = moto.targetGroup(TargetTypeEnum.INSTANCE);
        String other = moto.targetGroup(TargetTypeEnum.INSTANCE);
        String id = instance();
        aws.delay("DescribeTargetHealth with " + slow + "%2F", AwsProxy.ALWAYS, Duration.ofSeconds(60));
        etcd.put(PATH + "alb/us-east-1/" + slow + "/multiple/" + id, "");
        Run run = manager();
        await().until(() -> aws.calls("DescribeTargetHealth with " + slow + "%2F") > 0);

        etcd.put(PATH + "alb/us-east-1/" + other + "/multiple/" + id, "");

        await().atMost(5, TimeUnit.SECONDS).until(() -> moto.targets(other), List.of(id + ":8080")::equals);
        assertThat(run.isAlive()).isTrue();
    }

    @Test
    void driftIsMended() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        manager("--resync", "1s");
        awaitMembers(ids[0]);

        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));
        awaitMembers(ids[0]);
        moto.elb.deregisterInstancesFromLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[0])));
        awaitMembers(ids[0]);
    }

    @Test
    void atRestNothingIsWritten() {
        put("multiple", instance());
        manager("--resync", "1s");
        await().until(() -> registrations() == 1);
        long revision = etcd.revision();

        await().until(() -> aws.calls("DescribeLoadBalancers") > 3);

        awaitCalls(1, () -> registrations() + deregistrations());
        assertThat(etcd.revision()).isEqualTo(revision);
    }

    // --- classes

    @Test
    void singleIsTheMemberWhoseKeyWasPutLastAndTheOthersKeysAreRemoved() {
        String[] ids = instances(2);
        put("single", ids[0]);
        manager();
        awaitMembers(ids[0]);

        put("single", ids[1]);

        awaitMembers(ids[1]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[1])::equals);
    }

    @Test
    void puttingTheFirstKeyAgainRollsBack() {
        String[] ids = instances(2);
        put("single", ids[0], ids[1]);
        manager();
        awaitMembers(ids[1]);

        put("single", ids[0]);

        awaitMembers(ids[0]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[0])::equals);
    }

    @Test
    void singleIsRightAlsoWhenPutsComeFasterThanAwsAnswers() {
        String[] ids = instances(4);
        put("single", ids[0]);
        manager();
        awaitMembers(ids[0]);
        aws.delay("RegisterInstancesWithLoadBalancer", 2, Duration.ofMillis(700));

        put("single", ids[1], ids[2], ids[3], ids[1], ids[2]);

        awaitMembers(ids[2]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[2])::equals);
    }

    @Test
    void theClassWhoseKeyWasPutLastCounts() {
        String[] ids = instances(3);
        put("multiple", ids[0], ids[1]);
        manager();
        awaitMembers(ids[0], ids[1]);

        put("single", ids[2]);
        awaitMembers(ids[2]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[2])::equals);

        put("multiple", ids[0]);
        awaitMembers(ids[0]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/multiple/" + ids[0])::equals);
    }

    @Test
    void aNewMemberThatAwsDoesNotTakeLeavesTheOldOneInPlace() {
        String[] ids = instances(2);
        put("single", ids[0]);
        Run run = manager();
        awaitMembers(ids[0]);

        aws.error("RegisterInstancesWithLoadBalancer", AwsProxy.ALWAYS, 400, "InvalidInstance", "Could not find it");
        put("single", ids[1]);
        run.says("error: not taken by AWS: Could not find it (InvalidInstance)");
        run.says("held back: AWS takes none of those that are to be there instead");
        assertThat(moto.members(web)).containsExactly(ids[0]);

        aws.heal();
        awaitMembers(ids[1]);
    }

    @Test
    void switchTimeoutKeepsTheOldMemberUntilTheNewOneIsInService() {
        String[] ids = instances(2);
        moto.ec2.stopInstances(r -> r.instanceIds(ids[1]));
        put("single", ids[0]);
        Run run = manager("--switch-timeout", "1s");
        awaitMembers(ids[0]);

        put("single", ids[1]);
        run.says(ids[1] + " is not in service after 1s (--switch-timeout): the old one stays until it is");
        assertThat(moto.members(web)).containsExactlyInAnyOrder(ids);

        moto.ec2.startInstances(r -> r.instanceIds(ids[1]));
        awaitMembers(ids[1]);
    }

    @Test
    void rollingBackDuringASwitchTakesTheNewMemberOut() {
        String[] ids = instances(2);
        moto.ec2.stopInstances(r -> r.instanceIds(ids[1]));
        put("single", ids[0]);
        manager("--switch-timeout", "1m");
        awaitMembers(ids[0]);
        put("single", ids[1]);
        awaitMembers(ids);

        put("single", ids[0]);

        awaitMembers(ids[0]);
    }

    // --- emptying

    @Test
    void removingTheLastKeyEmptiesAndOneThatNeverHadAKeyIsNeverTouched() {
        String[] ids = instances(2);
        String foreign = moto.classic();
        moto.elb.registerInstancesWithLoadBalancer(
                r -> r.loadBalancerName(foreign).instances(i -> i.instanceId(ids[0])));
        put("multiple", ids[0]);
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));
        Run run = manager("--resync", "1s");
        awaitMembers(ids[0]);

        delete(elb(web, "multiple", ids[0]));

        awaitMembers();
        run.says("elb/us-east-1/" + web + ": let go: empty");
        assertThat(moto.members(foreign)).containsExactly(ids[0]);
        assertThat(etcd.all(MANAGED)).isEmpty();
    }

    @Test
    void whoeverWasAddedSinceTheLastReadingGoesWithTheLastKey() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        manager();
        awaitMembers(ids[0]);
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));

        delete(elb(web, "multiple", ids[0]));

        awaitMembers();
    }

    @Test
    void theLastKeyCountsAlsoWhenItWentWhileLbmanagerWasAway() {
        String id = instance();
        put("multiple", id);
        Run run = manager();
        awaitMembers(id);
        run.close();

        deleteAll("/lbManager");
        manager();

        awaitMembers();
    }

    @Test
    void whatHappenedToClassesWhileLbmanagerWasAwayCounts() {
        String[] ids = instances(3);
        put("multiple", ids[0], ids[1]);
        Run run = manager();
        awaitMembers(ids[0], ids[1]);
        run.close();

        put("single", ids[2], ids[1]);
        manager();

        awaitMembers(ids[1]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[1])::equals);
    }

    // --- policies and guards

    @Test
    void upsertOnlyNeverRemoves() {
        String[] ids = instances(2);
        put("multiple", ids);
        Run run = manager("--policy", "upsert-only");
        awaitMembers(ids);

        delete(elb(web, "multiple", ids[0]));
        delete(elb(web, "multiple", ids[1]));

        run.says("let go");
        assertThat(moto.members(web)).containsExactly(ids);
        assertThat(deregistrations()).isZero();
    }

    @Test
    void ownedRemovesOnlyWhatLbmanagerItselfAddedAlsoAfterARestart() {
        String[] ids = instances(3);
        moto.elb.registerInstancesWithLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[0]), i -> i.instanceId(ids[1])));
        put("multiple", ids[1], ids[2]);
        Run run = manager("--policy", "owned");
        awaitMembers(ids);
        run.close();

        deleteAll(PATH);
        manager("--policy", "owned");

        awaitMembers(ids[0], ids[1]);
    }

    @Test
    void ownedForgetsWhomItHasRemovedAndLeavesHimWhenSomebodyElsePutsHimBack() {
        String[] ids = instances(2);
        put("multiple", ids);
        manager("--policy", "owned", "--resync", "1s");
        awaitMembers(ids);
        delete(elb(web, "multiple", ids[0]));
        awaitMembers(ids[1]);

        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[0])));

        int before = reads();
        await().until(() -> reads() > before + 2);
        awaitMembers(ids);
    }

    private int reads() {
        return aws.calls("DescribeLoadBalancers");
    }

    @Test
    void minMembersHoldsBackARemovalThatLeavesFewerAndSaysSo() {
        String[] ids = instances(3);
        put("multiple", ids);
        Run run = manager("--min-members", "2");
        awaitMembers(ids);

        delete(elb(web, "multiple", ids[0]));
        awaitMembers(ids[1], ids[2]);
        delete(elb(web, "multiple", ids[1]));
        run.says("held back: would leave 1 of at least 2 (--min-members)").says("members=" + ids[1]);
        assertThat(lbmanager("--once", "--min-members", "2").run().exit()).isEqualTo(75);

        put("multiple", ids[0]);
        awaitMembers(ids[0], ids[2]);
    }

    @Test
    void maxRemovalsHoldsBackARemovalOfMoreAtOnce() {
        String[] ids = instances(4);
        put("multiple", ids);
        Run run = manager("--max-removals", "50%");
        awaitMembers(ids);

        deleteAll(PATH);

        run.says("held back: would remove 4 of 4 at once (--max-removals 50%)");
        put("multiple", ids[0], ids[1]);
        awaitMembers(ids[0], ids[1]);
    }

    // --- what is wrong with one

    @Test
    void whatIsMissingOrMalformedDelaysNobodyElse() {
        String id = instance();
        etcd.put(elb("no-such", "multiple", id), "");
        etcd.put(PATH + "elb/us-east-1/" + web + "/both/" + id, "");
        etcd.put(PATH + "nonsense", "");
        put("multiple", id);
        Run run = manager();

        awaitMembers(id);
        run.says("elb/us-east-1/no-such: error: there is no such classic load balancer")
                .says("malformed key, ignored: 'both' is no class: expected single or multiple")
                .says(
                        "malformed key, ignored: it has no TYPE/REGION/NAME/CLASS before the member key=/lbManager/nonsense");
    }

    @Test
    void aLoadBalancerThatIsMadeLaterIsFilledThen() {
        String late = Moto.name("late");
        String id = instance();
        etcd.put(elb(late, "multiple", id), "");
        manager().says("there is no such classic load balancer");

        moto.classic(late);

        awaitMembersOf(late, id);
    }

    // --- plan, status, purge, once, dry run

    @Test
    void planPrintsWhatWouldChangeAndExits2OrElse0() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));

        Run plan = lbmanager("plan").run();
        assertThat(plan.exit()).as("%s", plan).isEqualTo(2);
        assertThat(plan.out())
                .isEqualTo("elb/us-east-1/%1$s: register %2$s\nelb/us-east-1/%1$s: deregister %3$s\n"
                        .formatted(web, ids[0], ids[1]));
        Run dryRun = lbmanager("--dry-run").run();
        assertThat(dryRun.exit()).isZero();
        assertThat(dryRun.out()).isEqualTo(plan.out());
        assertThat(registrations() + deregistrations()).isZero();
        etcd.put(PATH + "nonsense", "");
        assertThat(lbmanager("--dry-run").run().exit()).isEqualTo(65);
        delete(PATH + "nonsense");

        assertThat(lbmanager("--once").run().exit()).isZero();
        Run again = lbmanager("plan").run();
        assertThat(again.exit()).as("%s", again).isZero();
        assertThat(again.out()).isEmpty();
        assertThat(moto.members(web)).containsExactly(ids[0]);
    }

    @Test
    void onceEndsWithWhatIsWrong() {
        put("multiple", instance());
        etcd.put(elb("no-such", "multiple", "i-1"), "");

        assertThat(lbmanager("--once").run().exit()).isEqualTo(78);
        assertThat(moto.members(web)).hasSize(1);
    }

    @Test
    void statusIsATableOfDesiredActualAndHealth() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));

        Run run = lbmanager("status").run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out().lines().map(line -> line.replaceAll(" +", " ")))
                .containsExactly(
                        "LOAD BALANCER CLASS MEMBER KEY REGISTERED HEALTH",
                        "elb/us-east-1/" + web + " multiple " + ids[0] + " yes no -",
                        "elb/us-east-1/" + web + " multiple " + ids[1] + " no yes in service");
        JsonArray json = JsonParser.parseString(
                        lbmanager("status", "--json").run().out())
                .getAsJsonArray();
        JsonObject first = json.get(0).getAsJsonObject();
        assertThat(first.get("loadBalancer").getAsString()).isEqualTo("elb/us-east-1/" + web);
        assertThat(first.getAsJsonArray("members")
                        .get(1)
                        .getAsJsonObject()
                        .get("health")
                        .getAsString())
                .isEqualTo("in service");
    }

    @Test
    void purgeRemovesTheConfigurationAndNothingElse() {
        put("multiple", "i-1", "i-2");
        etcd.put("/lbManagerOfOthers", "theirs");

        assertThat(lbmanager("purge", "--dry-run").run().out()).isEqualTo("would remove 2 keys below /lbManager\n");
        assertThat(keys()).hasSize(2);
        Run purge = lbmanager("purge").run();

        assertThat(purge.exit()).isZero();
        assertThat(purge.out()).isEqualTo("removed 2 keys below /lbManager\n");
        assertThat(etcd.all("/lbManager")).containsOnlyKeys("/lbManagerOfOthers");
    }

    // --- announce

    @Test
    void announceHoldsAKeyUntilSigterm(@TempDir Path folder) {
        String id = instance();
        try (MetadataServer metadata = MetadataServer.of(id, "10.0.0.5");
                NotifySocket systemd = new NotifySocket(folder)) {
            manager();
            Run run = closedAfterwards(lbmanager("announce", "elb/us-east-1/" + web + "/multiple", "--wait")
                    .on(metadata)
                    .env("NOTIFY_SOCKET", systemd.path().toString())
                    .start());

            run.says(": ready");
            assertThat(moto.members(web)).containsExactly(id);
            await().until(() -> String.join("\n", systemd.said()).contains("READY=1"));

            assertThat(run.signal("TERM").exit()).as("%s", run).isZero();
            assertThat(run.out()).isEmpty();
            assertThat(keys()).isEmpty();
            awaitMembers();
        }
    }

    @Test
    void aDeadHostLeavesItsLoadBalancersByItself() {
        String id = instance();
        manager();
        Run run = started("announce", "elb/us-east-1/" + web + "/multiple/" + id, "--ttl", "2s")
                .says(": ready");
        awaitMembers(id);

        run.close();

        awaitMembers();
    }

    @Test
    void whoIsReplacedInClassSingleDoesNotPutItsKeyAgain() {
        String[] ids = instances(2);
        manager();
        started("announce", "elb/us-east-1/" + web + "/single/" + ids[0], "--resync", "1s")
                .says(": ready");
        awaitMembers(ids[0]);

        Run second = started("announce", "elb/us-east-1/" + web + "/single/" + ids[1], "--resync", "1s")
                .says(": ready");

        awaitMembers(ids[1]);
        await().during(Duration.ofSeconds(2)).until(() -> moto.members(web), List.of(ids[1])::equals);
        second.close();
    }

    // --- what it shows

    @Test
    void servesMetricsAndReadiness() throws Exception {
        String id = instance();
        put("multiple", id);
        int port = Servers.freePort();
        etcd.freeze();
        Run run = started("--http", "127.0.0.1:" + port).says("listening");
        assertThat(get(port, "/readyz").statusCode()).isEqualTo(503);
        assertThat(get(port, "/readyz").body()).isEqualTo("the keys are not read yet\n");

        etcd.thaw();
        run.says("lbmanager: ready");
        awaitMembers(id);

        assertThat(get(port, "/readyz").statusCode()).isEqualTo(200);
        String label = "{load_balancer=\"elb/us-east-1/" + web + "\"}";
        await().untilAsserted(
                        () -> assertThat(get(port, "/metrics").body())
                                .contains("rollcall_lb_desired_members" + label + " 1.0")
                                .contains("rollcall_lb_actual_members" + label + " 1.0")
                                .contains("rollcall_lb_held_back_changes" + label + " 0.0")
                                .contains("rollcall_lb_syncs_total" + label + " 1.0")
                                .contains("rollcall_lb_failures_total" + label + " 0.0")
                                .contains("rollcall_lb_last_success_timestamp_seconds" + label)
                                .contains("rollcall_leader 1.0")
                                .contains(
                                        "rollcall_aws_calls_total{operation=\"RegisterInstancesWithLoadBalancer\",status=\"200\"} 1.0"));
    }

    @Test
    void readinessEndsWhenEtcdHasBeenSilentForTooLong() throws Exception {
        int port = Servers.freePort();
        manager("--resync", "1s", "--http", "127.0.0.1:" + port);
        assertThat(get(port, "/readyz").statusCode()).isEqualTo(200);

        etcd.freeze();

        await().untilAsserted(() -> assertThat(get(port, "/readyz").body()).startsWith("etcd has been silent for"));
        etcd.thaw();
        await().untilAsserted(
                        () -> assertThat(get(port, "/readyz").statusCode()).isEqualTo(200));
    }
}
