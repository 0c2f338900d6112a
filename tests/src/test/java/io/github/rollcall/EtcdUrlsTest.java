package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Tag("once")
class EtcdUrlsTest {
    @ParameterizedTest
    @CsvSource({
        "http://10.0.0.1:2380, 10.0.0.1",
        "http://etcd.internal:2380, etcd.internal",
        "http://[fd00::4]:2380, fd00::4",
        "http://[FD00:0:0:0:0:0:0:4]:2380, fd00::4",
        "http://[::]:2380, ::"
    })
    void anAddressIsWrittenAsEc2WritesIt(String url, String address) {
        assertThat(EtcdUrls.address(url)).isEqualTo(address);
    }
}
