package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** How fast a region of AWS is called. */
class PaceTest {
    private long now;
    private final Pace pace = new Pace(10, () -> now);

    private void after(double seconds) {
        now += (long) (seconds * 1e9);
    }

    /** How long the last of so many calls, made at once, has to wait. */
    private double waitOfTheLastOf(int calls) {
        Duration wait = Duration.ZERO;
        for (int i = 0; i < calls; i++) {
            wait = pace.next();
        }
        return wait.toNanos() / 1e9;
    }

    @Test
    void aBurstOfTwoSecondsWorthGoesAtOnce() {
        assertThat(waitOfTheLastOf(20)).isZero();
    }

    @Test
    void moreThanThatWaitInLineAndNoneIsDropped() {
        assertThat(waitOfTheLastOf(20 + 35)).isCloseTo(3.5, within(0.001));

        after(3.5);

        assertThat(waitOfTheLastOf(1)).isCloseTo(0.1, within(0.001));
    }

    @Test
    void throttlingHalvesItAtMostOnceASecond() {
        pace.throttled();
        pace.throttled();
        assertThat(pace.rate()).isEqualTo(5);
        // Nor is anything left of the burst.
        assertThat(waitOfTheLastOf(1)).isCloseTo(0.2, within(0.001));

        after(1);
        pace.throttled();
        assertThat(pace.rate()).isCloseTo(2.75, within(0.001));
    }

    @Test
    void itIsNeverStopped() {
        for (int i = 0; i < 100; i++) {
            after(1);
            pace.throttled();
        }

        assertThat(pace.rate()).isEqualTo(0.5);
    }

    @Test
    void itGrowsBackWithinTwentySeconds() {
        pace.throttled();

        after(10);

        assertThat(pace.rate()).isEqualTo(10);
    }

    @Test
    void oneThatIsSlowFromTheStartHasABurstOfOne() {
        Pace slow = new Pace(0.1, () -> now);

        assertThat(slow.next()).isZero();
        assertThat(slow.next()).isEqualTo(Duration.ofSeconds(10));
    }
}
