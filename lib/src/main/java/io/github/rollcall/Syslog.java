package io.github.rollcall;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.logging.Formatter;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;

/**
 * The local syslog, by logger(1): the JDK has no datagram sockets of the AF_UNIX family, and a short-lived tool says too
 * little to pay for a library that has. What cannot be delivered goes to the next handler instead. Thread-safe.
 */
final class Syslog extends Handler {
    private static final long PATIENCE_SECONDS = 5;

    private final String tag;
    private final Handler otherwise;
    private boolean broken;

    Syslog(String tag, Formatter formatter, Handler otherwise) {
        this.tag = tag;
        this.otherwise = otherwise;
        setFormatter(formatter);
    }

    @Override
    public synchronized void publish(LogRecord record) {
        if (!broken) {
            String problem = send(record);
            if (problem == null) {
                return;
            }
            broken = true;
            LogRecord notice = new LogRecord(Level.WARNING, "the local syslog cannot be written to: " + problem);
            notice.setLoggerName(tag);
            otherwise.publish(notice);
        }
        otherwise.publish(record);
    }

    /** Null, or why it was not delivered. */
    private String send(LogRecord record) {
        List<String> command = List.of(
                "logger",
                "--tag",
                tag,
                "--id=" + ProcessHandle.current().pid(),
                "--priority",
                "user." + severity(record.getLevel()),
                "--size",
                "8KiB",
                // Or it would not say that nothing listens.
                "--socket-errors=on",
                "--",
                getFormatter().format(record).stripTrailing());
        try {
            Process logger =
                    new ProcessBuilder(command).redirectErrorStream(true).start();
            logger.getOutputStream().close();
            if (!logger.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
                logger.destroyForcibly();
                return "logger does not end";
            }
            String said = new String(logger.getInputStream().readNBytes(1_000)).strip();
            return logger.exitValue() == 0 ? null : said;
        } catch (IOException e) {
            return "logger cannot be run: " + e.getMessage();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return "interrupted";
        }
    }

    private static String severity(Level level) {
        if (level == Level.SEVERE) {
            return "err";
        }
        if (level == Level.WARNING) {
            return "warning";
        }
        return level == Level.INFO ? "info" : "debug";
    }

    @Override
    public void flush() {
        otherwise.flush();
    }

    @Override
    public void close() {
        otherwise.close();
    }
}
