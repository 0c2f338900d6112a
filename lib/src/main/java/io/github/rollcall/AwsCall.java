package io.github.rollcall;

import java.util.Set;
import java.util.function.Supplier;
import software.amazon.awssdk.awscore.exception.AwsErrorDetails;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.exception.AbortedException;
import software.amazon.awssdk.core.exception.ApiCallAttemptTimeoutException;
import software.amazon.awssdk.core.exception.ApiCallTimeoutException;
import software.amazon.awssdk.core.exception.SdkException;

/** One call to AWS, with its errors told apart as the exit codes of {@link Exit} do. */
public final class AwsCall {
    private static final Set<String> THROTTLING = Set.of("DependencyThrottle", "PriorRequestNotComplete");
    private static final Set<String> NOT_FOUND =
            Set.of("LoadBalancerNotFound", "AccessPointNotFound", "TargetGroupNotFound", "NoSuchHostedZone");
    /** Refused for the sake of single members, or of single records of a batch. */
    private static final Set<String> ABOUT_MEMBERS = Set.of(
            "InvalidInstance",
            "InvalidTarget",
            "TooManyTargets",
            "TooManyRegistrationsForTargetId",
            "InvalidChangeBatch");

    /** Members that AWS does not take now: not running yet, or too many. Somebody else may mend that meanwhile. */
    private static final Set<String> NOT_NOW =
            Set.of("InvalidInstance", "InvalidTarget", "TooManyTargets", "TooManyRegistrationsForTargetId");

    private static final Set<String> REFUSED = Set.of(
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "AuthFailure",
            "OptInRequired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "MissingAuthenticationToken",
            "IncompleteSignature",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired");

    private AwsCall() {}

    /**
     * Makes the call.
     *
     * @throws Failure with AWS's own words, its error code, and the exit code that goes with it
     */
    public static <T> T of(Supplier<T> call) {
        try {
            return call.get();
        } catch (AwsServiceException e) {
            throw said(e);
        } catch (SdkException e) {
            throw unsaid(e);
        } catch (RuntimeException e) {
            // The SDK reads variables and profiles as late as this, and has no exception of its own for nonsense there.
            throw new Failure(Exit.CONFIG, "AWS cannot be called: check the AWS_ variables and profiles: " + e, e);
        }
    }

    /** Whether it was AWS saying that there is no such load balancer or target group. */
    public static boolean isNotFound(Failure failure) {
        return NOT_FOUND.contains(code(failure));
    }

    /** Whether it was AWS refusing a call for the sake of single members in it. */
    static boolean isAboutMembers(Failure failure) {
        return ABOUT_MEMBERS.contains(code(failure));
    }

    /** Whether it was AWS saying that there is no room for more members. */
    static boolean isNoRoom(Failure failure) {
        return code(failure).equals("TooManyTargets");
    }

    /** AWS's error code of a failure that it was the cause of, such as {@code InvalidInstance}; else empty. */
    static String code(Failure failure) {
        return failure.getCause() instanceof AwsServiceException e ? code(e) : "";
    }

    static boolean isThrottling(AwsServiceException e) {
        return e.isThrottlingException() || THROTTLING.contains(code(e));
    }

    /** What is no answer of AWS's, a proxy's error page say, has no code. */
    private static String code(AwsServiceException e) {
        AwsErrorDetails details = e.awsErrorDetails();
        return details == null || details.errorCode() == null ? "" : details.errorCode();
    }

    private static String words(AwsServiceException e) {
        AwsErrorDetails details = e.awsErrorDetails();
        String message = details == null ? null : details.errorMessage();
        return (message == null ? "HTTP " + e.statusCode() : message.replaceAll("\\.$", ""))
                + (code(e).isEmpty() ? "" : " (" + code(e) + ")");
    }

    private static Failure said(AwsServiceException e) {
        String code = code(e);
        String words = words(e);
        if (code.isEmpty() && e.statusCode() != 403) {
            return new Failure(Exit.UNAVAILABLE, "what answers is not AWS: " + words, e);
        }
        if (isThrottling(e)) {
            return new Failure(Exit.TEMPORARY, "throttled by AWS: " + words, e);
        }
        if (REFUSED.contains(code)) {
            return new Failure(Exit.REFUSED, "refused by AWS: " + words + "; check the credentials and the policy", e);
        }
        if (NOT_FOUND.contains(code)) {
            return new Failure(Exit.CONFIG, "not found: " + words + "; check the name and the region", e);
        }
        if (NOT_NOW.contains(code)) {
            return new Failure(Exit.TEMPORARY, "not taken by AWS: " + words, e);
        }
        if (e.statusCode() >= 500 || e.statusCode() < 400) {
            return new Failure(Exit.UNAVAILABLE, "AWS is not in order: " + words, e);
        }
        return e.statusCode() == 403
                ? new Failure(Exit.REFUSED, "refused by AWS: " + words, e)
                : new Failure(Exit.CONFIG, "rejected by AWS: " + words, e);
    }

    private static Failure unsaid(SdkException e) {
        String words = rootMessage(e);
        if (e instanceof AbortedException) {
            return new Failure(Exit.TEMPORARY, "given up: the call was interrupted", e);
        }
        if (e instanceof ApiCallAttemptTimeoutException || e instanceof ApiCallTimeoutException) {
            return new Failure(Exit.UNAVAILABLE, "AWS did not answer within --aws-timeout", e);
        }
        if (String.valueOf(e.getMessage()).startsWith("Unable to load credentials")) {
            boolean away = e.getMessage().contains("Failed to load credentials from IMDS");
            return new Failure(
                    away ? Exit.UNAVAILABLE : Exit.REFUSED,
                    "no AWS credentials: give the instance a role, or set AWS_ACCESS_KEY_ID and"
                            + " AWS_SECRET_ACCESS_KEY, or a profile",
                    e);
        }
        return new Failure(Exit.UNAVAILABLE, "AWS cannot be reached: " + words, e);
    }

    private static String rootMessage(Throwable e) {
        Throwable root = e;
        while (root.getCause() != null) {
            root = root.getCause();
        }
        String message = root.getMessage() == null ? root.getClass().getSimpleName() : root.getMessage();
        return root instanceof java.net.UnknownHostException ? "unknown host " + message : message;
    }
}
