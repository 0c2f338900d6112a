package io.github.rollcall.harness;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/** Finding, starting and ending servers that are processes of their own. */
public final class Servers {
    static {
        // The machines that run tests are slow at times; a test that has to wait for long is no failure.
        Awaitility.setDefaultTimeout(Duration.ofSeconds(60));
    }

    private static final Path CACHE = Path.of(Objects.requireNonNullElse(
                    System.getenv("XDG_CACHE_HOME"), System.getProperty("user.home") + "/.cache"))
            .resolve("rollcall");

    private static final Set<Integer> PORTS_GIVEN = ConcurrentHashMap.newKeySet();

    private static volatile Path temporary;

    private Servers() {}

    /** From now on what servers write goes into this folder, not into one for temporary files. */
    public static void writeInto(Path folder) {
        temporary = folder;
    }

    /** A new folder for what a server writes. @param name short, for there are sockets in some */
    static Path newFolder(String name) throws IOException {
        return temporary == null
                ? Files.createTempDirectory("rollcall-" + name)
                : Files.createDirectory(temporary.resolve(name));
    }

    /**
     * A port that was free just now, on every address: never the same twice, and below those that the kernel gives to outgoing
     * connections, which could take it before its server starts, or while that is restarted.
     */
    public static int freePort() {
        while (true) {
            int port = ThreadLocalRandom.current().nextInt(10_000, 32_000);
            if (PORTS_GIVEN.add(port) && isFree(port)) {
                return port;
            }
        }
    }

    private static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket(port)) {
            return socket.isBound();
        } catch (IOException e) {
            return false;
        }
    }

    /** Starts a server and waits until its port takes connections. @param port one of 127.0.0.1 */
    static Process start(ProcessBuilder command, int port) {
        try {
            Path log = temporary == null
                    ? Files.createTempFile("rollcall-server", ".log")
                    : Files.createTempFile(temporary, "server", ".log");
            log.toFile().deleteOnExit();
            Process process = command.redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            endWithThisProcess(process);
            Awaitility.await(command.command().get(0))
                    .atMost(Duration.ofSeconds(60))
                    .pollInterval(Duration.ofMillis(50))
                    .until(() -> {
                        if (!process.isAlive()) {
                            throw new IllegalStateException(command.command() + " ended: " + Files.readString(log));
                        }
                        return answers(port);
                    });
            return process;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Ends a process and those that it started; returns when they are gone. */
    public static void stop(Process process) {
        List<ProcessHandle> all = Stream.concat(process.descendants(), Stream.of(process.toHandle()))
                .toList();
        all.forEach(ProcessHandle::destroyForcibly);
        try {
            for (ProcessHandle one : all) {
                one.onExit().get(10, TimeUnit.SECONDS);
            }
        } catch (ExecutionException | TimeoutException e) {
            // Killed it is, and there is nothing more to be done.
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Sends a signal to a process, and to it alone. @param name without {@code SIG} */
    public static void signal(Process process, String name) {
        signal(process.toHandle(), name);
    }

    /** As {@link #signal(Process, String)}, for one that another process has started. */
    static void signal(ProcessHandle process, String name) {
        try {
            new ProcessBuilder("kill", "-s", name, String.valueOf(process.pid()))
                    .start()
                    .waitFor();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (name.equals("STOP")) {
            // Its threads stop one by one: one that still runs may answer.
            Awaitility.await("all threads stopped").until(() -> !process.isAlive() || isStopped(process));
        }
    }

    private static boolean isStopped(ProcessHandle process) throws IOException {
        try (Stream<Path> threads = Files.list(Path.of("/proc/" + process.pid() + "/task"))) {
            for (Path thread : threads.toList()) {
                String stat = Files.readString(thread.resolve("stat"));
                if (stat.charAt(stat.lastIndexOf(')') + 2) != 'T') {
                    return false;
                }
            }
            return true;
        } catch (NoSuchFileException ended) {
            return false;
        }
    }

    /** The program of a Debian package that tests/servers has unpacked, or else of the PATH. */
    public static String program(String debianPackage, String name) {
        Path program = unpacked(debianPackage).resolve("usr/bin").resolve(name);
        return Files.isExecutable(program) ? program.toString() : name;
    }

    /** Where tests/servers unpacks a Debian package; it may not be there. */
    public static Path unpacked(String debianPackage) {
        return CACHE.resolve("debian").resolve(debianPackage);
    }

    /** The {@code moto_server} of the PATH, or else the one that tests/servers has fetched. */
    public static Path moto() {
        return Stream.concat(
                        Stream.of(System.getenv("PATH").split(":")).map(Path::of), Stream.of(CACHE.resolve("moto/bin")))
                .map(folder -> folder.resolve("moto_server"))
                .filter(Files::isExecutable)
                .findFirst()
                .orElseThrow(() -> new IllegalStateException("no moto_server: run tests/servers moto"));
    }

    /** Whatever happens to a test, nothing outlives the JVM that started it. */
    static void endWithThisProcess(Process process) {
        try {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(process)));
        } catch (IllegalStateException ending) {
            // Too late for a hook: the tests go on for a moment while this JVM ends.
            stop(process);
            throw ending;
        }
    }

    /** Removes a file or a folder with all that is in it; nothing, if it is not there. */
    public static void delete(Path path) {
        try (Stream<Path> all = Files.walk(path)) {
            all.sorted(Comparator.reverseOrder()).forEach(p -> p.toFile().delete());
        } catch (NoSuchFileException gone) {
            // As it should be.
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean answers(int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 500);
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
