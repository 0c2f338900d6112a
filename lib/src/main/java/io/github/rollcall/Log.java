package io.github.rollcall;

import com.google.gson.stream.JsonWriter;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.logging.ConsoleHandler;
import java.util.logging.Formatter;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.regex.Pattern;

/**
 * Log lines on stderr, one an event: the subject first (a load balancer, a container, a member), then what happened,
 * then its details as {@code key=value}. Thread-safe.
 *
 * <pre>{@code elb/web: health state=InService after=1.2s}</pre>
 *
 * <p>There is no time in the text format, because journald, Docker and syslog put their own before it; the JSON format
 * has one.
 */
public final class Log {
    /** How a line is written. */
    public enum Format {
        /** For people. */
        text,
        /** One JSON object a line. */
        json
    }

    private static final Logger ROOT = Logger.getLogger("");
    private static final Logger TOOLS = Logger.getLogger("rollcall");

    private final String subject;

    private Log(String subject) {
        this.subject = subject;
    }

    /** The log of one subject. @param subject what the lines are about, such as {@code elb/web} */
    public static Log of(String subject) {
        return new Log(subject);
    }

    /**
     * Sets the format and the least level for the whole process. Other libraries' own lines are shown only at
     * {@link Level#FINER}, and never the AWS SDK's signing, which would show session tokens.
     */
    static void configure(Format format, Level level) {
        for (Handler handler : ROOT.getHandlers()) {
            ROOT.removeHandler(handler);
        }
        Handler stderr = new ConsoleHandler();
        stderr.setFormatter(new LineFormatter(format));
        stderr.setLevel(Level.ALL);
        ROOT.addHandler(stderr);
        ROOT.setLevel(level.intValue() <= Level.FINER.intValue() ? Level.INFO : Level.OFF);
        TOOLS.setLevel(level);
    }

    /** Whether details for a developer, stack traces among them, are wanted ({@code -vv}). */
    public static boolean isTracing() {
        return TOOLS.isLoggable(Level.FINER);
    }

    /** @param details keys and values in turn */
    public void error(String event, Object... details) {
        write(Level.SEVERE, event, details);
    }

    /** @param details keys and values in turn */
    public void warn(String event, Object... details) {
        write(Level.WARNING, event, details);
    }

    /** @param details keys and values in turn */
    public void info(String event, Object... details) {
        write(Level.INFO, event, details);
    }

    /** @param details keys and values in turn */
    public void debug(String event, Object... details) {
        write(Level.FINE, event, details);
    }

    /** The stack trace of {@code thrown}, on one line, with {@code -vv} only. */
    public void trace(Throwable thrown) {
        if (isTracing()) {
            for (Throwable t = thrown; t != null; t = t.getCause()) {
                write(Level.FINER, "trace", "error", t, "at", java.util.Arrays.toString(t.getStackTrace()));
            }
        }
    }

    private void write(Level level, String event, Object... details) {
        if (TOOLS.isLoggable(level)) {
            Map<String, String> map = new LinkedHashMap<>();
            for (int i = 0; i + 1 < details.length; i += 2) {
                Object value = details[i + 1];
                if (value != null) {
                    map.put((String) details[i], value instanceof Duration d ? Durations.format(d) : value.toString());
                }
            }
            TOOLS.log(new Event(level, subject, event, map));
        }
    }

    private static final class Event extends LogRecord {
        private static final long serialVersionUID = 1;
        final String subject;
        final transient Map<String, String> details;

        Event(Level level, String subject, String message, Map<String, String> details) {
            super(level, message);
            setLoggerName(TOOLS.getName());
            this.subject = subject;
            this.details = details;
        }
    }

    /** Pure: a record in, a line out. */
    static final class LineFormatter extends Formatter {
        private static final Pattern PLAIN = Pattern.compile("[^\\s\"=\\p{Cntrl}]+");
        private final Format format;

        LineFormatter(Format format) {
            this.format = format;
        }

        @Override
        public String format(LogRecord r) {
            String subject = r instanceof Event e ? e.subject : r.getLoggerName();
            Map<String, String> details = r instanceof Event e ? e.details : Map.of();
            return format == Format.json ? json(r, subject, details) : text(r, subject, details);
        }

        private String text(LogRecord r, String subject, Map<String, String> details) {
            StringBuilder line = new StringBuilder(oneLine(subject)).append(": ");
            if (r.getLevel() == Level.SEVERE || r.getLevel() == Level.WARNING) {
                line.append(r.getLevel() == Level.SEVERE ? "error: " : "warning: ");
            }
            line.append(oneLine(formatMessage(r)));
            details.forEach(
                    (key, value) -> line.append(' ').append(key).append('=').append(quoted(value)));
            return line.append('\n').toString();
        }

        private String json(LogRecord r, String subject, Map<String, String> details) {
            StringWriter line = new StringWriter();
            try (JsonWriter json = new JsonWriter(line)) {
                json.setHtmlSafe(false);
                json.beginObject();
                json.name("time").value(Instant.ofEpochMilli(r.getMillis()).toString());
                json.name("level").value(levelName(r.getLevel()));
                json.name("subject").value(subject);
                json.name("event").value(formatMessage(r));
                for (Map.Entry<String, String> detail : details.entrySet()) {
                    json.name(detail.getKey()).value(detail.getValue());
                }
                json.endObject();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return line.append('\n').toString();
        }

        private static String levelName(Level level) {
            if (level == Level.SEVERE) {
                return "error";
            }
            if (level == Level.WARNING) {
                return "warning";
            }
            return level == Level.INFO ? "info" : "debug";
        }

        private static String quoted(String value) {
            return PLAIN.matcher(value).matches()
                    ? value
                    : '"' + oneLine(value).replace("\\", "\\\\").replace("\"", "\\\"") + '"';
        }

        /** What others send us must not be able to write lines of its own. */
        private static String oneLine(String text) {
            return text.replaceAll("\\s*[\\p{Cntrl}\\u0085\\u2028\\u2029]+\\s*", " ");
        }
    }
}
