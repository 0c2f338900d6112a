package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.harness.DockerServer;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** The image of {@code examples/docker}, on a base that is made of this machine's own JDK. */
@Tag("once")
class DockerImageTest extends EtcdPresenceScene {
    private static final List<String> TOOLS =
            List.of("elb-presence", "lbmanager", "etcd-presence", "etcd-aws-cluster", "clustercron");
    private static final String IMAGE = "rollcall";

    /** Fills a folder with a JRE, etcd, etcdctl, and the libraries that they load. */
    private static final String BASE =
            """
            set -e
            mkdir -p "$2/java" "$2/bin" && mkdir -m 1777 "$2/tmp"
            tar -C "$1" -ch --exclude=ct.sym --exclude=src.zip --exclude='classes*_*.jsa' bin/java lib conf | tar -C "$2/java" -x
            cp -L "$(command -v "$3")" "$2/bin/etcd"
            cp -L "$(command -v "$4")" "$2/bin/etcdctl"
            cd "$2/java"
            ldd bin/java lib/server/libjvm.so lib/libjava.so lib/libnet.so lib/libnio.so lib/libzip.so ../bin/etcd |
              sed -n 's/^\\s\\(.*\\s\\)\\?\\(\\/[^ ]*\\) (0x.*/\\2/p' | grep -v "^$2" | sort -u |
              while read -r library; do cp -L --parents "$library" "$2"; done
            """;

    @Test
    void anImageHasEveryToolOrIsOneAndItsDaemonsHearDockerStop() {
        // Builds are events and containers as well: not for those of other tests to see.
        DockerServer docker = closed(DockerServer.start());
        build(docker);

        docker.docker("run", "-d", "--name", "etcd", "--network", "host", IMAGE, "etcd", "--data-dir", "/tmp/etcd");
        for (String tool : TOOLS) {
            assertThat(docker.docker("exec", "etcd", "sh", "-c", tool + " --version 2>&1"))
                    .isEqualTo(docker.docker("run", "--rm", tool, "--version"))
                    .matches(tool + " \\d+\\.\\d+\\.\\d+\n");
        }
        String cron = "clustercron --instance-id i-1 --region us-east-1 --endpoint-url http://127.0.0.1:9 elb web 2>&1";
        assertThat(docker.docker(
                        "exec",
                        "--env=AWS_ACCESS_KEY_ID=AKIAROLLCALLTEST",
                        "--env=AWS_SECRET_ACCESS_KEY=test",
                        "etcd",
                        "sh",
                        "-c",
                        cron + "; echo exit $?"))
                .startsWith("clustercron: error: elb/web: ")
                .endsWith("\nexit 69\n");

        docker.docker(
                "run",
                "-d",
                "--name",
                "presence",
                "--network",
                "host",
                "--user",
                "0",
                "--volume",
                docker.socket() + ":/var/run/docker.sock",
                "--health-cmd",
                "wget -q -O /dev/null http://127.0.0.1:8080/healthz",
                "--health-interval",
                "1s",
                "etcd-presence",
                "--container",
                web,
                "--http",
                "127.0.0.1:8080");
        docker.runContainer(web, "-p", "127.0.0.1:9090:80");
        String key = "/containers/" + web + "/80/port";
        await(key).until(() -> keys(docker).equals(key + "\n9090\n"));
        await("health").until(() -> inspect(docker, ".State.Health.Status").equals("healthy"));

        docker.docker("stop", "--time", "60", "presence");

        assertThat(inspect(docker, ".State.ExitCode")).isEqualTo("0");
        assertThat(keys(docker)).isEmpty();
    }

    /** As the README has it. */
    private void build(DockerServer docker) {
        Path bin = TOOLS.stream()
                .map(tool -> Path.of(ToolRunner.installed(tool).words()[0]).getParent())
                .reduce((a, b) -> b)
                .orElseThrow();
        Path base = folder.resolve("base");
        Run made = ToolRunner.command("bash", "-c", BASE, "bash", System.getProperty("java.home"), base.toString())
                .args(Servers.program("etcd-server", "etcd"), Servers.program("etcd-client", "etcdctl"))
                .run();
        assertThat(made.exit()).as("%s", made).isZero();
        docker.importImage(base, "base", "ENV JAVA_HOME=/java", "ENV PATH=/java/bin:/bin", "ENTRYPOINT [\"/bin/sh\"]");
        String file = ToolRunner.root().resolve("examples/docker/Dockerfile").toString();
        String context = bin.getParent().toString();
        String[] build = {"build", "--network", "none", "--build-arg", "BASE=base", "--file", file, context, "--tag"};
        docker.docker(with(build, IMAGE));
        for (String tool : TOOLS) {
            docker.docker(with(build, tool, "--target", tool));
        }
    }

    private static String[] with(String[] command, String... more) {
        return Stream.concat(Stream.of(command), Stream.of(more)).toArray(String[]::new);
    }

    private static String keys(DockerServer docker) {
        return docker.docker("exec", "--env=ETCDCTL_API=3", "etcd", "etcdctl", "get", "--prefix", "/containers")
                .replaceAll("(?m)^/containers/.*/host\\n.*\\n", "");
    }

    private static String inspect(DockerServer docker, String what) {
        return docker.docker("inspect", "--format", "{{" + what + "}}", "presence")
                .strip();
    }
}
