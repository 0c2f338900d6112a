package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonParser;
import io.github.rollcall.ContainerPorts.Address;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@link ContainerPorts}: what is published is a function of what Docker says. */
@Tag("once")
class ContainerPortsTest {
    private static ContainerPorts of(String ports) {
        return of("running", "Up 2 minutes", ports);
    }

    private static ContainerPorts of(String state, String status, String ports) {
        return ContainerPorts.of(JsonParser.parseString("{\"Id\":\"c0\",\"Names\":[\"/db/web\",\"/web\"],\"State\":\""
                        + state + "\",\"Status\":\"" + status + "\",\"Ports\":" + ports + "}")
                .getAsJsonObject());
    }

    private static String port(String ip, int inside, int outside, String type) {
        return "{\"IP\":\"" + ip + "\",\"PrivatePort\":" + inside + ",\"PublicPort\":" + outside + ",\"Type\":\"" + type
                + "\"}";
    }

    @Test
    void tcpUdpAndSctpOfOneNumberAreThreePorts() {
        ContainerPorts web = of("[" + port("10.0.0.1", 53, 1053, "tcp") + "," + port("10.0.0.1", 53, 2053, "udp") + ","
                + port("10.0.0.1", 53, 3053, "sctp") + "]");

        assertThat(web.name()).isEqualTo("web");
        assertThat(web.keys("/containers", "172.17.0.1"))
                .isEqualTo(Map.of(
                        "/containers/web/53/host", "10.0.0.1",
                        "/containers/web/53/port", "1053",
                        "/containers/web/53-udp/host", "10.0.0.1",
                        "/containers/web/53-udp/port", "2053",
                        "/containers/web/53-sctp/host", "10.0.0.1",
                        "/containers/web/53-sctp/port", "3053"));
    }

    @ParameterizedTest
    @CsvSource({"''", "0.0.0.0", "::"})
    void aWildcardIsTheAddressThatIsGivenForIt(String wildcard) {
        assertThat(of("[" + port(wildcard, 80, 8080, "tcp") + "]").keys("/p", "10.9.8.7"))
                .isEqualTo(Map.of("/p/web/80/host", "10.9.8.7", "/p/web/80/port", "8080"));
    }

    @Test
    void whatIsExposedAndPublishedOnNothingIsNoPort() {
        ContainerPorts web =
                of("[{\"PrivatePort\":80,\"Type\":\"tcp\"},{\"PrivatePort\":81,\"PublicPort\":0,\"Type\":\"tcp\"}]");

        assertThat(web.ports()).isEmpty();
        assertThat(web.obstacle(false)).isEqualTo("without a published port");
        assertThat(of("null").ports()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({
        "0.0.0.0, 8080, 10.0.0.1, 80",
        "'', 8080, ::, 80",
        "0.0.0.0, 8080, ::, 80",
        "::, 8080, 10.0.0.1, 80",
        "10.0.0.1, 8080, 127.0.0.1, 80",
        "fd00::1, 8080, ::1, 80",
        "10.0.0.1, 8080, fd00::1, 80",
        "10.0.0.1, 8080, 10.0.0.2, 80",
        "10.0.0.1, 80, 10.0.0.1, 8080"
    })
    void ofSeveralBindingsTheOneIsTakenThatMostCanReachInWhateverOrderTheyCome(
            String host, int port, String otherHost, int otherPort) {
        String best = port(host, 80, port, "tcp");
        String other = port(otherHost, 80, otherPort, "tcp");

        assertThat(of("[" + best + "," + other + "]").ports()).containsEntry("80", new Address(host, port));
        assertThat(of("[" + other + "," + best + "]").ports()).containsEntry("80", new Address(host, port));
    }

    @ParameterizedTest
    @CsvSource({
        "running, Up 2 minutes, , ",
        "running, Up 2 minutes (healthy), , ",
        "running, Up 2 minutes (unhealthy), unhealthy, ",
        "running, Up 2 seconds (health: starting), not healthy yet, ",
        "paused, Up 2 minutes (Paused), paused, paused",
        "exited, Exited (0) 5 seconds ago, exited, exited",
        "restarting, Restarting (1) 2 seconds ago, restarting, restarting",
        "created, Created, created, created",
        "dead, Dead, dead, dead"
    })
    void onlyARunningContainerIsPublishedAndOnlyIfItIsNotUnhealthy(
            String state, String status, String obstacle, String obstacleWithoutHealth) {
        ContainerPorts web = of(state, status, "[" + port("10.0.0.1", 80, 8080, "tcp") + "]");

        assertThat(web.obstacle(false)).isEqualTo(obstacle);
        assertThat(web.obstacle(true)).isEqualTo(obstacleWithoutHealth);
    }

    @Test
    void oneThatIsBeingRemovedHasNoName() {
        ContainerPorts dead =
                ContainerPorts.of(JsonParser.parseString("{\"Id\":\"c0\",\"Names\":null,\"State\":\"dead\"}")
                        .getAsJsonObject());

        assertThat(dead.name()).isEmpty();
        assertThat(dead.obstacle(true)).isEqualTo("dead");
    }
}
