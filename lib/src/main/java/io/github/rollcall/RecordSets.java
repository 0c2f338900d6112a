package io.github.rollcall;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import software.amazon.awssdk.services.route53.Route53Client;
import software.amazon.awssdk.services.route53.model.RRType;
import software.amazon.awssdk.services.route53.model.ResourceRecord;
import software.amazon.awssdk.services.route53.model.ResourceRecordSet;

/**
 * Reads the record sets of a zone's names: each name by itself, or all pages of the zone, whichever is fewer calls as
 * far as is known. Thread-safe.
 */
final class RecordSets {
    private static final String PAGE = "300";
    /** More than a name has sets of types that come before or among ours, where each is a simple one. */
    private static final String FEW = "8";

    private static final Pattern ESCAPE = Pattern.compile("\\\\([0-7]{3})");

    private final Route53Client client;
    private final ConcurrentMap<String, Integer> pageCounts = new ConcurrentHashMap<>();

    RecordSets(Route53Client client) {
        this.client = client;
    }

    /**
     * What a name has: its A and AAAA records, and where there is something else that stands in their way, why.
     *
     * @param a the set with the A records, or null
     * @param aaaa the set with the AAAA records, or null
     * @param problem why they are not to be touched, or null
     */
    record Found(ResourceRecordSet a, ResourceRecordSet aaaa, Failure problem) {
        static final Found NOTHING = new Found(null, null, null);

        private Found and(ResourceRecordSet set) {
            String why = set.setIdentifier() != null
                    ? "is one of several by a routing policy (" + set.setIdentifier() + ")"
                    : set.aliasTarget() != null ? "is an alias" : set.type() == RRType.CNAME ? "is in the way" : null;
            if (why != null) {
                return new Found(
                        null,
                        null,
                        new Failure(
                                Exit.CONFIG,
                                "its " + set.typeAsString() + " record set " + why
                                        + ": it is not touched; remove it, or the keys"));
            }
            return set.type() == RRType.A ? new Found(set, aaaa, problem) : new Found(a, set, problem);
        }
    }

    /**
     * What each of these names has.
     *
     * @param names in lower case, without a final dot and unescaped
     * @throws Failure when the zone could not be read, or does not exist
     */
    Map<String, Found> read(String zone, Set<String> names) {
        Map<String, Found> found = new HashMap<>();
        names.forEach(name -> found.put(name, Found.NOTHING));
        for (ResourceRecordSet set : sets(zone, names)) {
            if (Set.of(RRType.A, RRType.AAAA, RRType.CNAME).contains(set.type())) {
                found.computeIfPresent(plain(set.name()), (name, so) -> so.problem() == null ? so.and(set) : so);
            }
        }
        return found;
    }

    private List<ResourceRecordSet> sets(String zone, Set<String> names) {
        List<ResourceRecordSet> sets = new ArrayList<>();
        if (names.size() <= pageCounts.getOrDefault(zone, 1)) {
            names.forEach(name -> sets.addAll(AwsCall.of(() -> client.listResourceRecordSets(
                            r -> r.hostedZoneId(zone).startRecordName(name).maxItems(FEW)))
                    .resourceRecordSets()));
            return sets;
        }
        int pages = AwsCall.of(() ->
                client.listResourceRecordSetsPaginator(r -> r.hostedZoneId(zone).maxItems(PAGE)).stream()
                        .peek(page -> sets.addAll(page.resourceRecordSets()))
                        .mapToInt(page -> 1)
                        .sum());
        pageCounts.put(zone, pages);
        return sets;
    }

    /** Route 53 ends names with a dot, and writes all but letters, digits, hyphens and underscores as {@code \052}. */
    static String plain(String name) {
        return ESCAPE.matcher(name)
                .replaceAll(m -> {
                    String character = String.valueOf((char) Integer.parseInt(m.group(1), 8));
                    return java.util.regex.Matcher.quoteReplacement(character);
                })
                .replaceFirst("\\.$", "")
                .toLowerCase(Locale.ROOT);
    }

    /** The addresses in a set, in the form of {@link IpAddress} where they have one; of none if there is no set. */
    static Stream<String> addresses(ResourceRecordSet set) {
        return set == null
                ? Stream.of()
                : set.resourceRecords().stream().map(ResourceRecord::value).map(value -> {
                    String address = IpAddress.canonical(value);
                    return address == null ? value : address;
                });
    }
}
