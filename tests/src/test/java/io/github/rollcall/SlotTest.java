package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.Instant;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SlotTest {
    private static final Duration MINUTE = Duration.ofMinutes(1);

    @ParameterizedTest
    @CsvSource({
        "12:00:00,    1m,  12:00:00Z, at the boundary",
        "11:59:59,    1m,  12:00:00Z, a second early counts as the boundary",
        "11:59:58.999,1m,  11:59:00Z, more is the slot before",
        "12:00:58.999,1m,  12:00:00Z, late",
        "12:00:59,    1m,  12:01:00Z, early for the next",
        "12:34:56,    1h,  12:00:00Z, an hour",
        "23:59:59.5,  24h, 00:00:00Z, a day",
        "12:00:13,    5s,  12:00:10Z, seconds",
    })
    void theSlotIsTheClockDividedByItsLengthRoundedDown(String time, String length, String begin, String what) {
        Instant start = Instant.parse("2026-02-03T" + time + "Z");
        String day = time.startsWith("23:59:59") ? "2026-02-04T" : "2026-02-03T";

        Slot slot = Slot.at(start, "backup", Durations.parse(length));

        assertThat(slot.begin()).as(what).isEqualTo(Instant.parse(day + begin));
        assertThat(slot.key()).isEqualTo("/clustercron/backup/" + day + begin);
    }

    @Test
    void isOpenToAllAGraceAfterItsBeginOrAfterALaterStart() {
        Slot slot = new Slot("backup", MINUTE, Instant.parse("2026-02-03T12:00:00Z"));
        Duration grace = Duration.ofSeconds(20);

        assertThat(slot.openToAll(slot.begin().minusMillis(700), grace))
                .isEqualTo(slot.begin().plusSeconds(20));
        assertThat(slot.openToAll(slot.begin().plusSeconds(30), grace))
                .isEqualTo(slot.begin().plusSeconds(50));
    }

    /** A clock that is a whole length ahead takes it a second early; one that goes right tries at the last moment. */
    @Test
    void isRememberedForLongerThanAnybodyMayStillTryToTakeIt() {
        for (String length : new String[] {"2s", "1m", "1h", "24h"}) {
            Duration d = Durations.parse(length);
            Slot slot = new Slot("backup", d, Instant.EPOCH);
            Instant firstTaken = slot.begin().minus(d).minusSeconds(1);

            assertThat(firstTaken.plus(slot.memory())).as(length).isAfter(slot.lastCall());
        }
    }
}
