package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.ToolRunner.Run;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Instances with IPv6 addresses only or in addition, with several interfaces, and members under other addresses. */
@Tag("once")
class EtcdAwsClusterAddressesTest {
    private EtcdLab lab;

    @AfterEach
    void close() {
        lab.close();
    }

    @Test
    void anInstanceWithNothingButIpv6FoundsAClusterAndAnotherJoinsItThere() {
        lab = EtcdLab.of(1);
        Node node = lab.nodes().get(0);
        String six = instance(
                node.id, null, List.of(nic(1, List.of(), List.of("fd00::9")), nic(0, List.of(), List.of("::1"))));
        ec2Knows(six);
        String peerUrl = node.peerUrl().replace(node.address, "[::1]");

        Run first = node.start();

        assertThat(first.exit()).as("%s", first).isZero();
        assertThat(node.printed())
                .containsEntry("ETCD_LISTEN_PEER_URLS", peerUrl)
                .containsEntry("ETCD_INITIAL_ADVERTISE_PEER_URLS", peerUrl)
                .containsEntry("ETCD_INITIAL_CLUSTER", node.id + "=" + peerUrl);

        Node second = lab.scale(2).get(0);
        ec2Knows(six, instance(second.id, second.address, List.of()));
        Run joined = second.start();

        assertThat(joined.exit()).as("%s", joined).isZero();
        assertThat(second.printed().get("ETCD_INITIAL_CLUSTER")).contains(node.id + "=" + peerUrl);
        Awaitility.await()
                .ignoreExceptions()
                .until(() -> second.membersByPeerPort().members().stream()
                                .filter(EtcdMember::hasStarted)
                                .count()
                        == 2);
    }

    @Test
    void ofSeveralInterfacesAndBothFamiliesThePrimaryInterfacesIpv4AddressCounts() {
        lab = EtcdLab.of(1);
        Node node = lab.nodes().get(0);
        ec2Knows(instance(
                node.id,
                node.address,
                List.of(
                        nic(1, List.of("127.0.0.3"), List.of("fd00::1")),
                        nic(0, List.of(node.address, "127.0.0.2"), List.of("fd00::2")))));

        Run run = node.start();

        assertThat(run.exit()).as("%s", run).isZero();
        assertThat(node.printed()).containsEntry("ETCD_INITIAL_CLUSTER", node.id + "=" + node.peerUrl());
        lab.awaitMembers(lab.nodes());
    }

    @Test
    void membersAddedByHandUnderAHostNameOrASecondAddressAreNotEjectedBeforeTheyHaveStarted() {
        lab = EtcdLab.cluster(3);
        Node alive = lab.nodes().get(0);
        Node newcomer = lab.scale(4).get(0);
        ec2Knows(lab.nodes().stream()
                .map(n -> instance(
                        n.id,
                        n.address,
                        List.of(nic(0, List.of(n.address), List.of()), nic(1, List.of("127.0.0.2"), List.of()))))
                .toArray(String[]::new));

        for (String elsewhere : List.of("etcd-4.internal.invalid", "127.0.0.2")) {
            String peerUrl = alive.peerUrl().replace(alive.address, elsewhere);
            Awaitility.await().ignoreExceptions().until(() -> addByHand(peerUrl));

            Run run = newcomer.start("--wait", "3s");

            // etcd 3.4 adds nobody while another member has yet to start.
            assertThat(run.exit()).as("%s", run).isEqualTo(69);
            assertThat(run.err()).contains("unhealthy cluster").doesNotContain("removed");
            List<EtcdMember> byHand =
                    lab.members().stream().filter(m -> !m.hasStarted()).toList();
            assertThat(byHand).hasSize(1).allMatch(m -> m.peerUrls().contains(peerUrl));
            JsonObject removal = new JsonObject();
            removal.addProperty("ID", Long.toUnsignedString(byHand.get(0).id()));
            lab.serving().get(0).gateway().ask("cluster/member/remove", removal);
        }
    }

    private boolean addByHand(String peerUrl) {
        JsonObject request = new JsonObject();
        JsonArray urls = new JsonArray();
        urls.add(peerUrl);
        request.add("peerURLs", urls);
        lab.serving().get(0).gateway().ask("cluster/member/add", request);
        return true;
    }

    private void ec2Knows(String... instances) {
        lab.aws.heal();
        lab.aws.answer(
                "DescribeInstances",
                AwsProxy.ALWAYS,
                "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet><item>"
                        + "<instancesSet>" + String.join("", instances)
                        + "</instancesSet></item></reservationSet></DescribeInstancesResponse>");
    }

    private static String instance(String id, String privateIp, List<String> nics) {
        return "<item><instanceId>" + id + "</instanceId><instanceState><code>16</code><name>running</name>"
                + "</instanceState>"
                + (privateIp == null ? "" : "<privateIpAddress>" + privateIp + "</privateIpAddress>")
                + "<networkInterfaceSet>" + String.join("", nics) + "</networkInterfaceSet></item>";
    }

    private static String nic(int device, List<String> addresses, List<String> ipv6) {
        return "<item><attachment><deviceIndex>" + device + "</deviceIndex></attachment><privateIpAddressesSet>"
                + items("privateIpAddress", addresses.stream()) + "</privateIpAddressesSet><ipv6AddressesSet>"
                + items("ipv6Address", ipv6.stream()) + "</ipv6AddressesSet></item>";
    }

    private static String items(String name, Stream<String> values) {
        return values.map(v -> "<item><" + name + ">" + v + "</" + name + "></item>")
                .collect(Collectors.joining());
    }
}
