package io.github.rollcall;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import software.amazon.awssdk.services.route53.Route53Client;
import software.amazon.awssdk.services.route53.model.ChangeAction;
import software.amazon.awssdk.services.route53.model.RRType;
import software.amazon.awssdk.services.route53.model.ResourceRecord;
import software.amazon.awssdk.services.route53.model.ResourceRecordSet;

/**
 * The A and AAAA records of domain names. A zone's changes are made one at a time; those that come meanwhile go
 * together in the next batch. Record sets are read just before they are changed, for to change one is to write it whole.
 * Thread-safe.
 */
final class Route53Balancers implements Balancers {
    private static final long TTL = 60;
    /** "ChangeResourceRecordSets" in the quotas of Route 53: a batch's values, and their characters; UPSERT counts twice. */
    private static final int MOST_VALUES = 1_000;

    private static final int MOST_CHARACTERS = 32_000;

    private final Route53Client client;
    private final RecordSets records;
    private final ConcurrentMap<String, Zone> zones = new ConcurrentHashMap<>();

    Route53Balancers(Route53Client client) {
        this.client = client;
        records = new RecordSets(client);
    }

    @Override
    public Map<BalancerName, Reading> members(Set<BalancerName> names) {
        Map<BalancerName, Reading> read = new HashMap<>();
        names.stream().collect(Collectors.groupingBy(BalancerName::zone)).forEach((zone, inZone) -> {
            try {
                Map<String, RecordSets.Found> found = records.read(
                        zone, inZone.stream().map(BalancerName::domain).collect(Collectors.toSet()));
                inZone.forEach(name -> read.put(name, reading(found.get(name.domain()))));
            } catch (Failure f) {
                // A zone that is not found is left out; another's failure is no reason to know nothing of this one.
                if (!AwsCall.isNotFound(f)) {
                    inZone.forEach(name -> read.put(name, Reading.failed(f)));
                }
            }
        });
        return read;
    }

    private static Reading reading(RecordSets.Found found) {
        return found.problem() != null
                ? Reading.failed(found.problem())
                : Reading.of(
                        Stream.concat(RecordSets.addresses(found.a()), RecordSets.addresses(found.aaaa()))
                                .map(address -> new Member(address, null))
                                .collect(Collectors.toSet()),
                        null);
    }

    /** What is listed is in service: health checks of Route 53 belong to record sets that are not touched here. */
    @Override
    public List<MemberHealth> health(BalancerName balancer) {
        Reading reading = members(Set.of(balancer)).get(balancer);
        if (reading == null) {
            throw new Failure(Exit.CONFIG, "not found: no hosted zone " + balancer.zone());
        }
        if (reading.problem() != null) {
            throw reading.problem();
        }
        return reading.members().stream()
                .map(m -> new MemberHealth(m, MemberHealth.State.IN_SERVICE, "listed", ""))
                .toList();
    }

    @Override
    public Map<Member, Failure> apply(Change change) {
        return zones.computeIfAbsent(change.balancer().zone(), Zone::new).apply(change);
    }

    /** What makes one record set as it is to be. */
    private record SetChange(ChangeAction action, ResourceRecordSet set) {
        private int values() {
            return set.resourceRecords().size() * (action == ChangeAction.UPSERT ? 2 : 1);
        }

        private int characters() {
            return set.resourceRecords().stream()
                            .mapToInt(r -> r.value().length())
                            .sum()
                    * (action == ChangeAction.UPSERT ? 2 : 1);
        }
    }

    /** The record sets of one name: both together, so that no old address goes whose successor is refused. */
    private record Edit(Waiting of, List<SetChange> sets) {
        private int values() {
            return sets.stream().mapToInt(SetChange::values).sum();
        }

        private int characters() {
            return sets.stream().mapToInt(SetChange::characters).sum();
        }

        private boolean fits() {
            return values() <= MOST_VALUES && characters() <= MOST_CHARACTERS;
        }

        /** The members of the change that this is about. */
        private Stream<Member> members() {
            return Stream.concat(of.change.register().stream(), of.change.deregister().stream())
                    .filter(m -> sets.stream().anyMatch(s -> s.set.type() == type(m)));
        }

        /** The name, as AWS's messages have it. */
        @Override
        public String toString() {
            return of.change.balancer().domain();
        }
    }

    private record Waiting(Change change, CompletableFuture<Map<Member, Failure>> done) {}

    private static RRType type(Member member) {
        return member.id().indexOf(':') >= 0 ? RRType.AAAA : RRType.A;
    }

    /** One zone, and the changes that wait for it. */
    private final class Zone {
        private final String id;
        private final ReentrantLock turn = new ReentrantLock(true);
        private final Queue<Waiting> waiting = new ConcurrentLinkedQueue<>();

        Zone(String id) {
            this.id = id;
        }

        Map<Member, Failure> apply(Change change) {
            Waiting mine = new Waiting(change, new CompletableFuture<>());
            waiting.add(mine);
            turn.lock();
            try {
                // Whoever had the turn before may have done it with its own.
                if (!mine.done.isDone()) {
                    makeAll();
                }
            } finally {
                turn.unlock();
            }
            try {
                return mine.done.join();
            } catch (CompletionException e) {
                throw (RuntimeException) e.getCause();
            }
        }

        private void makeAll() {
            List<Waiting> all =
                    Stream.generate(waiting::poll).takeWhile(w -> w != null).toList();
            try {
                Map<String, RecordSets.Found> now = records.read(
                        id, all.stream().map(w -> w.change.balancer().domain()).collect(Collectors.toSet()));
                List<Edit> edits = new ArrayList<>();
                for (Waiting w : all) {
                    RecordSets.Found found = now.get(w.change.balancer().domain());
                    if (found.problem() != null) {
                        w.done.completeExceptionally(found.problem());
                    } else {
                        edits.addAll(edits(w, found));
                    }
                }
                Map<Edit, Failure> refused = Batches.send(batches(edits), this::send);
                for (Waiting w : all) {
                    Map<Member, Failure> whose = new LinkedHashMap<>();
                    refused.forEach((edit, why) -> {
                        if (edit.of == w) {
                            edit.members().forEach(m -> whose.put(m, why));
                        }
                    });
                    w.done.complete(whose);
                }
            } catch (RuntimeException e) {
                all.forEach(w -> w.done.completeExceptionally(e));
            }
        }

        private void send(List<Edit> batch) {
            AwsCall.of(() -> client.changeResourceRecordSets(r -> r.hostedZoneId(id)
                    .changeBatch(b -> b.changes(batch.stream()
                            .flatMap(edit -> edit.sets.stream())
                            .map(s -> software.amazon.awssdk.services.route53.model.Change.builder()
                                    .action(s.action)
                                    .resourceRecordSet(s.set)
                                    .build())
                            .toList()))));
        }
    }

    private static List<Edit> edits(Waiting w, RecordSets.Found found) {
        List<SetChange> sets = Stream.of(change(w, RRType.A, found.a()), change(w, RRType.AAAA, found.aaaa()))
                .flatMap(Optional::stream)
                .toList();
        Edit both = new Edit(w, sets);
        return sets.isEmpty()
                ? List.of()
                : both.fits()
                        ? List.of(both)
                        : sets.stream().map(set -> new Edit(w, List.of(set))).toList();
    }

    /** What makes one set as the change wants it, if it is not so already. */
    private static Optional<SetChange> change(Waiting w, RRType type, ResourceRecordSet old) {
        Set<String> before = RecordSets.addresses(old).collect(Collectors.toCollection(LinkedHashSet::new));
        Set<String> after = new LinkedHashSet<>(before);
        w.change.register().stream()
                .filter(m -> type(m) == type)
                .map(Member::id)
                .forEach(after::add);
        w.change.deregister().stream().map(Member::id).forEach(after::remove);
        if (after.equals(before)) {
            return Optional.empty();
        }
        if (after.isEmpty()) {
            return Optional.of(new SetChange(ChangeAction.DELETE, old));
        }
        ResourceRecordSet set = ResourceRecordSet.builder()
                .name(old == null ? w.change.balancer().domain() : old.name())
                .type(type)
                .ttl(TTL)
                .resourceRecords(after.stream()
                        .map(value -> ResourceRecord.builder().value(value).build())
                        .toList())
                .build();
        return Optional.of(new SetChange(ChangeAction.UPSERT, set));
    }

    /** As many together as the limits allow. */
    private static List<List<Edit>> batches(List<Edit> edits) {
        List<List<Edit>> batches = new ArrayList<>();
        int values = 0;
        int characters = 0;
        for (Edit edit : edits) {
            values += edit.values();
            characters += edit.characters();
            if (batches.isEmpty() || values > MOST_VALUES || characters > MOST_CHARACTERS) {
                batches.add(new ArrayList<>());
                values = edit.values();
                characters = edit.characters();
            }
            batches.get(batches.size() - 1).add(edit);
        }
        return batches;
    }
}
