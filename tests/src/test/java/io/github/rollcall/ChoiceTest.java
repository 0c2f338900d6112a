package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.rollcall.MemberHealth.State;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ChoiceTest {
    private static MemberHealth member(String id, State state) {
        return member(id, null, state);
    }

    private static MemberHealth member(String id, Integer port, State state) {
        return new MemberHealth(new Member(id, port), state, state.words(), "");
    }

    private static Instance instance(String id) {
        return new Instance(id, "10.0.0.1", "us-east-1");
    }

    private static Choice choose(String self, MemberHealth... members) {
        return Choice.of(List.of(members), instance(self), null);
    }

    @Test
    void theFirstInAlphabeticOrderIsMasterWhateverOrderTheyComeIn() {
        List<MemberHealth> members = new ArrayList<>(List.of(
                member("i-0c", State.IN_SERVICE), member("i-0a", State.IN_SERVICE), member("i-0b", State.IN_SERVICE)));
        Collections.rotate(members, 1);

        assertThat(Choice.of(members, instance("i-0a"), null).isMaster()).isTrue();
        assertThat(Choice.of(members, instance("i-0b"), null).isMaster()).isFalse();
        assertThat(Choice.of(members, instance("i-0b"), null).couldBeMaster()).isTrue();
        assertThat(Choice.of(members, instance("i-0c"), null).master()).isEqualTo("i-0a");
    }

    @ParameterizedTest
    @EnumSource(value = State.class, mode = EnumSource.Mode.EXCLUDE, names = "IN_SERVICE")
    void onlyThoseInServiceCount(State state) {
        Choice choice = choose("i-0a", member("i-0a", state), member("i-0b", State.IN_SERVICE));

        assertThat(choice.master()).isEqualTo("i-0b");
        assertThat(choice.isMaster()).isFalse();
        assertThat(choice.couldBeMaster()).isFalse();
        assertThat(choice.candidates().get(0).why()).startsWith("no: ");
        assertThat(choice.candidates().get(1).why()).startsWith("yes: ");
    }

    @Test
    void nobodyIsMasterWhereNobodyIsInService() {
        assertThat(choose("i-0a").master()).isNull();
        Choice choice = choose("i-0a", member("i-0a", State.OUT_OF_SERVICE));
        assertThat(choice.master()).isNull();
        assertThat(choice.isMaster()).isFalse();
    }

    @Test
    void oneThatIsNoMemberIsNeitherMasterNorCouldItBe() {
        Choice choice = choose("i-0z", member("i-0a", State.IN_SERVICE));

        assertThat(choice.self()).isNull();
        assertThat(choice.isMaster()).isFalse();
        assertThat(choice.couldBeMaster()).isFalse();
    }

    @Test
    void anInstanceWithSeveralPortsIsOneCandidateAndOnePortInServiceIsEnough() {
        Choice choice = choose(
                "i-0a",
                member("i-0a", 8080, State.DRAINING),
                member("i-0b", 8080, State.IN_SERVICE),
                member("i-0a", 8081, State.IN_SERVICE));

        assertThat(choice.candidates()).extracting(Choice.Candidate::id).containsExactly("i-0a", "i-0b");
        assertThat(choice.candidates().get(0).stateWords()).isEqualTo("8080 draining, 8081 in service");
        assertThat(choice.isMaster()).isTrue();
    }

    @Test
    void theSameInstanceTwiceIsOneCandidate() {
        Choice choice = choose("i-0a", member("i-0a", State.IN_SERVICE), member("i-0a", State.IN_SERVICE));

        assertThat(choice.candidates()).hasSize(1);
        assertThat(choice.rule()).contains("1 in service");
    }

    @Test
    void targetsOfTypeIpAreComparedWithThePrivateAddress() {
        List<MemberHealth> members =
                List.of(member("10.0.0.1", 80, State.IN_SERVICE), member("10.0.0.2", 80, State.IN_SERVICE));

        assertThat(Choice.of(members, instance("i-0a"), null).isMaster()).isTrue();
        assertThatThrownBy(() -> Choice.of(members, new Instance("i-0a", null, null), null))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.CONFIG))
                .hasMessageContaining("--private-ip");
    }

    @Test
    void targetsThatAreNeitherAreSaidToBe() {
        assertThatThrownBy(() -> choose("i-0a", member("arn:aws:lambda:f", State.IN_SERVICE)))
                .isInstanceOf(Failure.class)
                .hasMessageContaining("arn:aws:lambda:f");
    }

    // --- spreading

    private static final List<MemberHealth> TEN = Collections.unmodifiableList(ten());

    private static List<MemberHealth> ten() {
        List<MemberHealth> members = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            members.add(member("i-0" + i, State.IN_SERVICE));
        }
        return members;
    }

    private static String master(List<MemberHealth> members, String job) {
        return Choice.of(members, instance("i-00"), job).master();
    }

    @Test
    void everyNodeChoosesTheSameWhateverTheOrder() {
        List<MemberHealth> shuffled = new ArrayList<>(TEN);
        Collections.shuffle(shuffled);

        for (int job = 0; job < 100; job++) {
            assertThat(master(shuffled, "job" + job)).isEqualTo(master(TEN, "job" + job));
        }
    }

    @Test
    void theHashIsTheSameInEveryVersion() {
        assertThat(List.of(master(TEN, "backup"), master(TEN, "report"), master(TEN, "Prüfung")))
                .containsExactly("i-08", "i-06", "i-00");
    }

    @Test
    void jobsSpreadOverTheNodes() {
        Map<String, Integer> jobs = new HashMap<>();
        for (int job = 0; job < 1_000; job++) {
            jobs.merge(master(TEN, "job" + job), 1, Integer::sum);
        }

        assertThat(jobs).hasSize(10).allSatisfy((id, n) -> assertThat(n).isBetween(50, 150));
    }

    @Test
    void aNodeThatGoesTakesNobodysJobsAlongButItsOwn() {
        List<MemberHealth> nine = new ArrayList<>(TEN);
        nine.set(3, member("i-03", State.DRAINING));
        Set<String> heirs = new HashSet<>();

        for (int job = 0; job < 1_000; job++) {
            String before = master(TEN, "job" + job);
            String after = master(nine, "job" + job);
            if (before.equals("i-03")) {
                heirs.add(after);
            } else {
                assertThat(after).isEqualTo(before);
            }
        }
        assertThat(heirs).hasSize(9).doesNotContain("i-03");
    }
}
