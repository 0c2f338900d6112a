///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Turns a tool into a fast, offline command.
//JAVA 17+
//RUNTIME_OPTIONS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx128m
//COMPILE_OPTIONS --release 17 -XDstringConcat=inline
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS org.ow2.asm:asm

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Tool;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLClassLoader;
import java.net.URLDecoder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.Opcodes;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "install",
        header = "Turns a tool into a fast, offline command.",
        description = {
            "",
            "Leaves one command a tool that starts without JBang, Maven or network: its jars, a class archive for the JDK"
                    + " that runs this, recorded while the tool does its work against stand-ins, and a launcher. Run it"
                    + " again to upgrade.",
            ""
        })
class Install extends Tool {
    private static final int MOST_SECONDS = 120;
    private static final Duration LOOK = Duration.ofMillis(100);

    @Parameters(paramLabel = "TOOL", arity = "1..*", description = "Such as clustercron.")
    private List<String> tools;

    @Option(names = "--to", paramLabel = "DIR", description = "Where the command goes (default: ${DEFAULT-VALUE}).")
    private Path to = Path.of("/usr/local/bin");

    @Option(
            names = "--lib-dir",
            paramLabel = "DIR",
            description = "Where the jars and archives go (default: lib/rollcall beside DIR of --to).")
    private Path libDir;

    @Option(names = "--remove", description = "Remove the command, and what no other command needs.")
    private boolean remove;

    @Option(
            names = "--from",
            paramLabel = "DIR|CATALOG",
            description = "The checkout with the tools, or a JBang catalog (default: the checkout of the ./jbang which"
                    + " started this).")
    private String from;

    Install() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        Tool.main(new Install(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        to = to.toAbsolutePath().normalize();
        libDir = libDir != null
                ? libDir.toAbsolutePath().normalize()
                : to.resolveSibling("lib").resolve("rollcall");
        if (libDir.toString().matches("(?s).*[':\\p{Cntrl}].*")) {
            throw usage("--lib-dir is '" + libDir + "': expected a path without colons and quotes");
        }
        for (String tool : tools) {
            // A name is part of paths.
            if (!tool.matches("[a-z][a-z0-9-]*")) {
                throw usage("'" + tool + "' is no tool's name");
            }
        }
        Checkout checkout = remove ? null : checkout();
        for (String tool : tools) {
            Launcher launcher = new Launcher(to.resolve(tool));
            try {
                if (remove) {
                    remove(tool, launcher);
                } else {
                    install(tool, launcher, checkout);
                }
            } catch (AccessDeniedException | NoSuchFileException e) {
                throw new Failure(
                        Exit.CONFIG,
                        "cannot write " + e.getFile() + ": run this as root, or give --to and --lib-dir",
                        e);
            } catch (IOException | UncheckedIOException e) {
                throw new Failure(Exit.CONFIG, "cannot write to " + libDir + " and " + to + ": " + e.getMessage(), e);
            }
        }
        return Exit.OK;
    }

    // --- installing

    private void install(String tool, Launcher launcher, Checkout checkout) throws IOException, InterruptedException {
        launcher.mustBeOurs();
        Log log = Log.of(tool);
        log.info("building");
        Built built = checkout.build(tool);
        Store.makeFolder(to);
        try (Store store = Store.open(libDir)) {
            // What a killed installation has left, so that the one before this is the one that daemons run from.
            store.sweep(launcher);
            try {
                Path generation = store.newGeneration(launcher);
                List<Path> jars = new ArrayList<>();
                for (Path jar : built.jars()) {
                    jars.add(store.keep(jar, built.jars()));
                }
                Program program = new Program(built.options(), jars, built.mainClass());
                log.info("recording what it loads", "java", System.getProperty("java.version"));
                Archive archive = Archive.in(generation);
                List<String> options = record(tool, program, archive) ? archive.using() : List.of();
                program.mustStart(tool, options);
                store.complete(generation, jars);
                launcher.write(libDir, generation, program, options);
            } finally {
                store.sweep(launcher);
            }
        }
        Path home = Path.of(System.getProperty("user.home"));
        if (Program.JAVA_HOME.startsWith(home) && !to.startsWith(home)) {
            log.warn("its JDK is in a home: other users may not start it", "java", Program.JAVA_HOME);
        }
        log.info("installed", "command", launcher.file(), "lib", libDir);
    }

    /** Whether there is an archive now; without one a command is slower, and nothing else. */
    private static boolean record(String tool, Program program, Archive archive)
            throws IOException, InterruptedException {
        Path folder = Files.createDirectory(archive.file().resolveSibling("rehearsal"));
        try (StandIns standIns = new StandIns(folder)) {
            standIns.rehearse(tool, program, archive.recording());
            standIns.run(program.line(archive.making()), null);
            Files.setPosixFilePermissions(archive.file(), PosixFilePermissions.fromString("rw-r--r--"));
            return true;
        } catch (IOException | GeneralSecurityException e) {
            Log.of(tool).warn("has no class archive, and will start slowly", "cause", e.getMessage());
            Files.deleteIfExists(archive.file());
            return false;
        } finally {
            Files.deleteIfExists(archive.notes());
            Store.delete(folder);
        }
    }

    // --- removing

    /** Also what is left of an installation that was killed, or whose command somebody has deleted. */
    private void remove(String tool, Launcher launcher) throws IOException, InterruptedException {
        launcher.mustBeOurs();
        Path lib = launcher.exists() ? launcher.libDir() : libDir;
        boolean removed;
        if (Files.exists(lib)) {
            // An installation that is under way is waited for.
            try (Store store = Store.open(lib)) {
                launcher.mustBeOurs();
                removed = launcher.delete();
                store.sweep(launcher);
            }
        } else {
            removed = launcher.delete();
        }
        Log.of(tool).info(removed ? "removed" : "is not installed", "command", launcher.file());
    }

    // --- asking JBang

    private Checkout checkout() {
        if (from == null) {
            from = System.getenv("ROLLCALL_HOME");
        }
        if (from == null) {
            throw usage("which tools? Start this by the ./jbang of a checkout, or give --from");
        }
        Path folder = Path.of(from).toAbsolutePath().normalize();
        if (!Files.isDirectory(folder)) {
            return new Checkout("jbang", "@" + from);
        }
        Checkout checkout = new Checkout(folder.resolve("jbang").toString(), "");
        List<String> known = catalog(folder.resolve("jbang-catalog.json"));
        for (String tool : tools) {
            if (!known.contains(tool)) {
                throw usage("no tool is called '" + tool + "': expected one of " + String.join(", ", known));
            }
        }
        return checkout;
    }

    /** The tools of the catalog; not those that only make sense in a checkout. */
    private List<String> catalog(Path file) {
        try {
            JsonObject aliases = JsonParser.parseString(Files.readString(file))
                    .getAsJsonObject()
                    .getAsJsonObject("aliases");
            return new TreeSet<>(aliases.keySet())
                    .stream()
                            .filter(alias -> !List.of("install", "demo").contains(alias))
                            .toList();
        } catch (IOException e) {
            throw usage("--from is '" + from + "': expected a checkout, with a jbang-catalog.json, or a catalog");
        } catch (JsonParseException | IllegalStateException | NullPointerException e) {
            throw new Failure(Exit.DATA, file + " is not a catalog", e);
        }
    }

    /**
     * Where the tools come from.
     *
     * @param jbang the command that knows them
     * @param suffix what comes after a tool's name to make it an alias that JBang finds
     */
    private record Checkout(String jbang, String suffix) {
        Built build(String tool) throws IOException, InterruptedException {
            ask("build", tool + suffix);
            return Built.of(ask("info", "tools", tool + suffix), tool);
        }

        private String ask(String... words) throws IOException, InterruptedException {
            List<String> line = new ArrayList<>(List.of(jbang, "--quiet"));
            line.addAll(List.of(words));
            ProcessBuilder builder = new ProcessBuilder(line).redirectError(ProcessBuilder.Redirect.INHERIT);
            // The JDK that the archive is for has to be the one that it is built with.
            builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
            Process process;
            try {
                process = builder.start();
            } catch (IOException e) {
                throw new Failure(Exit.UNAVAILABLE, "cannot run '" + jbang + "': install JBang, or use a checkout", e);
            }
            process.getOutputStream().close();
            String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (process.waitFor() != 0) {
                throw new Failure(Exit.UNAVAILABLE, "'" + String.join(" ", line) + "' failed, see above");
            }
            return out;
        }
    }

    /** What JBang has made of a script. */
    private record Built(String mainClass, List<String> options, List<Path> jars) {
        static Built of(String json, String tool) {
            try {
                JsonObject info = JsonParser.parseString(json).getAsJsonObject();
                List<Path> jars = new ArrayList<>();
                jars.add(Path.of(info.get("applicationJar").getAsString()));
                strings(info, "resolvedDependencies").map(Path::of).forEach(jars::add);
                return new Built(
                        info.get("mainClass").getAsString(),
                        strings(info, "runtimeOptions").toList(),
                        jars);
            } catch (JsonParseException | IllegalStateException | NullPointerException e) {
                throw new Failure(Exit.DATA, "JBang does not say what " + tool + " is made of: " + json.strip(), e);
            }
        }

        private static Stream<String> strings(JsonObject info, String key) {
            return info.getAsJsonArray(key).asList().stream().map(JsonElement::getAsString);
        }
    }

    // --- the command

    /** A tool as a JVM runs it. */
    private record Program(List<String> options, List<Path> jars, String mainClass) {
        static final Path JAVA_HOME = Path.of(System.getProperty("java.home"));

        /** The command line, with these options and the script's own. */
        List<String> line(List<String> more) {
            List<String> line =
                    new ArrayList<>(List.of(JAVA_HOME.resolve("bin/java").toString()));
            boolean dumps = more.contains("-Xshare:dump") || more.contains("-XX:AOTMode=create");
            // Only G1 can put objects into an archive; which collector reads them later does not matter.
            options.stream()
                    .filter(option -> !dumps || !option.matches("-XX:\\+Use\\w+GC|-Xm[sx].*"))
                    .forEach(line::add);
            line.addAll(more);
            line.add("-cp");
            line.add(String.join(":", jars.stream().map(Path::toString).toList()));
            line.add(mainClass);
            return line;
        }

        /** An installation that does not start must not replace one that does. */
        void mustStart(String tool, List<String> more) throws IOException, InterruptedException {
            List<String> line = line(more);
            line.add("--version");
            Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
            String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
            if (process.waitFor() != 0) {
                throw new Failure(
                        Exit.SOFTWARE,
                        tool + " does not start, and is not installed: exit " + process.exitValue() + ", " + said);
            }
        }

        /** As {@link #line}, in the form that is rehearsed. */
        List<String> rehearsal(List<String> more, List<List<String>> runs) {
            List<String> line = line(more);
            line.set(line.size() - 1, "io.github.rollcall.Rehearsal");
            line.add(mainClass);
            for (List<String> run : runs) {
                line.addAll(run);
                line.add(";;");
            }
            return line.subList(0, line.size() - 1);
        }
    }

    /**
     * What the JVM remembers of the classes of earlier runs: since JDK 25 an ahead-of-time cache (JEP 483, 514), before
     * that a class data archive (JEP 310).
     */
    private record Archive(Path file, Path notes, boolean aheadOfTime) {
        static Archive in(Path generation) {
            return new Archive(
                    generation.resolve("archive"),
                    generation.resolve("notes"),
                    Runtime.version().feature() >= 25);
        }

        List<String> recording() {
            return aheadOfTime
                    // Without the profiles of methods, which only C2 would use.
                    ? List.of(
                            "-XX:AOTMode=record",
                            "-XX:AOTConfiguration=" + notes,
                            "-XX:+UnlockDiagnosticVMOptions",
                            "-XX:-AOTRecordTraining")
                    : List.of("-XX:DumpLoadedClassList=" + notes);
        }

        List<String> making() {
            return aheadOfTime
                    ? List.of("-XX:AOTMode=create", "-XX:AOTConfiguration=" + notes, "-XX:AOTCache=" + file)
                    : List.of("-Xshare:dump", "-XX:SharedClassListFile=" + notes, "-XX:SharedArchiveFile=" + file);
        }

        /** At the address it was made for: its pages then stay the file's, and all processes', not 20 MiB of each one's own. */
        List<String> using() {
            return List.of(
                    "-XX:+UnlockDiagnosticVMOptions",
                    "-XX:ArchiveRelocationMode=0",
                    aheadOfTime ? "-XX:AOTCache=" + file : "-XX:SharedArchiveFile=" + file);
        }
    }

    /** The command that users type: a few lines of shell, which become the JVM. */
    private record Launcher(Path file) {
        private static final String MARK = "# An installed Rollcall command";
        private static final Pattern GENERATION = Pattern.compile("(?m)^" + MARK + ".*, generation (\\d{1,9})\\.");

        void mustBeOurs() throws IOException {
            if (Files.exists(file, LinkOption.NOFOLLOW_LINKS) && !lines().contains(MARK)) {
                throw new Failure(
                        Exit.CONFIG, file + " is there already and is not ours: move it away, or give another --to");
            }
        }

        boolean exists() {
            return Files.exists(file);
        }

        boolean delete() throws IOException {
            Files.deleteIfExists(next());
            return Files.deleteIfExists(file);
        }

        private String lines() throws IOException {
            return Files.isRegularFile(file) && Files.size(file) < 1 << 20
                    ? new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1)
                    : "";
        }

        /** The number of the generation that it starts; 0 where there is none. */
        int generation() throws IOException {
            Matcher line = GENERATION.matcher(lines());
            return line.find() ? Integer.parseInt(line.group(1)) : 0;
        }

        /** Puts it there at once: who starts it meanwhile gets the old one or the new one. */
        void write(Path lib, Path generation, Program program, List<String> archive) throws IOException {
            // No line of the JVM's own; and what a later JDK does not know any more costs speed, not the start.
            List<String> options = new ArrayList<>(List.of("-XX:+IgnoreUnrecognizedVMOptions", "-Xlog:disable"));
            options.addAll(program.options());
            options.addAll(archive);
            String tool = file.getFileName().toString();
            // The JVM ends with 1 where a jar is missing, which means something else of some tools.
            String text =
                    """
                    #!/bin/sh
                    %s: %s, generation %s. Remove it by: ./jbang install --remove %2$s --to %s
                    fail() { echo "%2$s: error: $1" >&2; exit 69; }
                    lib=%s
                    jars=%s
                    IFS=:
                    for jar in $jars; do [ -r "$jar" ] || fail "cannot read $jar: install %2$s again"; done
                    unset IFS
                    java=%s
                    [ -x "$java" ] || java=${JAVA_HOME:+$JAVA_HOME/bin/java}
                    [ -x "$java" ] || java=java
                    command -v "$java" >/dev/null || fail "no $java: install a JDK, or set JAVA_HOME"
                    [ -n "$LC_ALL$LC_CTYPE$LANG" ] || export LC_CTYPE=C.UTF-8
                    exec "$java" %s -cp "$jars" %s "$@"
                    """
                            .formatted(
                                    MARK,
                                    tool,
                                    generation.getFileName(),
                                    quoted(file.getParent().toString()),
                                    quoted(lib.toString()),
                                    String.join(
                                            ":",
                                            program.jars().stream()
                                                    .map(jar -> "$lib/jars/" + jar.getFileName())
                                                    .toList()),
                                    quoted(Program.JAVA_HOME.resolve("bin/java").toString()),
                                    String.join(
                                            " ",
                                            options.stream()
                                                    .map(option -> below(lib, option))
                                                    .toList()),
                                    program.mainClass());
            try {
                Files.deleteIfExists(next());
                Files.writeString(next(), text, StandardOpenOption.CREATE_NEW);
                Files.setPosixFilePermissions(next(), PosixFilePermissions.fromString("rwxr-xr-x"));
                Files.move(next(), file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            } finally {
                Files.deleteIfExists(next());
            }
        }

        /** The new command while it is being written. */
        private Path next() {
            return file.resolveSibling("." + file.getFileName() + ".new");
        }

        /** Where this command has its jars. */
        Path libDir() throws IOException {
            Matcher line = Pattern.compile("(?m)^lib=(.*)$").matcher(lines());
            if (!line.find()) {
                throw new Failure(Exit.DATA, file + " does not say where its jars are: expected a line lib=DIR");
            }
            return Path.of(line.group(1).replaceAll("^'|'$", ""));
        }

        /** For a shell, with {@code $lib} for the folder: that one line then says where the command's files are. */
        private static String below(Path lib, String word) {
            return word.contains(lib + "/") ? "\"" + word.replace(lib + "/", "$lib/") + "\"" : quoted(word);
        }

        /** For a shell. */
        private static String quoted(String word) {
            return word.matches("[\\w@%+=:,./-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
        }
    }

    /**
     * The folder of jars, each there once however many commands use it, and of each command's generations: numbered
     * folders with its archive and the list of its jars, which is written last. The generation that the command starts stays,
     * and the one before it, for the processes that run from it.
     */
    private static final class Store implements AutoCloseable {
        private static final Path LISTED = Path.of("jars");
        private final Path lib;
        private final FileChannel channel;

        private Store(Path lib, FileChannel channel) throws IOException {
            this.lib = lib;
            this.channel = channel;
            makeFolder(lib.resolve("jars"));
            makeFolder(lib.resolve("tools"));
        }

        /** Opens it when no other install has it open. */
        static Store open(Path lib) throws IOException, InterruptedException {
            Path file = lib.resolve("lock");
            boolean waiting = false;
            while (true) {
                makeFolder(lib);
                FileChannel channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
                Object opened = key(file);
                // Who has removed the last command has removed this file, too: then it locks nothing.
                if (opened != null && channel.tryLock() != null && opened.equals(key(file))) {
                    return new Store(lib, channel);
                }
                channel.close();
                if (!waiting) {
                    Log.of("install").info("waiting for another installation", "lib", lib);
                    waiting = true;
                }
                Thread.sleep(LOOK.toMillis());
            }
        }

        /** One that everybody may read, whatever the umask is, unless it is there already. */
        static Path makeFolder(Path folder) throws IOException {
            if (!Files.isDirectory(folder)) {
                makeFolder(folder.getParent());
                Files.createDirectory(folder);
                Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxr-xr-x"));
            }
            return folder;
        }

        private static Object key(Path file) throws IOException {
            try {
                return Files.readAttributes(file, BasicFileAttributes.class).fileKey();
            } catch (NoSuchFileException e) {
                return null;
            }
        }

        /** A copy of the jar that an archive can be made of, under a name that tells what is in it. */
        Path keep(Path jar, List<Path> classPath) throws IOException {
            byte[] bytes = archivable(jar, classPath);
            String stem = jar.getFileName().toString().replaceAll("\\.jar$", "");
            Path kept = lib.resolve("jars").resolve(stem + "-" + digest(bytes) + ".jar");
            if (!Files.exists(kept) || !Arrays.equals(Files.readAllBytes(kept), bytes)) {
                Path next = lib.resolve("jars/new");
                Files.write(next, bytes);
                Files.setPosixFilePermissions(next, PosixFilePermissions.fromString("rw-r--r--"));
                Files.move(next, kept, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            }
            return kept;
        }

        /**
         * The jar; where it has classes in a format older than Java 6's, as picocli does, which the JVM takes into no
         * ahead-of-time cache, those in Java 7's. To start without them in the cache takes a tenth of a second longer.
         */
        private static byte[] archivable(Path jar, List<Path> classPath) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            boolean old = false;
            try (URLClassLoader classes = new URLClassLoader(urls(classPath), null);
                    ZipInputStream in = new ZipInputStream(Files.newInputStream(jar));
                    ZipOutputStream out = new ZipOutputStream(bytes)) {
                for (ZipEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
                    byte[] content = in.readAllBytes();
                    if (entry.getName().endsWith(".class") && content[7] < Opcodes.V1_6) {
                        content = modern(content, classes);
                        old = true;
                    }
                    ZipEntry copy = new ZipEntry(entry.getName());
                    copy.setTime(entry.getTime());
                    out.putNextEntry(copy);
                    out.write(content);
                }
            }
            return old ? bytes.toByteArray() : Files.readAllBytes(jar);
        }

        private static byte[] modern(byte[] old, ClassLoader classes) {
            ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_FRAMES) {
                @Override
                protected ClassLoader getClassLoader() {
                    return classes;
                }
            };
            ClassVisitor modern = new ClassVisitor(Opcodes.ASM9, writer) {
                @Override
                public void visit(int version, int access, String name, String sig, String base, String[] interfaces) {
                    super.visit(Opcodes.V1_7, access, name, sig, base, interfaces);
                }
            };
            try {
                new ClassReader(old).accept(modern, 0);
                return writer.toByteArray();
            } catch (RuntimeException | LinkageError e) {
                // It has what Java 7's format has not, or an optional superclass that is not there.
                return old;
            }
        }

        private static URL[] urls(List<Path> files) throws IOException {
            List<URL> urls = new ArrayList<>();
            for (Path file : files) {
                urls.add(file.toUri().toURL());
            }
            return urls.toArray(new URL[0]);
        }

        private static String digest(byte[] bytes) {
            try {
                return HexFormat.of()
                        .formatHex(MessageDigest.getInstance("SHA-256").digest(bytes), 0, 6);
            } catch (GeneralSecurityException e) {
                throw new IllegalStateException(e);
            }
        }

        Path newGeneration(Launcher launcher) throws IOException {
            int newest =
                    generations(launcher).stream().mapToInt(Store::number).max().orElse(0);
            return makeFolder(folder(launcher).resolve(String.valueOf(newest + 1)));
        }

        /** Where a command has its generations; two of one name in two folders have two. */
        private Path folder(Launcher launcher) {
            byte[] path = launcher.file().toString().getBytes(StandardCharsets.UTF_8);
            return lib.resolve("tools").resolve(launcher.file().getFileName() + "-" + digest(path));
        }

        /** Notes which jars it needs. */
        void complete(Path generation, List<Path> jars) throws IOException {
            Files.write(
                    generation.resolve(LISTED),
                    jars.stream().map(jar -> jar.getFileName().toString()).toList());
        }

        private static boolean isComplete(Path generation) {
            return Files.exists(generation.resolve(LISTED));
        }

        /** Deletes what nothing needs: all of this command's, when it is not there, and jars that no command has. */
        void sweep(Launcher launcher) throws IOException {
            int current = launcher.generation();
            int before = generations(launcher).stream()
                    .filter(Store::isComplete)
                    .mapToInt(Store::number)
                    .filter(number -> number < current)
                    .max()
                    .orElse(0);
            for (Path generation : generations(launcher)) {
                int number = number(generation);
                if (number == 0 || number != current && number != before) {
                    delete(generation);
                }
            }
            deleteIfEmpty(folder(launcher));
            TreeSet<String> needed = new TreeSet<>();
            for (Path other : list(lib.resolve("tools"))) {
                for (Path generation : list(other)) {
                    if (isComplete(generation)) {
                        needed.addAll(Files.readAllLines(generation.resolve(LISTED)));
                    }
                }
            }
            for (Path jar : list(lib.resolve("jars"))) {
                if (!needed.contains(jar.getFileName().toString())) {
                    Files.delete(jar);
                }
            }
        }

        private List<Path> generations(Launcher launcher) throws IOException {
            Path all = folder(launcher);
            return Files.exists(all) ? list(all) : List.of();
        }

        private static int number(Path generation) {
            String name = generation.getFileName().toString();
            return name.matches("\\d{1,9}") ? Integer.parseInt(name) : 0;
        }

        /** The list of jars first, so that what is left after a crash counts for nothing. */
        static void delete(Path folder) throws IOException {
            Files.deleteIfExists(folder.resolve(LISTED));
            for (Path file : list(folder)) {
                if (Files.isDirectory(file, LinkOption.NOFOLLOW_LINKS)) {
                    delete(file);
                } else {
                    Files.delete(file);
                }
            }
            Files.delete(folder);
        }

        private static void deleteIfEmpty(Path folder) throws IOException {
            try {
                Files.deleteIfExists(folder);
            } catch (DirectoryNotEmptyException stillUsed) {
                // By another command.
            }
        }

        private static List<Path> list(Path folder) throws IOException {
            try (Stream<Path> files = Files.list(folder)) {
                return files.toList();
            }
        }

        /** Leaves nothing where nothing is installed, and lets others in. */
        @Override
        public void close() throws IOException {
            try (channel) {
                deleteIfEmpty(lib.resolve("jars"));
                deleteIfEmpty(lib.resolve("tools"));
                if (list(lib).equals(List.of(lib.resolve("lock")))) {
                    Files.delete(lib.resolve("lock"));
                    deleteIfEmpty(lib);
                }
            }
        }
    }

    // --- the rehearsal

    /** AWS, the metadata service, Docker and etcd on loopback, as far as a rehearsal needs them: every answer is a good one. */
    private static final class StandIns implements AutoCloseable {
        private static final String SELF = "i-0a0a0a0a0a0a0a0a0";
        private static final String OTHER = "i-0b0b0b0b0b0b0b0b0";
        private static final String PASSWORD = "changeit";

        private final Path folder;
        private final HttpsServer aws;
        /** The metadata service, etcd's client port, and AWS without TLS. */
        private final HttpServer plain;

        private final HttpServer peer;
        /** What HTTPS clients take for their proxy: whatever endpoint they want, it leads them to {@link #aws}. */
        private final ServerSocket tunnel;

        private final ExecutorService threads = Executors.newCachedThreadPool();
        private boolean present = true;

        StandIns(Path folder) throws IOException, GeneralSecurityException, InterruptedException {
            this.folder = folder;
            aws = HttpsServer.create(loopback(), 0);
            plain = HttpServer.create(loopback(), 0);
            peer = HttpServer.create(loopback(), 0);
            aws.setHttpsConfigurator(new HttpsConfigurator(certified()));
            for (HttpServer server : List.of(aws, plain, peer)) {
                server.createContext("/", this::answer);
                server.setExecutor(threads);
                server.start();
            }
            tunnel = new ServerSocket();
            tunnel.bind(loopback());
            threads.execute(this::lead);
        }

        private static InetSocketAddress loopback() throws IOException {
            return new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0);
        }

        private void lead() {
            try {
                while (true) {
                    Socket client = tunnel.accept();
                    threads.execute(() -> lead(client));
                }
            } catch (IOException closed) {
                // The end.
            }
        }

        private void lead(Socket client) {
            try (client;
                    Socket server = new Socket(
                            aws.getAddress().getAddress(), aws.getAddress().getPort())) {
                InputStream asked = client.getInputStream();
                StringBuilder head = new StringBuilder();
                while (head.indexOf("\r\n\r\n") < 0) {
                    int c = asked.read();
                    if (c < 0) {
                        return;
                    }
                    head.append((char) c);
                }
                client.getOutputStream().write("HTTP/1.1 200 OK\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
                threads.execute(() -> pass(server, client));
                asked.transferTo(server.getOutputStream());
            } catch (IOException e) {
                // The client says what it misses.
                Log.of("rehearsal").trace(e);
            }
        }

        private static void pass(Socket from, Socket to) {
            try {
                from.getInputStream().transferTo(to.getOutputStream());
            } catch (IOException e) {
                Log.of("rehearsal").trace(e);
            }
        }

        /** A certificate that only the rehearsal trusts, beside all those that the JDK does. */
        private SSLContext certified() throws IOException, GeneralSecurityException, InterruptedException {
            Path key = folder.resolve("key");
            run(
                    List.of(
                            Program.JAVA_HOME.resolve("bin/keytool").toString(),
                            "-J-XX:TieredStopAtLevel=1",
                            "-genkeypair",
                            "-alias",
                            "aws",
                            "-keyalg",
                            "EC",
                            "-dname",
                            "CN=127.0.0.1",
                            "-ext",
                            "san=dns:*.us-east-1.amazonaws.com,dns:*.amazonaws.com",
                            "-storetype",
                            "PKCS12",
                            "-keystore",
                            key.toString(),
                            "-storepass",
                            PASSWORD),
                    null);
            KeyStore own = KeyStore.getInstance(key.toFile(), PASSWORD.toCharArray());
            KeyStore trusted = KeyStore.getInstance(
                    Program.JAVA_HOME.resolve("lib/security/cacerts").toFile(), PASSWORD.toCharArray());
            trusted.setCertificateEntry("aws", own.getCertificate("aws"));
            try (var out = Files.newOutputStream(folder.resolve("trust"))) {
                trusted.store(out, PASSWORD.toCharArray());
            }
            KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(own, PASSWORD.toCharArray());
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(keys.getKeyManagers(), null, null);
            return context;
        }

        /** Takes the tool through its real work. */
        void rehearse(String tool, Program program, List<String> recording) throws IOException, InterruptedException {
            present = !List.of("elb-presence", "lbmanager").contains(tool);
            List<String> options = new ArrayList<>(recording);
            options.add("-Djavax.net.ssl.trustStore=" + folder.resolve("trust"));
            options.add("-Djavax.net.ssl.trustStorePassword=" + PASSWORD);
            // To the endpoints that it will ask, not to one that overrides them: another part of the SDK.
            options.add("-Dhttps.proxyHost=127.0.0.1");
            options.add("-Dhttps.proxyPort=" + tunnel.getLocalPort());
            run(program.rehearsal(options, runs(tool)), ": ready");
        }

        /** What is rehearsed, as command lines. */
        private List<List<String>> runs(String tool) throws IOException {
            String data = folder.resolve("no-data").toString();
            return switch (tool) {
                case "elb-presence" ->
                    List.of(
                            List.of("--elb", "web", "--target-group", "api", "--status", "--endpoint-url", url(plain)),
                            List.of(
                                    "--elb",
                                    "web",
                                    "--target-group",
                                    "api",
                                    "--drain-timeout",
                                    "5s",
                                    "--http",
                                    "127.0.0.1:" + freePort()));
                case "clustercron" ->
                    List.of(
                            List.of("-v", "--endpoint-url", url(plain), "-o", "alb", "api", "true"),
                            List.of("-v", "--slot", "1h", "--job", "one", "elb", "web", "true"),
                            List.of("-v", "elb", "web", "true"));
                case "lbmanager" ->
                    List.of(
                            List.of("--once"),
                            List.of("plan"),
                            List.of("status"),
                            List.of("--http", "127.0.0.1:" + freePort()));
                case "etcd-aws-cluster" ->
                    List.of(
                            List.of("--data-dir", data, "--asg", "one", "--endpoint-url", url(plain)),
                            List.of(
                                    "--data-dir",
                                    data,
                                    "--client-port",
                                    String.valueOf(plain.getAddress().getPort()),
                                    "--peer-port",
                                    String.valueOf(peer.getAddress().getPort())));
                case "etcd-presence" ->
                    // Without a container, for nothing here speaks gRPC, in which its keys would go to etcd.
                    List.of(List.of(
                            "--all",
                            "--docker-host",
                            "tcp://127.0.0.1:" + plain.getAddress().getPort(),
                            "--http",
                            "127.0.0.1:" + freePort()));
                default -> List.of(List.of("--version"));
            };
        }

        private static String url(HttpServer server) {
            return "http://127.0.0.1:" + server.getAddress().getPort();
        }

        private static int freePort() throws IOException {
            try (ServerSocket socket = new ServerSocket()) {
                socket.bind(loopback());
                return socket.getLocalPort();
            }
        }

        /** Runs it to its end, which comes by SIGTERM when it has said {@code last}, if that is not null. */
        void run(List<String> line, String last) throws IOException, InterruptedException {
            ProcessBuilder builder =
                    new ProcessBuilder(line).directory(folder.toFile()).redirectErrorStream(true);
            String path = System.getenv("PATH");
            builder.environment().clear();
            builder.environment().putAll(environment());
            if (path != null) {
                builder.environment().put("PATH", path);
            }
            // The rehearsal ends with the pipe that it reads from: with us, whatever becomes of us.
            Process process = builder.start();
            var tooLong = process.onExit().orTimeout(MOST_SECONDS, TimeUnit.SECONDS);
            tooLong.exceptionally(e -> process.destroyForcibly());
            List<String> said = new ArrayList<>();
            try (BufferedReader out = process.inputReader()) {
                for (String text = out.readLine(); text != null; text = out.readLine()) {
                    said.add(text);
                    Log.of("rehearsal").debug(text);
                    if (last != null && text.contains(last)) {
                        // Process.destroy would close what it says after that.
                        process.toHandle().destroy();
                    }
                }
            }
            if (process.waitFor() != 0) {
                throw new IOException("exit " + process.exitValue() + " of a rehearsal, which said last: "
                        + (said.isEmpty() ? "nothing" : said.get(said.size() - 1)));
            }
        }

        private Map<String, String> environment() {
            Map<String, String> environment = new LinkedHashMap<>();
            environment.put("HOME", folder.toString());
            environment.put("LC_CTYPE", "C.UTF-8");
            environment.put("AWS_EC2_METADATA_SERVICE_ENDPOINT", url(plain));
            environment.put("ETCDCTL_ENDPOINTS", url(plain));
            environment.put("NOTIFY_SOCKET", folder.resolve("nobody").toString());
            return environment;
        }

        // --- what they answer

        private void answer(HttpExchange exchange) throws IOException {
            String asked = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            Map<String, String> form = form(asked);
            String path = exchange.getRequestURI().getPath();
            String text = form.containsKey("Action") ? aws(form) : other(path, asked);
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", text.startsWith("<") ? "text/xml" : "application/json");
            exchange.getResponseHeaders().set("X-Etcd-Cluster-Id", "c");
            boolean goesOn = List.of("/events", "/v3/watch").contains(path);
            exchange.sendResponseHeaders(200, goesOn ? 0 : body.length);
            exchange.getResponseBody().write(body);
            exchange.getResponseBody().flush();
            if (!goesOn) {
                exchange.close();
            }
        }

        private static Map<String, String> form(String asked) {
            Map<String, String> form = new LinkedHashMap<>();
            for (String pair : asked.split("&")) {
                String[] both = pair.split("=", 2);
                form.put(both[0], both.length < 2 ? "" : URLDecoder.decode(both[1], StandardCharsets.UTF_8));
            }
            return form;
        }

        /** AWS's query APIs. */
        private synchronized String aws(Map<String, String> form) {
            String action = form.getOrDefault("Action", "");
            if (action.startsWith("Register")) {
                present = true;
            } else if (action.startsWith("Deregister")) {
                present = false;
            }
            String result =
                    switch (action) {
                        case "DescribeInstanceHealth" ->
                            "<InstanceStates><member><InstanceId>" + SELF + "</InstanceId><State>"
                                    + (present ? "InService" : "OutOfService")
                                    + "</State><ReasonCode>N/A</ReasonCode><Description>"
                                    + (present ? "N/A" : "Instance is not currently registered with the LoadBalancer")
                                    + "</Description></member></InstanceStates>";
                        case "DescribeLoadBalancers" ->
                            "<LoadBalancerDescriptions><member><LoadBalancerName>web</LoadBalancerName><Instances>"
                                    + (present ? "<member><InstanceId>" + SELF + "</InstanceId></member>" : "")
                                    + "</Instances></member></LoadBalancerDescriptions>";
                        case "DescribeTargetGroups" ->
                            "<TargetGroups><member><TargetGroupArn>arn:aws:elasticloadbalancing:us-east-1:123456789012:"
                                    + "targetgroup/api/0123456789abcdef</TargetGroupArn><TargetGroupName>api</TargetGroupName>"
                                    + "<Protocol>HTTP</Protocol><Port>80</Port><TargetType>instance</TargetType></member>"
                                    + "</TargetGroups>";
                        case "DescribeTargetHealth" ->
                            "<TargetHealthDescriptions><member><Target><Id>" + SELF + "</Id><Port>80</Port></Target>"
                                    + "<TargetHealth><State>" + (present ? "healthy" : "unused") + "</State>"
                                    + (present ? "" : "<Reason>Target.NotRegistered</Reason>")
                                    + "</TargetHealth></member></TargetHealthDescriptions>";
                        case "DescribeAutoScalingInstances" ->
                            "<AutoScalingInstances><member><InstanceId>" + SELF + "</InstanceId>"
                                    + "<AutoScalingGroupName>two</AutoScalingGroupName></member></AutoScalingInstances>";
                        case "DescribeAutoScalingGroups" ->
                            group(form.getOrDefault("AutoScalingGroupNames.member.1", "two"));
                        default -> "";
                    };
            return action.equals("DescribeInstances")
                    ? "<DescribeInstancesResponse><reservationSet><item><instancesSet>" + instance(SELF, "127.0.0.2")
                            + instance(OTHER, "127.0.0.1")
                            + "</instancesSet></item></reservationSet></DescribeInstancesResponse>"
                    : "<" + action + "Response><" + action + "Result>" + result + "</" + action
                            + "Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></" + action
                            + "Response>";
        }

        private static String group(String name) {
            List<String> ids = name.equals("one") ? List.of(SELF) : List.of(SELF, OTHER);
            String members = String.join(
                    "",
                    ids.stream()
                            .map(id -> "<member><InstanceId>" + id + "</InstanceId><LifecycleState>InService"
                                    + "</LifecycleState><HealthStatus>Healthy</HealthStatus></member>")
                            .toList());
            return "<AutoScalingGroups><member><AutoScalingGroupName>" + name
                    + "</AutoScalingGroupName><DesiredCapacity>"
                    + ids.size() + "</DesiredCapacity><Instances>" + members
                    + "</Instances></member></AutoScalingGroups>";
        }

        private static String instance(String id, String address) {
            return "<item><instanceId>" + id + "</instanceId><instanceState><code>16</code><name>running</name>"
                    + "</instanceState><privateIpAddress>" + address + "</privateIpAddress></item>";
        }

        /** The metadata service, with the role's credentials, etcd by its gateway and its peer port, and Docker. */
        private String other(String path, String asked) {
            String header = "{\"header\":{\"cluster_id\":\"12\",\"member_id\":\"11\",\"revision\":\"1\"}";
            int peerPort = peer.getAddress().getPort();
            String member = "{\"ID\":\"11\",\"name\":\"" + OTHER + "\",\"peerURLs\":[\"http://127.0.0.1:" + peerPort
                    + "\"],\"clientURLs\":[\"http://127.0.0.1:"
                    + plain.getAddress().getPort() + "\"]}";
            return switch (path) {
                case "/latest/api/token" -> "token";
                case "/latest/dynamic/instance-identity/document" ->
                    "{\"instanceId\":\"" + SELF + "\",\"region\":\"us-east-1\",\"privateIp\":\"127.0.0.2\"}";
                case "/latest/meta-data/iam/security-credentials/" -> "role";
                case "/latest/meta-data/iam/security-credentials/role" ->
                    "{\"Code\":\"Success\",\"AccessKeyId\":\"AKIDEXAMPLE\",\"SecretAccessKey\":\"secret\","
                            + "\"Token\":\"token\",\"Expiration\":\""
                            + Instant.now().plus(Duration.ofHours(6)) + "\"}";
                case "/v3/lease/grant" -> header + ",\"ID\":\"7\",\"TTL\":\"60\"}";
                case "/v3/kv/txn" -> header + ",\"succeeded\":true}";
                case "/v3/kv/range" -> header + configured(asked) + "}";
                case "/v3/watch" -> "{\"result\":" + header + ",\"created\":true}}";
                case "/v3/maintenance/status" -> header + ",\"leader\":\"11\",\"raftAppliedIndex\":\"9\"}";
                case "/v3/cluster/member/list" -> header + ",\"members\":[" + member + "]}";
                case "/v3/cluster/member/add" ->
                    header + ",\"members\":[" + member + ",{\"ID\":\"10\",\"peerURLs\":[\"http://127.0.0.2:" + peerPort
                            + "\"]}]}";
                case "/members" -> "[" + member.replace("\"ID\":\"11\"", "\"id\":11") + "]";
                case "/containers/json" -> "[]";
                case "/networks/bridge" -> "{\"IPAM\":{\"Config\":[{\"Subnet\":\"172.17.0.0/16\"}]}}";
                case "/events" -> "";
                default -> header + "}";
            };
        }

        /** lbmanager's one key, for who asks for such keys. */
        private static String configured(String asked) {
            Base64.Encoder base64 = Base64.getEncoder();
            String path = base64.encodeToString("/lbManager/".getBytes(StandardCharsets.UTF_8));
            String key = "/lbManager/elb/us-east-1/web/multiple/" + SELF;
            return asked.contains("\"" + path + "\"")
                    ? ",\"count\":\"1\",\"kvs\":[{\"mod_revision\":\"1\",\"key\":\""
                            + base64.encodeToString(key.getBytes(StandardCharsets.UTF_8)) + "\"}]"
                    : "";
        }

        @Override
        public void close() throws IOException {
            for (HttpServer server : List.of(aws, plain, peer)) {
                server.stop(0);
            }
            tunnel.close();
        }
    }
}
