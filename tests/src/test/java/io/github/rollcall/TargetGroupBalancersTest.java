package io.github.rollcall;

import static io.github.rollcall.BalancerName.Kind.ALB;
import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static io.github.rollcall.harness.AwsProxy.targetHealth;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.rollcall.MemberHealth.State;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** Target groups, many at a time. moto keeps one port a target; that several are told apart is AWS's to do. */
@Tag("once")
class TargetGroupBalancersTest extends BalancersScene {
    private static final String FIND = "DescribeTargetGroups";
    private static final String HEALTH = "DescribeTargetHealth";
    private static final String REGISTER = "RegisterTargets";
    private static final String DEREGISTER = "DeregisterTargets";

    private final BalancerName api = name(ALB, moto.targetGroup(TargetTypeEnum.IP));
    private final Balancers alb = balancers(ALB);

    private static Set<Member> many(int count) {
        return members(IntStream.range(0, count)
                .mapToObj(i -> "10.0." + i / 250 + "." + (1 + i % 250) + ":8080")
                .toArray(String[]::new));
    }

    private Reading read() {
        return alb.members(Set.of(api)).get(api);
    }

    // --- reading

    @Test
    void membersHaveTheirPortsAndTheGroupsOwnIsSaid() {
        change(alb, api, members("10.0.0.1", "10.0.0.2:9090"), none());

        assertThat(read()).isEqualTo(Reading.of(members("10.0.0.1:8080", "10.0.0.2:9090"), 8080));
    }

    @Test
    void aGroupIsFoundOnceAndAskedWithOneCallAfterThat() {
        read();
        read();
        change(alb, api, members("10.0.0.1"), none());

        assertThat(aws.calls(FIND)).isEqualTo(1);
        assertThat(aws.calls(HEALTH)).isEqualTo(2);
        assertThat(aws.calls(REGISTER)).isEqualTo(1);
    }

    @Test
    void manyGroupsAreFoundByPages() {
        Set<BalancerName> names = Stream.generate(() -> name(ALB, moto.targetGroup(TargetTypeEnum.INSTANCE)))
                .limit(30)
                .collect(Collectors.toSet());

        assertThat(alb.members(names)).containsOnlyKeys(names);

        assertThat(aws.calls(FIND)).isEqualTo(1);
        assertThat(aws.calls(HEALTH)).isEqualTo(30);
    }

    @Test
    void oneThatIsMissingIsLeftOutAndTheOthersAreRead() {
        BalancerName missing = name(ALB, "not-there");

        assertThat(alb.members(Set.of(api, missing))).containsOnlyKeys(api);
        assertThatThrownBy(() -> alb.health(missing))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.CONFIG));
    }

    @Test
    void oneThatCannotBeReadFailsAloneAndIsNoEmptyOne() {
        BalancerName other = name(ALB, moto.targetGroup(TargetTypeEnum.IP));
        aws.refuse(HEALTH + " with " + other.name() + "%2F", ALWAYS);

        Map<BalancerName, Reading> read = alb.members(Set.of(api, other));

        assertThat(read.get(api).problem()).isNull();
        assertThat(read.get(other).problem().exit()).isEqualTo(Exit.REFUSED);
    }

    @Test
    void oneOfFunctionsIsNotManaged() {
        String functions = moto.targetGroup(TargetTypeEnum.LAMBDA);

        assertThat(alb.members(Set.of(name(ALB, functions)))
                        .get(name(ALB, functions))
                        .problem())
                .hasMessageContaining("lambda");
    }

    @Test
    void aTargetThatIsBeingDrainedIsNoMember() {
        aws.answer(HEALTH, 1, targetHealth("10.0.0.1", 8080, "draining", "Target.DeregistrationInProgress", "later"));

        assertThat(read().members()).isEmpty();
    }

    @Test
    void aGroupThatWasDeletedAndMadeAgainIsFoundAgain() {
        change(alb, api, members("10.0.0.1"), none());
        String old = moto.arn(api.name());
        moto.elbv2.deleteTargetGroup(r -> r.targetGroupArn(old));
        assertThat(alb.members(Set.of(api))).isEmpty();

        moto.targetGroup(api.name(), TargetTypeEnum.IP);

        assertThat(read()).isEqualTo(Reading.of(none(), 8080));
    }

    @Test
    void aChangeOfAGroupThatWasMadeAgainMeanwhileIsMadeInTheNewOne() {
        change(alb, api, members("10.0.0.1"), none());
        String old = moto.arn(api.name());
        moto.elbv2.deleteTargetGroup(r -> r.targetGroupArn(old));
        moto.targetGroup(api.name(), TargetTypeEnum.IP);

        assertThat(change(alb, api, members("10.0.0.2"), none())).isEmpty();

        assertThat(moto.targets(api.name())).containsExactly("10.0.0.2:8080");
    }

    @Test
    void healthIsThatOfEveryTarget() {
        change(alb, api, members("10.0.0.1"), none());

        assertThat(alb.health(api)).singleElement().satisfies(h -> {
            assertThat(h.member()).isEqualTo(new Member("10.0.0.1", 8080));
            assertThat(h.state()).isEqualTo(State.IN_SERVICE);
        });
    }

    @Test
    void anAddressIsOneMemberHoweverItIsWritten() {
        aws.answer(HEALTH, 2, targetHealth("FD00:0:0:0:0:0:0:5", 8080, "healthy", "", ""));

        assertThat(read().members()).containsExactly(new Member("fd00::5", 8080));
        assertThat(alb.health(api)).extracting(MemberHealth::member).containsExactly(new Member("fd00::5", 8080));
    }

    // --- changing

    @Test
    void twoHundredTargetsAreOneCall() {
        read();

        assertThat(change(alb, api, many(450), none())).isEmpty();
        assertThat(change(alb, api, none(), many(450))).isEmpty();

        assertThat(aws.calls(REGISTER)).isEqualTo(3);
        assertThat(aws.calls(DEREGISTER)).isEqualTo(3);
        assertThat(moto.targets(api.name())).isEmpty();
    }

    @Test
    void newTargetsAreRegisteredBeforeOldOnesAreDeregistered() {
        change(alb, api, members("10.0.0.1:8080"), none());
        aws.throttle(DEREGISTER, 1);

        assertThatThrownBy(() -> change(alb, api, members("10.0.0.2:8080"), members("10.0.0.1:8080")))
                .hasMessageContaining("throttled");

        assertThat(moto.targets(api.name())).containsExactly("10.0.0.1:8080", "10.0.0.2:8080");
    }

    @Test
    void whereThereIsNoRoomOldOnesGoFirst() {
        change(alb, api, members("10.0.0.1:8080"), none());
        aws.error(REGISTER, 1, 400, "TooManyTargets", "The maximum number of targets has been reached");

        assertThat(change(alb, api, members("10.0.0.2:8080"), members("10.0.0.1:8080")))
                .isEmpty();

        assertThat(moto.targets(api.name())).containsExactly("10.0.0.2:8080");
        assertThat(aws.calls(REGISTER)).isEqualTo(3);
    }

    @Test
    void whereThereIsNoRoomAtAllItIsSaidOfThoseThatAreLeftOut() {
        aws.error(REGISTER, ALWAYS, 400, "TooManyTargets", "The maximum number of targets has been reached");

        Map<Member, Failure> refused = change(alb, api, many(8), none());

        assertThat(refused).containsOnlyKeys(many(8));
        assertThat(aws.calls(REGISTER)).isLessThan(8);
    }

    @Test
    void oneTargetThatIsRefusedKeepsNoOtherOut() {
        String said = "The following targets are not in a running state and cannot be registered: '10.0.0.9'";
        aws.error(REGISTER + " with 10\\.0\\.0\\.9", ALWAYS, 400, "InvalidTarget", said);

        Map<Member, Failure> refused =
                change(alb, api, members("10.0.0.1:8080", "10.0.0.9:8080", "10.0.0.2:8080"), none());

        assertThat(refused).containsOnlyKeys(members("10.0.0.9:8080"));
        assertThat(moto.targets(api.name())).containsExactly("10.0.0.1:8080", "10.0.0.2:8080");
    }

    @Test
    void aTargetThatIsGoneIsDeregistered() {
        change(alb, api, members("10.0.0.1:8080"), none());

        // moto refuses what AWS does not mind.
        assertThat(change(alb, api, none(), members("10.0.0.1:8080", "10.0.0.7:8080")))
                .isEmpty();

        assertThat(moto.targets(api.name())).isEmpty();
    }

    @Test
    void addressesOutsideTheVpcAreGivenTheZoneThatAwsWants() {
        String said = "The Availability Zone is required for IP address '192.168.7.1' because it is not in the VPC";
        aws.error(REGISTER + " with ^(?!.*AvailabilityZone=all).*192\\.168", ALWAYS, 400, "ValidationError", said);
        String inside = "The IP address '10.0.0.1' is within the VPC, and cannot have its Availability Zone overridden";
        aws.error(
                REGISTER + " with ^(?=.*Id=10\\.0\\.0\\.1).*member\\.2\\.AvailabilityZone=all",
                ALWAYS,
                400,
                "ValidationError",
                inside);

        assertThat(change(alb, api, members("192.168.7.1:80", "192.168.7.2:80"), none()))
                .isEmpty();
        assertThat(change(alb, api, members("192.168.7.1:80", "10.0.0.1:80"), none()))
                .isEmpty();

        assertThat(moto.targets(api.name())).containsExactly("10.0.0.1:80", "192.168.7.1:80", "192.168.7.2:80");
    }

    @Test
    void throttlingEndsTheChangeAsAWhole() {
        aws.throttle(ANY, ALWAYS);

        assertThatThrownBy(() -> change(alb, api, many(450), none()))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.TEMPORARY));
    }
}
