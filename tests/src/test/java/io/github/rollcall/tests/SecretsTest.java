package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of all tools: credentials, and what may and may not be shown. */
@Tag("once")
class SecretsTest extends ElbPresenceScene {
    private static final String SECRET = "Vu3xSecretKeyOfMine";
    private static final String TOKEN = "SessionTokenOfMine";

    @ParameterizedTest
    @ValueSource(strings = {"all is well", "throttled", "garbled", "refused", "cut"})
    void nothingSecretIsEverLogged(String how) {
        String web = moto.classic();
        switch (how) {
            case "throttled" -> aws.throttle(ANY, ALWAYS);
            case "garbled" -> aws.garble(ANY, ALWAYS);
            case "refused" -> aws.refuse(ANY, ALWAYS);
            case "cut" -> aws.cut(ANY, ALWAYS);
            default -> {}
        }

        Run run = elbPresence("--register-only", "-vv", "--aws-retries", "1", "--elb", web)
                .env("AWS_SECRET_ACCESS_KEY", SECRET)
                .env("AWS_SESSION_TOKEN", TOKEN)
                .run();

        assertThat(run.out() + run.err()).doesNotContain(SECRET).doesNotContain(TOKEN);
    }

    @Test
    void aStackTraceIsShownWithVvOnly() {
        aws.garble(ANY, ALWAYS);
        ToolRunner register = elbPresence("--register-only", "--aws-retries", "0", "--elb", "web");

        assertThat(register.args("-v").run().err())
                .doesNotContain("software.amazon")
                .doesNotContain("trace");
        assertThat(register.args("-vv").run().err()).contains("trace error=").contains("software.amazon");
    }

    @Test
    void qLeavesWarningsAndErrors() {
        String web = moto.classic();

        assertThat(elbPresence("--register-only", "-q", "--elb", web).run().err())
                .isEmpty();
        assertThat(elbPresence("--register-only", "-q", "--elb", "nope").run().err())
                .startsWith("elb/nope: error: ");
    }

    @Test
    void theOriginalsVariablesAreHonouredWhenTheStandardOnesAreAbsent() {
        String web = moto.classic();
        ToolRunner register = elbPresence("--register-only", "--elb", web)
                .env("AWS_ACCESS_KEY", "AKIALEGACY")
                .env("AWS_SECRET_KEY", "legacy");

        assertThat(register.run().exit()).isZero();
        assertThat(aws.accessKeys()).containsExactly("AKIAROLLCALLTEST");
        assertThat(register.env("AWS_ACCESS_KEY_ID", null)
                        .env("AWS_SECRET_ACCESS_KEY", null)
                        .run()
                        .exit())
                .isZero();
        assertThat(aws.accessKeys()).containsExactly("AKIAROLLCALLTEST", "AKIALEGACY");
    }

    @Test
    void aProfileMayAssumeARole() throws Exception {
        String web = moto.classic();
        Path config = Files.writeString(
                folder.resolve("config"),
                """
                [profile operator]
                role_arn = arn:aws:iam::123456789012:role/operator
                source_profile = base
                [profile base]
                aws_access_key_id = AKIABASE
                aws_secret_access_key = base
                """);

        Run run = elbPresence("--register-only", "--elb", web)
                .env("AWS_ACCESS_KEY_ID", null)
                .env("AWS_SECRET_ACCESS_KEY", null)
                .env("AWS_CONFIG_FILE", config.toString())
                .env("AWS_PROFILE", "operator")
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(aws.accessKeys()).hasSize(2).contains("AKIABASE");
    }

    @Test
    void emptyVariablesOfTheOriginalsAreNoCredentials() {
        Run run = elbPresence("--register-only", "--elb", "web", "--instance-id", id)
                .env("AWS_ACCESS_KEY_ID", null)
                .env("AWS_SECRET_ACCESS_KEY", null)
                .env("AWS_ACCESS_KEY", "")
                .env("AWS_SECRET_KEY", "")
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(77);
        assertThat(run.err()).contains("no AWS credentials");
    }

    @Test
    void withoutCredentialsItSaysSo() {
        Run run = elbPresence("--register-only", "--elb", "web", "--instance-id", id)
                .env("AWS_ACCESS_KEY_ID", null)
                .env("AWS_SECRET_ACCESS_KEY", null)
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(77);
        assertThat(run.err()).contains("no AWS credentials: give the instance a role, or set AWS_ACCESS_KEY_ID");
    }

    @Test
    void anEndpointUrlOptionGoesBeforeTheVariable() {
        String web = moto.classic();

        Run run = elbPresence(
                        "--register-only",
                        "--elb",
                        web,
                        "--endpoint-url",
                        aws.url().toString())
                .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
    }
}
