package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.rollcall.EtcdGateway;
import io.github.rollcall.Failure;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.core.ConditionTimeoutException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.InvalidTargetException;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetDescription;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;
import software.amazon.awssdk.services.route53.model.ChangeAction;
import software.amazon.awssdk.services.route53.model.InvalidChangeBatchException;
import software.amazon.awssdk.services.route53.model.RRType;
import software.amazon.awssdk.services.route53.model.ResourceRecord;
import software.amazon.awssdk.services.route53.model.ResourceRecordSet;

/**
 * Random things happen to etcd's keys, to etcd, to AWS, between them and to lbmanager itself; then all is well again, and
 * whenever it has been well for a while every load balancer has to be as the keys say. The model knows no code of ours:
 * it is what is promised, over the keys that are in etcd. What happens is given by the seed:
 * {@code -Drollcall.seed=42 -Drollcall.steps=20000}.
 */
@Tag("once")
class LbManagerModelTest {
    private static final int STEPS = Integer.getInteger("rollcall.steps", 2_000);
    private static final int STEPS_PER_ROUND = 100;
    private static final String ROOT = "/lbManager/";
    private static final List<String> WRITES = List.of(
            "RegisterInstancesWithLoadBalancer",
            "DeregisterInstancesFromLoadBalancer",
            "RegisterTargets",
            "DeregisterTargets",
            "ChangeResourceRecordSets");
    private static final List<String> READS =
            List.of("DescribeLoadBalancers", "DescribeTargetGroups", "DescribeTargetHealth", "ListResourceRecordSets");

    private final long seed = Long.getLong("rollcall.seed", System.nanoTime());
    private final Random random = new Random(seed);
    private final Moto moto = Moto.shared();
    private final AwsProxy aws = AwsProxy.before(moto);
    private final EtcdServer etcd = EtcdServer.start();
    private final Deque<String> story = new ArrayDeque<>();
    private final Map<String, Integer> told = new TreeMap<>();
    private final List<Run> managers = new ArrayList<>();
    private final List<Target> targets = new ArrayList<>();
    /** The keys that were put and not removed, of load balancers that never had one of class single. */
    private final Map<Target, Set<String>> put = new TreeMap<>(Comparator.comparing(t -> t.key));

    private Run manager;
    private Target bystander;

    /** A load balancer, and what can be done to it behind lbmanager's back. */
    private abstract static class Target {
        final String key;
        final boolean mixed;
        boolean deleted;
        /** Whether lbmanager is known to have seen a key of it, and there has been one ever since. */
        boolean managed;

        /** @param mixed whether its keys may be of both classes */
        Target(String key, boolean mixed) {
            this.key = key;
            this.mixed = mixed;
        }

        abstract String member(int n);

        abstract Set<String> there();

        abstract void add(String member);

        abstract void remove(String member);

        void delete() {}

        void makeAgain() {}
    }

    private final class Classic extends Target {
        private final String name;

        Classic(String name, boolean mixed) {
            super("elb/" + Moto.REGION + "/" + name, mixed);
            this.name = name;
        }

        @Override
        String member(int n) {
            return "i-000000%02x".formatted(n);
        }

        @Override
        Set<String> there() {
            return new TreeSet<>(moto.registered(name));
        }

        @Override
        void add(String member) {
            moto.elb.registerInstancesWithLoadBalancer(
                    r -> r.loadBalancerName(name).instances(i -> i.instanceId(member)));
        }

        @Override
        void remove(String member) {
            moto.elb.deregisterInstancesFromLoadBalancer(
                    r -> r.loadBalancerName(name).instances(i -> i.instanceId(member)));
        }

        @Override
        void delete() {
            moto.elb.deleteLoadBalancer(r -> r.loadBalancerName(name));
        }

        @Override
        void makeAgain() {
            moto.classic(name);
        }
    }

    /** Of addresses; moto knows one port for each, so that an address always has the same. */
    private final class Group extends Target {
        private final String name;

        Group(String name, boolean mixed) {
            super("alb/" + Moto.REGION + "/" + name, mixed);
            this.name = name;
        }

        @Override
        String member(int n) {
            return "10.0.0." + (n + 1) + (n % 3 == 0 ? "" : n % 3 == 1 ? ":8080" : ":9090");
        }

        @Override
        Set<String> there() {
            return new TreeSet<>(moto.targets(name));
        }

        @Override
        void add(String member) {
            moto.elbv2.registerTargets(r -> r.targetGroupArn(moto.arn(name)).targets(target(member)));
        }

        @Override
        void remove(String member) {
            if (there().contains(withPort(member))) {
                moto.elbv2.deregisterTargets(
                        r -> r.targetGroupArn(moto.arn(name)).targets(target(member)));
            }
        }

        private TargetDescription target(String member) {
            String[] both = withPort(member).split(":");
            return TargetDescription.builder()
                    .id(both[0])
                    .port(Integer.valueOf(both[1]))
                    .build();
        }

        @Override
        void delete() {
            String arn = moto.arn(name);
            moto.elbv2.deleteTargetGroup(r -> r.targetGroupArn(arn));
        }

        @Override
        void makeAgain() {
            moto.targetGroup(name, TargetTypeEnum.IP);
        }
    }

    private static String withPort(String target) {
        return target.indexOf(':') < 0 ? target + ":8080" : target;
    }

    private final class Domain extends Target {
        private final String zone;
        private final String domain;

        Domain(String zone, String domain, boolean mixed) {
            super("route53/" + Moto.REGION + "/" + zone + "/" + domain, mixed);
            this.zone = zone;
            this.domain = domain;
        }

        @Override
        String member(int n) {
            return n % 2 == 0 ? "10.0.1." + (n + 1) : "fd00::" + (n + 1);
        }

        @Override
        Set<String> there() {
            return new TreeSet<>(moto.addresses(zone, domain));
        }

        @Override
        void add(String member) {
            Set<String> values = new TreeSet<>(sameType(member));
            values.add(member);
            change(ChangeAction.UPSERT, member, values);
        }

        @Override
        void remove(String member) {
            Set<String> values = new TreeSet<>(sameType(member));
            if (values.remove(member)) {
                change(ChangeAction.DELETE, member, sameType(member));
                if (!values.isEmpty()) {
                    change(ChangeAction.UPSERT, member, values);
                }
            }
        }

        private List<String> sameType(String member) {
            return moto.recordSets(zone).stream()
                    .filter(set -> set.name().equals(domain + ".") && set.type() == type(member))
                    .flatMap(set -> set.resourceRecords().stream())
                    .map(ResourceRecord::value)
                    .toList();
        }

        private RRType type(String member) {
            return member.indexOf(':') < 0 ? RRType.A : RRType.AAAA;
        }

        private void change(ChangeAction action, String member, java.util.Collection<String> values) {
            ResourceRecordSet set = ResourceRecordSet.builder()
                    .name(domain)
                    .type(type(member))
                    .ttl(60L)
                    .resourceRecords(values.stream()
                            .map(v -> ResourceRecord.builder().value(v).build())
                            .toList())
                    .build();
            moto.route53.changeResourceRecordSets(r -> r.hostedZoneId(zone)
                    .changeBatch(b -> b.changes(c -> c.action(action).resourceRecordSet(set))));
        }
    }

    @Test
    @Timeout(3 * 60 * 60)
    void atRestEveryLoadBalancerIsAsTheKeysSayWhateverHappened() {
        setTheScene();
        int steps = 0;
        while (steps < STEPS) {
            for (int i = 0; i < STEPS_PER_ROUND && steps < STEPS; i++, steps++) {
                step();
            }
            allIsWell();
            assertAtRest(steps);
        }
        System.out.printf("lbmanager's model: %d steps, seed %d: %s%n", steps, seed, told);
    }

    private void setTheScene() {
        for (boolean mixed : new boolean[] {false, true, true}) {
            targets.add(new Classic(moto.classic(), mixed));
            targets.add(new Group(moto.targetGroup(TargetTypeEnum.IP), mixed));
        }
        String zone = moto.zone("example.com");
        targets.add(new Domain(zone, "www.example.com", false));
        targets.add(new Domain(zone, "api.example.com", true));
        targets.add(new Domain(zone, "*.example.com", true));
        targets.forEach(t -> put.put(t, new TreeSet<>()));
        bystander = new Classic(moto.classic(), false);
        bystander.add("i-00000001");
        startManager();
    }

    private void startManager() {
        manager = ToolRunner.installed("lbmanager")
                .aws(aws.url())
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                .args("--resync", "2s", "--aws-retries", "0", "--aws-timeout", "2s", "--aws-rate", "1000")
                .start();
        managers.add(manager);
    }

    // --- what happens

    private void step() {
        Target t = targets.get(random.nextInt(targets.size()));
        int n = random.nextInt(8);
        int dice = random.nextInt(1_000);
        // Whatever the dice say, the same numbers are drawn: what happens depends on nothing but the seed.
        boolean single = random.nextInt(4) == 0 && t.mixed;
        int times = 1 + random.nextInt(4);
        String write = WRITES.get(random.nextInt(WRITES.size()));
        String read = READS.get(random.nextInt(READS.size()));
        String operation = random.nextBoolean() ? write : read;
        if (dice < 420) {
            happens("put", t, key(t, single, n), () -> put(t, single, n));
        } else if (dice < 640) {
            happens("delete", t, key(t, single, n), () -> delete(t, single, n));
        } else if (dice < 660) {
            happens("delete all", t, "", () -> deleteAll(t));
        } else if (dice < 700) {
            happens("lease and its end", t, key(t, single, n), () -> underLease(t, single, n));
        } else if (dice < 720) {
            happens("malformed key", t, "", () -> etcd.put(ROOT + t.key + "/several/x" + n, ""));
        } else if (dice < 740) {
            happens("burst", t, "", () -> {
                for (int i = 0; i < 8; i++) {
                    put(t, false, i);
                }
            });
        } else if (dice < 800) {
            happens("drift: added", t, t.member(n), () -> drift(t, () -> t.add(t.member(n))));
        } else if (dice < 860) {
            happens("drift: removed", t, t.member(n), () -> drift(t, () -> t.remove(t.member(n))));
        } else if (dice < 870) {
            happens("deleted in AWS", t, "", () -> {
                if (!t.deleted && !(t instanceof Domain)) {
                    t.deleted = true;
                    t.delete();
                }
            });
        } else if (dice < 880) {
            happens("made again", t, "", () -> makeAgain(t));
        } else if (dice < 900) {
            happens("throttled", null, operation, () -> aws.throttle(operation, times));
        } else if (dice < 920) {
            happens("5xx", null, operation, () -> aws.unavailable(operation, times));
        } else if (dice < 940) {
            happens("cut", null, operation, () -> aws.cut(operation, times));
        } else if (dice < 950) {
            happens("answer lost", null, write, () -> aws.delay(write, 1, Duration.ofSeconds(3)));
        } else if (dice < 960) {
            happens("refused", null, operation, () -> aws.refuse(operation, times));
        } else if (dice < 965) {
            happens("garbled", null, read, () -> aws.garble(read, times));
        } else if (dice < 975) {
            happens("compaction", null, "", () -> compact());
        } else if (dice < 982) {
            happens("etcd killed", null, "", () -> {
                etcd.kill();
                etcd.startAgain();
            });
        } else if (dice < 987) {
            happens("etcd frozen", null, "", () -> {
                etcd.freeze();
                pause(200 + 100 * n);
                etcd.thaw();
            });
        } else if (dice < 991) {
            happens("lbmanager killed", null, "", () -> {
                manager.close();
                startManager();
            });
        } else if (dice < 994) {
            happens("lbmanager frozen", null, "", () -> {
                manager.signal("STOP");
                pause(200 + 100 * n);
                manager.signal("CONT");
            });
        } else {
            happens("a while", null, "", () -> pause(100 * n));
        }
    }

    private void happens(String what, Target where, String detail, Runnable deed) {
        told.merge(what, 1, Integer::sum);
        story.add(what + (where == null ? "" : " " + where.key) + " " + detail);
        if (story.size() > 3 * STEPS_PER_ROUND) {
            story.remove();
        }
        deed.run();
    }

    /** Behind lbmanager's back, where it is at work: what never had a key that it saw it lets be. */
    private static void drift(Target t, Runnable deed) {
        if (!t.deleted && t.managed) {
            try {
                deed.run();
            } catch (InvalidTargetException | InvalidChangeBatchException e) {
                // lbmanager has changed it since it was looked at.
            }
        }
    }

    private static void makeAgain(Target t) {
        if (t.deleted) {
            t.deleted = false;
            t.makeAgain();
        }
    }

    private String key(Target t, boolean single, int n) {
        return ROOT + t.key + "/" + (single ? "single" : "multiple") + "/" + t.member(n);
    }

    private void put(Target t, boolean single, int n) {
        put.get(t).add(key(t, single, n));
        etcd.put(key(t, single, n), "");
    }

    private void delete(Target t, boolean single, int n) {
        put.get(t).remove(key(t, single, n));
        deleteRange(key(t, single, n), null);
        t.managed &= !keys(t).isEmpty();
    }

    private void deleteAll(Target t) {
        put.get(t).clear();
        deleteRange(ROOT + t.key + "/", ROOT + t.key + "0");
        t.managed = false;
    }

    private void deleteRange(String from, String end) {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(from));
        if (end != null) {
            request.addProperty("range_end", EtcdGateway.encode(end));
        }
        etcd.ask("kv/deleterange", request);
    }

    private void underLease(Target t, boolean single, int n) {
        JsonObject grant = new JsonObject();
        grant.addProperty("TTL", 60);
        String lease = etcd.ask("lease/grant", grant).get("ID").getAsString();
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(key(t, single, n)));
        request.addProperty("value", "");
        request.addProperty("lease", lease);
        etcd.ask("kv/put", request);
        // To etcd's clients a lease that is revoked is one that has run out.
        JsonObject revoke = new JsonObject();
        revoke.addProperty("ID", lease);
        put.get(t).remove(key(t, single, n));
        etcd.ask("lease/revoke", revoke);
        t.managed &= !keys(t).isEmpty();
    }

    private void compact() {
        JsonObject request = new JsonObject();
        request.addProperty(
                "revision",
                etcd.ask("kv/range", range("/"))
                        .getAsJsonObject("header")
                        .get("revision")
                        .getAsString());
        try {
            etcd.ask("kv/compaction", request);
        } catch (Failure f) {
            // Nothing was written since the last time.
            if (!f.getMessage().endsWith("has been compacted")) {
                throw f;
            }
        }
    }

    private static void pause(int millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    // --- what has to be

    private void allIsWell() {
        aws.heal();
        targets.forEach(LbManagerModelTest::makeAgain);
    }

    private void assertAtRest(int steps) {
        for (Target t : targets) {
            within(steps, t.key, () -> t.there().equals(expected(t)));
            // And the keys are those that were put, but for those that a class change or class single has removed.
            within(
                    steps,
                    t.key + "'s keys",
                    () -> t.mixed
                            ? put.get(t).containsAll(keys(t).keySet()) && stale(t).isEmpty()
                            : keys(t).keySet().equals(put.get(t)));
            put.get(t).retainAll(keys(t).keySet());
            t.managed = !keys(t).isEmpty();
        }
        assertThat(bystander.there()).as("one that never had a key").containsExactly("i-00000001");
        assertThat(manager.isAlive()).as("%s", manager).isTrue();
        assertThat(manager.count("defect")).as("%s", manager).isZero();
    }

    private void within(int steps, String what, BooleanSupplier holds) {
        try {
            await().pollInterval(Duration.ofMillis(20)).until(holds::getAsBoolean);
        } catch (ConditionTimeoutException e) {
            throw new AssertionError(
                    "after " + steps + " steps with seed " + seed + " " + what + " is not as it is to be:\n"
                            + targets.stream()
                                    .map(t -> t.key + " has " + t.there() + ", keys " + keys(t))
                                    .collect(Collectors.joining("\n"))
                            + "\nwhat happened last:\n" + String.join("\n", story) + "\n" + manager,
                    e);
        }
    }

    /** What is promised: of class single the last; when both classes hold keys, the class whose key was put last. */
    private Set<String> expected(Target t) {
        return counting(t)
                .map(key -> key.substring(key.lastIndexOf('/') + 1))
                .map(member -> t instanceof Group ? withPort(member) : member)
                .collect(Collectors.toCollection(TreeSet::new));
    }

    private Stream<String> counting(Target t) {
        Map<String, Long> keys = keys(t);
        if (keys.isEmpty()) {
            return Stream.of();
        }
        String last =
                keys.entrySet().stream().max(Map.Entry.comparingByValue()).get().getKey();
        return last.contains("/single/")
                ? Stream.of(last)
                : keys.keySet().stream().filter(key -> key.contains("/multiple/"));
    }

    private Set<String> stale(Target t) {
        Set<String> stale = new TreeSet<>(keys(t).keySet());
        counting(t).forEach(stale::remove);
        return stale;
    }

    /** The well-formed keys of a load balancer, with the revision of each one's last put. */
    private Map<String, Long> keys(Target t) {
        Map<String, Long> keys = new TreeMap<>();
        JsonObject answer = etcd.ask("kv/range", range(ROOT + t.key + "/"));
        if (answer.has("kvs")) {
            for (JsonElement element : answer.getAsJsonArray("kvs")) {
                JsonObject kv = element.getAsJsonObject();
                String key = EtcdGateway.decode(kv.get("key").getAsString());
                if (!key.contains("/several/")) {
                    keys.put(key, kv.get("mod_revision").getAsLong());
                }
            }
        }
        return keys;
    }

    private static JsonObject range(String prefix) {
        JsonObject request = new JsonObject();
        request.addProperty("key", EtcdGateway.encode(prefix));
        request.addProperty("range_end", EtcdGateway.encode(prefix + '\u007f'));
        return request;
    }

    @AfterEach
    void endWhatWasStarted() {
        managers.forEach(Run::close);
        aws.close();
        etcd.close();
    }
}
