package io.github.rollcall;

import static io.github.rollcall.Plan.Policy.OWNED;
import static io.github.rollcall.Plan.Policy.SYNC;
import static io.github.rollcall.Plan.Policy.UPSERT_ONLY;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.rollcall.Guards.Limit;
import java.util.HashSet;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Sets are written as words: "a b". */
@Tag("once")
class PlanTest {
    private static final Guards AT_LEAST_2 = new Guards(2, null, null);

    @ParameterizedTest(name = "{0}")
    @CsvSource({
        "first round,                 a b, '',    '', a b, ''",
        "second round: one more,      a b c, a b, '', c,   ''",
        "second round: one less,      a,   a b,   '', '',  b",
        "idempotent,                  a b, a b,   '', '',  ''",
        "replaced,                    b,   a,     '', b,   a",
        "last key gone,               '',  a b,   '', '',  a b",
        "drift: somebody added,       a,   a x,   '', '',  x",
        "drift: somebody removed,     a b, a,     '', b,   ''",
        "nothing,                     '',  '',    '', '',  ''",
    })
    void syncMakesTheActualMembersTheDesiredOnes(
            String name, String desired, String actual, String owned, String register, String deregister) {
        Plan plan = Plan.of(set(desired), set(actual), set(owned), Set.of(), SYNC, Guards.NONE);

        assertThat(plan).isEqualTo(new Plan(set(register), set(deregister), Set.of(), null));
        assertThat(Plan.of(set(desired), done(plan, actual), set(owned), Set.of(), SYNC, Guards.NONE)
                        .isEmpty())
                .as("second round")
                .isTrue();
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource({
        "ours goes,                   a,   a b,   b,  '', b",
        "not the owner,               a,   a x,   '', '', ''",
        "ours goes and theirs stays,  '',  a x,   a,  '', a",
        "ours is put back,            a b, a x,   a b, b, ''",
    })
    void ownedRemovesOnlyWhatLbmanagerItselfAdded(
            String name, String desired, String actual, String owned, String register, String deregister) {
        assertThat(Plan.of(set(desired), set(actual), set(owned), Set.of(), OWNED, Guards.NONE))
                .isEqualTo(new Plan(set(register), set(deregister), Set.of(), null));
    }

    @Test
    void upsertOnlyNeverRemoves() {
        assertThat(Plan.of(set("a"), set("b c"), set("b"), Set.of(), UPSERT_ONLY, Guards.NONE))
                .isEqualTo(new Plan(set("a"), Set.of(), Set.of(), null));
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource({
        "as many are left,            a b,   a b c, '',  c,  ''",
        "too few would be left,       a,     a b,   '',  '', b",
        "none would be left,          '',    a b,   '',  '', a b",
        "the new ones count,          c d,   a b,   c d, a b, ''",
        "too few before and after,    a b,   a,     b,   '', ''",
        "what is added is added,      c,     a b,   c,   '', a b",
    })
    void minMembersHoldsBackAChangeThatLeavesFewer(
            String name, String desired, String actual, String register, String deregister, String heldBack) {
        Plan plan = Plan.of(set(desired), set(actual), Set.of(), Set.of(), SYNC, AT_LEAST_2);

        assertThat(plan.register()).isEqualTo(set(register));
        assertThat(plan.deregister()).isEqualTo(set(deregister));
        assertThat(plan.heldBack()).isEqualTo(set(heldBack));
        assertThat(plan.why() == null).isEqualTo(heldBack.isEmpty());
    }

    @ParameterizedTest
    @CsvSource({
        "1,1,10,false",
        "1,2,10,true",
        "0,1,10,true",
        "20%,2,10,false",
        "20%,3,10,true",
        "20%,1,4,true",
        "100%,4,4,false",
        "0%,1,9,true"
    })
    void maxRemovalsHoldsBackAChangeThatRemovesMore(String limit, int removals, int members, boolean held) {
        Set<Member> actual = numbered(members);
        Set<Member> desired = new HashSet<>(actual);
        desired.removeAll(numbered(removals));

        Plan plan = Plan.of(desired, actual, Set.of(), Set.of(), SYNC, new Guards(0, Limit.parse(limit), null));

        assertThat(plan.deregister().isEmpty()).isEqualTo(held);
        assertThat(plan.heldBack().size()).isEqualTo(held ? removals : 0);
        if (held) {
            assertThat(plan.why())
                    .isEqualTo(
                            "would remove " + removals + " of " + members + " at once (--max-removals " + limit + ")");
        }
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource({
        "the only new one,            b,     a,     b,   '', '', a",
        "one of the new ones,         b c,   a,     b,   c,  a,  ''",
        "another one is there,        a b,   a x,   b,   '', x,  ''",
        "nothing is to be there,      '',    a,     '',  '', a,  ''",
    })
    void whatAwsRefusesNeverLeavesALoadBalancerEmpty(
            String name,
            String desired,
            String actual,
            String refused,
            String register,
            String deregister,
            String heldBack) {
        Plan plan = Plan.of(set(desired), set(actual), Set.of(), set(refused), SYNC, Guards.NONE);

        assertThat(plan.register()).isEqualTo(set(register));
        assertThat(plan.deregister()).isEqualTo(set(deregister));
        assertThat(plan.heldBack()).isEqualTo(set(heldBack));
    }

    @Test
    void aResetHoldsBackEveryRemovalAndNoAddition() {
        Plan plan =
                Plan.of(set("a c"), set("a b"), Set.of(), Set.of(), SYNC, new Guards(0, null, "etcd is another one"));

        assertThat(plan).isEqualTo(new Plan(set("c"), Set.of(), set("b"), "etcd is another one"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "%", "101%", "-1", "1.5", "ten", "1%%"})
    void aLimitIsANumberOrAPercentage(String text) {
        assertThatThrownBy(() -> Limit.parse(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("expected N or P%");
    }

    private static Set<Member> done(Plan plan, String actual) {
        Set<Member> after = new HashSet<>(set(actual));
        after.addAll(plan.register());
        after.removeAll(plan.deregister());
        return after;
    }

    private static Set<Member> numbered(int n) {
        return Stream.iterate(1, i -> i + 1)
                .limit(n)
                .map(i -> new Member("i-" + i, null))
                .collect(Collectors.toSet());
    }

    private static Set<Member> set(String words) {
        return Stream.of(words.split(" "))
                .filter(word -> !word.isEmpty())
                .map(word -> new Member(word, null))
                .collect(Collectors.toSet());
    }
}
