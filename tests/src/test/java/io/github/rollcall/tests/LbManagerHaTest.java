package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.harness.ToolRunner.Run;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Several copies with {@code --ha}: one acts. */
@Tag("once")
class LbManagerHaTest extends LbManagerScene {
    private final List<Run> copies = new ArrayList<>();

    private List<Run> copies(int n) {
        for (int i = 0; i < n; i++) {
            copies.add(manager("--ha", "--ttl", "2s"));
        }
        return copies;
    }

    private static boolean leads(Run run) {
        return run.count("leader: leads who=") > run.count("leads no more");
    }

    private Run leader() {
        await("a leader").until(() -> copies.stream().anyMatch(c -> c.isAlive() && leads(c)));
        return copies.stream().filter(c -> c.isAlive() && leads(c)).findFirst().get();
    }

    @Test
    void oneOfThreeLeadsAndTheNextTakesOverWhenItIsKilled() {
        String[] ids = instances(3);
        put("multiple", ids[0]);
        copies(3);
        awaitMembers(ids[0]);
        assertThat(copies.stream().filter(LbManagerHaTest::leads)).hasSize(1);

        Run first = leader();
        first.close();
        put("multiple", ids[1]);
        awaitMembers(ids[0], ids[1]);

        Run second = leader();
        assertThat(second).isNotSameAs(first);
        assertThat(second.signal("TERM").exit()).isZero();
        put("multiple", ids[2]);
        awaitMembers(ids);
        awaitCalls(3, this::registrations);
    }

    @Test
    void aLeaderThatWasPausedForLongerThanItsLeaseDoesNotActWhenItWakes() {
        String[] ids = instances(4);
        put("single", ids[0]);
        copies(2);
        awaitMembers(ids[0]);
        Run first = leader();
        Run second = copies.stream().filter(c -> c != first).findFirst().get();

        first.signal("STOP");
        put("single", ids[1]);
        second.says("leader: leads");
        awaitMembers(ids[1]);
        int calls = registrations() + deregistrations();
        put("single", ids[2]);
        awaitMembers(ids[2]);
        await().until(() -> registrations() + deregistrations() == calls + 2);
        first.signal("CONT");
        first.says("leads no more");
        put("single", ids[3]);

        awaitMembers(ids[3]);
        await().until(this::keys, List.of("elb/us-east-1/" + web + "/single/" + ids[3])::equals);
        awaitCalls(calls + 4, () -> registrations() + deregistrations());
        assertThat(Stream.of(first, second).filter(LbManagerHaTest::leads)).containsExactly(second);
    }

    @Test
    void aPausedLeaderDoesNotFinishACallThatItHadBegun() {
        String[] ids = instances(2);
        put("single", ids[0]);
        copies(2);
        awaitMembers(ids[0]);
        Run first = leader();
        Run second = copies.stream().filter(c -> c != first).findFirst().get();
        // The first attempt fails; before the second it is paused.
        aws.delay("RegisterInstancesWithLoadBalancer", 1, java.time.Duration.ofSeconds(1));
        put("single", ids[1]);
        await().until(() -> registrations() == 2);
        first.signal("STOP");
        second.says("leader: leads");
        awaitMembers(ids[1]);
        awaitCalls(1, this::deregistrations);
        int calls = deregistrations();

        first.signal("CONT");
        first.says("leads no more");

        put("single", ids[0]);
        awaitMembers(ids[0]);
        awaitCalls(calls + 1, this::deregistrations);
    }

    @Test
    void theStandByIsWarm() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        copies(1);
        awaitMembers(ids[0]);
        Run standBy = manager("--ha", "--ttl", "2s").says("has read the keys keys=1");
        copies.add(standBy);
        put("multiple", ids[1]);
        awaitMembers(ids);

        copies.get(0).close();
        standBy.says("leader: leads");
        delete(elb(web, "multiple", ids[0]));

        awaitMembers(ids[1]);
        assertThat(standBy.count("has read the keys")).isEqualTo(1);
    }

    @Test
    void etcdMayBeStartedAgain() {
        String[] ids = instances(2);
        put("multiple", ids[0]);
        copies(2);
        awaitMembers(ids[0]);

        etcd.kill();
        etcd.startAgain();
        put("multiple", ids[1]);

        awaitMembers(ids);
    }

    @Test
    void whatWasLetGoUnderAnotherLeaderIsNotTouchedByTheNext() {
        String[] ids = instances(2);
        copies(2);
        Run first = leader();
        put("multiple", ids[0]);
        awaitMembers(ids[0]);
        delete(elb(web, "multiple", ids[0]));
        first.says("let go: empty");
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(web).instances(i -> i.instanceId(ids[1])));
        String other = moto.classic();

        first.close();
        leader();
        etcd.put(elb(other, "multiple", ids[0]), "");

        awaitMembersOf(other, ids[0]);
        assertThat(moto.members(web)).containsExactly(ids[1]);
        assertThat(etcd.all(MANAGED)).containsOnlyKeys(MANAGED + "elb/us-east-1/" + other);
    }
}
