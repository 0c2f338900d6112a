package io.github.rollcall;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Tag("once")
class BalancerKeyTest {
    @ParameterizedTest
    @CsvSource({
        "elb/ap-southeast-2/loadBalancer1/multiple/i-00000001, elb/ap-southeast-2/loadBalancer1, i-00000001",
        "elb/us-gov-west-1/web/single/i-0123456789abcdef0,     elb/us-gov-west-1/web,            i-0123456789abcdef0",
        "alb/us-east-1/api/multiple/i-1,                       alb/us-east-1/api,                i-1",
        "alb/us-east-1/api/multiple/i-1:8080,                  alb/us-east-1/api,                i-1:8080",
        "alb/us-east-1/api/multiple/10.0.0.5,                  alb/us-east-1/api,                10.0.0.5",
        "alb/us-east-1/api/multiple/10.0.0.5:80,               alb/us-east-1/api,                10.0.0.5:80",
        "alb/us-east-1/api/multiple/FD00:0::5,                 alb/us-east-1/api,                fd00::5",
        "alb/us-east-1/api/multiple/[fd00::5]:80,              alb/us-east-1/api,                [fd00::5]:80",
        "route53/us-east-1/Z1/Www.Example.com./multiple/10.0.0.5, route53/us-east-1/Z1/www.example.com, 10.0.0.5",
        "route53/eu-west-1/Z1/www.example.com/multiple/10.0.0.5, route53/us-east-1/Z1/www.example.com, 10.0.0.5",
        "route53/us-east-1/Z1/*.example.com/single/fd00::5,    route53/us-east-1/Z1/*.example.com, fd00::5",
    })
    void aKeyGivesAMember(String key, String balancer, String member) {
        BalancerKey parsed = BalancerKey.parse(key);

        assertThat(parsed.balancer()).hasToString(balancer);
        assertThat(parsed.member()).hasToString(member);
        assertThat(BalancerKey.parse(parsed.toString())).isEqualTo(parsed);
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '"',
            value = {
                "\"\",                                       it has no TYPE/REGION/NAME/CLASS before the member",
                "elb,                                      it has no TYPE/REGION/NAME/CLASS before the member",
                "nlb/us-east-1/web/multiple/i-1,           'nlb' is no type: expected elb, alb or route53",
                "ELB/us-east-1/web/multiple/i-1,           'ELB' is no type: expected elb, alb or route53",
                "elb/us-east-1/web/i-1,                    expected elb/REGION/NAME/CLASS/INSTANCE",
                "elb/us-east-1/web/multiple/i-1/x,         expected elb/REGION/NAME/CLASS/INSTANCE",
                "route53/us-east-1/Z1/multiple/10.0.0.5,   expected route53/REGION/ZONE_ID/FQDN/CLASS/IP",
                "elb//web/multiple/i-1,                    '' is not a region such as us-east-1",
                "elb/virginia/web/multiple/i-1,            'virginia' is not a region such as us-east-1",
                "elb/us-east-1/we b/multiple/i-1,          'we b' is not a name of at most 32 letters",
                "elb/us-east-1/web/Multiple/i-1,           'Multiple' is no class: expected single or multiple",
                "elb/us-east-1/web/multiple/,              '' is not an instance id such as i-0123456789abcdef0",
                "elb/us-east-1/web/multiple/10.0.0.5,      '10.0.0.5' is not an instance id",
                "elb/us-east-1/web/multiple/i-xyz,         'i-xyz' is not an instance id",
                "alb/us-east-1/api/multiple/web:80,        'web' is no address",
                "alb/us-east-1/api/multiple/i-1:0,         '0' is no port",
                "alb/us-east-1/api/multiple/i-1:65536,     '65536' is no port",
                "alb/us-east-1/api/multiple/i-xyz,         'i-xyz' is no instance id",
                "route53/us-east-1/Z1/www..com/multiple/10.0.0.5, 'www..com' is not a domain name",
                "route53/us-east-1/z1/www.com/multiple/10.0.0.5,  'z1' is not a hosted zone",
                "route53/us-east-1/Z1/www.com/multiple/i-1,       'i-1' is no instance id",
            })
    void aMalformedKeyGivesOneSentence(String key, String sentence) {
        assertThatThrownBy(() -> BalancerKey.parse(key))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(sentence);
    }

    @Test
    void whatAnInstanceAnnouncesItselfUnderNamesNoMember() {
        BalancerKey key = BalancerKey.parseBalancer("elb/us-east-1/web/multiple");

        assertThat(key.member()).isNull();
        assertThat(key.with(new Member("i-1", null))).hasToString("elb/us-east-1/web/multiple/i-1");
    }
}
