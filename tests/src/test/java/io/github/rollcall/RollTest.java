package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Keys are written as class, member and revision: "single/i-a@3". */
@Tag("once")
class RollTest {
    @ParameterizedTest(name = "{0}")
    @CsvSource({
        "no key,                      '',                                         '',      ''",
        "multiple,                    multiple/i-a@1 multiple/i-b@2,              i-a i-b, ''",
        "single,                      single/i-a@1,                               i-a,     ''",
        "upgrade: another put,        single/i-a@1 single/i-b@2,                  i-b,     single/i-a",
        "rollback: the first again,   single/i-a@3 single/i-b@2,                  i-a,     single/i-b",
        "faster than we look,         single/i-a@1 single/i-b@2 single/i-c@3,     i-c,     single/i-a single/i-b",
        "single put last,             multiple/i-a@1 multiple/i-b@2 single/i-c@3, i-c,     multiple/i-a multiple/i-b",
        "multiple put last,           single/i-c@1 multiple/i-a@2 multiple/i-b@3, i-a i-b, single/i-c",
        "one of multiple put last,    multiple/i-a@1 single/i-c@2 multiple/i-b@3, i-a i-b, single/i-c",
        "the same member in both,     multiple/i-a@1 single/i-a@2,                i-a,     multiple/i-a",
        "one transaction,             single/i-a@5 single/i-b@5,                  i-b,     single/i-a",
    })
    void theClassWhoseKeyWasPutLastCounts(String name, String keys, String members, String stale) {
        List<Roll.Entry> entries = words(keys).map(RollTest::entry).toList();

        Roll roll = Roll.of(entries);

        assertThat(roll.members())
                .extracting(Member::id)
                .containsExactlyInAnyOrder(words(members).toArray(String[]::new));
        assertThat(roll.stale())
                .extracting(Roll.Entry::key)
                .containsExactlyInAnyOrder(words(stale).toArray(String[]::new));
        List<Roll.Entry> left =
                entries.stream().filter(e -> !roll.stale().contains(e)).toList();
        assertThat(Roll.of(left)).as("second round").isEqualTo(new Roll(roll.memberClass(), roll.members(), List.of()));
    }

    private static Roll.Entry entry(String text) {
        String[] keyAndRevision = text.split("@");
        return new Roll.Entry(
                keyAndRevision[0],
                Long.parseLong(keyAndRevision[1]),
                BalancerKey.parse("elb/us-east-1/web/" + keyAndRevision[0]));
    }

    private static Stream<String> words(String text) {
        return Stream.of(text.split(" ")).filter(word -> !word.isEmpty());
    }
}
