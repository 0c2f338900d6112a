package io.github.rollcall;

import java.time.Duration;
import java.time.Instant;

/**
 * One job's turn: a stretch of time in which it is to run once in the whole fleet. A node finds its slot by its own
 * clock, which is also the clock that its cron fires by: so all nodes name the same slot, however far apart their clocks
 * are. Immutable.
 *
 * @param job what is run
 * @param length how long a slot is
 * @param begin when it begins, by the clock of whoever asks; a multiple of the length since 1970
 */
public record Slot(String job, Duration length, Instant begin) {
    /** Timers may fire early: a start so shortly before a slot belongs to it. */
    private static final Duration EARLY = Duration.ofSeconds(1);

    /** The slot that a start belongs to. */
    public static Slot at(Instant start, String job, Duration length) {
        long millis = length.toMillis();
        long number = Math.floorDiv(start.plus(EARLY).toEpochMilli(), millis);
        return new Slot(job, length, Instant.ofEpochMilli(number * millis));
    }

    /** When a node that is not master may take it: as long after it began as {@code grace}, or after a later start. */
    public Instant openToAll(Instant start, Duration grace) {
        return (start.isAfter(begin) ? start : begin).plus(grace);
    }

    /** From when on a run that was held up must not begin any more; {@link #memory} counts on it. */
    public Instant lastCall() {
        return begin.plus(length.multipliedBy(2));
    }

    /**
     * How long the slot has to be remembered as taken. With clocks up to one length apart, the first may take it a
     * second before its begin, and the last try to, three lengths after that, at its {@link #lastCall}.
     */
    public Duration memory() {
        return length.multipliedBy(4).plusSeconds(30);
    }

    /** Where it is remembered in etcd; the keys of a job sort by time. */
    public String key() {
        return "/clustercron/" + job + "/" + begin;
    }
}
