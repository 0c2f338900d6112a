package io.github.rollcall.harness;

import io.github.rollcall.Table;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Figures of several contestants, run after run, and what they come to: the median with minimum and maximum. Machines are
 * noisy, so what is compared has to be measured in turn, in one run. Not thread-safe.
 */
public final class Measurements {
    /** Says what wait4(2) says of a command: seconds, seconds of CPU, KiB at the peak of its largest process, exit code. */
    private static final String WAIT4 =
            """
            import os, sys, time
            start = time.monotonic()
            pid = os.fork()
            if pid == 0:
                null = os.open("/dev/null", os.O_WRONLY)
                os.dup2(null, 1)
                os.execvp(sys.argv[1], sys.argv[1:])
            _, status, usage = os.wait4(pid, 0)
            print(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.WEXITSTATUS(status))
            """;

    private final Map<String, Map<String, List<Double>>> figures = new LinkedHashMap<>();

    /** Adds a figure of one run. */
    public void add(String contestant, String figure, double value) {
        figures.computeIfAbsent(contestant, c -> new LinkedHashMap<>())
                .computeIfAbsent(figure, f -> new ArrayList<>())
                .add(value);
    }

    /** Runs a command to its end, which has to be 0, and adds its wall time, CPU time, and memory at its peak. */
    public void addRun(String contestant, ToolRunner command) {
        Run run = command.under("python3", "-c", WAIT4).run();
        String[] said = run.out().strip().split(" ");
        if (said.length != 4 || !said[3].equals("0")) {
            throw new IllegalStateException(run.toString());
        }
        add(contestant, "wall s", Double.parseDouble(said[0]));
        add(contestant, "CPU s", Double.parseDouble(said[1]));
        add(contestant, "peak MiB", Double.parseDouble(said[2]) / 1024);
    }

    /** MiB in memory of a process and of what it has started, from proc(5). */
    public static double rss(ProcessHandle process) {
        return withChildren(process)
                .flatMap(p -> lines("/proc/" + p.pid() + "/status"))
                .filter(line -> line.startsWith("VmRSS:"))
                .mapToDouble(line -> Double.parseDouble(line.replaceAll("\\D", "")) / 1024)
                .sum();
    }

    /** Seconds of CPU of a process, of what it has started, and of those of them that have ended, from proc(5): in 10 ms. */
    public static double cpu(ProcessHandle process) {
        return withChildren(process)
                .flatMap(p -> lines("/proc/" + p.pid() + "/stat"))
                .map(line -> line.substring(line.lastIndexOf(')') + 2).split(" "))
                .mapToDouble(fields -> IntStream.rangeClosed(11, 14)
                                .mapToDouble(n -> Double.parseDouble(fields[n]))
                                .sum()
                        / 100)
                .sum();
    }

    private static Stream<ProcessHandle> withChildren(ProcessHandle process) {
        return Stream.concat(Stream.of(process), process.descendants());
    }

    private static Stream<String> lines(String file) {
        try {
            return Files.readAllLines(Path.of(file)).stream();
        } catch (IOException ended) {
            return Stream.empty();
        }
    }

    /** A row a contestant, a column a figure, each cell {@code median (min to max)}. */
    @Override
    public String toString() {
        List<String> columns = figures.values().stream()
                .flatMap(row -> row.keySet().stream())
                .distinct()
                .toList();
        List<String> head = new ArrayList<>(List.of("median (min to max)"));
        head.addAll(columns);
        Table table = new Table(head.toArray(String[]::new));
        figures.forEach((contestant, row) -> {
            List<Object> cells = new ArrayList<>(List.of(contestant));
            columns.forEach(column -> cells.add(cell(row.get(column))));
            table.row(cells.toArray());
        });
        return table.toString();
    }

    private static String cell(List<Double> values) {
        if (values == null) {
            return null;
        }
        List<Double> sorted = values.stream().sorted().toList();
        String median = number(sorted.get(sorted.size() / 2));
        String min = number(sorted.get(0));
        String max = number(sorted.get(sorted.size() - 1));
        return min.equals(max) ? median : median + " (" + min + " to " + max + ")";
    }

    private static String number(double value) {
        return value == Math.rint(value)
                ? String.valueOf((long) value)
                : String.format(Locale.ROOT, value < 10 ? "%.2f" : "%.1f", value);
    }
}
