package io.github.rollcall;

/**
 * The exit codes of every tool, as sysexits(3) names them.
 *
 * <p>Where several things went wrong at once the highest code is reported: a wrong configuration stays wrong until
 * somebody mends it, so it is said before what may pass by itself.
 */
public final class Exit {
    /** Done, or stopped by a signal and cleanly gone. */
    public static final int OK = 0;
    /** Unknown option or malformed value. */
    public static final int USAGE = 64;
    /** What was read is malformed: a key, a file. */
    public static final int DATA = 65;
    /** A service cannot be reached: AWS, etcd, Docker, the metadata service. */
    public static final int UNAVAILABLE = 69;
    /** A defect of ours. */
    public static final int SOFTWARE = 70;
    /** Try again: throttled, a deadline passed, deregistration did not finish. */
    public static final int TEMPORARY = 75;
    /** Refused: credentials, IAM, etcd auth. */
    public static final int REFUSED = 77;
    /** Configuration: no such load balancer, target group, zone, group. */
    public static final int CONFIG = 78;

    private Exit() {}
}
