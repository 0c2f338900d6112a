package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What etcd 3.4.23 itself answered and wrote, read back. */
class EtcdMembershipTest {
    private static final String FIRST_LIST =
            """
            [{"id":1071220052590089545,"peerURLs":["http://127.88.1.6:2380"],"name":"c"},
             {"id":2927498564491941778,"peerURLs":["http://127.88.1.4:2380"],"name":"a"},
             {"id":9457122546023421491,"peerURLs":["http://127.88.1.5:2380"],"name":"b"}]
            """;
    /** The beginning of the log of member {@code a}. */
    private static final String LOG = "04000000000000840804100000000000" + "1f000000000000810801" + "10edbec6b101"
            + "1a150892af8888f18da4d02810fad0b49fabd9eeeeb301" + "00";

    @TempDir
    private Path folder;

    @Test
    void knowsTheListOfANewClusterByItsIds() {
        EtcdMembership list = EtcdMembership.ofPeer("b3ddbacab3ed287a", FIRST_LIST);

        assertThat(list.isFounding("tok")).isTrue();
        assertThat(list.isFounding("another")).isFalse();
        assertThat(list.byId(2927498564491941778L).name()).isEqualTo("a");
    }

    @Test
    void aListInWhichSomebodyHasStartedIsNoNewClusters() {
        EtcdMembership list = EtcdMembership.ofPeer(
                "b3ddbacab3ed287a",
                FIRST_LIST.replace("\"name\":\"a\"", "\"name\":\"a\",\"clientURLs\":[\"http://127.88.1.4:2379\"]"));

        assertThat(list.isFounding("tok")).isFalse();
    }

    @Test
    void aListWithAMemberThatWasAddedLaterIsNoNewClusters() {
        EtcdMembership list =
                EtcdMembership.ofPeer("b3ddbacab3ed287a", FIRST_LIST.replace("1071220052590089545", "17"));

        assertThat(list.isFounding("tok")).isFalse();
    }

    @Test
    void anEmptyListAsOfAMemberThatReadsItsLogIsNoNewClusters() {
        assertThat(EtcdMembership.ofPeer("b3ddbacab3ed287a", "[]").isFounding("tok"))
                .isFalse();
    }

    @Test
    void theLogSaysWhoseItIs() throws IOException {
        Path wal = Files.createDirectories(folder.resolve("member/wal"));
        Files.write(
                wal.resolve("0000000000000000-0000000000000000.wal"),
                HexFormat.of().parseHex(LOG));

        assertThat(EtcdDataDir.read(folder, null))
                .isEqualTo(new EtcdDataDir(
                        EtcdDataDir.State.INITIALISED,
                        2927498564491941778L,
                        Long.parseUnsignedLong("b3ddbacab3ed287a", 16)));
        assertThat(EtcdDataDir.read(folder.resolve("elsewhere"), wal).isInitialised())
                .isTrue();
    }

    @Test
    void absentAndEmptyDirectoriesAreToldApart() throws IOException {
        assertThat(EtcdDataDir.read(folder.resolve("none"), null).state()).isEqualTo(EtcdDataDir.State.ABSENT);
        // What a crash before etcd's first log leaves.
        Files.createDirectories(folder.resolve("member/snap"));
        Files.createDirectories(folder.resolve("member/wal.tmp"));
        assertThat(EtcdDataDir.read(folder, null).state()).isEqualTo(EtcdDataDir.State.EMPTY);
    }

    @Test
    void aDamagedLogIs65AndNotTakenForNone() throws IOException {
        Path wal = Files.createDirectories(folder.resolve("member/wal"));
        Files.write(wal.resolve("0.wal"), new byte[] {1, 2, 3});

        assertThatThrownBy(() -> EtcdDataDir.read(folder, null))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.DATA))
                .hasMessageContaining("0.wal is no write-ahead log of etcd");
    }

    @Test
    void aLinkToADiskThatIsNotMountedIsNoEmptyNode() throws IOException {
        Path link = Files.createSymbolicLink(folder.resolve("etcd"), folder.resolve("not-mounted"));

        assertThatThrownBy(() -> EtcdDataDir.read(link, null))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.CONFIG))
                .hasMessageContaining("not mounted");
    }

    @Test
    void aDataDirectoryThatIsAFileIsNamed() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "");

        assertThatThrownBy(() -> EtcdDataDir.read(file, null))
                .isInstanceOf(Failure.class)
                .hasMessageContaining("file");
    }
}
