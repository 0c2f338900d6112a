package io.github.rollcall;

import static io.github.rollcall.BalancerName.Kind.ROUTE53;
import static io.github.rollcall.harness.AwsProxy.ALWAYS;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.github.rollcall.MemberHealth.State;
import io.github.rollcall.harness.Moto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.services.route53.model.ChangeAction;
import software.amazon.awssdk.services.route53.model.RRType;
import software.amazon.awssdk.services.route53.model.ResourceRecord;
import software.amazon.awssdk.services.route53.model.ResourceRecordSet;

/** The A and AAAA records of domain names. */
@Tag("once")
class Route53BalancersTest extends BalancersScene {
    private static final String LIST = "ListResourceRecordSets";
    private static final String CHANGE = "ChangeResourceRecordSets";

    private final String zone = moto.zone("example.com");
    private final BalancerName www = in(zone, "www.example.com");
    private final Balancers dns = balancers(ROUTE53);

    private static BalancerName in(String zone, String domain) {
        return name(ROUTE53, zone + "/" + domain);
    }

    private static Set<Member> addresses(String... texts) {
        return List.of(texts).stream().map(text -> new Member(text, null)).collect(Collectors.toSet());
    }

    private Reading read(BalancerName name) {
        return dns.members(Set.of(name)).get(name);
    }

    private void given(ResourceRecordSet set) {
        moto.route53.changeResourceRecordSets(r -> r.hostedZoneId(zone)
                .changeBatch(b -> b.changes(c -> c.action(ChangeAction.CREATE).resourceRecordSet(set))));
    }

    private static ResourceRecordSet.Builder set(String name, RRType type, long ttl, String... values) {
        return ResourceRecordSet.builder()
                .name(name)
                .type(type)
                .ttl(ttl)
                .resourceRecords(List.of(values).stream()
                        .map(v -> ResourceRecord.builder().value(v).build())
                        .toList());
    }

    // --- reading

    @Test
    void bothKindsOfAddressesAreMembersWhateverTheirOrderAndForm() {
        given(set("www.example.com", RRType.A, 300, "10.0.0.2", "10.0.0.1").build());
        given(set("www.example.com.", RRType.AAAA, 60, "FD00:0:0:0:0:0:0:5").build());
        given(set("www.example.com", RRType.TXT, 60, "\"hello\"").build());
        given(set("www2.example.com", RRType.A, 60, "10.0.0.3").build());

        assertThat(read(www)).isEqualTo(Reading.of(addresses("10.0.0.1", "10.0.0.2", "fd00::5"), null));
    }

    @Test
    void anAddressThatIsOfTheOtherKindIsReplacedAsAnyOther() {
        given(set("www.example.com", RRType.AAAA, 60, "::ffff:a00:1").build());

        assertThat(read(www)).isEqualTo(Reading.of(addresses("::ffff:a00:1"), null));
        assertThat(change(dns, www, addresses("fd00::5"), addresses("::ffff:a00:1")))
                .isEmpty();
        assertThat(moto.addresses(zone, "www.example.com")).containsExactly("fd00::5");
    }

    @Test
    void aNameWithoutRecordsIsEmptyAndAZoneThatIsMissingIsLeftOut() {
        BalancerName lost = in("ZNOTTHERE", "www.example.com");

        assertThat(dns.members(Set.of(www, lost))).isEqualTo(Map.of(www, Reading.of(none(), null)));
    }

    @Test
    void aZoneThatCannotBeReadFailsAloneAndIsNoEmptyOne() {
        String other = moto.zone("example.org");
        BalancerName there = in(other, "www.example.org");
        aws.refuse(LIST, 1);

        Map<BalancerName, Reading> read = dns.members(Set.of(www, there));

        assertThat(read.values())
                .filteredOn(r -> r.problem() != null)
                .singleElement()
                .satisfies(r -> assertThat(r.problem().exit()).isEqualTo(Exit.REFUSED));
    }

    @ParameterizedTest
    @CsvSource({
        "\\052.example.com.,*.example.com",
        "a\\057b.example.com,a/b.example.com",
        "WWW.Example.COM.,www.example.com"
    })
    void namesAreReadAsRoute53EscapesThem(String written, String plain) {
        assertThat(RecordSets.plain(written)).isEqualTo(plain);
    }

    @Test
    void aWildcardIsManaged() {
        BalancerName any = in(zone, "*.example.com");
        change(dns, any, addresses("10.0.0.1"), none());
        // moto does not escape names as Route 53 does.
        aws.answer(
                LIST,
                1,
                """
                <ListResourceRecordSetsResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">
                <ResourceRecordSets><ResourceRecordSet><Name>\\052.example.com.</Name><Type>A</Type><TTL>60</TTL>
                <ResourceRecords><ResourceRecord><Value>10.0.0.1</Value></ResourceRecord></ResourceRecords>
                </ResourceRecordSet></ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>8</MaxItems>
                </ListResourceRecordSetsResponse>
                """);

        assertThat(read(any).members()).isEqualTo(addresses("10.0.0.1"));
    }

    @Test
    void manyNamesOfAZoneAreReadByPages() {
        Set<BalancerName> names = IntStream.range(0, 700)
                .mapToObj(i -> in(zone, "n" + i + ".example.com"))
                .collect(Collectors.toSet());
        moto.route53.changeResourceRecordSets(r -> r.hostedZoneId(zone)
                .changeBatch(b -> b.changes(names.stream()
                        .map(n -> software.amazon.awssdk.services.route53.model.Change.builder()
                                .action(ChangeAction.CREATE)
                                .resourceRecordSet(set(n.domain(), RRType.A, 60, "10.0.0.1")
                                        .build())
                                .build())
                        .toList())));

        assertThat(dns.members(names).values()).hasSize(700).allSatisfy(r -> assertThat(r.members())
                .isEqualTo(addresses("10.0.0.1")));
        assertThat(aws.calls(LIST)).isEqualTo(3);

        // That it has three pages is known now: two names are two calls.
        assertThat(dns.members(names.stream().limit(2).collect(Collectors.toSet())))
                .hasSize(2);
        assertThat(aws.calls(LIST)).isEqualTo(5);
    }

    @Test
    void whatIsListedIsInService() {
        change(dns, www, addresses("10.0.0.1"), none());

        assertThat(dns.health(www)).singleElement().satisfies(h -> assertThat(h.state())
                .isEqualTo(State.IN_SERVICE));
    }

    // --- changing

    @Test
    void registeringAndDeregisteringAreOneChange() {
        change(dns, www, addresses("10.0.0.1", "10.0.0.2"), none());

        assertThat(change(dns, www, addresses("10.0.0.3"), addresses("10.0.0.1")))
                .isEmpty();

        assertThat(moto.addresses(zone, "www.example.com")).containsExactly("10.0.0.2", "10.0.0.3");
        assertThat(moto.recordSets(zone)).singleElement().satisfies(s -> assertThat(s.ttl())
                .isEqualTo(60));
        assertThat(aws.calls(CHANGE)).isEqualTo(2);
    }

    @Test
    void addressesOfBothKindsAreOneBatch() {
        change(dns, www, addresses("10.0.0.1", "fd00::5"), none());

        assertThat(moto.recordSets(zone)).extracting(ResourceRecordSet::type).containsExactly(RRType.A, RRType.AAAA);
        assertThat(aws.calls(CHANGE)).isEqualTo(1);
    }

    @Test
    void anOldAddressStaysWhereTheNewOneOfTheOtherKindIsRefused() {
        change(dns, www, addresses("10.0.0.1"), none());
        aws.error(CHANGE + " with fd00", ALWAYS, 400, "InvalidChangeBatch", "[It is bad]");

        assertThat(change(dns, www, addresses("fd00::5"), addresses("10.0.0.1")))
                .containsOnlyKeys(new Member("fd00::5", null), new Member("10.0.0.1", null));

        assertThat(moto.recordSets(zone)).extracting(ResourceRecordSet::type).containsExactly(RRType.A);
    }

    @Test
    void theLastValueIsRemovedWithTheSetAsItWas() {
        given(set("www.example.com", RRType.A, 300, "10.0.0.2", "10.0.0.1").build());

        assertThat(change(dns, www, none(), addresses("10.0.0.1", "10.0.0.2"))).isEmpty();

        assertThat(moto.recordSets(zone)).isEmpty();
    }

    @Test
    void whatIsSoAlreadyIsNotWritten() {
        change(dns, www, addresses("10.0.0.1"), none());

        assertThat(change(dns, www, addresses("10.0.0.1"), addresses("10.0.0.9")))
                .isEmpty();

        assertThat(aws.calls(CHANGE)).isEqualTo(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"alias", "weighted", "cname"})
    void aRecordSetOfAnotherFormIsNeverTouched(String form) {
        ResourceRecordSet foreign =
                switch (form) {
                    case "alias" ->
                        ResourceRecordSet.builder()
                                .name("www.example.com")
                                .type(RRType.A)
                                .aliasTarget(a -> a.hostedZoneId(zone)
                                        .dnsName("other.example.com")
                                        .evaluateTargetHealth(false))
                                .build();
                    case "weighted" ->
                        set("www.example.com", RRType.A, 60, "10.0.0.1")
                                .setIdentifier("blue")
                                .weight(1L)
                                .build();
                    default ->
                        set("www.example.com", RRType.CNAME, 60, "other.example.com")
                                .build();
                };
        given(foreign);
        String why = form.equals("alias") ? "is an alias" : form.equals("weighted") ? "routing policy" : "in the way";

        assertThat(read(www).problem()).hasMessageContaining(why);
        assertThatThrownBy(() -> change(dns, www, addresses("10.0.0.2"), addresses("10.0.0.1")))
                .hasMessageContaining(why);
        assertThat(moto.recordSets(zone)).hasSize(1);
        assertThat(aws.calls(CHANGE)).isZero();
    }

    // --- batches

    @Test
    void changesThatComeWhileAnotherIsUnderWayAreOneBatch() {
        aws.delay(CHANGE, 1, Duration.ofMillis(1_500));
        CompletableFuture<?> first = CompletableFuture.runAsync(() -> change(dns, www, addresses("10.0.0.1"), none()));
        await().until(() -> aws.calls(CHANGE) == 1);
        List<CompletableFuture<Map<Member, Failure>>> others = atOnce(20);
        first.join();

        assertThat(others).allSatisfy(c -> assertThat(c.join()).isEmpty());

        assertThat(moto.recordSets(zone)).hasSize(21);
        assertThat(aws.calls(CHANGE)).isLessThanOrEqualTo(3);
    }

    /** So many names, each on a thread of its own. */
    private List<CompletableFuture<Map<Member, Failure>>> atOnce(int count) {
        return IntStream.range(0, count)
                .mapToObj(i -> {
                    CompletableFuture<Map<Member, Failure>> done = new CompletableFuture<>();
                    Thread thread = new Thread(() -> {
                        try {
                            done.complete(
                                    change(dns, in(zone, "n" + i + ".example.com"), addresses("10.0.1." + i), none()));
                        } catch (Failure f) {
                            done.completeExceptionally(f);
                        }
                    });
                    thread.start();
                    return done;
                })
                .toList();
    }

    @Test
    void noBatchIsLargerThanRoute53Takes() {
        // Four names of 300 values each: an UPSERT counts twice, and moto refuses more than 1,000, as AWS does.
        aws.delay(CHANGE, 1, Duration.ofMillis(1_500));
        CompletableFuture<?> first = CompletableFuture.runAsync(() -> change(dns, www, addresses("10.0.0.1"), none()));
        await().until(() -> aws.calls(CHANGE) == 1);
        Set<Member> many = IntStream.range(0, 300)
                .mapToObj(i -> new Member("10.1." + i / 250 + "." + (1 + i % 250), null))
                .collect(Collectors.toSet());
        List<CompletableFuture<Map<Member, Failure>>> others = IntStream.range(0, 4)
                .mapToObj(i -> CompletableFuture.supplyAsync(
                        () -> change(dns, in(zone, "big" + i + ".example.com"), many, none()),
                        command -> new Thread(command).start()))
                .toList();
        first.join();

        assertThat(others).allSatisfy(c -> assertThat(c.join()).isEmpty());

        assertThat(moto.recordSets(zone)).hasSize(5);
        assertThat(aws.calls(CHANGE)).isEqualTo(5);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void oneRecordSetThatIsRefusedKeepsNoOtherOut(boolean named) {
        String message = named
                ? "[Tried to create resource record set [name='n3.example.com.', type='A'] but it is bad]"
                : "[One of them is bad]";
        aws.delay(CHANGE, 1, Duration.ofMillis(1_500));
        CompletableFuture<?> first = CompletableFuture.runAsync(() -> change(dns, www, addresses("10.0.0.1"), none()));
        await().until(() -> aws.calls(CHANGE) == 1);
        aws.error(CHANGE + " with n3\\.example", ALWAYS, 400, "InvalidChangeBatch", message);
        List<CompletableFuture<Map<Member, Failure>>> others = atOnce(8);
        first.join();

        for (int i = 0; i < 8; i++) {
            Map<Member, Failure> refused = others.get(i).join();
            assertThat(refused.keySet()).as("n%d", i).isEqualTo(i == 3 ? addresses("10.0.1.3") : none());
        }
        assertThat(others.get(3).join().values()).singleElement().satisfies(f -> assertThat(f)
                .hasMessageContaining(message.substring(1, 10)));
        assertThat(moto.recordSets(zone)).hasSize(8);
    }

    @ParameterizedTest
    @CsvSource({
        "PriorRequestNotComplete,The request was rejected because Route 53 was still processing a prior request",
        "Throttling,Rate exceeded"
    })
    void whatPassesByItselfIsTriedAgain(String code, String message) {
        Balancers patient = all(AT_ONCE, "--aws-retries", "3").of(ROUTE53, Moto.REGION);
        aws.error(CHANGE, 2, 400, code, message);

        assertThat(change(patient, www, addresses("10.0.0.1"), none())).isEmpty();

        assertThat(aws.calls(CHANGE)).isEqualTo(3);
    }

    @Test
    void aZoneThatIsMissingFailsTheChangeAsAWhole() {
        assertThatThrownBy(() -> change(dns, in("ZNOTTHERE", "www.example.com"), addresses("10.0.0.1"), none()))
                .isInstanceOfSatisfying(Failure.class, f -> assertThat(f.exit()).isEqualTo(Exit.CONFIG));
    }

    @Test
    void theRegionInTheKeysDoesNotMakeASecondZone() {
        AwsBalancers all = all(AT_ONCE);

        assertThat(all.of(ROUTE53, "eu-west-1")).isSameAs(all.of(ROUTE53, "us-east-1"));
    }
}
