package io.github.rollcall.harness;

import io.github.rollcall.Docker;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/**
 * A real dockerd, from Debian's packages that tests/servers has unpacked, or else from the PATH. It has mounts,
 * network and processes of its own, so that any number of them run beside each other and beside one that is
 * installed, and so that all of a daemon's containers end with it. Thread-safe.
 */
public final class DockerServer implements AutoCloseable {
    /** The image that there is: nothing but busybox, as {@code /bin/sh} and under its own names. */
    public static final String IMAGE = "busybox";

    private static final List<String> PACKAGES = List.of("docker.io", "docker-cli", "containerd", "runc");

    private final Path folder;
    private final String cgroup = "rollcall-" + ProcessHandle.current().pid() + "-" + System.nanoTime();
    private final List<String> more;
    private Process process;

    private DockerServer(String... more) {
        try {
            folder = Servers.newFolder("docker");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        this.more = List.of(more);
    }

    private static final class Shared {
        static final DockerServer SERVER;
        static final String WHY_NOT;

        static {
            DockerServer server = null;
            String whyNot = null;
            try {
                server = start();
                server.docker("run", "--rm", "-p", "80", IMAGE, "/bin/busybox", "true");
                DockerServer toBeEnded = server;
                Runtime.getRuntime().addShutdownHook(new Thread(toBeEnded::close));
            } catch (RuntimeException e) {
                whyNot = "Docker cannot run here: " + e.getMessage();
            }
            SERVER = server;
            WHY_NOT = whyNot;
        }
    }

    /** Why no dockerd can be had on this machine, as found by trying; null where one can. */
    public static String whyNot() {
        return Shared.WHY_NOT;
    }

    /** One for all tests of this process that only care for containers of their own. */
    public static DockerServer shared() {
        return Shared.SERVER;
    }

    /** One of its own, with {@link #IMAGE} and no container. @param more options of dockerd's */
    public static DockerServer start(String... more) {
        DockerServer docker = new DockerServer(more);
        try {
            docker.startAgain();
            docker.importImage(docker.folder.resolve("image"), IMAGE);
            return docker;
        } catch (RuntimeException e) {
            docker.close();
            throw e;
        }
    }

    /** Where it listens; for {@code DOCKER_HOST}. */
    public String host() {
        return "unix://" + socket();
    }

    /** The socket that it listens on. */
    public Path socket() {
        return folder.resolve("sock");
    }

    /** Starts it on the containers that it had, and returns when it answers. */
    public synchronized void startAgain() {
        Path log = folder.resolve("log");
        String start = "ip link set lo up || exit; exec dockerd \"$@\"";
        List<String> command = new ArrayList<>(List.of(
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                start,
                "sh",
                "--host",
                host(),
                "--data-root",
                folder.resolve("data").toString(),
                "--exec-root",
                folder.resolve("exec").toString(),
                "--pidfile",
                folder.resolve("pid").toString(),
                "--cgroup-parent",
                cgroup,
                "--storage-driver",
                "vfs",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false"));
        command.addAll(more);
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()));
        builder.environment().put("PATH", path());
        builder.environment().put("LD_LIBRARY_PATH", libraries());
        try {
            Servers.delete(folder.resolve("exec"));
            Servers.delete(folder.resolve("pid"));
            process = builder.start();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        Servers.endWithThisProcess(process);
        Docker api = Docker.at(host(), Map.of(), Duration.ofSeconds(2));
        Awaitility.await("dockerd").pollInterval(Duration.ofMillis(50)).until(() -> {
            if (!process.isAlive()) {
                throw new IllegalStateException("dockerd ended: " + lastLine(log));
            }
            try {
                return api.containers(Map.of()) != null;
            } catch (RuntimeException notYet) {
                return false;
            }
        });
    }

    private static String lastLine(Path log) throws IOException {
        List<String> lines = Files.readAllLines(log);
        return lines.isEmpty() ? "it said nothing" : lines.get(lines.size() - 1);
    }

    /**
     * Makes an image of a folder, to which busybox is added as {@code /bin/sh} and under its own name.
     *
     * @param settings lines of a Dockerfile, such as {@code ENV A=b}
     */
    public void importImage(Path root, String name, String... settings) {
        List<String> command = new ArrayList<>(
                List.of("sh", "-c", "tar -C \"$0\" -c . | docker \"$@\"", root.toString(), "-H", host(), "import"));
        for (String setting : settings) {
            command.addAll(List.of("--change", setting));
        }
        command.addAll(List.of("-", name));
        try {
            Path busybox = Files.createDirectories(root.resolve("bin")).resolve("busybox");
            Files.copy(busybox(), busybox, StandardCopyOption.COPY_ATTRIBUTES, StandardCopyOption.REPLACE_EXISTING);
            Files.createSymbolicLink(busybox.resolveSibling("sh"), Path.of("busybox"));
            run(command);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Path busybox() {
        Path unpacked = Servers.unpacked("busybox-static");
        return Stream.of(unpacked.resolve("bin/busybox"), unpacked.resolve("usr/bin/busybox"), Path.of("/bin/busybox"))
                .filter(Files::isExecutable)
                .findFirst()
                .orElseThrow(() -> new IllegalStateException("there is no busybox-static"));
    }

    /** Runs the docker command. @return what it has printed */
    public String docker(String... args) {
        List<String> command = new ArrayList<>(List.of("docker", "-H", host()));
        command.addAll(List.of(args));
        return run(command);
    }

    /** Where the docker command is found: for {@code PATH}. */
    public static String path() {
        StringBuilder path = new StringBuilder();
        for (String name : PACKAGES) {
            Path unpacked = Servers.unpacked(name);
            path.append(unpacked.resolve("usr/bin")).append(':');
            path.append(unpacked.resolve("usr/sbin")).append(':');
        }
        return path + System.getenv("PATH") + ":/usr/sbin:/sbin";
    }

    /** Runs a container that does nothing, in the background. @param options of docker run, such as {@code -p 80} */
    public String runContainer(String name, String... options) {
        List<String> args = new ArrayList<>(List.of("run", "-d", "--stop-timeout", "0", "--name", name));
        args.addAll(List.of(options));
        args.addAll(List.of(IMAGE, "/bin/busybox", "sleep", "1000000"));
        return docker(args.toArray(String[]::new)).strip();
    }

    /** Where a container's port is published, first on IPv4, as {@code docker port} has it: {@code 0.0.0.0:32768}. */
    public String port(String container, String port) {
        return docker("port", container, port).lines().findFirst().orElseThrow();
    }

    private String run(List<String> command) {
        ProcessBuilder builder =
                new ProcessBuilder(command).redirectInput(Path.of("/dev/null").toFile());
        builder.environment().put("PATH", path());
        builder.environment().put("HOME", folder.toString());
        try {
            Path err = Files.createTempFile(folder, "docker", ".err");
            Process docker = builder.redirectError(err.toFile()).start();
            String out = new String(docker.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (!docker.waitFor(60, TimeUnit.SECONDS) || docker.exitValue() != 0) {
                docker.destroyForcibly();
                throw new IllegalStateException(
                        command + ": " + Files.readString(err).strip());
            }
            Files.delete(err);
            return out;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /** Ends it and all its containers at once. */
    public synchronized void kill() {
        if (process != null) {
            Servers.stop(process);
        }
    }

    /** Stops it in its tracks: it takes connections and does not answer. */
    public synchronized void freeze() {
        process.children().forEach(daemon -> Servers.signal(daemon, "STOP"));
    }

    /** Lets it go on. */
    public synchronized void thaw() {
        process.children().forEach(daemon -> Servers.signal(daemon, "CONT"));
    }

    @Override
    public void close() {
        kill();
        removeCgroups();
        Servers.delete(folder);
    }

    /** Those of containers stay behind when they are killed; some go by themselves while this looks. */
    private void removeCgroups() {
        String remove = "for group in /sys/fs/cgroup/\"$0\" /sys/fs/cgroup/*/\"$0\"; do"
                + " find \"$group\" -depth -type d -exec rmdir {} \\; 2>/dev/null; done; true";
        run(List.of("sh", "-c", remove, cgroup));
    }

    private static String libraries() {
        String machine = System.getProperty("os.arch").equals("amd64") ? "x86_64" : "aarch64";
        return Servers.unpacked("libdevmapper1.02.1")
                .resolve("lib")
                .resolve(machine + "-linux-gnu")
                .toString();
    }
}
