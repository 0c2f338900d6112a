package io.github.rollcall;

import java.util.ArrayList;
import java.util.List;

/**
 * Runs a tool several times in one JVM, one command line after another, so that the class archive that is recorded meanwhile
 * has what all of them need. Only {@code install} uses it.
 */
final class Rehearsal {
    private static final String END = ";;";

    private Rehearsal() {}

    /** Ends with the highest of the runs' exit codes. @param args the tool's class, then command lines, a {@code ;;} after each */
    public static void main(String... args) throws ReflectiveOperationException {
        List<String> line = new ArrayList<>();
        int worst = Exit.OK;
        for (String word : List.of(args).subList(1, args.length)) {
            if (!word.equals(END)) {
                line.add(word);
                continue;
            }
            var tool = Class.forName(args[0]).getDeclaredConstructor();
            tool.setAccessible(true);
            worst = Math.max(worst, Tool.run((Tool) tool.newInstance(), line.toArray(new String[0])));
            line.clear();
        }
        System.exit(worst);
    }
}
