package io.github.rollcall;

import java.io.IOException;
import java.io.OutputStream;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * A command that runs under a tool, with the tool's own terminal, standard input and output, and with the exit codes
 * that a shell would give: 127 not found, 126 not executable, 128+n ended by signal n. Thread-safe.
 */
public final class Child {
    /** What a shell ends with when the command cannot be found. */
    public static final int NOT_FOUND = 127;
    /** What a shell ends with when the command is there and cannot be executed. */
    public static final int NOT_EXECUTABLE = 126;

    /**
     * Waits for a line, and becomes the command; ends when there will be none, because the tool has died. Its standard
     * input is the tool's again by then, where that can be opened once more: a socket, for one, cannot.
     */
    private static final String HOLD =
            """
            rollcall_stdin=/proc/$1/fd/0
            [ -S "$rollcall_stdin" ] || { : <"$rollcall_stdin"; } 2>/dev/null || rollcall_stdin=/dev/null
            [ -S "$rollcall_stdin" ] && rollcall_stdin=/dev/null
            shift
            exec 3<"$rollcall_stdin"
            read -r rollcall_go || exit 125
            exec "$@" <&3 3<&-
            """;

    private static final Duration POLL = Duration.ofMillis(50);

    private final Process process;
    private final boolean ownGroup;

    private Child(Process process, boolean ownGroup) {
        this.process = process;
        this.ownGroup = ownGroup;
    }

    /**
     * Starts the command, in the tool's own process group.
     *
     * @throws Failure with {@link #NOT_FOUND} or {@link #NOT_EXECUTABLE} when it cannot be started
     */
    public static Child start(List<String> command) {
        try {
            return new Child(new ProcessBuilder(command).inheritIO().start(), false);
        } catch (IOException e) {
            // ENOENT, as JDK 17 writes it ("error=2,") and JDK 25 ("error: 2 ").
            boolean absent = String.valueOf(e.getMessage()).matches("(?s).*error(=|: )2\\b.*");
            throw cannotStart(command.get(0), absent, e);
        }
    }

    /**
     * Starts the command in a session and process group of its own, so that a signal reaches also what it starts.
     *
     * @param output whether its output is the tool's, or is dropped
     * @throws Failure as {@link #start}
     */
    public static Child startGroup(List<String> command, boolean output) {
        check(command);
        return group(command, Redirect.INHERIT, output);
    }

    /**
     * As {@link #startGroup}, but everything is made ready only: the command begins with {@link #release}, which takes
     * no time and cannot fail, and never begins when the tool dies before that.
     */
    public static Child hold(List<String> command, boolean output) {
        check(command);
        List<String> held = new ArrayList<>(List.of(
                "/bin/sh",
                "-c",
                HOLD,
                "sh",
                String.valueOf(ProcessHandle.current().pid())));
        held.addAll(command);
        return group(held, Redirect.PIPE, output);
    }

    private static Child group(List<String> command, Redirect input, boolean output) {
        List<String> whole = new ArrayList<>(List.of("setsid"));
        whole.addAll(command);
        Redirect to = output ? Redirect.INHERIT : Redirect.DISCARD;
        try {
            return new Child(
                    new ProcessBuilder(whole)
                            .redirectInput(input)
                            .redirectOutput(to)
                            .redirectError(to)
                            .start(),
                    true);
        } catch (IOException e) {
            throw new Failure(Exit.UNAVAILABLE, "cannot start a process: " + e.getMessage(), e);
        }
    }

    /** Looks the command up as execvp(3) will, for there is nobody to ask any more once it is on its way. */
    private static void check(List<String> command) {
        String name = command.get(0);
        String path = System.getenv("PATH");
        Stream<Path> places = name.contains("/")
                ? Stream.of(Path.of(name))
                : Stream.of((path == null ? "/bin:/usr/bin" : path).split(":", -1))
                        .map(dir -> Path.of(dir, name));
        List<Path> found = places.filter(Files::exists).toList();
        if (name.isEmpty() || found.stream().noneMatch(file -> Files.isExecutable(file) && !Files.isDirectory(file))) {
            throw cannotStart(name, name.isEmpty() || found.isEmpty(), null);
        }
    }

    private static Failure cannotStart(String name, boolean absent, IOException cause) {
        return new Failure(
                absent ? NOT_FOUND : NOT_EXECUTABLE,
                "cannot start '" + name + "': " + (absent ? "no such command" : "not executable"),
                cause);
    }

    /** The process id. */
    public long pid() {
        return process.pid();
    }

    /** Whether the command still runs. */
    public boolean isAlive() {
        return process.isAlive();
    }

    /** Lets a command that is held begin. */
    public void release() {
        try (OutputStream gate = process.getOutputStream()) {
            gate.write('\n');
        } catch (IOException ended) {
            // By a signal, which its exit code will say.
        }
    }

    /** Completes with the exit code when the command has ended. */
    public CompletableFuture<Integer> ended() {
        return process.onExit().thenApply(Process::exitValue);
    }

    /** Whether the command has ended within this time. */
    public boolean endsWithin(Duration time) {
        try {
            return process.waitFor(time.toMillis(), TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    /**
     * Sends a signal, unless the command has ended or a terminal may have sent it the same one already.
     *
     * @param name without {@code SIG}
     * @return whether the command has been told, by us or because it has ended
     */
    public boolean signal(String name) {
        boolean told = ownGroup || !(isKeystroke(name) && isInForeground());
        if (process.isAlive() && told) {
            send(name);
        }
        return told || !process.isAlive();
    }

    /** Ends the command at once, without its consent. */
    public void kill() {
        if (ownGroup) {
            send("KILL");
        }
        process.destroyForcibly();
    }

    /**
     * Ends a command that has a group of its own, and all that it started: by TERM, and what is left after
     * {@code patience} by KILL.
     */
    public void end(Duration patience) {
        long deadline = System.nanoTime() + patience.toNanos();
        send("TERM");
        // What is left of the group may outlive its leader.
        while (send("0") && deadline - System.nanoTime() > 0) {
            endsWithin(POLL);
            sleep();
        }
        kill();
    }

    private static void sleep() {
        try {
            Thread.sleep(POLL.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Whether anybody was there to receive it. */
    private boolean send(String name) {
        // The JDK can send TERM and KILL only, to one process; every shell can send them all. Right after its start a
        // group has no leader yet.
        String one = "kill -s \"$1\" \"$2\" 2>/dev/null";
        String group = "kill -s \"$1\" -- \"-$2\" 2>/dev/null";
        // Once the leader has been reaped its number may be another's.
        String script = !ownGroup ? one : process.isAlive() ? group + " || " + one : group;
        try {
            return new ProcessBuilder("/bin/sh", "-c", script, "kill", name, String.valueOf(pid()))
                            .start()
                            .waitFor()
                    == 0;
        } catch (IOException e) {
            return !name.equals("0") && process.toHandle().destroy();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    /** Whether a terminal sends it when a key is pressed, to every process in its foreground: the command too. */
    private static boolean isKeystroke(String name) {
        return name.equals("INT") || name.equals("WINCH");
    }

    /** Whether this process is in the foreground of a terminal: proc(5), pgrp and tpgid of /proc/self/stat. */
    private static boolean isInForeground() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String[] afterName = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            return afterName[2].equals(afterName[5]);
        } catch (IOException e) {
            return false;
        }
    }
}
