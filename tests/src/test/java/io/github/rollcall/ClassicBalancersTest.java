package io.github.rollcall;

import static io.github.rollcall.BalancerName.Kind.ALB;
import static io.github.rollcall.BalancerName.Kind.ELB;
import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.rollcall.MemberHealth.State;
import io.github.rollcall.harness.Moto;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Classic load balancers, many at a time, and the pace at which a region is called. */
@Tag("once")
class ClassicBalancersTest extends BalancersScene {
    private static final String DESCRIBE = "DescribeLoadBalancers";
    private static final String REGISTER = "RegisterInstancesWithLoadBalancer";
    private static final String DEREGISTER = "DeregisterInstancesFromLoadBalancer";

    private final BalancerName web = name(ELB, moto.classic());

    private static Set<Member> many(int count) {
        return members(IntStream.range(0, count).mapToObj("i-%04d"::formatted).toArray(String[]::new));
    }

    // --- reading

    @Test
    void twentyLoadBalancersAreReadByNameInOneCall() {
        Balancers elb = balancers(ELB);
        Set<BalancerName> names =
                Stream.generate(() -> name(ELB, moto.classic())).limit(20).collect(Collectors.toSet());
        BalancerName one = names.iterator().next();
        change(elb, one, members("i-1", "i-2"), none());

        Map<BalancerName, Reading> read = elb.members(names);

        assertThat(read).containsOnlyKeys(names);
        assertThat(read.get(one)).isEqualTo(Reading.of(members("i-1", "i-2"), null));
        assertThat(aws.calls(DESCRIBE)).isEqualTo(1);
    }

    @Test
    void moreAreReadByPages() {
        Balancers elb = balancers(ELB);
        Set<BalancerName> names =
                Stream.generate(() -> name(ELB, moto.classic())).limit(45).collect(Collectors.toSet());

        assertThat(elb.members(names)).containsOnlyKeys(names);

        assertThat(aws.calls(DESCRIBE)).isEqualTo(1);
    }

    @Test
    void oneThatIsMissingIsLeftOutAndTheOthersAreRead() {
        Balancers elb = balancers(ELB);
        BalancerName missing = name(ELB, "not-there");

        assertThat(elb.members(Set.of(web, missing))).containsOnlyKeys(web);
        assertThat(elb.members(Set.of(missing))).isEmpty();
    }

    @Test
    void anAnswerIsNeverPartial() {
        Balancers elb = balancers(ELB);
        aws.unavailable(DESCRIBE, 1);

        assertThatThrownBy(() -> elb.members(Set.of(web)))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.UNAVAILABLE));
    }

    @Test
    void healthIsThatOfEveryMember() {
        Balancers elb = balancers(ELB);
        String id = moto.instance().instanceId();
        change(elb, web, members(id), none());

        assertThat(elb.health(web)).singleElement().satisfies(h -> {
            assertThat(h.member().id()).isEqualTo(id);
            assertThat(h.state()).isEqualTo(State.IN_SERVICE);
        });
    }

    // --- changing

    @Test
    void newMembersAreRegisteredBeforeOldOnesAreDeregistered() {
        Balancers elb = balancers(ELB);
        change(elb, web, members("i-old"), none());
        aws.error(DEREGISTER, 1, 400, "Throttling", "Rate exceeded");

        assertThatThrownBy(() -> change(elb, web, members("i-new"), members("i-old")))
                .hasMessageContaining("throttled");

        assertThat(moto.registered(web.name())).containsExactly("i-new", "i-old");
        assertThat(change(elb, web, none(), members("i-old"))).isEmpty();
        assertThat(moto.registered(web.name())).containsExactly("i-new");
    }

    @Test
    void twoHundredMembersAreOneCall() {
        Balancers elb = balancers(ELB);

        assertThat(change(elb, web, many(200), none())).isEmpty();

        assertThat(moto.registered(web.name())).hasSize(200);
        assertThat(aws.calls(ANY)).isEqualTo(1);
    }

    @Test
    void aLoadBalancerThatIsFullIsMadeRoomInFirst() {
        Balancers elb = balancers(ELB);
        change(elb, web, many(1_000), none());
        assertThat(elb.members(Set.of(web)).get(web).members()).hasSize(1_000);
        aws.throttle(REGISTER, 1);

        assertThatThrownBy(() -> change(elb, web, members("i-new"), members("i-0000")))
                .hasMessageContaining("throttled");

        assertThat(moto.registered(web.name())).hasSize(999).doesNotContain("i-0000");
        assertThat(change(elb, web, members("i-new"), none())).isEmpty();
    }

    @Test
    void aLoadBalancerThatHasSomeRoomTakesNewMembersBeforeOldOnesLeave() {
        Balancers elb = balancers(ELB);
        change(elb, web, many(999), none());
        elb.members(Set.of(web));
        aws.throttle(DEREGISTER, 1);

        assertThatThrownBy(() -> change(elb, web, members("i-new", "i-newer"), many(999)))
                .hasMessageContaining("throttled");

        assertThat(moto.registered(web.name())).hasSize(1_000).containsAnyOf("i-new", "i-newer");
    }

    @Test
    void oneInstanceThatAwsDoesNotKnowKeepsNoOtherOut() {
        Balancers elb = balancers(ELB);
        aws.error(REGISTER + " with i-bad", ALWAYS, 400, "InvalidInstance", "Could not find EC2 instance i-bad.");

        Map<Member, Failure> refused = change(elb, web, members("i-1", "i-bad", "i-2"), none());

        assertThat(refused).containsOnlyKeys(members("i-bad"));
        assertThat(refused.values()).singleElement().satisfies(f -> assertThat(f)
                .hasMessage("not taken by AWS: Could not find EC2 instance i-bad (InvalidInstance)"));
        assertThat(moto.registered(web.name())).containsExactly("i-1", "i-2");
    }

    @Test
    void whereNothingNewIsTakenTheOldOnesStay() {
        Balancers elb = balancers(ELB);
        change(elb, web, members("i-old"), none());
        aws.error(REGISTER, 1, 400, "InvalidInstance", "Could not find EC2 instance i-bad.");

        Map<Member, Failure> refused = change(elb, web, members("i-bad"), members("i-old"));

        assertThat(refused).containsOnlyKeys(members("i-bad", "i-old"));
        assertThat(refused.get(new Member("i-old", null))).hasMessageStartingWith("kept, for nothing new");
        assertThat(moto.registered(web.name())).containsExactly("i-old");
    }

    @Test
    void anInstanceThatIsGoneIsDeregistered() {
        Balancers elb = balancers(ELB);
        change(elb, web, members("i-1", "i-gone"), none());
        aws.error(DEREGISTER, 2, 400, "InvalidInstance", "Could not find EC2 instance i-gone.");

        assertThat(change(elb, web, none(), members("i-1", "i-gone"))).isEmpty();
    }

    @Test
    void changingOneThatIsMissingFailsAsAWhole() {
        Balancers elb = balancers(ELB);
        aws.error(REGISTER, 1, 400, "LoadBalancerNotFound", "There is no ACTIVE Load Balancer named 'web'");

        assertThatThrownBy(() -> change(elb, web, members("i-1"), none()))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.CONFIG));
    }

    // --- the pace

    @Test
    void throttlingSlowsOneRegionAndNoOther() {
        AwsBalancers all = all(AT_ONCE, "--aws-retries", "3");
        Balancers here = all.of(ELB, Moto.REGION);
        Balancers there = all.of(ELB, "eu-west-1");
        aws.throttle(DESCRIBE + "@" + Moto.REGION, 3);

        assertThat(here.members(Set.of(web))).containsOnlyKeys(web);
        there.members(Set.of(new BalancerName(ELB, "eu-west-1", "web")));

        assertThat(all.rate(Moto.REGION)).isLessThan(AT_ONCE);
        assertThat(all.rate("eu-west-1")).isEqualTo(AT_ONCE);
    }

    @Test
    void callsOfARegionWaitForTheirTurnWhateverTheKind() {
        AwsBalancers all = all(4);
        BalancerName group = name(ALB, "not-there");
        long start = System.nanoTime();

        CompletableFuture<?>[] calls = IntStream.range(0, 12)
                .mapToObj(i -> CompletableFuture.runAsync(() -> {
                    BalancerName name = i % 2 == 0 ? web : group;
                    all.of(name.kind(), Moto.REGION).members(Set.of(name));
                }))
                .toArray(CompletableFuture[]::new);
        CompletableFuture.allOf(calls).join();

        // Eight at once, then four a second.
        assertThat((System.nanoTime() - start) / 1e9).isGreaterThan(0.9);
        assertThat(aws.calls(ANY)).isEqualTo(12);
    }
}
