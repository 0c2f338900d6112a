package io.github.rollcall;

import java.time.Duration;
import java.util.function.LongSupplier;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.retries.api.AcquireInitialTokenRequest;
import software.amazon.awssdk.retries.api.AcquireInitialTokenResponse;
import software.amazon.awssdk.retries.api.RecordSuccessRequest;
import software.amazon.awssdk.retries.api.RecordSuccessResponse;
import software.amazon.awssdk.retries.api.RefreshRetryTokenRequest;
import software.amazon.awssdk.retries.api.RefreshRetryTokenResponse;
import software.amazon.awssdk.retries.api.RetryStrategy;

/**
 * How fast one region is called: so many calls a second, after a burst of two seconds' worth. When AWS throttles, half
 * as fast, at most once a second; then it grows back within 20 seconds. A call waits for its turn and is never dropped.
 *
 * <p>The SDK's own adaptive retries know no rate to begin with, and each client has one of its own, whereas AWS counts
 * by account and region. Thread-safe.
 */
public final class Pace {
    private static final double BURST_SECONDS = 2;
    private static final double RECOVERY_SECONDS = 20;
    private static final double SLOWEST = 0.5;

    private final double rate;
    private final LongSupplier nanos;
    private double allowed;
    /** Calls that may go at once; below zero, those that wait. */
    private double free;

    private long asOf;
    private long slowed;

    /** @param rate calls a second, more than 0 */
    public Pace(double rate) {
        this(rate, System::nanoTime);
    }

    /** As {@link #Pace(double)} with a clock in nanoseconds, for a test. */
    Pace(double rate, LongSupplier nanos) {
        this.rate = rate;
        this.nanos = nanos;
        allowed = rate;
        free = Math.max(1, rate * BURST_SECONDS);
        asOf = nanos.getAsLong();
        slowed = asOf - 1_000_000_000;
    }

    /** Takes the next turn. @return how long to wait for it */
    synchronized Duration next() {
        goOn();
        free--;
        return free >= 0 ? Duration.ZERO : Duration.ofNanos((long) (-free / allowed * 1e9));
    }

    /** AWS has throttled a call. */
    synchronized void throttled() {
        goOn();
        // Those that were under way together were throttled for one reason.
        if (asOf - slowed >= 1_000_000_000) {
            slowed = asOf;
            allowed = Math.max(Math.min(SLOWEST, rate), allowed / 2);
            free = Math.min(free, 0);
        }
    }

    /** Calls a second at the moment. */
    synchronized double rate() {
        goOn();
        return allowed;
    }

    private void goOn() {
        long now = nanos.getAsLong();
        double seconds = (now - asOf) / 1e9;
        asOf = now;
        free = Math.min(Math.max(1, allowed * BURST_SECONDS), free + seconds * allowed);
        allowed = Math.min(rate, allowed + seconds * rate / RECOVERY_SECONDS);
    }

    /** The same retries, each attempt in its turn. */
    RetryStrategy paced(RetryStrategy retries) {
        return new RetryStrategy() {
            @Override
            public AcquireInitialTokenResponse acquireInitialToken(AcquireInitialTokenRequest request) {
                AcquireInitialTokenResponse granted = retries.acquireInitialToken(request);
                return AcquireInitialTokenResponse.create(
                        granted.token(), granted.delay().plus(next()));
            }

            @Override
            public RefreshRetryTokenResponse refreshRetryToken(RefreshRetryTokenRequest request) {
                if (request.failure() instanceof AwsServiceException e && AwsCall.isThrottling(e)) {
                    throttled();
                }
                RefreshRetryTokenResponse granted = retries.refreshRetryToken(request);
                return RefreshRetryTokenResponse.create(
                        granted.token(), granted.delay().plus(next()));
            }

            @Override
            public RecordSuccessResponse recordSuccess(RecordSuccessRequest request) {
                return retries.recordSuccess(request);
            }

            @Override
            public int maxAttempts() {
                return retries.maxAttempts();
            }

            @Override
            public boolean useClientDefaults() {
                return false;
            }

            @Override
            public Builder<?, ?> toBuilder() {
                return retries.toBuilder();
            }
        };
    }
}
