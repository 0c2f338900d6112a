package io.github.rollcall;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * What a member's data directory is. Immutable.
 *
 * <p>The write-ahead log is what makes it a member's: with one etcd restarts whatever its initial-cluster says, without
 * one it begins anew ({@code wal.Exist} in etcd's {@code server/storage/wal}). Every file of the log begins with a record
 * of whose log it is, so that can be told while etcd is off.
 *
 * @param state whether there is a log
 * @param memberId whose log it is; 0 without one
 * @param clusterId of which cluster; 0 without one
 */
public record EtcdDataDir(State state, long memberId, long clusterId) {
    /** What is to be told apart. */
    public enum State {
        /** No such directory. */
        ABSENT,
        /** A directory without a log: never used, or emptied, or etcd was killed before it began. */
        EMPTY,
        /** A member's. */
        INITIALISED
    }

    private static final int LARGEST_FIRST_RECORDS = 4096;

    /** Whether a member's log is in it. */
    public boolean isInitialised() {
        return state == State.INITIALISED;
    }

    /**
     * Looks at a data directory; changes nothing, and may be done while etcd runs.
     *
     * @param walDir etcd's {@code --wal-dir}, or null for the usual place in the data directory
     * @throws Failure configuration when it may not be read, malformed data when there is a log that cannot be understood, or
     *     what a member has left without its log
     */
    public static EtcdDataDir read(Path dataDir, Path walDir) {
        Path wal = walDir == null ? dataDir.resolve("member").resolve("wal") : walDir;
        for (Path dir : List.of(dataDir, wal)) {
            if (Files.isSymbolicLink(dir) && !Files.exists(dir)) {
                throw new Failure(Exit.CONFIG, dir + " is a link to what is not there: is its disk not mounted?");
            }
        }
        try {
            List<Path> log = logFiles(wal);
            if (log.isEmpty()) {
                checkNothingRemains(dataDir, wal);
                return new EtcdDataDir(Files.exists(dataDir) ? State.EMPTY : State.ABSENT, 0, 0);
            }
            return ofLog(log.get(0));
        } catch (NotDirectoryException e) {
            throw new Failure(Exit.CONFIG, e.getFile() + " is not a directory", e);
        } catch (IOException | UncheckedIOException e) {
            throw new Failure(Exit.CONFIG, "cannot read the data directory: " + e.getMessage(), e);
        }
    }

    /**
     * A log that is lost, or on a disk that is not mounted, beside what a member has left. etcd would begin anew, with the
     * old member's keys in its database. What a start has left that failed before it had a log is no member's yet.
     */
    private static void checkNothingRemains(Path dataDir, Path wal) throws IOException {
        Path member = dataDir.resolve("member");
        List<Path> remains = new ArrayList<>(logFiles(member.resolve("wal")));
        try (Stream<Path> files = Files.list(member.resolve("snap"))) {
            files.sorted().filter(EtcdDataDir::isOfAMember).forEach(remains::add);
        } catch (NoSuchFileException e) {
            // Never used.
        }
        if (!remains.isEmpty()) {
            throw new Failure(
                    Exit.DATA,
                    remains.get(0) + " is a member's, and there is no write-ahead log in " + wal
                            + ": mount its disk, or give etcd's own --wal-dir; if the log is lost, move " + dataDir
                            + " away to join anew");
        }
    }

    /** A snapshot, or a database with members in it: etcd writes them there from its log. */
    private static boolean isOfAMember(Path file) {
        if (file.toString().endsWith(".snap")) {
            return true;
        }
        if (!file.endsWith("db")) {
            return false;
        }
        byte[] sought = "\"peerURLs\"".getBytes(StandardCharsets.US_ASCII);
        int found = 0;
        try (InputStream in = new BufferedInputStream(Files.newInputStream(file), 1 << 16)) {
            for (int b = in.read(); b >= 0 && found < sought.length; b = in.read()) {
                found = b == sought[found] ? found + 1 : b == sought[0] ? 1 : 0;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return found == sought.length;
    }

    private static List<Path> logFiles(Path wal) throws IOException {
        try (Stream<Path> files = Files.list(wal)) {
            return files.filter(f -> f.toString().endsWith(".wal")).sorted().toList();
        } catch (NoSuchFileException e) {
            return List.of();
        }
    }

    private static EtcdDataDir ofLog(Path file) throws IOException {
        try (InputStream in = Files.newInputStream(file)) {
            ByteBuffer bytes =
                    ByteBuffer.wrap(in.readNBytes(LARGEST_FIRST_RECORDS)).order(ByteOrder.LITTLE_ENDIAN);
            return new WalReader(bytes).identity();
        } catch (RuntimeException e) {
            throw new Failure(Exit.DATA, file + " is no write-ahead log of etcd, or a damaged one", e);
        }
    }

    /**
     * The first records of a log file: a length in 56 bits (the upper 8 are padding and its sign), then a protocol buffer
     * with type (1), checksum (2) and data (3); one of type 1 has node id (1) and cluster id (2) as its data.
     */
    private record WalReader(ByteBuffer bytes) {
        private static final int METADATA = 1;

        EtcdDataDir identity() {
            while (true) {
                long frame = bytes.getLong();
                int length = Math.toIntExact(frame & 0x00ff_ffff_ffff_ffffL);
                int padding = frame < 0 ? (int) (frame >>> 56 & 7) : 0;
                int start = bytes.position();
                long[] record = fields(bytes.slice(start, length));
                if (record[1] == METADATA) {
                    long[] ids = fields(bytes.slice(start + (int) (record[3] >>> 32), (int) record[3]));
                    return new EtcdDataDir(State.INITIALISED, ids[1], ids[2]);
                }
                bytes.position(start + length + padding);
            }
        }

        /** Fields 1 to 3: a number's value; of bytes, offset and length in one. */
        private static long[] fields(ByteBuffer message) {
            long[] fields = new long[4];
            while (message.hasRemaining()) {
                long tag = varint(message);
                long value = varint(message);
                if ((tag & 7) == 2) {
                    int offset = message.position();
                    message.position(offset + Math.toIntExact(value));
                    value |= (long) offset << 32;
                } else if ((tag & 7) != 0) {
                    throw new IllegalStateException("wire type " + (tag & 7));
                }
                fields[(int) (tag >>> 3)] = value;
            }
            return fields;
        }

        private static long varint(ByteBuffer b) {
            long value = 0;
            for (int shift = 0; shift < 64; shift += 7) {
                byte next = b.get();
                value |= (long) (next & 0x7f) << shift;
                if (next >= 0) {
                    return value;
                }
            }
            throw new IllegalStateException("varint");
        }
    }
}
