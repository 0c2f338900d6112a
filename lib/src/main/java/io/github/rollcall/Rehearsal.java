package io.github.rollcall;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.List;

/**
 * Runs a tool several times in one JVM, one command line after another, so that the class archive that is recorded meanwhile
 * has what all of them need. Only {@code install} uses it. Ends at once when its standard input does: with who started it.
 */
final class Rehearsal {
    private static final String END = ";;";

    private Rehearsal() {}

    /**
     * Ends with the exit code of the last run, or of the first that failed.
     *
     * @param args the tool's class, then command lines with a {@code ;;} between them
     */
    public static void main(String... args) throws ReflectiveOperationException {
        endWithStandardInput();
        Class<?> tool = Class.forName(args[0]);
        List<String> line = Arrays.asList(args).subList(1, args.length);
        for (int end = line.indexOf(END); end >= 0; end = line.indexOf(END)) {
            var constructor = tool.getDeclaredConstructor();
            constructor.setAccessible(true);
            int code = Tool.run(
                    (Tool) constructor.newInstance(), line.subList(0, end).toArray(new String[0]));
            if (code != Exit.OK) {
                System.exit(code);
            }
            line = line.subList(end + 1, line.size());
        }
        var main = tool.getDeclaredMethod("main", String[].class);
        main.setAccessible(true);
        main.invoke(null, (Object) line.toArray(new String[0]));
    }

    private static void endWithStandardInput() {
        Thread reader = new Thread(() -> {
            try {
                System.in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException e) {
                // An end as well.
            }
            Runtime.getRuntime().halt(Exit.UNAVAILABLE);
        });
        reader.setDaemon(true);
        reader.start();
    }
}
