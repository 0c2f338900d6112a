package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.sun.net.httpserver.HttpServer;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@code jbang-catalog.json}, the scripts behind it, and what they download. */
@Tag("once")
class CatalogTest {
    private static final Path ROOT = ToolRunner.root();

    @TempDir
    private Path folder;

    private static JsonObject aliases() {
        try {
            return JsonParser.parseString(Files.readString(ROOT.resolve("jbang-catalog.json")))
                    .getAsJsonObject()
                    .getAsJsonObject("aliases");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static Stream<String> names() {
        return aliases().keySet().stream();
    }

    private static Path script(String alias) {
        return ROOT.resolve(aliases().getAsJsonObject(alias).get("script-ref").getAsString());
    }

    private static List<String> directives(String alias, String directive) throws IOException {
        return Files.readAllLines(script(alias)).stream()
                .filter(line -> line.startsWith("//" + directive + " "))
                .map(line -> line.substring(directive.length() + 3).strip())
                .toList();
    }

    private static String version() throws IOException {
        return Files.readString(ROOT.resolve("pom.xml")).replaceFirst("(?s).*?<version>([^<]+)</version>.*", "$1");
    }

    @Test
    void everyScriptHasAnAlias() throws IOException {
        TreeSet<Path> referred = new TreeSet<>();
        names().map(CatalogTest::script).forEach(referred::add);
        try (Stream<Path> scripts = Files.list(ROOT.resolve("scripts"))) {
            assertThat(referred).containsAll(scripts.toList());
        }
    }

    @ParameterizedTest
    @MethodSource("names")
    void theDescriptionIsTheScriptsOwn(String alias) throws IOException {
        assertThat(directives(alias, "DESCRIPTION"))
                .containsExactly(
                        aliases().getAsJsonObject(alias).get("description").getAsString());
    }

    @ParameterizedTest
    @MethodSource("names")
    void theFirstLineLeavesNoShellInBetween(String alias) throws IOException {
        assertThat(Files.readAllLines(script(alias)).get(0)).isEqualTo("///usr/bin/env true; exec jbang \"$0\" \"$@\"");
        assertThat(Files.isExecutable(script(alias))).isTrue();
    }

    @ParameterizedTest
    @MethodSource("names")
    void theScriptsVersionIsTheLibrarys(String alias) throws IOException {
        assertThat(directives(alias, "DEPS"))
                .contains(
                        "io.github.rollcall:rollcall-parent:" + version() + "@pom",
                        "io.github.rollcall:rollcall:" + version());
    }

    @ParameterizedTest
    @MethodSource("names")
    void whatIsBuiltOnAnyJdkRunsOnTheOldest(String alias) throws IOException {
        assertThat(directives(alias, "COMPILE_OPTIONS")).containsExactly("--release 17 -XDstringConcat=inline");
    }

    @Test
    void theBenchmarksVersionIsTheLibrarys() throws IOException {
        try (Stream<Path> benches = Files.list(ROOT.resolve("tests/bench.d"))) {
            for (Path bench : benches.toList()) {
                assertThat(Files.readString(bench))
                        .as("%s", bench)
                        .contains("\n//DEPS io.github.rollcall:rollcall-parent:" + version() + "@pom\n")
                        .contains("\n//DEPS io.github.rollcall:rollcall:" + version() + "\n");
            }
        }
    }

    @Test
    void everyBenchmarkBuilds() throws IOException {
        try (Stream<Path> benches = Files.list(ROOT.resolve("tests/bench.d"))) {
            for (Path bench : benches.toList()) {
                Run run = ToolRunner.tool("build").args(bench.toString()).run();
                assertThat(run.exit()).as("%s", run).isZero();
            }
        }
    }

    @ParameterizedTest
    @MethodSource("names")
    void runsThroughTheCatalogFromAnotherFolder(String alias) {
        String reference = alias + "@" + ROOT.resolve("jbang-catalog.json");

        Run run = ToolRunner.tool(reference).args("--version").start(folder, "");

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out()).startsWith(alias + " ");
    }

    @Test
    void everyAliasRunsFromAWebServerAsForARemoteUser() throws IOException {
        HttpServer web = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        web.createContext("/", exchange -> {
            try (exchange) {
                Path file = ROOT.resolve(exchange.getRequestURI().getPath().substring(1));
                byte[] body = Files.isRegularFile(file) ? Files.readAllBytes(file) : new byte[0];
                exchange.sendResponseHeaders(body.length == 0 ? 404 : 200, body.length == 0 ? -1 : body.length);
                exchange.getResponseBody().write(body);
            }
        });
        web.start();
        try {
            String url = "http://127.0.0.1:" + web.getAddress().getPort() + "/";
            ToolRunner remote = ToolRunner.tool("trust").env("JBANG_DIR", folder.toString());
            assertThat(remote.args("add", url).run().exit()).isZero();
            names().forEach(alias -> {
                Run run = ToolRunner.tool(alias + "@" + url + "jbang-catalog.json")
                        .env("JBANG_DIR", folder.toString())
                        .args("--version")
                        .start(folder, "");
                assertThat(run.exit()).as("%s", run).isZero();
                assertThat(run.out()).isEqualTo(alias + " " + expectedVersion() + "\n");
            });
        } finally {
            web.stop(0);
        }
    }

    private static String expectedVersion() {
        try {
            return version();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    // --- dependencies

    private static List<Path> jars(String alias) {
        Run run = ToolRunner.tool("info")
                .args("classpath", script(alias).toString())
                .run();
        return Stream.of(run.out().strip().split(":"))
                .map(Path::of)
                .filter(jar -> !jar.toString().contains("/cache/jars/"))
                .filter(Files::isRegularFile)
                .toList();
    }

    @ParameterizedTest
    @MethodSource("names")
    void noToolDownloadsAnHttpClientBesideTheJdks(String alias) {
        assertThat(jars(alias)).isNotEmpty().noneMatch(jar -> jar.getFileName()
                .toString()
                .matches("(netty-nio-client.*|apache-client.*|httpclient.*)"));
    }

    /** The README's table has a line for each tool: {@code | `elb-presence` | 8.4 MiB | 37 |}. */
    @ParameterizedTest
    @MethodSource("names")
    void theReadmeSaysWhatEachToolDownloads(String alias) throws IOException {
        List<Path> jars = jars(alias);
        double bytes = 0;
        for (Path jar : jars) {
            bytes += Files.size(jar);
        }

        String line = "| `%s` | %.1f MiB | %d |".formatted(alias, bytes / 1024 / 1024, jars.size());
        assertThat(Files.readAllLines(ROOT.resolve("README.md")).contains(line))
                .as("README.md has the line %s", line)
                .isTrue();
    }
}
