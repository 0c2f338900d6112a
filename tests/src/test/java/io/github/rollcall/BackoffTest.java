package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BackoffTest {
    private final Backoff backoff = new Backoff(Duration.ofSeconds(1), Duration.ofSeconds(20));

    @ParameterizedTest
    @CsvSource({"1,1", "2,2", "3,4", "5,16", "6,20", "7,20", "1000000,20"})
    void theCeilingDoublesUpToTheCap(int failures, int seconds) {
        assertThat(backoff.delay(failures, () -> 0.999999999)).isEqualTo(Duration.ofSeconds(seconds));
    }

    @Test
    void theJitterIsFull() {
        assertThat(backoff.delay(3, () -> 0)).isZero();
        assertThat(backoff.delay(3, () -> 0.5)).isEqualTo(Duration.ofMillis(2000));
    }
}
