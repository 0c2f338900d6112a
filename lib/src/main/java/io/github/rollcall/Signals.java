package io.github.rollcall;

import java.util.function.Consumer;
import sun.misc.Signal;

/** The signals of this process. The JDK offers nothing but {@code sun.misc.Signal}, which every JDK exports. */
public final class Signals {
    private Signals() {}

    /**
     * Calls {@code action} with the signal's name on a thread of its own, every time one arrives, in place of what the
     * JVM would do. Without effect for a signal that the JVM keeps for itself, such as {@code QUIT}.
     *
     * @param names without {@code SIG}: {@code TERM}, {@code INT}, {@code HUP}
     */
    public static void on(Consumer<String> action, String... names) {
        for (String name : names) {
            try {
                Signal.handle(new Signal(name), signal -> action.accept(signal.getName()));
            } catch (IllegalArgumentException keptByTheJvm) {
                Log.of("signals").debug("cannot be handled", "signal", name);
            }
        }
    }

    /** What a process ends with that a signal has ended, as a shell says it. @param name without {@code SIG} */
    public static int exitCode(String name) {
        return 128 + new Signal(name).getNumber();
    }
}
