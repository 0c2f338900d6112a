package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.Docker;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What is promised of demo: what it shows is asked of its servers while it waits between two parts. */
@Tag("once")
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class DemoTest {
    private static final Duration PATIENCE = Duration.ofMinutes(8);
    private static final String WAITING = "Enter goes on.";

    private Run demo;

    /** Two first builds at once would wait for each other. */
    @BeforeAll
    static void build() {
        Run build = ToolRunner.tool("build").args("demo").run();
        assertThat(build.exit()).as("%s", build).isZero();
    }

    @AfterEach
    void end() {
        if (demo != null) {
            demo.close();
        }
    }

    @Test
    void everyPartShowsWhatTheServersSay() {
        demo = ToolRunner.tool("demo").args("--step", "--stay").startWithOpenInput();

        awaitPart(1);
        Moto aws = Moto.at(URI.create(exported("AWS_ENDPOINT_URL")));
        assertThat(aws.members("web")).isEmpty();
        List<String> founders = aws.group("fleet");
        assertThat(shown("The scene")).contains(founders);

        awaitPart(2);
        EtcdGateway etcd = EtcdServer.gateway(URI.create(endpoint()));
        List<String> members = aws.group("fleet");
        assertThat(etcd.members().members()).extracting(EtcdMember::name).containsExactlyInAnyOrderElementsOf(members);
        assertThat(members).isNotEqualTo(founders);
        assertThat(shown("etcd-aws-cluster: "))
                .contains(members)
                .contains("verdict new", "verdict eject", "verdict join");

        awaitPart(3);
        assertThat(aws.members("web")).isEqualTo(members);
        assertThat(aws.targets("api")).hasSize(3);
        assertThat(shown("elb-presence: ")).contains("ready present=\"elb/web, tg/api\"");

        awaitPart(4);
        assertThat(aws.members("web")).hasSize(2);
        assertThat(shown("clustercron: ")).containsOnlyOnce("this instance is master master=" + members.get(0));
        assertThat(etcd.all("/clustercron/report/")).hasSize(1);

        awaitPart(5);
        if (demo.out().contains("Docker                   not here")) {
            assertThat(shown("etcd-presence: ")).contains("left out: ");
        } else {
            assertThat(shown("etcd-presence: "))
                    .contains(
                            "published ports=\"80=172.", "/containers/hello/80/port  8080", "withdrawn reason=exited");
            assertThat(etcd.all("/containers/")).isEmpty();
            assertThat(Docker.at(exported("DOCKER_HOST"), Map.of(), Duration.ofSeconds(5))
                            .containers(Map.of()))
                    .hasSize(1);
            awaitPart(6);
        }
        assertThat(aws.members("shop")).hasSize(1).allMatch(aws.members("web")::contains);
        assertThat(etcd.all("/lbManager/elb/")).hasSize(1);
        assertThat(shown("lbmanager: ")).contains("shop");

        List<ProcessHandle> started = demo.handle().descendants().toList();
        assertThat(started).isNotEmpty();
        demo.type("\n");
        awaitOutput("Ctrl-C, or Enter, ends the demo and removes everything.");
        String staying = shown("What next");
        assertThat(staying).contains("export AWS_ENDPOINT_URL=" + exported("AWS_ENDPOINT_URL"));
        assertThat(aws.members("web")).hasSize(2);
        assertThat(etcd.members().members()).hasSize(3);
        demo.type("\n");
        assertThat(demo.exit()).as("%s", demo).isZero();
        assertThat(demo.out()).doesNotContain("\033", "did not go as it should");
        assertNothingIsLeft(started);
    }

    @Test
    void inATerminalItIsColouredAndAfterCtrlCNothingIsLeft() {
        // One that does not know its size, as a serial console.
        String command = "stty rows 0 cols 0; exec " + ToolRunner.root().resolve("jbang") + " demo";
        demo = ToolRunner.command("script", "-qefc", command, "/dev/null")
                .env("TERM", "xterm")
                .startWithOpenInput();
        awaitOutput("verdict new");
        List<ProcessHandle> started = demo.handle().descendants().toList();
        assertThat(started).hasSizeGreaterThan(1);

        // What the terminal does with Ctrl-C.
        demo.type("\003");

        assertThat(demo.exit()).as("%s", demo).isZero();
        assertThat(demo.out()).contains("\033[1;36mThe scene\033[0m").doesNotContain("defect");
        assertNothingIsLeft(started);
    }

    @Test
    void withoutRootThereIsNoDockerAndTheRestGoesOn(@TempDir Path elsewhere) {
        // Nobody, and yet the owner of the caches of the user who tests.
        String[] nobody = {"unshare", "--user", "--map-user=65534", "--map-group=65534"};
        assumeTrue(
                ToolRunner.command("true").under(nobody).run().exit() == 0,
                "there are no user namespaces to be had here");
        String home = System.getProperty("user.home");
        demo = ToolRunner.tool("demo")
                .under(nobody)
                .env("XDG_CACHE_HOME", Objects.requireNonNullElse(System.getenv("XDG_CACHE_HOME"), home + "/.cache"))
                .env("JBANG_DIR", Objects.requireNonNullElse(System.getenv("JBANG_DIR"), home + "/.jbang"))
                .env("JBANG_REPO", Objects.requireNonNullElse(System.getenv("JBANG_REPO"), home + "/.m2/repository"))
                .env("HOME", elsewhere.toString())
                .start();
        // moto, etcd's members and the tool run.
        awaitOutput("elb-presence: ready");
        List<ProcessHandle> started = demo.handle().descendants().toList();
        assertThat(started).hasSizeGreaterThan(1);

        Awaitility.await("the end").atMost(PATIENCE).until(() -> !demo.isAlive());

        assertThat(demo.exit()).as("%s", demo).isZero();
        assertThat(shown("etcd-presence: ")).contains("left out: Docker needs root, and this is nobody");
        assertThat(shown("lbmanager: ")).contains("lbmanager: ready").doesNotContain("left out");
        assertThat(shown("What next")).contains("README.md");
        assertThat(elsewhere).as("what is not its cache").isEmptyDirectory();
        assertNothingIsLeft(started);
    }

    private void assertNothingIsLeft(List<ProcessHandle> started) {
        assertThat(started).noneMatch(ProcessHandle::isAlive);
        assertThat(Path.of(exported("ETCD_DATA_DIR")).getParent()).doesNotExist();
    }

    private void awaitPart(int n) {
        if (n > 1) {
            demo.type("\n");
        }
        Awaitility.await("part " + n).atMost(PATIENCE).until(() -> demo.out().split(WAITING, -1).length > n);
    }

    private void awaitOutput(String text) {
        Awaitility.await(text).atMost(PATIENCE).until(() -> demo.out().contains(text));
    }

    /** What was printed under a heading that begins like this. */
    private String shown(String heading) {
        String[] parts = demo.out().split("(?m)^-{3,}$");
        for (int i = 0; i + 1 < parts.length; i++) {
            if (parts[i].substring(parts[i].stripTrailing().lastIndexOf('\n') + 1)
                    .startsWith(heading)) {
                return parts[i + 1];
            }
        }
        throw new AssertionError("no part " + heading + ": " + demo.out());
    }

    private String endpoint() {
        return first("ETCDCTL_ENDPOINTS=([^,\\s]+)");
    }

    private String exported(String variable) {
        return first("export " + variable + "=(\\S+)");
    }

    private String first(String pattern) {
        Matcher m = Pattern.compile(pattern).matcher(demo.out());
        assertThat(m.find()).as("%s in %s", pattern, demo.out()).isTrue();
        return m.group(1);
    }
}
