package io.github.rollcall.harness;

import io.github.rollcall.Table;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Figures of several contestants, run after run, and what they come to: the median with minimum and maximum. Machines are
 * noisy, so what is compared has to be measured in turn, in one run. Not thread-safe.
 */
public final class Measurements {
    private final Map<String, Map<String, List<Double>>> figures = new LinkedHashMap<>();

    /** Adds a figure of one run. */
    public void add(String contestant, String figure, double value) {
        figures.computeIfAbsent(contestant, c -> new LinkedHashMap<>())
                .computeIfAbsent(figure, f -> new ArrayList<>())
                .add(value);
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
