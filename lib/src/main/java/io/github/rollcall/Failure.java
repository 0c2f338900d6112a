package io.github.rollcall;

/**
 * Something that could not be done, in one sentence for the person who has to mend it, with the exit code that a
 * tool ends with when it gives up. The sentence never holds a secret.
 */
public final class Failure extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int exit;

    /**
     * @param exit one of {@link Exit}
     * @param sentence what failed, why, and the way out where there is one; no final dot
     */
    public Failure(int exit, String sentence) {
        this(exit, sentence, null);
    }

    /** @param cause shown only with {@code -vv} */
    public Failure(int exit, String sentence, Throwable cause) {
        super(sentence, cause);
        this.exit = exit;
    }

    /** The code, one of {@link Exit}, that a tool ends with when it gives up because of this. */
    public int exit() {
        return exit;
    }

    /** Whether trying again later may help without anybody changing anything: throttled, or out of reach. */
    public boolean isTransient() {
        return exit == Exit.UNAVAILABLE || exit == Exit.TEMPORARY;
    }
}
