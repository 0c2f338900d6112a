package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Tag("once")
class IpAddressTest {
    @ParameterizedTest
    @CsvSource({
        "10.0.0.5, 10.0.0.5",
        "0.0.0.0, 0.0.0.0",
        "fd00:0:0:0:0:0:0:5, fd00::5",
        "FD00::0005, fd00::5",
        "::1, ::1",
        "::, ::",
        "2001:db8:0:0:1:0:0:1, 2001:db8::1:0:0:1",
        "2001:0:0:1:0:0:0:1, 2001:0:0:1::1",
        "2001:db8:0:1:1:1:1:1, 2001:db8:0:1:1:1:1:1",
        "1:0:0:0:0:0:0:0, 1::"
    })
    void hasOneFormForAnAddress(String text, String canonical) {
        assertThat(IpAddress.canonical(text)).isEqualTo(canonical);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "10.0.0",
                "10.0.0.256",
                "010.0.0.1",
                "host",
                "1",
                "::ffff:10.0.0.1",
                "fe80::1%eth0",
                ":",
                "1:2",
                "beef"
            })
    void saysNoToWhatIsNoAddressOfAMember(String text) {
        assertThat(IpAddress.canonical(text)).isNull();
    }
}
