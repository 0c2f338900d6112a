package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.util.Arrays;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What is promised of all tools, as far as the command line goes. */
@Tag("once")
class CommandLineTest {
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            textBlock =
                    """
            elb-presence                                        | no load balancer: give --elb NAME or --target-group NAME
            elb-presence --no-such-option                       | Unknown option: '--no-such-option'
            elb-presence --elb a,,b                             | --elb has an empty name in it
            elb-presence --target-group api:99999               | 'api:99999' is not a target group
            elb-presence --target-group a/b                     | 'a/b' is not a target group
            elb-presence --elb a --drain-timeout 5y             | '5y' is not a duration: expected a number with ms, s, m or h
            elb-presence --elb a --drain-timeout -5s            | '-5s' is not a duration
            elb-presence --elb a --aws-retries many             | --aws-retries
            elb-presence --elb a --aws-retries -1               | --aws-retries is -1: expected 0 to 100
            elb-presence --elb a --aws-retries 2147483647       | expected 0 to 100
            elb-presence --elb a --                             | there is no command after --
            elb-presence --elb a --status --reassert 5s         | --reassert is for staying
            elb-presence --elb a --status --drain-timeout 5s    | --drain-timeout is for leaving
            elb-presence --elb a --aws-timeout 0                | --aws-timeout is 0: expected more
            elb-presence --elb a --reassert 0s                  | --reassert is 0: expected more
            elb-presence --elb a --endpoint-url nonsense        | --endpoint-url is 'nonsense': expected an http or https URL
            elb-presence --elb a --http 9102                    | --http is '9102': expected HOST:PORT
            elb-presence --elb a --http localhost:99999         | --http is 'localhost:99999': expected HOST:PORT
            elb-presence --elb a --log-format yaml              | --log-format
            elb-presence --elb a --region                       | --region
            elb-presence --elb a --status --register-only       | --register-only, --status
            elb-presence --elb a web                            | 'web' is not an option; a command to run goes after --
            elb-presence --elb a --status -- true               | run no command
            etcd-presence                                       | --container=NAME
            etcd-presence --all --container a                   | mutually exclusive
            etcd-presence --label a                             | --all
            etcd-presence --container a/b                       | --container is 'a/b': expected a container's name
            etcd-presence --container a,,b                      | --container is '': expected a container's name
            etcd-presence --all --label =x                      | --label is '=x': expected KEY or KEY=VALUE
            etcd-presence --all --root containers               | --root is 'containers': expected a key such as /containers
            etcd-presence --all --prefix a//b                   | --prefix is 'a//b': expected a name such as web or eu/web
            etcd-presence --all --host-ip everywhere            | --host-ip is 'everywhere': expected an address
            etcd-presence --all --ttl 1s                        | --ttl is out of range: expected 3s to 24h
            etcd-presence --all --interval 10ms                 | --interval is less than 1s
            etcd-presence --all --docker-host ssh://a           | --docker-host is 'ssh://a': expected unix:///PATH
            etcd-presence --all --endpoints http://a,https://b  | --endpoints has both http and https
            etcd-presence --all --user a:b                      | --user takes a name only
            lbmanager sing                                      | expected one of
            lbmanager plan web                                  | 'web' is too much: only announce takes a KEY
            lbmanager announce                                  | announce needs a KEY
            lbmanager announce elb/us-east-1/web                | KEY is 'elb/us-east-1/web': expected elb/REGION/NAME/CLASS
            lbmanager announce elb/us-east-1/web/both/i-1       | 'both' is no class: expected single or multiple
            lbmanager --policy mirror                           | --policy is 'mirror': expected sync, upsert-only or owned
            lbmanager --max-removals some                       | --max-removals: 'some' is not a limit: expected N or P%
            lbmanager --config-path lbManager                   | --config-path is 'lbManager': expected a path such as /lbManager
            lbmanager --resync 0                                | --resync is 0: expected more
            lbmanager --switch-timeout 0s                       | --switch-timeout is 0: expected more
            lbmanager --ttl 1s                                  | --ttl is 1s: expected at least 2s
            lbmanager --concurrency 0                           | --concurrency is 0: expected more
            lbmanager --aws-rate 0                              | --aws-rate is 0.0: expected more
            lbmanager --min-members -1                          | --min-members is -1: expected 0 or more
            lbmanager plan --json                               | --json is for status
            lbmanager --wait                                    | --wait is for announce
            lbmanager status --once                             | --once is for run
            """)
    void whatIsWrongIsNamedAndTheExitIs64(String commandLine, String named) {
        String[] words = commandLine.strip().split(" ");

        Run run = ToolRunner.installed(words[0])
                .args(Arrays.copyOfRange(words, 1, words.length))
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(64);
        assertThat(run.err())
                .startsWith(words[0] + ": error: ")
                .contains(named)
                .endsWith("; try '" + words[0] + " --help'\n")
                .hasLineCount(1);
        assertThat(run.out()).isEmpty();
    }

    @Test
    void anEmptyNameInAVariableIsNamedToo() {
        Run run = ToolRunner.installed("elb-presence").env("ELB_NAME", "a,").run();

        assertThat(run.exit()).isEqualTo(64);
        assertThat(run.err()).contains("ELB_NAME has an empty name in it");
    }

    @ParameterizedTest
    @CsvSource({
        "AWS_ENDPOINT_URL,not a url,AWS_ENDPOINT_URL is 'not a url': expected an http or https URL",
        "AWS_ENDPOINT_URL,foo,AWS_ENDPOINT_URL is 'foo'",
        "AWS_MAX_ATTEMPTS,x,check the AWS_ variables and profiles",
        "AWS_REGION,no region!,error"
    })
    void nonsenseInAVariableIsNoDefectOfOurs(String variable, String value, String named) {
        Run run = ToolRunner.installed("elb-presence")
                .args("--register-only", "--aws-retries", "0", "--elb", "web", "--instance-id", "i-1")
                .env(variable, value)
                .run();

        assertThat(run.exit()).as("%s", run).isIn(69, 78);
        assertThat(run.err()).contains(named).hasLineCount(1);
    }

    @Test
    void helpAndVersionGoToStdoutAndAre0() {
        Run help = ToolRunner.installed("elb-presence").args("--help").run();
        Run version = ToolRunner.installed("elb-presence").args("--version").run();

        assertThat(help.exit()).isZero();
        assertThat(help.out()).contains("Usage: elb-presence").contains("--target-group");
        assertThat(help.err()).isEmpty();
        assertThat(version.out()).isEqualTo("elb-presence 0.1.0\n");
    }
}
