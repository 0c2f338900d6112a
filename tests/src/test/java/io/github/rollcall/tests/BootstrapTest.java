package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is promised of {@code ./jbang}. */
@Tag("once")
class BootstrapTest {
    private static final List<String> WHAT_IT_CALLS = List.of(
            "bash",
            "env",
            "readlink",
            "dirname",
            "sed",
            "head",
            "mkdir",
            "cat",
            "sort",
            "find",
            "xargs",
            "cksum",
            "tar",
            "mktemp",
            "cp",
            "mv",
            "rm",
            "grep",
            "flock",
            "id");

    @TempDir
    private Path folder;

    /** A clone of this checkout, as far as the bootstrap needs one. */
    private Path clone(String name) throws Exception {
        Path clone = Files.createDirectories(folder.resolve(name));
        shell("cd '" + ToolRunner.root()
                + "' && tar -cf - --exclude=target jbang jbang-catalog.json pom.xml lib scripts" + " | tar -xf - -C '"
                + clone + "'");
        return clone;
    }

    private static String realRepository() {
        String moved = System.getenv("JBANG_REPO");
        return moved != null ? moved : System.getProperty("user.home") + "/.m2/repository";
    }

    private String copyOf(String repository) throws Exception {
        Path copy = folder.resolve("repository");
        shell("cp -al '" + repository + "' '" + copy + "' 2>/dev/null || { rm -rf '" + copy + "'; cp -r '" + repository
                + "' '" + copy + "'; }");
        return copy.toString();
    }

    /** The local Maven repository, without our own artifacts. */
    private Path repositoryWithoutRollcall() throws Exception {
        Path copy = Path.of(copyOf(realRepository()));
        shell("rm -rf '" + copy + "/io/github/rollcall'");
        return copy;
    }

    private static void shell(String command) throws IOException, InterruptedException {
        assertThat(new ProcessBuilder("sh", "-c", command).inheritIO().start().waitFor())
                .as(command)
                .isZero();
    }

    private static ToolRunner jbang(Path clone, String... args) {
        ToolRunner.tool("elb-presence");
        return ToolRunner.command(clone.resolve("jbang").toString()).args(args);
    }

    @Test
    void worksFromAnyFolderThroughASymlinkAndInAPathWithSpaces() throws Exception {
        Path clone = clone("a clone/of mine");
        Path link = Files.createSymbolicLink(folder.resolve("a link"), clone.resolve("jbang"));

        Run run =
                ToolRunner.command(link.toString(), "elb-presence", "--version").start(folder, "");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "elb-presence",
                "run elb-presence",
                "--quiet run elb-presence",
                "scripts/ElbPresence.java",
                "-Dx=a.b elb-presence",
                "--java 17+ elb-presence"
            })
    void isTheSameAsJbang(String how) {
        Run run = jbang(ToolRunner.root(), how.split(" ")).args("--version").start(ToolRunner.root(), "");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
    }

    @Test
    void anArgumentOfTheToolThatIsNamedLikeAnAliasIsLeftAlone() throws Exception {
        Path script = Files.writeString(
                folder.resolve("Say.java"),
                """
                class Say { public static void main(String[] a) { System.out.println(String.join(",", a)); } }
                """);

        Run run = jbang(ToolRunner.root(), script.toString(), "elb-presence", "a b", "$x'")
                .run();

        assertThat(run.out()).isEqualTo("elb-presence,a b,$x'\n");
    }

    @Test
    void aWordOfJbangsOwnCommandsIsNotTakenForAnAlias() {
        Path catalog = folder.resolve("jbang-catalog.json");
        String script = ToolRunner.root().resolve("scripts/ElbPresence.java").toString();

        Run run = jbang(ToolRunner.root(), "alias", "add", "-f", catalog.toString(), "--name", "elb-presence", script)
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(catalog).content().contains("\"elb-presence\": {");
    }

    @Test
    void twoFirstStartsAtOnceInstallTheLibraryOnceAndStdoutIsTheToolsAlone() throws Exception {
        Path repository = repositoryWithoutRollcall();
        ToolRunner first = jbang(clone("clone"), "elb-presence", "--version")
                .env("JBANG_REPO", repository.toString())
                .env("JBANG_DIR", folder.resolve("jbang").toString());

        Run a = first.start();
        Run b = first.start();

        for (Run run : List.of(a, b)) {
            assertThat(run.exit()).as("%s", run).isZero();
            assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
        }
        assertThat((a.errWithBuilding() + b.errWithBuilding()).split("installing the Rollcall library", -1))
                .hasSize(2);
    }

    @Test
    void theLibraryIsInstalledAgainWhenItsSourcesAreNewerAndOnlyThen() throws Exception {
        Path clone = clone("clone");
        ToolRunner version = jbang(clone, "elb-presence", "--version")
                .env("JBANG_REPO", repositoryWithoutRollcall().toString())
                .env("JBANG_DIR", folder.resolve("jbang").toString());
        assertThat(version.run().errWithBuilding()).contains("installing the Rollcall library");
        assertThat(version.run().errWithBuilding()).doesNotContain("installing");

        Files.writeString(
                clone.resolve("lib/src/main/java/io/github/rollcall/Exit.java"),
                "// newer\n",
                StandardOpenOption.APPEND);

        Run again = version.run();
        assertThat(again.exit()).as("%s", again).isZero();
        assertThat(again.errWithBuilding()).contains("installing the Rollcall library");
        assertThat(version.run().errWithBuilding()).doesNotContain("installing");
    }

    @Test
    void theLibraryIsTheSameBytesWhereverItIsBuilt() {
        Path own = ToolRunner.root().resolve("lib/target/rollcall-0.1.0.jar");
        assumeTrue(Files.exists(own), "Maven has not packaged it here");

        jbang(ToolRunner.root(), "elb-presence", "--version").run();

        assertThat(Path.of(realRepository(), "io/github/rollcall/rollcall/0.1.0/rollcall-0.1.0.jar"))
                .hasSameBinaryContentAs(own);
    }

    @Test
    void aLibraryThatDoesNotCompileIsToldWithMavensWords() throws Exception {
        Path clone = clone("clone");
        Files.writeString(
                clone.resolve("lib/src/main/java/io/github/rollcall/Exit.java"), "garbage", StandardOpenOption.APPEND);

        Run run = jbang(clone, "elb-presence", "--version")
                .env("JBANG_REPO", repositoryWithoutRollcall().toString())
                .run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.errWithBuilding()).contains("COMPILATION ERROR").contains("jbang: Maven failed, see above");
        assertThat(run.out()).isEmpty();
    }

    private static void assumeNetworksCanBeMade() throws IOException, InterruptedException {
        boolean canUnshare =
                new ProcessBuilder("unshare", "-rn", "true").start().waitFor() == 0;
        assumeTrue(canUnshare, "no network namespace can be made here");
    }

    @Test
    void aSecondStartNeedsNoNetworkAndNoMaven() throws Exception {
        ToolRunner.tool("elb-presence");
        assumeNetworksCanBeMade();
        Path noMaven = pathWithout("mvn");

        Run run = ToolRunner.command(
                        "unshare", "-rn", ToolRunner.root().resolve("jbang").toString())
                .args("elb-presence", "--version")
                .env("PATH", noMaven + ":" + pathOf("unshare"))
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
    }

    @Test
    void withoutAJdkItSaysInOneSentenceWhatToInstall() throws Exception {
        ToolRunner bare = jbang(ToolRunner.root(), "elb-presence")
                .env("PATH", pathWithout("javac").toString())
                .env("JAVA_HOME", null);

        Run run = bare.run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.errWithBuilding())
                .startsWith("jbang: no JDK was found: install one, version 17 or later (Debian: apt-get install")
                .hasLineCount(1);
        assertThat(bare.env("JAVA_HOME", "/nowhere").run().errWithBuilding())
                .startsWith("jbang: no JDK at JAVA_HOME, /nowhere was");
    }

    @Test
    void withTooOldAJdkItSaysInOneSentenceWhatToInstall() throws Exception {
        Path home = Files.createDirectories(folder.resolve("jdk"));
        Files.createDirectories(home.resolve("bin"));
        Files.writeString(home.resolve("release"), "JAVA_VERSION=\"11.0.2\"\n");
        Files.writeString(home.resolve("bin/javac"), "#!/bin/sh\n").toFile().setExecutable(true);

        Run run = jbang(ToolRunner.root(), "elb-presence")
                .env("JAVA_HOME", home.toString())
                .run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.errWithBuilding())
                .contains("is too old (11): install version 17 or later")
                .hasLineCount(1);
    }

    @Test
    void withoutMavenItSaysInOneSentenceWhatToInstall() throws Exception {
        Run run = jbang(ToolRunner.root(), "elb-presence")
                .env("PATH", pathWithout("mvn").toString())
                .env("JBANG_REPO", folder.resolve("empty").toString())
                .run();

        assertThat(run.exit()).isEqualTo(69);
        assertThat(run.errWithBuilding())
                .startsWith(
                        "jbang: Maven is needed to build the Rollcall library: install it (Debian: apt-get install maven")
                .hasLineCount(1);
    }

    @Test
    void anInstalledJbangIsUsedWhereThereIsOneAndNeverItself() throws Exception {
        Path bin = Files.createDirectories(folder.resolve("bin"));
        Files.createSymbolicLink(bin.resolve("jbang"), ToolRunner.root().resolve("jbang"));
        Path other = Files.createDirectories(folder.resolve("other"));
        Files.writeString(other.resolve("jbang"), "#!/bin/sh\necho installed \"$@\"\nexit 3\n")
                .toFile()
                .setExecutable(true);
        String path = bin + ":" + other + ":" + System.getenv("PATH");

        Run run = jbang(ToolRunner.root(), "elb-presence", "--elb", "a b")
                .env("PATH", path)
                .run();

        assertThat(run.exit()).isEqualTo(3);
        assertThat(run.out())
                .isEqualTo("installed elb-presence@" + ToolRunner.root() + "/jbang-catalog.json --elb a b\n");
    }

    @Test
    void twoCheckoutsOnThePathDoNotCallEachOther() throws Exception {
        Path other = clone("other");
        String path = ToolRunner.root() + ":" + other + ":" + System.getenv("PATH");

        Run run = jbang(ToolRunner.root(), "elb-presence", "--version")
                .env("PATH", path)
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
    }

    @Test
    void whatWaitsForSomebodyHoldsUpNoOther() throws Exception {
        Run waiting = jbang(ToolRunner.root(), "-").startWithOpenInput();
        try {
            assertThat(jbang(ToolRunner.root(), "elb-presence", "--version")
                            .run()
                            .exit())
                    .isZero();
            assertThat(waiting.isAlive()).isTrue();
        } finally {
            waiting.close();
        }
    }

    /** Where one is, it is used as it is. */
    private static void assumeNoJbangIsInstalled() {
        assumeTrue(
                Stream.of(System.getenv("PATH").split(":")).noneMatch(dir -> Files.exists(Path.of(dir, "jbang"))),
                "a jbang is installed here");
    }

    @Test
    void aJarThatCannotBeFetchedIs69AndNotACodeThatTheToolHas() throws Exception {
        assumeNoJbangIsInstalled();
        assumeNetworksCanBeMade();
        String repository = copyOf(realRepository());
        shell("rm -rf '" + repository + "/info/picocli'");

        Run run = ToolRunner.command("unshare", "-rn")
                .args(ToolRunner.root().resolve("jbang").toString(), "clustercron", "elb", "web")
                .env("JBANG_REPO", repository)
                .env("JBANG_DIR", folder.resolve("jbang").toString())
                .run();

        assertThat(run.exit()).as("%s", run).isEqualTo(69);
        assertThat(run.errWithBuilding()).contains("Could not resolve dependencies");
    }

    @Test
    void aBuildWaitsForAnotherJbangsAlsoWithoutAnAlias() throws Exception {
        assumeNoJbangIsInstalled();
        Path script = Files.writeString(
                folder.resolve("Hi.java"),
                """
                class Hi { public static void main(String[] a) { System.out.println("hi"); } }
                """);
        shell("mkdir -p '" + folder + "/cache/rollcall'"
                + " && ln -s \"${XDG_CACHE_HOME:-$HOME/.cache}\"/rollcall/jbang-* '" + folder + "/cache/rollcall'");
        try (Run other = ToolRunner.command(
                        "flock", folder.resolve("cache/rollcall/lock").toString())
                .args("sh", "-c", "echo locked >&2; exec sleep 60")
                .start()
                .says("locked")) {
            Run run = jbang(ToolRunner.root(), script.toString())
                    .env("XDG_CACHE_HOME", folder.resolve("cache").toString())
                    .env("JBANG_DIR", folder.resolve("own").toString())
                    .start();
            Awaitility.await().until(() -> run.errWithBuilding().contains("jbang: waiting for another jbang"));
            assertThat(run.out()).isEmpty();

            other.close();

            assertThat(run.exit()).as("%s", run).isZero();
            assertThat(run.out()).isEqualTo("hi\n");
        }
    }

    @Test
    void aSecondStartNeedsNoCacheThatCanBeWrittenTo() throws Exception {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can become somebody else");
        Path cache = folder.resolve("cache");
        Path script = Files.writeString(
                folder.resolve("Hi.java"),
                """
                class Hi { public static void main(String[] a) { System.out.println("hi"); } }
                """);
        shell("chmod 755 '" + folder + "' && mkdir -m 777 '" + folder + "/own'");
        ToolRunner warm = jbang(ToolRunner.root(), script.toString())
                .env("XDG_CACHE_HOME", cache.toString())
                .env("JBANG_REPO", copyOf(realRepository()))
                .env("JBANG_DIR", folder.resolve("warm").toString());
        assertThat(warm.run().exit()).isZero();
        shell("find '" + folder.resolve("repository") + "' -type d -exec chmod 755 {} +");

        Run run = ToolRunner.command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
                .args(ToolRunner.root().resolve("jbang").toString(), script.toString())
                .env("XDG_CACHE_HOME", cache.toString())
                .env("JBANG_REPO", folder.resolve("repository").toString())
                .env("JBANG_DIR", folder.resolve("own").toString())
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("hi\n");
    }

    @Test
    void aCacheThatCannotBeWrittenToIsNamedWhereItIsNeeded() throws Exception {
        Run run = jbang(ToolRunner.root(), "elb-presence", "--version")
                .env("XDG_CACHE_HOME", "/dev/null")
                .run();

        assertThat(run.exit()).isEqualTo(78);
        assertThat(run.errWithBuilding()).contains("jbang: cannot write to /dev/null/rollcall: set XDG_CACHE_HOME");
    }

    @Test
    void standardInputAndExitCodesAreTheScripts() throws Exception {
        Path script = Files.writeString(
                folder.resolve("Cat.java"),
                """
                class Cat { public static void main(String[] a) throws Exception {
                  System.in.transferTo(System.out); System.out.flush(); System.exit(42); } }
                """);

        Run run = jbang(ToolRunner.root(), script.toString()).start(folder, "to the script\n");

        assertThat(run.exit()).isEqualTo(42);
        assertThat(run.out()).isEqualTo("to the script\n");
    }

    @Test
    void worksWithoutHomeAsInCloudInit() {
        Run run = jbang(ToolRunner.root(), "elb-presence", "--version")
                .env("HOME", null)
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).isEqualTo("elb-presence 0.1.0\n");
    }

    /** A PATH with what the bootstrap calls and with mvn and javac, but for one. */
    private Path pathWithout(String missing) throws IOException, InterruptedException {
        Path bin = Files.createDirectories(folder.resolve("bin-without-" + missing));
        for (String name : WHAT_IT_CALLS) {
            Files.createSymbolicLink(bin.resolve(name), Path.of(pathOf(name), name));
        }
        for (String name : List.of("mvn", "javac")) {
            if (!name.equals(missing)) {
                Files.createSymbolicLink(bin.resolve(name), Path.of(pathOf(name), name));
            }
        }
        return bin;
    }

    private static String pathOf(String name) {
        for (String folder : System.getenv("PATH").split(":")) {
            if (Files.isExecutable(Path.of(folder, name))) {
                return folder;
            }
        }
        throw new IllegalStateException(name + " is not on the PATH");
    }
}
