package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TargetGroupRefTest {
    private static final String ARN =
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/api/0123456789abcdef";

    @ParameterizedTest
    @CsvSource(
            nullValues = "-",
            value = {
                "api,api,-,api",
                "api:8080,api,8080,api:8080",
                ARN + "," + ARN + ",-,api",
                ARN + ":81," + ARN + ",81,api:81"
            })
    void isANameOrAnArnWithOrWithoutAPort(String text, String nameOrArn, Integer port, String shown) {
        TargetGroup.Ref ref = TargetGroup.Ref.parse(text);

        assertThat(ref).isEqualTo(new TargetGroup.Ref(nameOrArn, port));
        assertThat(ref).hasToString(shown);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", ":80", "api:", "api:x", "api:0", "api:65536", "a b", "arn:aws:s3:::bucket", "a:1:2"})
    void anythingElseSaysWhatWasExpected(String text) {
        assertThatThrownBy(() -> TargetGroup.Ref.parse(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(
                        "'" + text + "' is not a target group: expected NAME, NAME:PORT, ARN or ARN:PORT");
    }
}
