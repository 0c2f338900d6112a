package io.github.rollcall;

import java.util.ArrayList;
import java.util.List;

/** Rows in aligned columns with a head, as {@code --status} prints them. Not thread-safe. */
public final class Table {
    private final List<List<String>> rows = new ArrayList<>();

    /** @param head the names of the columns, by custom in capitals */
    public Table(String... head) {
        rows.add(List.of(head));
    }

    /** Adds a row of as many cells as the head has; a cell that is null or empty shows as {@code -}. */
    public Table row(Object... cells) {
        if (cells.length != rows.get(0).size()) {
            throw new IllegalArgumentException(
                    cells.length + " cells for " + rows.get(0).size() + " columns");
        }
        List<String> row = new ArrayList<>();
        for (Object cell : cells) {
            String text = cell == null
                    ? ""
                    : cell.toString().replaceAll("\\p{Cntrl}", " ").strip();
            row.add(text.isEmpty() ? "-" : text);
        }
        rows.add(row);
        return this;
    }

    /** The table, each line ended, two spaces between columns and none at the end of a line. */
    @Override
    public String toString() {
        int columns = rows.get(0).size();
        int[] width = new int[columns];
        for (List<String> row : rows) {
            for (int c = 0; c < columns; c++) {
                width[c] = Math.max(width[c], row.get(c).length());
            }
        }
        StringBuilder out = new StringBuilder();
        for (List<String> row : rows) {
            StringBuilder line = new StringBuilder();
            for (int c = 0; c < columns; c++) {
                line.append(row.get(c)).append(" ".repeat(width[c] - row.get(c).length() + 2));
            }
            out.append(line.toString().stripTrailing()).append('\n');
        }
        return out.toString();
    }
}
