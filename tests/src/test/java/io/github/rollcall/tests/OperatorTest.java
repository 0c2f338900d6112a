package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Member;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** The scripts of {@code examples/operator}, by themselves on the shared jar, each as an operator runs it. */
@Tag("once")
class OperatorTest {
    private static final Path SCRIPTS = ToolRunner.root().resolve("examples/operator");

    private final Moto moto = Moto.shared();

    @TempDir
    private Path folder;

    private ToolRunner script(String name, String... args) {
        return ToolRunner.tool(SCRIPTS.resolve(name).toString()).aws(moto.url()).args(args);
    }

    private void register(String web, List<String> ids) {
        new ClassicLoadBalancer(moto.elb, web).register(members(ids));
    }

    private void registerTargets(String api, List<String> ids) {
        TargetGroup.find(moto.elbv2, TargetGroup.Ref.parse(api)).register(members(ids));
    }

    private static List<Member> members(List<String> ids) {
        return ids.stream().map(id -> new Member(id, null)).toList();
    }

    private List<String> instances(int n) {
        return Stream.generate(() -> moto.instance().instanceId())
                .limit(n)
                .sorted()
                .toList();
    }

    @Test
    void whoIsMasterNamesTheFirstInServiceOfEachLoadBalancer() {
        List<String> ids = instances(3);
        String web = moto.classic();
        String empty = moto.classic();
        register(web, ids);
        moto.ec2.stopInstances(r -> r.instanceIds(ids.get(0)));

        Run run = script("who-is-master.jsh", web, empty, "missing").run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out().lines())
                .hasSize(4)
                .anyMatch(line -> line.matches("elb/" + web + " +" + ids.get(1) + " .* 2 in service"))
                .anyMatch(line -> line.matches("elb/" + empty + " +- .* 0 in service"))
                .anyMatch(line -> line.matches("elb/missing +\\? +not found: .*"));
    }

    @Test
    void drainNodeTakesAnInstanceOutOfEverythingAndLeavesTheOthers() {
        List<String> ids = instances(2);
        String web = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        register(web, ids);
        registerTargets(api, ids);

        Run run = script("drain-node.java", ids.get(0)).run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(moto.members(web)).containsExactly(ids.get(1));
        assertThat(moto.targets(api)).containsExactly(ids.get(1) + ":8080");
        assertThat(run.err())
                .contains("elb/" + web + ": deregistered", "elb/" + web + ": drained")
                .contains("tg/" + api + ": drained member=" + ids.get(0) + ":8080");
        Run again = script("drain-node.java", ids.get(0)).run();
        assertThat(again.exit()).as("%s", again).isEqualTo(78);
        assertThat(again.err()).contains(ids.get(0) + " is in no load balancer");
    }

    @Test
    void rollTargetGroupHasOneOutAtATimeWhileTheCommandRuns() throws Exception {
        List<String> ids = instances(3);
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        registerTargets(api, ids);
        Path seen = folder.resolve("seen");
        String look = "echo {} >> " + seen;

        Run run = script("roll-target-group.java", api, "sh", "-c", look).run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(Files.readAllLines(seen)).containsExactlyInAnyOrderElementsOf(ids);
        assertThat(moto.targets(api)).hasSize(3);
        assertThat(run.err()
                        .lines()
                        .filter(line -> line.startsWith("tg/"))
                        .map(line -> line.replaceAll("member=.*", "")))
                .containsExactly(
                        "tg/" + api + ": drained ",
                        "tg/" + api + ": in service ",
                        "tg/" + api + ": drained ",
                        "tg/" + api + ": in service ",
                        "tg/" + api + ": drained ",
                        "tg/" + api + ": in service ");
    }

    @Test
    void rollTargetGroupStopsAtTheFirstFailureWhichStaysOut() {
        List<String> ids = instances(2);
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        registerTargets(api, ids);

        Run run = script("roll-target-group.java", api, "no-such-command", "{}").run();

        assertThat(run.exit()).as("%s", run).isEqualTo(75);
        assertThat(moto.targets(api)).hasSize(1);
        assertThat(run.err()).contains("cannot be started").contains("stays out of " + api);
    }

    @Test
    void etcdDisagreesNamesTheLoadBalancersThatHaveOthers() {
        List<String> ids = instances(2);
        String web = moto.classic();
        String same = moto.classic();
        String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
        register(web, ids.subList(0, 1));
        register(same, ids.subList(0, 1));
        registerTargets(api, ids.subList(0, 1));
        String path = "/lbManager/elb/" + Moto.REGION + "/";
        try (EtcdServer etcd = EtcdServer.start()) {
            ToolRunner script = script("etcd-disagrees.java")
                    .env("ETCDCTL_ENDPOINTS", etcd.url().toString());
            etcd.put(path + same + "/multiple/" + ids.get(0), "");
            etcd.put("/lbManager/alb/" + Moto.REGION + "/" + api + "/multiple/" + ids.get(0), "");

            Run agree = script.run();

            assertThat(agree.exit()).as("%s", agree).isZero();
            assertThat(agree.out()).isEmpty();

            etcd.put(path + web + "/multiple/" + ids.get(1), "");

            Run differ = script.run();

            assertThat(differ.exit()).as("%s", differ).isEqualTo(1);
            assertThat(differ.out().lines())
                    .hasSize(2)
                    .last()
                    .asString()
                    .matches("elb/" + Moto.REGION + "/" + web + " +" + ids.get(1) + " +" + ids.get(0));
        }
    }

    @Test
    void etcdHostsPrintsAnAddressForEachMember() {
        try (EtcdServer etcd = EtcdServer.start()) {
            Run run = script("etcd-hosts.jsh")
                    .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                    .run();

            assertThat(run.exit()).as("%s", run).isZero();
            assertThat(run.out()).isEqualTo("127.0.0.1\n");
        }
    }

    @Test
    void aHostListThatCannotBeHadIsNoEmptyOne() {
        Run run = script("etcd-hosts.jsh")
                .env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:9")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(run.out()).isEmpty();
        assertThat(run.err())
                .contains("etcd-hosts: etcd at http://127.0.0.1:9 cannot be reached")
                .doesNotContain("\tat ");
    }
}
