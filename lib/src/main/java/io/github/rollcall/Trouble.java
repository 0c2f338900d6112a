package io.github.rollcall;

/** What does not work at the moment with one subject: told once when it begins, and once when it is over. Thread-safe. */
public final class Trouble {
    private final Log log;
    private Failure now;
    private int times;

    /** @param log the subject's */
    public Trouble(Log log) {
        this.log = log;
    }

    /** It failed, once more perhaps. */
    public synchronized void failed(Failure f) {
        log.trace(f);
        boolean told = now != null
                && (now.isTransient() && f.isTransient() || now.getMessage().equals(f.getMessage()));
        now = f;
        times++;
        if (told) {
            log.debug("still failing: " + f.getMessage());
        } else if (f.isTransient()) {
            log.warn(f.getMessage() + "; trying again");
        } else {
            log.error(f.getMessage());
        }
    }

    /** It worked. */
    public synchronized void over() {
        if (now != null) {
            now = null;
            times = 0;
            log.info("works again");
        }
    }

    /** What is the matter, or null. */
    public synchronized Failure now() {
        return now;
    }

    /** How often it has failed in a row. */
    public synchronized int times() {
        return times;
    }
}
