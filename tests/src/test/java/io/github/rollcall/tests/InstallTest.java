package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** What is promised of install. That installed commands do their work is what the tools' own tests show. */
class InstallTest {
    private static final boolean AHEAD_OF_TIME = Runtime.version().feature() >= 25;
    private static final String USE_OR_FAIL = AHEAD_OF_TIME ? "-XX:AOTMode=on" : "-Xshare:on";

    @TempDir
    private static Path shared;

    @TempDir
    private Path folder;

    @BeforeAll
    static void installTwo() throws IOException {
        Files.setPosixFilePermissions(shared, PosixFilePermissions.fromString("rwxr-xr-x"));
        // The commands are for all users, whatever root's umask is.
        Run run = ToolRunner.tool("install")
                .under("sh", "-c", "umask 077; exec \"$@\"", "sh")
                .args("clustercron", "elb-presence", "--to", bin(shared).toString())
                .run();
        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEmpty();
        assertThat(run.err()).doesNotContain("warning");
    }

    private static Path bin(Path folder) {
        return folder.resolve("bin");
    }

    private static Path lib(Path folder) {
        return folder.resolve("lib/rollcall");
    }

    private static Run install(String... args) {
        return ToolRunner.tool("install").args(args).run();
    }

    /** A copy of both commands, to be damaged. */
    private void copy() {
        assertThat(ToolRunner.command(
                                "sh",
                                "-c",
                                """
                                cp -a "$0"/. "$1" && sed -i "s|$0|$1|" "$1"/bin/* || exit
                                cd "$1"/lib/rollcall/tools && for tool in *-*; do
                                  name=${tool%-*}
                                  new=$name-$(printf %s "$1/bin/$name" | sha256sum | cut -c1-12)
                                  mv "$tool" "$new" && sed -i "s|$tool|$new|" "$1/bin/$name" || exit
                                done
                                """)
                        .args(shared.toString(), folder.toString())
                        .run()
                        .exit())
                .isZero();
    }

    /** Where a command has its generations. */
    private static Path generations(Path folder, String tool) {
        try (Stream<Path> all = Files.list(lib(folder).resolve("tools"))) {
            return all.filter(path -> path.getFileName().toString().matches(tool + "-[0-9a-f]{12}"))
                    .findFirst()
                    .orElseThrow();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static List<Path> files(Path folder) {
        try (Stream<Path> all = Files.walk(folder)) {
            return all.filter(Files::isRegularFile).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Path archive(Path folder, String tool) {
        return files(generations(folder, tool)).stream()
                .filter(file -> file.endsWith("archive"))
                .findFirst()
                .orElseThrow();
    }

    private static Run version(Path folder) {
        return ToolRunner.command(bin(folder).resolve("clustercron").toString(), "--version")
                .run();
    }

    private static ConditionFactory await(String what) {
        return Awaitility.await(what).atMost(Duration.ofSeconds(90)).pollInterval(Duration.ofMillis(5));
    }

    private static void assertTellsItsVersion(Run run) {
        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).matches("clustercron \\d+\\.\\d+\\.\\d+\n");
        assertThat(run.err()).isEmpty();
    }

    @Test
    void startsWithoutJbangMavenHomeOrNetwork() throws IOException {
        Path command = bin(shared).resolve("clustercron");
        Run run = ToolRunner.command("unshare", "--user", "--net", "env", "-i", command.toString(), "--version")
                .run();

        assertTellsItsVersion(run);
        String home = System.getProperty("user.home");
        assertThat(Files.readString(command))
                .doesNotContain(".m2", ".jbang", home + "/", ToolRunner.root().toString());
    }

    @Test
    void startsForAnotherUserWhoMayNotReadOurHome() {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can become somebody else");
        String command = bin(shared).resolve("clustercron").toString();

        assertTellsItsVersion(ToolRunner.command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
                .args("env", "-i", command, "--version")
                .run());
    }

    @Test
    @Tag("once")
    void connectsToNothingButItsEndpoint() throws IOException {
        assumeTrue(Files.isExecutable(Path.of("/usr/bin/strace")), "there is no strace");
        Path trace = folder.resolve("trace");
        try (Moto moto = Moto.start()) {
            String web = moto.classic();
            Run run = ToolRunner.command("strace", "-f", "-o", trace.toString(), "-e", "trace=connect,sendto,sendmsg")
                    .args(bin(shared).resolve("clustercron").toString(), "--instance-id", "i-1", "elb", web)
                    .aws(moto.url())
                    .run();

            assertThat(run.exit()).as("%s", run).isEqualTo(1);
            assertThat(Files.readAllLines(trace).stream().filter(line -> line.contains("sa_family=")))
                    .isNotEmpty()
                    // The C library looks for its cache of names, which is on this machine, too.
                    .allMatch(line -> line.contains("htons(" + moto.url().getPort() + ")") || line.contains("/nscd/"));
        }
    }

    @Test
    void theArchiveFitsTheJdkThatWillRunTheCommand() throws IOException {
        ToolRunner strict = ToolRunner.command(
                        bin(shared).resolve("clustercron").toString(), "--version")
                .env("JDK_JAVA_OPTIONS", USE_OR_FAIL);
        assertThat(strict.run().exit()).as("%s", strict.run()).isZero();

        copy();
        Files.writeString(archive(folder, "clustercron"), "nonsense");
        Run damaged = ToolRunner.command(bin(folder).resolve("clustercron").toString(), "--version")
                .env("JDK_JAVA_OPTIONS", USE_OR_FAIL)
                .run();
        assertThat(damaged.exit()).as("the check can fail: %s", damaged).isNotZero();
    }

    @Test
    void theArchiveHasTheClassesThatAreOldInFormat() throws IOException {
        Run run = talking("--version").run();

        assertThat(run.out().lines().filter(line -> line.contains(" picocli.")))
                .isNotEmpty()
                .allMatch(IN_ARCHIVE);
    }

    @Test
    void theArchiveHasWhatFindsTheEndpointsOfAws() throws IOException {
        // It gets as far as a proxy that is not there.
        Run run = talking("--aws-retries", "0", "--instance-id", "i-1", "elb", "web")
                .env("AWS_ENDPOINT_URL", null)
                .env("JDK_JAVA_OPTIONS", "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(run.out().lines().filter(line -> line.matches(".* software\\.\\S*(Endpoint|Partition)\\S* .*")))
                .isNotEmpty()
                .allMatch(IN_ARCHIVE.or(line -> line.contains("$$Lambda")));
    }

    private static final Predicate<String> IN_ARCHIVE = line -> line.contains("source: shared objects file");

    /** The installed clustercron, saying on stdout which classes it loads from where. */
    private ToolRunner talking(String... args) throws IOException {
        String launcher = Files.readString(bin(shared).resolve("clustercron"));
        Path talking = folder.resolve("clustercron");
        Files.writeString(talking, launcher.replace("-Xlog:disable", "-Xlog:class+load:stdout"));
        return ToolRunner.command("sh", talking.toString()).args(args);
    }

    enum Damage {
        MISSING,
        NONSENSE,
        EMPTY,
        CUT_SHORT
    }

    @ParameterizedTest
    @EnumSource
    void anArchiveThatIsNoneCostsSpeedAndNothingElse(Damage damage) throws IOException {
        Path archive = archive(shared, "clustercron");
        byte[] bytes = Files.readAllBytes(archive);
        Path damaged = folder.resolve("archive");
        switch (damage) {
            case MISSING -> {}
            case NONSENSE -> Files.writeString(damaged, "nonsense");
            case EMPTY -> Files.write(damaged, new byte[0]);
            case CUT_SHORT -> Files.write(damaged, Arrays.copyOf(bytes, bytes.length / 2));
        }
        Path command = folder.resolve("clustercron");
        Files.writeString(
                command,
                Files.readString(bin(shared).resolve("clustercron"))
                        .replace(archive.toString().replace(lib(shared).toString(), "$lib"), damaged.toString()));

        assertTellsItsVersion(
                ToolRunner.command("sh", command.toString(), "--version").run());
    }

    @Test
    void anArchiveOfJarsThatHaveChangedSinceCostsSpeedAndNothingElse() throws IOException {
        copy();
        for (Path jar : files(lib(folder).resolve("jars"))) {
            Files.setLastModifiedTime(jar, FileTime.fromMillis(System.currentTimeMillis() + 60_000));
        }

        assertTellsItsVersion(version(folder));
    }

    @Test
    void runsOnAnotherJdkWhenItsOwnIsGone() throws IOException {
        Path other = Stream.of("/usr/lib/jvm/temurin-25-jdk-amd64", "/usr/lib/jvm/java-17-openjdk-amd64")
                .map(Path::of)
                .filter(Files::isDirectory)
                .filter(home -> !home.equals(Path.of(System.getProperty("java.home"))))
                .findFirst()
                .orElse(null);
        assumeTrue(other != null, "there is one JDK only");
        copy();
        Path command = bin(folder).resolve("clustercron");
        Files.writeString(command, Files.readString(command).replace(System.getProperty("java.home"), "/no/such/jdk"));

        assertTellsItsVersion(ToolRunner.command(command.toString(), "--version")
                .env("JAVA_HOME", other.toString())
                .run());
    }

    @Test
    @Tag("once")
    void whereThereIsNoJdkAnyMoreItSaysSo() throws IOException {
        copy();
        Path command = bin(folder).resolve("clustercron");
        Files.writeString(command, Files.readString(command).replace(System.getProperty("java.home"), "/no/such/jdk"));

        Run run = ToolRunner.command("env", "-i", "PATH=" + folder, command.toString(), "--version")
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(run.err()).isEqualTo("clustercron: error: no java: install a JDK, or set JAVA_HOME\n");
    }

    @Test
    void commandsShareTheirJarsAndRemoveLeavesNothing() {
        copy();
        List<Path> jars = files(lib(folder).resolve("jars"));
        assertThat(jars.stream().map(jar -> jar.getFileName().toString().replaceAll("-[0-9a-f]{12}\\.jar", "")))
                .doesNotHaveDuplicates();

        Run first = install("--remove", "elb-presence", "--to", bin(folder).toString());

        assertThat(first.exit()).as("%s", first).isZero();
        assertThat(bin(folder).resolve("elb-presence")).doesNotExist();
        assertThat(files(lib(folder).resolve("jars"))).isNotEmpty().hasSizeLessThan(jars.size());
        assertTellsItsVersion(version(folder));

        assertThat(install("--remove", "clustercron", "--to", bin(folder).toString())
                        .exit())
                .isZero();
        assertThat(files(folder)).isEmpty();
        assertThat(lib(folder)).doesNotExist();
        Run again = install("--remove", "clustercron", "--to", bin(folder).toString());
        assertThat(again.exit()).as("%s", again).isZero();
        assertThat(again.err()).contains("is not installed");
    }

    @Test
    @Tag("once")
    void anUpgradeIsAtomicAlsoWhereOthersWereKilledOrFailed() throws IOException {
        copy();
        Path tool = generations(folder, "clustercron");
        for (String reached : List.of("rehearsal/trust", "archive")) {
            Run killed = upgrade();
            Path sign = tool.resolve("2/" + reached);
            await(sign + " is there").until(() -> Files.exists(sign) || !killed.isAlive());
            assertThat(killed.isAlive()).as("%s", killed).isTrue();
            killed.signal("KILL").exit();

            await("the rehearsal ends, too").until(() -> ProcessHandle.allProcesses()
                    .noneMatch(
                            process -> process.info().commandLine().orElse("").contains(tool + "/")));
            assertTellsItsVersion(version(folder));
        }

        Path inTheWay = Files.createDirectories(bin(folder).resolve(".clustercron.new/full"));
        Run failed = upgrade();
        assertThat(failed.exit()).as("%s", failed).isEqualTo(78);
        assertThat(tool.toFile().list()).containsExactly("1");
        assertTellsItsVersion(version(folder));
        Files.delete(inTheWay);

        Run upgrade = upgrade();
        int runs = 0;
        while (upgrade.isAlive()) {
            assertTellsItsVersion(version(folder));
            runs++;
        }

        assertThat(upgrade.exit()).as("%s", upgrade).isZero();
        assertThat(runs).isPositive();
        assertTellsItsVersion(version(folder));
        assertThat(tool.toFile().list())
                .as("the new one, and the one before for what still runs")
                .containsExactlyInAnyOrder("1", "2");
        assertThat(tool.resolve("2").toFile().list()).containsExactlyInAnyOrder("archive", "jars");
        assertThat(lib(folder).resolve("jars/new")).doesNotExist();
        assertThat(bin(folder).toFile().list()).containsExactlyInAnyOrder("clustercron", "elb-presence");
    }

    private Run upgrade() {
        return ToolRunner.tool("install")
                .args("clustercron", "--to", bin(folder).toString())
                .start();
    }

    @Test
    @Tag("once")
    void twoAtOnceWaitForEachOther() {
        List<Run> runs = List.of(upgrade(), remove("elb-presence"));
        assertThat(runs).allSatisfy(run -> assertThat(run.exit()).as("%s", run).isZero());
        assertTellsItsVersion(version(folder));

        Run upgrade = upgrade().says("recording what it loads");
        Run remove = remove("clustercron");

        assertThat(remove.exit()).as("%s", remove).isZero();
        assertThat(upgrade.exit()).as("%s", upgrade).isZero();
        assertThat(files(folder)).isEmpty();
        assertThat(lib(folder)).doesNotExist();
    }

    private Run remove(String tool) {
        return ToolRunner.tool("install")
                .args("--remove", tool, "--to", bin(folder).toString())
                .start();
    }

    @Test
    @Tag("once")
    void aJarThatIsMissingIsSaidAndIsNotTheCodeOfATool() throws IOException {
        copy();
        Path jar = files(lib(folder).resolve("jars")).stream()
                .filter(file -> file.getFileName().toString().startsWith("picocli"))
                .findFirst()
                .orElseThrow();
        Files.delete(jar);

        Run run = version(folder);

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.err()).isEqualTo("clustercron: error: cannot read " + jar + ": install clustercron again\n");
    }

    @ParameterizedTest
    @Tag("once")
    @CsvSource({"4, 78", "30, 0"})
    void aFullDiskLeavesNothingHalfDone(int mebibytes, int exit) {
        Run run = ToolRunner.command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
                .args(
                        """
                        mount -t tmpfs -o size="$2"m none "$1" || exit
                        "$0" install clustercron --to "$1/bin"
                        code=$?
                        ls "$1"/lib/rollcall/tools/*/* >&2
                        [ $code != 0 ] || "$1/bin/clustercron" --version
                        exit $code
                        """)
                .args(ToolRunner.root().resolve("jbang").toString(), folder.toString(), String.valueOf(mebibytes))
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(exit);
        if (exit == 0) {
            assertThat(run.err()).contains("warning: has no class archive").doesNotContain("\narchive");
            assertThat(run.out()).matches("clustercron \\d+\\.\\d+\\.\\d+\n");
        } else {
            assertThat(run.err())
                    .contains("cannot write to " + lib(folder), "No space left")
                    .contains("cannot access");
        }
    }

    @Test
    @Tag("once")
    void worksFromACatalogAndWhenTheCheckoutIsGone() throws IOException {
        Path checkout = folder.resolve("checkout");
        assertThat(ToolRunner.command(
                                "sh", "-c", "mkdir \"$1\" && cp -a jbang jbang-catalog.json pom.xml lib scripts \"$1\"")
                        .args("sh", checkout.toString())
                        .start(ToolRunner.root(), "")
                        .exit())
                .isZero();
        String catalog = checkout.resolve("jbang-catalog.json").toString();

        Run run = ToolRunner.command("sh", "-c", "exec jbang \"$@\"", "sh", "install@" + catalog, "clustercron")
                .args("--from", catalog, "--to", bin(folder).toString())
                .env("PATH", checkout + ":" + System.getenv("PATH"))
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        Files.move(checkout, folder.resolve("elsewhere"));
        assertTellsItsVersion(version(folder));
    }

    @Test
    @Tag("once")
    void removeAlsoTakesWhatAnInstallationWithoutItsCommandLeft() throws IOException {
        copy();
        Files.delete(bin(folder).resolve("clustercron"));
        Files.writeString(bin(folder).resolve(".elb-presence.new"), "half");

        Run run = install(
                "--remove", "clustercron", "elb-presence", "--to", bin(folder).toString());

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(files(folder)).isEmpty();
        assertThat(lib(folder)).doesNotExist();
    }

    @Test
    void whatIsNotOursStays() throws IOException {
        Path foreign =
                Files.writeString(Files.createDirectories(bin(folder)).resolve("clustercron"), "#!/usr/bin/python3\n");

        Run over = install("clustercron", "--to", bin(folder).toString());
        Run remove = install("--remove", "clustercron", "--to", bin(folder).toString());

        assertThat(over.exit()).as("%s", over).isEqualTo(78);
        assertThat(over.err()).contains(foreign + " is there already and is not ours");
        assertThat(remove.exit()).isEqualTo(78);
        assertThat(foreign).hasContent("#!/usr/bin/python3\n");
    }

    @Test
    void whatIsWrongIsNamed() {
        Run unknown = install("nonesuch", "--to", folder.toString());
        assertThat(unknown.exit()).as("%s", unknown).isEqualTo(64);
        assertThat(unknown.err()).contains("no tool is called 'nonesuch': expected one of clustercron, ");

        Run path = install("../x", "--to", folder.toString());
        assertThat(path.exit()).isEqualTo(64);
        assertThat(path.err()).contains("'../x' is no tool's name");

        Run readOnly = install("clustercron", "--to", "/proc/none/bin");
        assertThat(readOnly.exit()).as("%s", readOnly).isEqualTo(78);
        assertThat(readOnly.err()).contains("cannot write").contains("--to");
    }

    @Test
    void worksFromCronsBareEnvironment() {
        try (Moto moto = Moto.start()) {
            String id = moto.instance().instanceId();
            String web = moto.classic();
            moto.elb.registerInstancesWithLoadBalancer(
                    r -> r.loadBalancerName(web).instances(i -> i.instanceId(id)));

            Run run = ToolRunner.command(
                            "env",
                            "-i",
                            "PATH=/usr/bin:/bin",
                            "AWS_ACCESS_KEY_ID=AKIAROLLCALLTEST",
                            "AWS_SECRET_ACCESS_KEY=test",
                            "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9",
                            "AWS_CONFIG_FILE=/dev/null",
                            "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
                            bin(shared).resolve("clustercron").toString(),
                            "--endpoint-url",
                            moto.url().toString(),
                            "--region",
                            Moto.REGION,
                            "--instance-id",
                            id,
                            "-o",
                            "elb",
                            web,
                            "echo",
                            "Grüße")
                    .run();

            assertThat(run.exit()).as("%s", run).isZero();
            assertThat(run.out()).isEqualTo("Grüße\n");
            assertThat(run.err()).isEmpty();
        }
    }
}
