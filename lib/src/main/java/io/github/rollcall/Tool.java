package io.github.rollcall;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;

/**
 * What running any of the tools means: options by picocli, one sentence for an error, and the exit codes of
 * {@link Exit}. A tool extends this and says what it does in {@link #call()}, which may throw a {@link Failure}.
 */
@Command(
        mixinStandardHelpOptions = true,
        versionProvider = Tool.Version.class,
        sortOptions = false,
        usageHelpAutoWidth = true,
        showDefaultValues = false)
public abstract class Tool implements Callable<Integer> {
    /** The label of a parameter that is a command line to run, and takes all that comes after it. */
    protected static final String COMMAND = "COMMAND";

    @Mixin
    private final LogOptions logging;

    /** What picocli knows of this command; for errors about the command line. */
    @Spec
    protected CommandSpec spec;

    /** @param logging what the tool logs when nothing is said */
    protected Tool(LogOptions logging) {
        this.logging = logging;
    }

    /** Runs the tool and ends the process with its exit code. */
    public static void main(Tool tool, String... args) {
        int code = run(tool, args);
        System.out.flush();
        System.exit(code);
    }

    static int run(Tool tool, String... args) {
        Log.configure(Log.Format.text, Level.INFO);
        CommandLine line = new CommandLine(tool);
        return line.registerConverter(Duration.class, Tool::duration)
                .setCaseInsensitiveEnumValuesAllowed(true)
                // What comes after a command's first word is the command's own.
                .setStopAtPositional(line.getCommandSpec().positionalParameters().stream()
                        .anyMatch(parameter -> parameter.paramLabel().endsWith(COMMAND)))
                // A command's own @arguments are its own.
                .setExpandAtFiles(false)
                .setExecutionStrategy(Tool::execute)
                .setParameterExceptionHandler(Tool::misused)
                .setExecutionExceptionHandler(Tool::failed)
                .execute(args);
    }

    /** A mistake on the command line, for the checks that picocli cannot make. @param sentence names the option */
    protected ParameterException usage(String sentence) {
        return new ParameterException(spec.commandLine(), sentence);
    }

    /** The tool's name, the subject of log lines that are about nothing else. */
    protected String name() {
        return spec.name();
    }

    private static int execute(ParseResult parsed) {
        Tool tool = parsed.commandSpec().root().commandLine().getCommand();
        tool.logging.apply();
        return new CommandLine.RunLast().execute(parsed);
    }

    private static int misused(ParameterException e, String[] args) {
        CommandLine command = e.getCommandLine();
        Log.of(command.getCommandName()).error(e.getMessage() + "; try '" + command.getCommandName() + " --help'");
        return Exit.USAGE;
    }

    private static int failed(Exception e, CommandLine command, ParseResult parsed) throws Exception {
        if (e instanceof ParameterException misuse) {
            return misused(misuse, new String[0]);
        }
        Log log = Log.of(command.getCommandName());
        log.trace(e);
        if (e instanceof Failure failure) {
            log.error(failure.getMessage());
            return failure.exit();
        }
        log.error("a defect in " + command.getCommandName() + ": " + e + (Log.isTracing() ? "" : "; -vv shows where"));
        return Exit.SOFTWARE;
    }

    private static Duration duration(String text) {
        try {
            return Durations.parse(text);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }

    /** The library's version is the version of every tool. */
    static final class Version implements IVersionProvider {
        @Spec
        private CommandSpec spec;

        @Override
        public String[] getVersion() {
            String version = Tool.class.getPackage().getImplementationVersion();
            return new String[] {spec.root().name() + " " + (version == null ? "(built from sources)" : version)};
        }
    }
}
