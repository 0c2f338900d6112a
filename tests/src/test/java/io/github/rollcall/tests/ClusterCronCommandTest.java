package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.harness.NotifySocket;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of clustercron: the command that it runs, its output, signals and end; and the syslog. */
class ClusterCronCommandTest extends ClusterCronScene {
    private static final Duration LONG = Duration.ofSeconds(60);

    private final String web = classic();

    private Run sh(String script, String... options) {
        return closedAfterwards(shTool(script, options).start());
    }

    private ToolRunner shTool(String script, String... options) {
        return plainOn(first, options).args("elb", web, "sh", "-c", script);
    }

    private Path file(String name) {
        return folder.resolve(name);
    }

    private void awaitLine(String name) {
        await().atMost(LONG)
                .until(() -> Files.exists(file(name))
                        && !Files.readString(file(name)).isBlank());
    }

    private long pid(String name) throws IOException {
        awaitLine(name);
        return Long.parseLong(Files.readString(file(name)).strip());
    }

    private void assertEnds(long pid) {
        await("process " + pid + " ends").atMost(LONG).until(() -> ProcessHandle.of(pid)
                .isEmpty());
    }

    // --- its code and output

    @ParameterizedTest
    @CsvSource({
        "exit 0, 0",
        "exit 1, 1",
        "exit 7, 7",
        "exit 255, 255",
        "kill -KILL $$, 137",
        "kill -TERM $$, 143",
    })
    void theCommandsCodeComesBack(String script, int code) {
        assertThat(sh(script).exit()).isEqualTo(code);
    }

    @Test
    void notFoundIs127AndNotExecutableIs126AsAShellSaysIt() throws IOException {
        Path plain = Files.writeString(file("plain"), "#!/bin/sh\n");

        Run absent = plainOn(first, "elb", web, "no-such-command").run();
        Run notExecutable = plainOn(first, "elb", web, plain.toString()).run();
        Run directory = plainOn(first, "elb", web, folder.toString()).run();
        Run inSlot =
                plainOn(first, "--slot", "1m", "elb", web, "no-such-command").run();

        assertThat(absent.exit()).isEqualTo(127);
        assertThat(absent.err()).isEqualTo("clustercron: error: cannot start 'no-such-command': no such command\n");
        assertThat(notExecutable.exit()).isEqualTo(126);
        assertThat(directory.exit()).isEqualTo(126);
        assertThat(inSlot.exit()).as("without etcd the slot is asked first").isEqualTo(69);
        assertThat(plainOn(second, "elb", web, "no-such-command").run().exit()).isEqualTo(1);
    }

    @Test
    void withoutDashONothingOfTheOutputIsSeenAndWithItAllIsInOrder() {
        String script = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";

        Run silent = sh(script);
        Run loud = sh(script, "-o");

        assertThat(silent.exit()).isZero();
        assertThat(silent.out() + silent.err()).isEmpty();
        assertThat(loud.exit()).isZero();
        assertThat(loud.out().lines())
                .containsExactlyElementsOf(
                        IntStream.range(0, 2000).mapToObj(i -> "out " + i).toList());
        assertThat(loud.err().lines())
                .containsExactlyElementsOf(
                        IntStream.range(0, 2000).mapToObj(i -> "err " + i).toList());
    }

    @Test
    void theOutputStreamsWhileTheCommandRuns() {
        Run run = sh("echo now; echo now >&2; read line < " + fifo(), "-o").says("now");
        assertThat(run.isAlive()).isTrue();
        assertThat(run.out()).isEqualTo("now\n");
    }

    private String fifo() {
        ToolRunner.command("mkfifo", file("fifo").toString()).run();
        return file("fifo").toString();
    }

    @Test
    void gigabytesOfOutputThatNobodyWantsNeitherBlockItNorGrowMemory() throws IOException {
        Run run = sh("head -c 4G /dev/zero; head -c 1G /dev/zero >&2; echo $PPID >" + file("done") + "; sleep 60");

        long tool = pid("done");
        String peak = Files.readAllLines(Path.of("/proc/" + tool + "/status")).stream()
                .filter(line -> line.startsWith("VmHWM:"))
                .findFirst()
                .orElseThrow();
        assertThat(tool).isEqualTo(run.handle().pid());
        assertThat(Long.parseLong(peak.replaceAll("\\D", "")) / 1024)
                .as("MiB, of the JVM and all")
                .isLessThan(200);
    }

    @Test
    void theCommandHasTheStandardInput() {
        for (List<String> options : List.of(List.<String>of(), List.of("--on-error", "run", "--slot", "1m"))) {
            Run run = plainOn(first, "-o")
                    .args(options.toArray(new String[0]))
                    .args("elb", web, "cat")
                    .start(folder, "a line\n");
            assertThat(run.exit()).isZero();
            assertThat(run.out()).isEqualTo("a line\n");
        }
    }

    // --- signals and time

    @ParameterizedTest
    @ValueSource(strings = {"TERM", "INT", "HUP"})
    void aSignalReachesTheWholeProcessGroup(String signal) throws IOException {
        Run run = sh("sleep 300 & echo $! >" + file("grandchild") + "; echo $$ >" + file("child") + "; wait");
        long grandchild = pid("grandchild");
        long child = pid("child");

        run.signal(signal);

        assertEnds(child);
        if (!signal.equals("INT")) {
            // A shell starts background commands deaf to INT.
            assertEnds(grandchild);
        }
        assertThat(run.exit()).isIn(129, 130, 143);
        ProcessHandle.of(grandchild).ifPresent(ProcessHandle::destroyForcibly);
    }

    @Test
    void theCommandMayHandleASignalInItsOwnWay() {
        Run run = sh("trap 'echo bye; exit 5' TERM; echo ready >&2; while :; do sleep 0.1; done", "-o")
                .says("ready");

        run.signal("TERM");

        assertThat(run.exit()).isEqualTo(5);
        assertThat(run.out()).isEqualTo("bye\n");
    }

    @Test
    void aCommandThatOverrunsIsEndedByTerm() throws IOException {
        Run run = sh("sleep 300 & echo $! >" + file("grandchild") + "; wait", "--timeout", "2s");

        assertThat(run.exit()).isEqualTo(143);
        assertThat(run.err()).isEqualTo("clustercron: error: 'sh' takes longer than 2s, ending it\n");
        assertEnds(pid("grandchild"));
    }

    @Test
    void andByKillWhenItDoesNotListen() throws IOException {
        Run run = sh("trap '' TERM; sleep 300 & echo $! >" + file("grandchild") + "; wait; wait", "--timeout", "1s");

        assertThat(run.exit()).isEqualTo(137);
        assertEnds(pid("grandchild"));
    }

    @Test
    void aCommandThatIsInTimeIsLeftAlone() {
        assertThat(sh("sleep 0.2; exit 3", "--timeout", "60s").exit()).isEqualTo(3);
    }

    // --- the syslog

    /** A logger that speaks to a socket of ours; there may be no /dev/log here, and there is but one. */
    private ToolRunner withSyslogAt(Path socket, ToolRunner tool) throws IOException {
        Path bin = Files.createDirectories(file("bin"));
        Path logger = Files.writeString(
                bin.resolve("logger"), "#!/bin/sh\nexec /usr/bin/logger --socket " + socket + " \"$@\"\n");
        Files.setPosixFilePermissions(logger, PosixFilePermissions.fromString("rwxr-xr-x"));
        return tool.env("PATH", bin + ":" + System.getenv("PATH"));
    }

    @Test
    void theOriginalsCronLineLogsToTheSyslog() throws IOException {
        assumeTrue(Files.isExecutable(Path.of("/usr/bin/logger")), "logger is not on this machine");
        try (NotifySocket syslog = new NotifySocket(folder)) {
            Run run = withSyslogAt(syslog.path(), plainOn(first, "-v", "-s", "elb", web, "logger", "some text"))
                    .run();

            assertThat(run.exit()).isZero();
            assertThat(run.err()).isEmpty();
            await().atMost(LONG).until(() -> String.join("\n", syslog.said()).contains("clustercron: ended"));
            List<String> said = syslog.said();
            // user.info is 14, user.notice 13.
            assertThat(said)
                    .anyMatch(line ->
                            line.matches("<14>.* clustercron\\[\\d+]: elb/" + web + ": this instance is master .*"));
            assertThat(said).anyMatch(line -> line.matches("<13>.*: some text"));
            assertThat(said).anyMatch(line -> line.matches("<14>.*: clustercron: ended command=logger exit=0 .*"));
        }
    }

    @Test
    void anErrorGoesToTheSyslogAndToStderrWhereThereIsNone() throws IOException {
        assumeTrue(Files.isExecutable(Path.of("/usr/bin/logger")), "logger is not on this machine");
        try (NotifySocket syslog = new NotifySocket(folder)) {
            Run run = withSyslogAt(syslog.path(), plainOn(first, "-s", "elb", "no-such-thing"))
                    .run();
            assertThat(run.exit()).isEqualTo(78);
            assertThat(run.err()).isEmpty();
            await().atMost(LONG).until(() -> !syslog.said().isEmpty());
            // user.err is 11.
            assertThat(syslog.said().get(0))
                    .startsWith("<11>")
                    .contains("clustercron: error: elb/no-such-thing: not found");
        }
        Run run = withSyslogAt(file("nothing"), plainOn(first, "-s", "elb", "no-such-thing"))
                .run();
        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.err())
                .contains("syslog cannot be written to")
                .contains("clustercron: error: elb/no-such-thing: not found");
    }

    // --- where cron runs it

    @Test
    void runsFromCronsBareEnvironmentAsAnOrdinaryUser() throws IOException {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can become somebody else");
        Run run = ToolRunner.command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
                .args("env", "-i", "PATH=/usr/bin:/bin")
                .args("AWS_ENDPOINT_URL=" + aws.url(), "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
                .args("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9")
                .args(System.getProperty("java.home") + "/bin/java", "-cp", readableJars() + "/*", "ClusterCron")
                .args("--region", "us-east-1", "--instance-id", first, "-c", "-o", "elb", web, "id", "-u")
                .start(Path.of("/"), "");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("65534\n");
        // Debian's user 65534 has no home, so nothing can be kept there; that is said, and AWS is asked.
        assertThat(run.err()).startsWith("cache: error: not used: ").hasLineCount(1);
    }

    /** The class path, copied to where everybody may read it. */
    private Path readableJars() throws IOException {
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxr-xr-x"));
        Path jars = Files.createDirectory(file("jars"));
        for (Path jar : ToolRunner.classPath("ClusterCron")) {
            Files.setPosixFilePermissions(
                    Files.copy(jar, jars.resolve(jar.getFileName())), PosixFilePermissions.fromString("rw-r--r--"));
        }
        return jars;
    }

    @Test
    void runsThroughJbangWithoutHomeLocaleOrTerminal() {
        Run run = on(first, "-o", "elb", web, "sh", "-c", "echo \"$PATH $1\"", "sh", "Grüße")
                .env("HOME", null)
                .env("LANG", null)
                .env("LC_ALL", null)
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("/usr/local/bin:/usr/bin:/bin Grüße\n");
    }

    @Test
    void whatJavaCannotReadInALocaleIsNotRunGarbled() {
        Run run = ToolRunner.command("env", "-u", "LANG", "LC_ALL=C")
                .args(plainOn(first, "-o", "elb", web, "echo", "Grüße").words())
                .run();

        assertThat(run.exit()).isEqualTo(64);
        assertThat(run.err()).contains("LC_ALL=C.UTF-8").hasLineCount(1);
    }
}
