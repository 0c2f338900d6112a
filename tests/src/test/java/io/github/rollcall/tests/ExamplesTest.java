package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Member;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;

/** What stands in {@code examples/} is right, and runs. */
@Tag("once")
class ExamplesTest extends ElbPresenceScene {
    private static final Path EXAMPLES = ToolRunner.root().resolve("examples");

    static Stream<Path> units() {
        return in("systemd", ".service");
    }

    static Stream<Path> cloudConfigs() {
        return in("cloud-init", ".yaml");
    }

    private static Stream<String> lines(Path file) {
        try {
            return Files.readAllLines(file).stream();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Stream<Path> in(String kind, String ending) {
        try (Stream<Path> files = Files.list(EXAMPLES.resolve(kind))) {
            return files.filter(f -> f.toString().endsWith(ending)).sorted().toList().stream();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @ParameterizedTest
    @MethodSource("units")
    void systemdFindsNothingWrongWithAUnit(Path unit) throws Exception {
        assumeTrue(isThere("systemd-analyze"), "systemd-analyze is not on this machine");
        // Only that the programs are not installed here is forgiven.
        String text = Files.readString(unit).replaceAll("(?m)^(Exec[A-Za-z]+=[-+!@]*)/\\S+", "$1/bin/true");
        Path copy =
                Files.writeString(folder.resolve(unit.getFileName().toString().replace("@.", "@nginx.")), text);
        Files.writeString(folder.resolve("nginx.service"), "[Service]\nExecStart=/bin/true\n");

        Run run = ToolRunner.command("systemd-analyze", "verify", "--man=no", copy.toString())
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(run.out() + run.err()).isEmpty();
    }

    @ParameterizedTest
    @MethodSource("units")
    void theToolHasTheOptionsThatAUnitGivesIt(Path unit) throws IOException {
        Matcher line = Pattern.compile("/opt/rollcall/jbang ([a-z-]+)((?: (?!--? )[^\\s;&|'\\\\]+)*)")
                .matcher(Files.readString(unit)
                        .replaceAll("(?m)^#.*", "")
                        .replace("$PRESENCE", "--all --host-ip 10.0.1.7")
                        .replace("${KEY}", "elb/us-east-1/web/multiple"));

        assertThat(line.find()).isTrue();
        do {
            Run help = ToolRunner.installed(line.group(1))
                    .args((line.group(2) + " --help").strip().split(" "))
                    .run();
            assertThat(help.exit()).as("%s", help).isZero();
        } while (line.find());
    }

    @ParameterizedTest
    @MethodSource("cloudConfigs")
    void cloudInitsSchemaAcceptsACloudConfig(Path config) {
        Path schema = Servers.unpacked("cloud-init")
                .resolve("usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json");
        assumeTrue(Files.exists(schema), "cloud-init's schema is not on this machine: run tests/run");
        String check =
                """
                import json, jsonschema, sys, yaml
                text = open(sys.argv[2]).read()
                assert text.startswith("#cloud-config\\n")
                jsonschema.Draft4Validator(json.load(open(sys.argv[1]))).validate(yaml.safe_load(text))
                """;

        // moto has brought the libraries, in the Python that runs it.
        Run run = ToolRunner.command(pythonOfMoto(), "-c", check, schema.toString(), config.toString())
                .run();

        assertThat(run.exit()).as("%s", run).isZero();
    }

    @ParameterizedTest
    @MethodSource("cloudConfigs")
    void aCloudConfigNamesFilesThatAreHere(Path config) throws Exception {
        List<String> named = Files.readAllLines(config).stream()
                .flatMap(line -> Stream.of(line.split("[\\s'\"]+")))
                .filter(word -> word.startsWith("/opt/rollcall/"))
                .toList();

        assertThat(named).isNotEmpty().allSatisfy(word -> assertThat(
                        ToolRunner.root().resolve(word.substring("/opt/rollcall/".length())))
                .exists());
    }

    @Test
    void everyCronLineRunsOnTheMasterInCronsEnvironment() throws Exception {
        moto.classic("web");
        moto.targetGroup("api", TargetTypeEnum.INSTANCE);
        Member self = new Member(id, null);
        new ClassicLoadBalancer(moto.elb, "web").register(List.of(self));
        TargetGroup.find(moto.elbv2, TargetGroup.Ref.parse("api")).register(List.of(self));
        Path command = Path.of(ToolRunner.installed("clustercron").words()[0]);
        List<String> jobs = Stream.of("cron/clustercron", "cloud-init/clustercron.yaml")
                .flatMap(file -> lines(EXAMPLES.resolve(file)))
                .map(String::strip)
                .filter(line -> line.matches("[*0-9].*"))
                .map(line -> line.replaceFirst("(\\S+ +){5}root +", ""))
                .toList();

        assertThat(jobs).hasSize(5).allMatch(job -> job.startsWith("clustercron "));
        try (EtcdServer etcd = EtcdServer.start()) {
            for (String job : jobs) {
                Run run = ToolRunner.command("sh", "-c", job.replaceAll("/usr/local/bin/\\S+", "true"))
                        .env("HOME", null)
                        .env("LANG", null)
                        .env("PATH", command.getParent() + ":/usr/bin:/bin")
                        .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                        .aws(aws.url())
                        .on(metadata)
                        .run();
                assertThat(run.exit()).as("%s", run).isZero();
            }
            assertThat(etcd.all("/clustercron/report/")).hasSize(1);
        }
    }

    @Test
    void theUnitsCommandAndEnvironmentWorkForAUserWithoutHomeOrRights() throws Exception {
        assumeTrue(System.getProperty("user.name").equals("root"), "only root can become somebody else");
        String web = moto.classic();
        String unit = Files.readString(EXAMPLES.resolve("systemd/elb-presence@.service"));
        Path cache = Files.createDirectories(folder.resolve("cache"));
        givenARepository(cache.resolve("rollcall/repository"));
        String[] command = value(unit, "ExecStart")
                .replace("/opt/rollcall", ToolRunner.root().toString())
                .split(" ");
        ToolRunner tool = ToolRunner.command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
                .args(command)
                .env("ELB_NAME", web)
                .env("HOME", "/")
                .aws(aws.url())
                .on(metadata);
        for (String setting : value(unit, "Environment").split(" ")) {
            String[] both = setting.replace("%C", cache.toString()).split("=", 2);
            tool = tool.env(both[0], both[1]);
        }

        Run run = closedAfterwards(tool.start()).says("ready");

        assertThat(moto.members(web)).containsExactly(id);
        assertThat(run.signal("TERM").exit()).isZero();
    }

    /** A local Maven repository that this user may write to, filled from the one in use. */
    private void givenARepository(Path repository) throws Exception {
        String real = System.getenv("JBANG_REPO") != null
                ? System.getenv("JBANG_REPO")
                : System.getProperty("user.home") + "/.m2/repository";
        Files.createDirectories(repository.getParent());
        String give =
                "cp -al \"$1\" \"$2\" 2>/dev/null || { rm -rf \"$2\"; cp -r \"$1\" \"$2\"; }; rm -rf \"$2/io/github/rollcall\";"
                        + " find \"$3\" -type d -exec chown 65534:65534 {} +; chmod 755 \"$3\"";
        assertThat(new ProcessBuilder("sh", "-c", give, "sh", real, repository.toString(), folder.toString())
                        .inheritIO()
                        .start()
                        .waitFor())
                .isZero();
    }

    private static String value(String unit, String key) {
        return unit.lines()
                .filter(line -> line.startsWith(key + "="))
                .findFirst()
                .orElseThrow()
                .substring(key.length() + 1);
    }

    private static boolean isThere(String program) {
        return Stream.of(System.getenv("PATH").split(":")).anyMatch(p -> Files.isExecutable(Path.of(p, program)));
    }

    /** The first line of {@code moto_server} names it, unless that is a shim. */
    private static String pythonOfMoto() {
        Path python = Servers.moto().resolveSibling("python3");
        return Files.isExecutable(python) ? python.toString() : "python3";
    }
}
