package io.github.rollcall.harness;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/**
 * Runs tools as a user does, through {@code ./jbang} and real JBang, as processes whose AWS and metadata service are on
 * loopback and whose environment has nothing of ours in it. Immutable; the methods that change something give a new one.
 */
public final class ToolRunner {
    private static final Path ROOT = Path.of(Objects.requireNonNullElse(System.getenv("ROLLCALL_ROOT"), ".."))
            .toAbsolutePath()
            .normalize();
    /** What a process needs of our environment: to find programs, and the caches that are warm. */
    private static final List<String> INHERITED = List.of(
            "PATH", "HOME", "LANG", "JBANG_REPO", "JBANG_DIR", "JBANG_CACHE_DIR", "XDG_CACHE_HOME", "MAVEN_OPTS");

    private static final Map<String, List<Path>> CLASS_PATHS = new ConcurrentHashMap<>();
    private static final Map<String, ToolRunner> INSTALLED = new ConcurrentHashMap<>();

    private final List<String> command;
    private final Map<String, String> environment;

    private ToolRunner(List<String> command, Map<String, String> environment) {
        this.command = command;
        this.environment = environment;
    }

    /** The checkout that is used: {@code ROLLCALL_ROOT}, or for Maven, which works in {@code tests}, the folder above. */
    public static Path root() {
        return ROOT;
    }

    /** A tool by its alias, with nothing listening where AWS and the metadata service would be. */
    public static ToolRunner tool(String alias) {
        Built.once();
        return command(ROOT.resolve("jbang").toString(), alias);
    }

    /** A tool as the command that {@code install} makes of it, for the JDK of this process: no JBang, and no home needed. */
    public static ToolRunner installed(String alias) {
        return installed(alias, Path.of(System.getProperty("java.home")));
    }

    private static ToolRunner installed(String alias, Path jdk) {
        Built.once();
        return INSTALLED.computeIfAbsent(alias + " on " + jdk, tool -> {
            Path bin = Commands.FOLDER.resolve(jdk.getFileName()).resolve("bin");
            Run install = command(ROOT.resolve("jbang").toString(), "install")
                    .args(alias, "--to", bin.toString())
                    .env("JAVA_HOME", jdk.toString())
                    .start();
            // Those of other tests go first, one at a time, each of which takes a while on a busy machine.
            if (install.exit(Run.PATIENCE.multipliedBy(4)) != 0 || install.err().contains("warning")) {
                throw new IllegalStateException(install.toString());
            }
            return command(bin.resolve(alias).toString());
        });
    }

    /**
     * The ways to start a tool, by their names in a table: through JBang, and installed, on the JDK of this process and on
     * that which {@code ROLLCALL_SECOND_JDK} names.
     */
    public static Map<String, ToolRunner> ways(String alias) {
        Map<String, ToolRunner> ways = new LinkedHashMap<>();
        ways.put("./jbang " + alias, tool(alias));
        Stream.of(System.getProperty("java.home"), System.getenv("ROLLCALL_SECOND_JDK"))
                .filter(home -> home != null && !home.isEmpty())
                .map(Path::of)
                .forEach(home -> ways.put(alias + " installed, JDK " + version(home), installed(alias, home)));
        return ways;
    }

    private static String version(Path jdk) {
        try {
            return Files.readString(jdk.resolve("release"))
                    .lines()
                    .filter(line -> line.startsWith("JAVA_VERSION="))
                    .map(line -> line.replaceAll("\\D*(\\d+).*", "$1"))
                    .findFirst()
                    .orElseThrow();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The jars that a script runs from, its own first. */
    public static List<Path> classPath(String scriptClass) {
        Built.once();
        String script = ROOT.resolve("scripts/" + scriptClass + ".java").toString();
        return CLASS_PATHS.computeIfAbsent(script, s -> {
            Run info = command(ROOT.resolve("jbang").toString(), "info", "classpath", s)
                    .run();
            return Stream.of(info.out().strip().split(":")).map(Path::of).toList();
        });
    }

    /** Any command, with the environment of a tool. */
    public static ToolRunner command(String... command) {
        Map<String, String> environment = new TreeMap<>();
        for (String name : INHERITED) {
            if (System.getenv(name) != null) {
                environment.put(name, System.getenv(name));
            }
        }
        environment.put("JAVA_HOME", System.getProperty("java.home"));
        environment.put("AWS_REGION", Moto.REGION);
        environment.put("AWS_ACCESS_KEY_ID", "AKIAROLLCALLTEST");
        environment.put("AWS_SECRET_ACCESS_KEY", "test");
        environment.put("AWS_CONFIG_FILE", "/dev/null");
        environment.put("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        // The discard port: nothing listens there, and it is not AWS.
        environment.put("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        environment.put("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9");
        return new ToolRunner(List.of(command), environment);
    }

    /** With AWS here. */
    public ToolRunner aws(URI endpoint) {
        return env("AWS_ENDPOINT_URL", endpoint.toString());
    }

    /** On the instance that this service tells of. */
    public ToolRunner on(MetadataServer metadata) {
        return env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url().toString());
    }

    /** With a variable set, or with {@code null} unset. */
    public ToolRunner env(String name, String value) {
        Map<String, String> changed = new TreeMap<>(environment);
        if (value == null) {
            changed.remove(name);
        } else {
            changed.put(name, value);
        }
        return new ToolRunner(command, changed);
    }

    /** With these arguments after those it has. */
    public ToolRunner args(String... more) {
        List<String> longer = new ArrayList<>(command);
        longer.addAll(List.of(more));
        return new ToolRunner(List.copyOf(longer), environment);
    }

    /** The words of its command line, for a command that runs it. */
    public String[] words() {
        return command.toArray(new String[0]);
    }

    /** With another command before it, that runs it. */
    public ToolRunner under(String... runner) {
        List<String> longer = new ArrayList<>(List.of(runner));
        longer.addAll(command);
        return new ToolRunner(List.copyOf(longer), environment);
    }

    /** Starts it in the temporary folder, with no standard input. */
    public Run start() {
        return start(Path.of(System.getProperty("java.io.tmpdir")), "");
    }

    /** Starts it in the temporary folder, with a standard input that says nothing and does not end. */
    public Run startWithOpenInput() {
        return start(Path.of(System.getProperty("java.io.tmpdir")), null);
    }

    /** Starts it in a folder, with this standard input. */
    public Run start(Path folder, String input) {
        try {
            Path out = Files.createTempFile("rollcall", ".out");
            Path err = Files.createTempFile("rollcall", ".err");
            out.toFile().deleteOnExit();
            err.toFile().deleteOnExit();
            ProcessBuilder builder = new ProcessBuilder(withHearing(command))
                    .directory(folder.toFile())
                    .redirectOutput(out.toFile())
                    .redirectError(err.toFile());
            builder.environment().clear();
            builder.environment().putAll(environment);
            Process process = builder.start();
            Servers.endWithThisProcess(process);
            if (input != null) {
                process.getOutputStream().write(input.getBytes());
                process.getOutputStream().close();
            }
            return new Run(command, process, out, err);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Under nohup, or in the background of a shell, a process would never see the SIGHUP or SIGINT that a test sends it. */
    private static List<String> withHearing(List<String> command) throws IOException {
        boolean deaf = Files.readAllLines(Path.of("/proc/self/status")).stream()
                .anyMatch(line -> line.startsWith("SigIgn:") && line.matches(".*[^048c]"));
        if (!deaf) {
            return command;
        }
        List<String> longer = new ArrayList<>(List.of("env", "--default-signal=HUP,INT"));
        longer.addAll(command);
        return longer;
    }

    /** Runs it to its end. */
    public Run run() {
        Run run = start();
        run.exit();
        return run;
    }

    /** A tool that runs or has run. Thread-safe. */
    public static final class Run implements AutoCloseable {
        private static final Duration PATIENCE = Duration.ofSeconds(90);

        private final List<String> command;
        private final Process process;
        private final Path out;
        private final Path err;

        private Run(List<String> command, Process process, Path out, Path err) {
            this.command = command;
            this.process = process;
            this.out = out;
            this.err = err;
        }

        /** The exit code, when it has ended. @throws IllegalStateException when it does not end */
        public int exit() {
            return exit(PATIENCE);
        }

        private int exit(Duration patience) {
            try {
                if (!process.waitFor(patience.toSeconds(), TimeUnit.SECONDS)) {
                    close();
                    throw new IllegalStateException("does not end: " + this);
                }
                return process.exitValue();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException(e);
            }
        }

        /** What it has written to standard output so far. */
        public String out() {
            return read(out);
        }

        /** What it has written to standard error so far, without JBang's own lines about building. */
        public String err() {
            return errWithBuilding().replaceAll("(?m)^\\[?jbang[]:].*\\n", "");
        }

        /** What it has written to standard error so far. */
        public String errWithBuilding() {
            return read(err);
        }

        /** Gives it something to read, where its standard input is open. */
        public Run type(String text) {
            try {
                process.getOutputStream().write(text.getBytes());
                process.getOutputStream().flush();
                return this;
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        /** Waits until it has written something to standard error. @param text part of a line */
        public Run says(String text) {
            return says(text, 1);
        }

        /** Waits until it has written something to standard error that often. */
        public Run says(String text, int times) {
            Awaitility.await("'" + text + "' from " + command)
                    .atMost(PATIENCE)
                    .pollInterval(Duration.ofMillis(20))
                    .until(() -> {
                        if (count(text) >= times) {
                            return true;
                        }
                        if (!process.isAlive() && count(text) < times) {
                            throw new IllegalStateException("never said '" + text + "': " + this);
                        }
                        return false;
                    });
            return this;
        }

        /** How many times it has written something to standard error so far. */
        public int count(String text) {
            return err().split(java.util.regex.Pattern.quote(text), -1).length - 1;
        }

        /** Sends a signal to it, and to it alone. @param name without {@code SIG} */
        public Run signal(String name) {
            Servers.signal(process, name);
            return this;
        }

        /** Whether it still runs. */
        public boolean isAlive() {
            return process.isAlive();
        }

        /** Its process. */
        public ProcessHandle handle() {
            return process.toHandle();
        }

        /** Ends it and all that it started, at once. */
        @Override
        public void close() {
            Servers.stop(process);
        }

        @Override
        public String toString() {
            String state = process.isAlive() ? "running" : "exit " + process.exitValue();
            return command + " (" + state + ")\n--- stdout\n" + out() + "--- stderr\n" + errWithBuilding();
        }

        private static String read(Path file) {
            try {
                return Files.readString(file);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /** Every script is built once, so that no test pays for it and no two build one script at a time. */
    private static final class Built {
        static {
            try (var scripts = Files.list(ROOT.resolve("scripts"))) {
                for (Path script : scripts.sorted().toList()) {
                    Run build = command(ROOT.resolve("jbang").toString(), "build", script.toString())
                            .run();
                    if (build.exit() != 0) {
                        throw new IllegalStateException(build.toString());
                    }
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        static void once() {
            // Loading the class has done it.
        }
    }

    /** Where this process has its installed commands; any user may read there. */
    private static final class Commands {
        static final Path FOLDER;

        static {
            try {
                FOLDER = Files.createTempDirectory(
                        "rollcall-installed",
                        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwxr-xr-x")));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            Runtime.getRuntime().addShutdownHook(new Thread(() -> Servers.delete(FOLDER)));
        }
    }
}
