package io.github.rollcall;

import io.github.rollcall.BalancerName.Kind;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.Moto;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Load balancers as lbmanager sees them, with AWS behind a proxy that breaks nothing unless it is told to. */
abstract class BalancersScene {
    static final int AT_ONCE = 10_000;

    final Moto moto = Moto.shared();
    final AwsProxy aws = AwsProxy.before(moto);

    @Command
    private static final class Options {
        @Mixin
        private AwsOptions aws;
    }

    @AfterEach
    void close() {
        aws.close();
    }

    /** Those of one kind in the region of {@link Moto}, called as fast as it goes. */
    Balancers balancers(Kind kind) {
        return all(AT_ONCE, "--aws-retries", "0").of(kind, Moto.REGION);
    }

    AwsBalancers all(double rate, String... options) {
        System.setProperty("aws.accessKeyId", "AKIAROLLCALLTEST");
        System.setProperty("aws.secretAccessKey", "test");
        Options parsed = new Options();
        new CommandLine(parsed)
                .registerConverter(java.time.Duration.class, Durations::parse)
                .parseArgs(Stream.concat(Stream.of("--endpoint-url", aws.url().toString()), Stream.of(options))
                        .toArray(String[]::new));
        return new AwsBalancers(parsed.aws, rate);
    }

    static BalancerName name(Kind kind, String name) {
        return new BalancerName(kind, Moto.REGION, name);
    }

    /** {@code i-1}, or {@code i-1:80}. */
    static Set<Member> members(String... texts) {
        return Stream.of(texts)
                .map(text -> {
                    int colon = text.matches("[^:]+:\\d+") ? text.indexOf(':') : text.length();
                    String port = text.substring(Math.min(text.length(), colon + 1));
                    return new Member(text.substring(0, colon), port.isEmpty() ? null : Integer.valueOf(port));
                })
                .collect(Collectors.toSet());
    }

    static Set<Member> none() {
        return Set.of();
    }

    static Map<Member, Failure> change(
            Balancers balancers, BalancerName name, Set<Member> register, Set<Member> deregister) {
        return balancers.apply(new Change(name, register, deregister));
    }
}
