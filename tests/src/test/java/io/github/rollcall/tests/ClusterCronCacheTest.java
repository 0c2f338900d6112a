package io.github.rollcall.tests;

import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static io.github.rollcall.harness.AwsProxy.ANY;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.gson.JsonParser;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of clustercron: {@code -c} and clustercron.ini. */
@Tag("once")
class ClusterCronCacheTest extends ClusterCronScene {
    private final String web = classic();

    private Path usualFile() {
        return folder.resolve(".cache/rollcall/clustercron_cache.json");
    }

    private void ini(String... lines) throws IOException {
        Files.write(folder.resolve(".clustercron.ini"), List.of(lines));
    }

    private Run run(String id, String... args) {
        return plainOn(id, "-c").args(args).run();
    }

    /** Runs, and asserts that it is master, how often AWS was asked and whether something was said. */
    private void assertAsks(int calls, String said) {
        int before = aws.calls(ANY);
        Run run = run(first, "elb", web);
        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(aws.calls(ANY) - before).as("%s", run).isEqualTo(calls);
        if (said == null) {
            assertThat(run.err()).isEmpty();
        } else {
            assertThat(run.err()).startsWith("cache: error: ").contains(said).hasLineCount(1);
        }
    }

    @Test
    void runsForOneLoadBalancerAskOnceAndOthersForThemselves() throws IOException {
        String other = classic();
        String api =
                moto.targetGroup(software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum.INSTANCE);
        String arn = moto.arn(api);
        moto.elbv2.registerTargets(r -> r.targetGroupArn(arn).targets(t -> t.id(second)));

        assertAsks(1, null);
        assertAsks(0, null);
        assertThat(run(second, "elb", web).exit()).isEqualTo(1);
        assertThat(run(second, "--explain", "elb", web).out()).contains(third + "  in service");
        assertThat(aws.calls(ANY)).isEqualTo(1);
        assertThat(run(first, "elb", other).exit()).isZero();
        assertThat(aws.calls(ANY)).isEqualTo(2);
        assertThat(run(second, "alb", arn).exit()).isZero();
        assertThat(run(second, "nlb", arn).exit()).isZero();
        assertThat(aws.calls(ANY)).isEqualTo(3);
        assertThat(run(first, "--region", "eu-west-1", "elb", web).exit())
                .as("there is none there")
                .isEqualTo(78);
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(usualFile())))
                .isEqualTo("rw-------");
        assertThat(PosixFilePermissions.toString(
                        Files.getPosixFilePermissions(usualFile().getParent())))
                .isEqualTo("rwx------");
        assertThat(usualFile().getParent()).isDirectoryNotContaining("glob:**.new");
    }

    @Test
    void runsThatStartTogetherAskOnce() {
        aws.delay(ANY, ALWAYS, Duration.ofMillis(1_500));
        List<Run> runs = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            runs.add(closedAfterwards(
                    plainOn(first, "-c", "--aws-timeout", "30s", "elb", web).start()));
        }

        runs.forEach(run -> assertThat(run.exit()).as("%s", run).isZero());

        assertThat(aws.calls(ANY)).isEqualTo(1);
    }

    @Test
    void theIniFileDecidesOptionByOption() throws IOException {
        Path file = folder.resolve("elsewhere.json");
        ini("# a comment", "[other]", "expire_time = never", "[cache]", "FileName: " + file, "expire_time = 0", "");

        assertAsks(1, null);
        assertAsks(1, null);
        assertThat(file).exists();
        assertThat(usualFile()).doesNotExist();

        ini("[cache]", "filename=~/elsewhere.json", "expire_time=3600");
        assertAsks(0, null);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "expire_time = soon | expire_time = soon: expected a whole number",
                "nonsense | expected [section] or name = value",
                "filename = | no value for filename",
            })
    void anIniFileThatIsMalformedIsNamedWithTheOption(String line, String said) throws IOException {
        ini("[cache]", line);

        Run run = run(first, "elb", web);

        assertThat(run.exit()).isEqualTo(65);
        assertThat(run.err())
                .contains(folder.resolve(".clustercron.ini").toString())
                .contains(said)
                .hasLineCount(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "{", "[]", "null", "{\"ENTRY\": {\"time\": NOW, \"members\": [{}]}}", "\0\1\2"})
    void aDamagedFileIsWrittenAnew(String text) throws IOException {
        assertAsks(1, null);
        Files.writeString(
                usualFile(), text.replace("ENTRY", entry()).replace("NOW", String.valueOf(System.currentTimeMillis())));

        assertAsks(1, "is damaged");
        assertAsks(0, null);
    }

    @Test
    void anotherAccountDoesNotShareAnAnswer() {
        for (String variable : List.of("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_ROLE_ARN")) {
            int before = aws.calls(ANY);
            plainOn(first, "-c").env(variable, "other").args("elb", web).run();
            assertThat(aws.calls(ANY) - before).as(variable).isOne();
        }
    }

    @Test
    void aFileThatIsNoCacheIsLeftAlone() throws IOException {
        Path notes = Files.writeString(folder.resolve("notes.txt"), "my notes");
        Files.writeString(folder.resolve(".clustercron.ini"), "[cache]\nfilename = " + notes + "\n");

        assertAsks(1, "is no cache of clustercron");

        assertThat(notes).hasContent("my notes");
    }

    private String entry() throws IOException {
        return JsonParser.parseString(Files.readString(usualFile()))
                .getAsJsonObject()
                .keySet()
                .iterator()
                .next();
    }

    @Test
    void anAnswerFromTheFutureIsNoAnswer() throws IOException {
        assertAsks(1, null);
        String text = Files.readString(usualFile());
        Files.writeString(usualFile(), text.replaceFirst("\"time\":\\d+", "\"time\":9999999999999"));

        assertAsks(1, null);
    }

    // --- other users

    @Test
    void aSymbolicLinkIsNotFollowed() throws IOException {
        Path target = Files.writeString(folder.resolve("precious"), "untouched");
        Files.createDirectories(usualFile().getParent());
        Files.createSymbolicLink(usualFile(), target);

        assertAsks(1, "is a symbolic link");

        assertThat(target).hasContent("untouched");
        assertThat(usualFile()).isSymbolicLink();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", ".lock"})
    void aFileOfAnotherUserIsNotTrusted(String ending) throws IOException {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can give files away");
        assertAsks(1, null);
        Path file = Path.of(usualFile() + ending);
        Files.setAttribute(file, "unix:uid", 65534);

        assertAsks(1, "belongs to another user");

        assertThat(Files.getAttribute(file, "unix:uid")).isEqualTo(65534);
    }

    @Test
    void aFileThatOthersCanWriteToIsNotTrusted() throws IOException {
        assertAsks(1, null);
        Files.setPosixFilePermissions(usualFile(), PosixFilePermissions.fromString("rw-rw-rw-"));

        assertAsks(1, "can be written to by others");
    }

    @Test
    void aFolderWhereOthersCanSwapFilesIsNotTrustedAndOneWithAStickyBitIs() throws IOException {
        Path shared = Files.createDirectory(folder.resolve("shared"));
        ini("[cache]", "filename = " + shared.resolve("cache.json"));
        Files.setAttribute(shared, "unix:mode", 0777);
        assertAsks(1, "has no sticky bit");

        Files.setAttribute(shared, "unix:mode", 01777);
        assertAsks(1, null);
        assertAsks(0, null);
    }

    @Test
    void aFileThatCannotBeWrittenIsSaidToBe() throws IOException {
        ini("[cache]", "filename = /proc/nowhere/cache.json");
        assertAsks(1, "/proc/nowhere");

        Files.createDirectory(folder.resolve("folder"));
        ini("[cache]", "filename = " + folder.resolve("folder"));
        assertAsks(1, "is not a file");
    }

    @Test
    void aLockThatIsHeldForTooLongIsNotWaitedFor() throws IOException {
        ini("[cache]", "max_iter = 1");
        assertAsks(1, null);
        String hold =
                """
                import fcntl, sys, time
                f = open(sys.argv[1], "r+")
                fcntl.lockf(f, fcntl.LOCK_EX)
                print("held", file=sys.stderr, flush=True)
                time.sleep(300)
                """;
        closedAfterwards(ToolRunner.command("python3", "-c", hold, usualFile() + ".lock")
                        .start())
                .says("held");

        assertAsks(1, "is locked by another run for 1s");
    }
}
