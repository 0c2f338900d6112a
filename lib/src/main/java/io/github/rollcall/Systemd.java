package io.github.rollcall;

import com.sun.jna.Native;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;

/**
 * What a service says to systemd, by sd_notify(3). Silent, and without cost, where {@code NOTIFY_SOCKET} is not set. A
 * message that cannot be delivered is logged and forgotten. Thread-safe.
 */
public final class Systemd {
    private static final String SOCKET = System.getenv("NOTIFY_SOCKET");

    private Systemd() {}

    /** The service does what it is for: units that wait for it may start. @param status a line for systemctl status */
    public static void ready(String status) {
        send("READY=1\nSTATUS=" + status);
    }

    /** The service is on its way out. */
    public static void stopping(String status) {
        send("STOPPING=1\nSTATUS=" + status);
    }

    /** Still alive; to be called every {@link #watchdogInterval()}. */
    public static void alive() {
        send("WATCHDOG=1");
    }

    /** How often systemd's watchdog wants to be fed: half of its time-out, as sd_watchdog_enabled(3) advises. */
    public static Optional<Duration> watchdogInterval() {
        String micros = System.getenv("WATCHDOG_USEC");
        String pid = System.getenv("WATCHDOG_PID");
        boolean forAnother = pid != null
                && !pid.equals(String.valueOf(ProcessHandle.current().pid()));
        if (SOCKET == null || micros == null || !micros.matches("\\d{1,15}") || forAnother) {
            return Optional.empty();
        }
        return Optional.of(Duration.ofNanos(Math.max(1_000_000, Long.parseLong(micros) * 1_000 / 2)));
    }

    private static void send(String message) {
        if (SOCKET == null || SOCKET.isEmpty()) {
            return;
        }
        try {
            Datagram.send(SOCKET, message.getBytes(StandardCharsets.UTF_8));
        } catch (RuntimeException | LinkageError e) {
            Log.of("systemd").warn("cannot be told", "socket", SOCKET, "cause", e);
        }
    }

    /** The three calls of the C library that it takes; the JDK has no datagram sockets of the AF_UNIX family. */
    private static final class Datagram {
        private static final int AF_UNIX = 1;
        private static final int SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
        private static final int MSG_NOSIGNAL = 0x4000;
        private static final int PATH_AT = 2;

        static {
            Native.register(Datagram.class, "c");
        }

        private static native int socket(int domain, int type, int protocol);

        private static native long sendto(
                int fd, byte[] data, long length, int flags, byte[] address, int addressLength);

        private static native int close(int fd);

        static void send(String path, byte[] message) {
            byte[] name = path.getBytes(StandardCharsets.UTF_8);
            byte[] address = new byte[PATH_AT + name.length + (path.startsWith("@") ? 0 : 1)];
            address[0] = AF_UNIX;
            System.arraycopy(name, 0, address, PATH_AT, name.length);
            if (path.startsWith("@")) {
                // unix(7): an abstract address begins with a null byte.
                address[PATH_AT] = 0;
            }
            int fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
            if (fd < 0) {
                throw new IllegalStateException("no socket, errno " + Native.getLastError());
            }
            try {
                if (sendto(fd, message, message.length, MSG_NOSIGNAL, address, address.length) < 0) {
                    throw new IllegalStateException("not sent, errno " + Native.getLastError());
                }
            } finally {
                close(fd);
            }
        }
    }
}
