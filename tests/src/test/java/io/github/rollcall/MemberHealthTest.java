package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.MemberHealth.State;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What the services' words mean; the words are those of the services' documentation. */
class MemberHealthTest {
    private static final Member MEMBER = new Member("i-1", null);

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            value = {
                "InService,N/A,IN_SERVICE,true,false",
                "InService,Instance deregistration currently in progress.,DRAINING,false,false",
                "OutOfService,Instance deregistration currently in progress.,DRAINING,false,false",
                "OutOfService,Instance is not currently registered with the LoadBalancer.,ABSENT,false,true",
                "OutOfService,Instance registration is still in progress.,INITIAL,true,true",
                "OutOfService,Instance has failed at least the UnhealthyThreshold number of health checks.,OUT_OF_SERVICE,true,true",
                "Unknown,A transient error occurred. Please try again later.,UNKNOWN,false,false",
                "Unknown,N/A,ABSENT,false,true",
                "-,-,UNKNOWN,false,false",
                "Strange,N/A,UNKNOWN,false,false"
            })
    void ofClassicLoadBalancers(String word, String description, State state, boolean registered, boolean drained) {
        MemberHealth health = MemberHealth.classic(MEMBER, word, description);

        assertThat(health.state()).isEqualTo(state);
        assertThat(health.isRegistered()).isEqualTo(registered);
        assertThat(health.isDrained()).isEqualTo(drained);
    }

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            value = {
                "healthy,-,IN_SERVICE,true,false",
                "initial,Elb.RegistrationInProgress,INITIAL,true,false",
                "unhealthy,Target.FailedHealthChecks,OUT_OF_SERVICE,true,false",
                "unhealthy.draining,Target.DeregistrationInProgress,DRAINING,false,false",
                "draining,Target.DeregistrationInProgress,DRAINING,false,false",
                "unused,Target.NotRegistered,ABSENT,false,true",
                "unused,Target.NotInUse,UNUSED,true,true",
                "unused,Target.InvalidState,UNUSED,true,true",
                "unused,Target.IpUnusable,UNUSED,true,true",
                "unavailable,Target.HealthCheckDisabled,UNKNOWN,false,false",
                "-,-,UNKNOWN,false,false"
            })
    void ofTargetGroups(String word, String reason, State state, boolean registered, boolean drained) {
        MemberHealth health = MemberHealth.target(MEMBER, word, reason, null);

        assertThat(health.state()).isEqualTo(state);
        assertThat(health.isRegistered()).isEqualTo(registered);
        assertThat(health.isDrained()).isEqualTo(drained);
    }
}
