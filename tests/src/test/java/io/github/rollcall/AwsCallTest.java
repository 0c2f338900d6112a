package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import software.amazon.awssdk.awscore.exception.AwsErrorDetails;
import software.amazon.awssdk.awscore.exception.AwsServiceException;

/** Which of AWS's errors are which exit code. */
class AwsCallTest {
    private static Failure failure(int status, String code, String message) {
        AwsServiceException error = AwsServiceException.builder()
                .statusCode(status)
                .awsErrorDetails(AwsErrorDetails.builder()
                        .errorCode(code)
                        .errorMessage(message)
                        .build())
                .build();
        return catchThrowableOfType(
                Failure.class,
                () -> AwsCall.of(() -> {
                    throw error;
                }));
    }

    @ParameterizedTest
    @CsvSource({
        "400,Throttling,75",
        "503,RequestLimitExceeded,75",
        "400,DependencyThrottle,75",
        "400,PriorRequestNotComplete,75",
        "400,InvalidTarget,75",
        "400,InvalidInstance,75",
        "400,TooManyTargets,75",
        "400,LoadBalancerNotFound,78",
        "400,AccessPointNotFound,78",
        "400,TargetGroupNotFound,78",
        "404,NoSuchHostedZone,78",
        "400,InvalidChangeBatch,78",
        "400,ValidationError,78",
        "400,SomethingNew,78",
        "403,AccessDenied,77",
        "400,UnauthorizedOperation,77",
        "403,InvalidClientTokenId,77",
        "403,SignatureDoesNotMatch,77",
        "400,ExpiredToken,77",
        "403,SomethingNew,77",
        "500,InternalFailure,69",
        "503,ServiceUnavailable,69"
    })
    void eachErrorHasItsExitCodeAndIsNamed(int status, String code, int exit) {
        Failure failure = failure(status, code, "As AWS says.");

        assertThat(failure.exit()).isEqualTo(exit);
        assertThat(failure).hasMessageContaining("As AWS says (" + code + ")");
    }

    @Test
    void anAnswerThatIsNotAwsSaysItsStatus() {
        Failure failure = failure(404, null, null);

        assertThat(failure.exit()).isEqualTo(69);
        assertThat(failure).hasMessage("what answers is not AWS: HTTP 404");
    }
}
