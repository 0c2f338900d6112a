package io.github.rollcall;

import java.util.logging.Level;
import picocli.CommandLine.Option;

/** How much is logged, and how: the same in every tool. Part of a command by {@code @Mixin}. */
public final class LogOptions {
    private final Level usual;

    @Option(names = "-v", description = "Log more; -vv for developers, with stack traces.")
    private boolean[] verbose = {};

    @Option(names = "-q", description = "Log warnings and errors only.")
    private boolean quiet;

    @Option(
            names = "--log-format",
            paramLabel = "text|json",
            defaultValue = "text",
            description = "One line an event, or one JSON object (default: ${DEFAULT-VALUE}).")
    private Log.Format format;

    private LogOptions(Level usual) {
        this.usual = usual;
    }

    /** For a tool that tells what it does as it goes: {@code -v} adds details, {@code -q} leaves warnings and errors. */
    public static LogOptions daemon() {
        return new LogOptions(Level.INFO);
    }

    /** For a tool that is run from cron: errors only, {@code -v} tells what it does. */
    public static LogOptions cron() {
        return new LogOptions(Level.SEVERE);
    }

    /** The least level that is logged, from the usual one and the options. */
    Level level() {
        if (verbose.length >= 2) {
            return Level.FINER;
        }
        if (verbose.length == 1) {
            return usual == Level.SEVERE ? Level.INFO : Level.FINE;
        }
        return quiet && usual != Level.SEVERE ? Level.WARNING : usual;
    }

    void apply() {
        Log.configure(format, level());
    }
}
