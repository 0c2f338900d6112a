package io.github.rollcall.harness;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.awaitility.Awaitility;

/** systemd's end of {@code NOTIFY_SOCKET}; records what a service says. Thread-safe. */
public final class NotifySocket implements AutoCloseable {
    // The JDK has no datagram sockets of the AF_UNIX family; moto has brought a Python.
    private static final String RECEIVER =
            """
            import socket, sys
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            s.bind(sys.argv[1])
            open(sys.argv[2], "a").close()
            while True:
                m = s.recv(65536).decode()
                with open(sys.argv[2], "a") as f:
                    f.write("".join(line + "\\n" for line in m.splitlines()))
            """;

    private final Path socket;
    private final Path record;
    private final Process process;

    /** Listens at {@code folder/notify}. */
    public NotifySocket(Path folder) {
        socket = folder.resolve("notify");
        record = folder.resolve("notified");
        try {
            process = new ProcessBuilder("python3", "-c", RECEIVER, socket.toString(), record.toString())
                    .inheritIO()
                    .start();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        Servers.endWithThisProcess(process);
        Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> Files.exists(record));
    }

    /** For {@code NOTIFY_SOCKET}. */
    public Path path() {
        return socket;
    }

    /** What has been said so far, a line each, such as {@code READY=1}. */
    public List<String> said() {
        try {
            return Files.readAllLines(record);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        Servers.stop(process);
    }
}
