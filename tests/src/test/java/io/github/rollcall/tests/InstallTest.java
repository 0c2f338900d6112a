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
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The contract's part "install". That installed commands do their work is what the tools' own tests show. */
class InstallTest {
    private static final boolean AHEAD_OF_TIME = Runtime.version().feature() >= 25;
    private static final String USE_OR_FAIL = AHEAD_OF_TIME ? "-XX:AOTMode=on" : "-Xshare:on";

    @TempDir
    private static Path shared;

    @TempDir
    private Path folder;

    @BeforeAll
    static void installTwo() {
        Run run = install("clustercron", "elb-presence", "--to", bin(shared).toString());
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
        assertThat(ToolRunner.command("sh", "-c", "cp -a \"$0\"/. \"$1\" && sed -i \"s|$0|$1|\" \"$1\"/bin/*")
                        .args(shared.toString(), folder.toString())
                        .run()
                        .exit())
                .isZero();
    }

    private static List<Path> files(Path folder) {
        try (Stream<Path> all = Files.walk(folder)) {
            return all.filter(Files::isRegularFile).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Path archive(Path folder, String tool) {
        return files(lib(folder).resolve("tools").resolve(tool)).stream()
                .filter(file -> file.endsWith("archive"))
                .findFirst()
                .orElseThrow();
    }

    private static Run version(Path folder) {
        return ToolRunner.command(bin(folder).resolve("clustercron").toString(), "--version")
                .run();
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

    enum Damage {
        MISSING,
        NONSENSE,
        EMPTY,
        CUT_SHORT,
        OLDER_THAN_A_JAR
    }

    @ParameterizedTest
    @EnumSource
    void anArchiveThatNoLongerFitsCostsSpeedAndNothingElse(Damage damage) throws IOException {
        copy();
        Path archive = archive(folder, "clustercron");
        switch (damage) {
            case MISSING -> Files.delete(archive);
            case NONSENSE -> Files.writeString(archive, "nonsense");
            case EMPTY -> Files.write(archive, new byte[0]);
            case CUT_SHORT -> {
                byte[] half = Files.readAllBytes(archive);
                Files.write(archive, java.util.Arrays.copyOf(half, half.length / 2));
            }
            case OLDER_THAN_A_JAR -> {
                for (Path jar : files(lib(folder).resolve("jars"))) {
                    Files.setLastModifiedTime(jar, FileTime.fromMillis(System.currentTimeMillis() + 60_000));
                }
            }
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
    void anUpgradeIsAtomicAlsoWhereOneWasKilledBefore() throws IOException {
        copy();
        Path killed = Files.createDirectory(lib(folder).resolve("tools/clustercron/1"));
        Files.writeString(killed.resolve("notes"), "half");
        Run upgrade = ToolRunner.tool("install")
                .args("clustercron", "--to", bin(folder).toString())
                .start();
        int runs = 0;
        while (upgrade.isAlive()) {
            assertTellsItsVersion(version(folder));
            runs++;
        }

        assertThat(upgrade.exit()).as("%s", upgrade).isZero();
        assertThat(runs).isPositive();
        assertTellsItsVersion(version(folder));
        assertThat(killed).doesNotExist();
        assertThat(lib(folder).resolve("tools/clustercron").toFile().list())
                .as("the new one, and the one before for what still runs")
                .hasSize(2);
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
