package io.github.rollcall;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * A command that runs under a tool, with the tool's own terminal, standard input and output, and with the exit codes
 * that a shell would give: 127 not found, 126 not executable, 128+n ended by signal n. Thread-safe.
 */
public final class Child {
    /** What a shell ends with when the command cannot be found. */
    public static final int NOT_FOUND = 127;
    /** What a shell ends with when the command is there and cannot be executed. */
    public static final int NOT_EXECUTABLE = 126;

    private final Process process;

    private Child(Process process) {
        this.process = process;
    }

    /**
     * Starts the command.
     *
     * @throws Failure with {@link #NOT_FOUND} or {@link #NOT_EXECUTABLE} when it cannot be started
     */
    public static Child start(List<String> command) {
        try {
            return new Child(new ProcessBuilder(command).inheritIO().start());
        } catch (IOException e) {
            // ENOENT, as JDK 17 writes it ("error=2,") and JDK 25 ("error: 2 ").
            boolean absent = String.valueOf(e.getMessage()).matches("(?s).*error(=|: )2\\b.*");
            throw new Failure(
                    absent ? NOT_FOUND : NOT_EXECUTABLE,
                    "cannot start '" + command.get(0) + "': " + (absent ? "no such command" : "not executable"),
                    e);
        }
    }

    /** The process id. */
    public long pid() {
        return process.pid();
    }

    /** Whether the command still runs. */
    public boolean isAlive() {
        return process.isAlive();
    }

    /** Completes with the exit code when the command has ended. */
    public CompletableFuture<Integer> ended() {
        return process.onExit().thenApply(Process::exitValue);
    }

    /**
     * Sends a signal, unless the command has ended or a terminal may have sent it the same one already.
     *
     * @param name without {@code SIG}
     * @return whether the command has been told, by us or because it has ended
     */
    public boolean signal(String name) {
        boolean told = !(isKeystroke(name) && isInForeground());
        if (process.isAlive() && told) {
            shellKill(name);
        }
        return told || !process.isAlive();
    }

    /** Ends the command at once, without its consent. */
    public void kill() {
        process.destroyForcibly();
    }

    private void shellKill(String name) {
        try {
            // The JDK can send TERM and KILL only; every shell can send them all.
            new ProcessBuilder("/bin/sh", "-c", "kill -s \"$1\" \"$2\"", "kill", name, String.valueOf(pid()))
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start()
                    .waitFor();
        } catch (IOException e) {
            process.destroy();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
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
