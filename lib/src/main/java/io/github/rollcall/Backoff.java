package io.github.rollcall;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.DoubleSupplier;

/**
 * How long to wait before trying again: exponential with full jitter, so that a fleet that failed together does not
 * come back together. The rule is that of the AWS Architecture Blog, "Exponential Backoff And Jitter". Immutable.
 *
 * @param base the ceiling of the first wait
 * @param cap the ceiling of every wait
 */
public record Backoff(Duration base, Duration cap) {
    /** What daemons use for a service that is away: at most a second at first, at most 20 seconds ever. */
    public static final Backoff DEFAULT = new Backoff(Duration.ofSeconds(1), Duration.ofSeconds(20));

    /** The wait before the next attempt. @param failures how often it has failed in a row, from 1 */
    public Duration delay(int failures) {
        return delay(failures, ThreadLocalRandom.current()::nextDouble);
    }

    /** As {@link #delay(int)} with the dice given: {@code random} yields numbers from 0 to below 1. */
    Duration delay(int failures, DoubleSupplier random) {
        int doublings = Math.max(0, Math.min(failures - 1, 30));
        long ceiling = Math.min(cap.toMillis(), base.toMillis() << doublings);
        return Duration.ofMillis((long) (random.getAsDouble() * (ceiling + 1)));
    }

    /** Waits. @throws Failure when the thread is interrupted */
    static void sleep(Duration time) {
        try {
            Thread.sleep(time.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new Failure(Exit.TEMPORARY, "interrupted", e);
        }
    }
}
