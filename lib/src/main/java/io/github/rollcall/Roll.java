package io.github.rollcall;

import io.github.rollcall.BalancerKey.MemberClass;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Who is to be in one load balancer, by its keys.
 *
 * <pre>
 * keys                                   members            stale
 * none                                   none
 * multiple only                          all
 * single only                            that put last      the other single ones
 * both, one of multiple put last         all of multiple    all of single
 * both, one of single put last           that one           all others
 * </pre>
 *
 * <p>"Put last" is by etcd's modification revision; of keys put in one transaction, the last by name. The values of keys
 * mean nothing.
 *
 * @param memberClass the class that counts, or null when there is no key
 * @param members who is to be in it
 * @param stale keys that do not count any more and are to be removed, as long as nobody puts them again
 */
public record Roll(MemberClass memberClass, Set<Member> members, List<Entry> stale) {
    /**
     * A key and when it was put.
     *
     * @param key as it is in etcd
     * @param revision etcd's modification revision
     */
    public record Entry(String key, long revision, BalancerKey parsed) {}

    /** Pure. @param entries the keys of one load balancer */
    public static Roll of(Collection<Entry> entries) {
        if (entries.isEmpty()) {
            return new Roll(null, Set.of(), List.of());
        }
        Entry last = entries.stream()
                .max(Comparator.comparingLong(Entry::revision).thenComparing(Entry::key))
                .get();
        MemberClass counts = last.parsed().memberClass();
        boolean single = counts == MemberClass.SINGLE;
        return new Roll(
                counts,
                entries.stream()
                        .filter(e -> single ? e == last : e.parsed().memberClass() == counts)
                        .map(e -> e.parsed().member())
                        .collect(Collectors.toUnmodifiableSet()),
                entries.stream()
                        .filter(e -> single ? e != last : e.parsed().memberClass() != counts)
                        .toList());
    }
}
