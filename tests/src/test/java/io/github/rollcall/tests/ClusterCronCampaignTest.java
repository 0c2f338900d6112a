package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.rollcall.harness.EtcdServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.Servers;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import software.amazon.awssdk.services.ec2.model.Instance;

/**
 * Five nodes, whose clocks are up to 30 s apart, run several jobs in slots of a minute on one etcd, each by its own clock,
 * while nodes are killed and etcd is restarted. Real time, real processes; {@code -Drollcall.slots=300} for a long one.
 */
@Tag("once")
class ClusterCronCampaignTest {
    private static final Duration SLOT = Duration.ofMinutes(1);
    /** With the first, a node whose clock is ahead is often faster than the master; with the second, seldom. */
    private static final List<String> GRACES = List.of("5s", "20s");

    private static final int SLOTS = Integer.getInteger("rollcall.slots", 10);
    private static final int JOBS = Math.min(20, SLOTS);
    /** How far each node's clock is ahead, in seconds. */
    private static final int[] CLOCKS = {-15, -6, 0, 9, 15};
    /** Cron is early for the first job, and later for each further one; all half a minute before the slot's end. */
    private static final Duration EARLY = Duration.ofMillis(700);

    private static final Duration APART = Duration.ofMillis(1_500);

    @TempDir
    Path folder;

    private final long seed = Long.getLong("rollcall.seed", System.nanoTime());
    private final Random random = new Random(seed);
    private final AtomicInteger kills = new AtomicInteger();
    private final AtomicInteger restarts = new AtomicInteger();
    private final Map<String, AtomicInteger> exits = new TreeMap<>();
    private final Map<String, Queue<Run>> started = new ConcurrentHashMap<>();
    private final Moto moto = Moto.shared();

    @Test
    @Timeout(value = 2, unit = TimeUnit.HOURS)
    void noSlotRunsTwiceAndNoneIsMissedWhileANodeIsHealthy() throws Exception {
        Path fakeTime = fakeTime();
        assumeTrue(fakeTime != null, "libfaketime is not on this machine: run tests/run");
        List<String> nodes = Stream.generate(moto::instance)
                .limit(CLOCKS.length)
                .map(Instance::instanceId)
                .toList();
        String web = moto.classic();
        nodes.forEach(id -> moto.elb.registerInstancesWithLoadBalancer(
                r -> r.loadBalancerName(web).instances(i -> i.instanceId(id))));
        ScheduledExecutorService cron = Executors.newScheduledThreadPool(JOBS * CLOCKS.length);
        EtcdServer etcd = EtcdServer.start();
        try {
            Instant firstSlot = begin(Instant.now().plus(SLOT).plusSeconds(20));
            int rounds = (SLOTS + JOBS - 1) / JOBS;
            List<ScheduledFuture<?>> runs = new ArrayList<>();
            for (int round = 0; round < rounds; round++) {
                Instant slot = firstSlot.plus(SLOT.multipliedBy(round));
                for (int job = 0; job < JOBS; job++) {
                    String name = "job" + job + "@" + slot;
                    // The rest of the nodes is healthy, whoever is killed.
                    int doomed = random.nextInt(2 * CLOCKS.length);
                    for (int n = 0; n < CLOCKS.length; n++) {
                        Instant byItsClock = slot.minus(EARLY).plus(APART.multipliedBy(job));
                        Instant really = byItsClock.minusSeconds(CLOCKS[n]);
                        ToolRunner tool = node(fakeTime, nodes.get(n), CLOCKS[n], etcd, web, "job" + job, name);
                        long killAfter = n == doomed || n == doomed - CLOCKS.length ? random.nextInt(2_500) : -1;
                        runs.add(cron.schedule(
                                () -> run(tool, name, killAfter),
                                Duration.between(Instant.now(), really).toMillis(),
                                TimeUnit.MILLISECONDS));
                    }
                }
                Instant restart = slot.plusMillis(random.nextInt((int) SLOT.toMillis()));
                runs.add(cron.schedule(
                        () -> {
                            etcd.kill();
                            restarts.incrementAndGet();
                            etcd.startAgain();
                        },
                        Duration.between(Instant.now(), restart).toMillis(),
                        TimeUnit.MILLISECONDS));
            }
            for (ScheduledFuture<?> run : runs) {
                run.get();
            }
            report(rounds, etcd);
            check(rounds, firstSlot);
        } catch (ExecutionException e) {
            throw new AssertionError("seed " + seed, e);
        } finally {
            cron.shutdownNow();
            etcd.close();
        }
    }

    private ToolRunner node(Path fakeTime, String id, int clock, EtcdServer etcd, String web, String job, String name) {
        return ToolRunner.installed("clustercron")
                .aws(moto.url())
                .env("ETCDCTL_ENDPOINTS", etcd.url().toString())
                // Each node has its own cache, as it has its own disk.
                .env("HOME", folder.resolve(id).toString())
                .env("XDG_CACHE_HOME", null)
                .env("LD_PRELOAD", fakeTime.toString())
                .env("FAKETIME", (clock < 0 ? "" : "+") + clock + "s")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_FORCE_MONOTONIC_FIX", "0")
                .env("NO_FAKE_STAT", "1")
                .args("-v", "-c", "--instance-id", id, "--aws-timeout", "20s", "--spread", job)
                .args("--slot", SLOT.toSeconds() + "s", "--job", job, "--grace", GRACES.get(job.hashCode() & 1))
                .args("elb", web, "sh", "-c", "echo \"$1 $2\" >>" + ran(), "sh", name, id);
    }

    private Path ran() {
        return folder.resolve("ran");
    }

    private void run(ToolRunner tool, String slot, long killAfter) {
        Run run = tool.start();
        started.computeIfAbsent(slot, s -> new ConcurrentLinkedQueue<>()).add(run);
        if (killAfter >= 0) {
            try {
                Thread.sleep(killAfter);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            if (run.isAlive()) {
                run.handle().destroyForcibly();
                kills.incrementAndGet();
            }
        }
        String exit = String.valueOf(run.exit());
        synchronized (exits) {
            exits.computeIfAbsent(exit, e -> new AtomicInteger()).incrementAndGet();
        }
    }

    private void check(int rounds, Instant firstSlot) throws IOException {
        Map<String, Integer> times = new LinkedHashMap<>();
        for (int round = 0; round < rounds; round++) {
            for (int job = 0; job < JOBS; job++) {
                times.put("job" + job + "@" + firstSlot.plus(SLOT.multipliedBy(round)), 0);
            }
        }
        Files.readAllLines(ran()).forEach(line -> times.merge(line.split(" ")[0], 1, Integer::sum));

        assertThat(times).as("seed " + seed).hasSize(rounds * JOBS).allSatisfy((slot, n) -> assertThat(n)
                .as(() -> slot + "\n" + started.get(slot))
                .isOne());
    }

    private void report(int rounds, EtcdServer etcd) throws IOException {
        Map<String, Integer> byNode = new TreeMap<>();
        Files.readAllLines(ran()).forEach(line -> byNode.merge(line.split(" ")[1], 1, Integer::sum));
        System.out.printf(
                "%d slots of %d jobs, 5 nodes with clocks up to 30s apart: %d runs were killed, etcd was killed and"
                        + " started %d times; the command ran %s; exits %s; keys left %d; seed %d%n",
                rounds * JOBS,
                JOBS,
                kills.get(),
                restarts.get(),
                byNode.values(),
                exits,
                etcd.all("/clustercron/").size(),
                seed);
    }

    private static Instant begin(Instant time) {
        long length = SLOT.toMillis();
        return Instant.ofEpochMilli(Math.floorDiv(time.toEpochMilli(), length) * length);
    }

    /** Another clock for a process, from Debian's package; null where that is not. */
    private static Path fakeTime() throws IOException {
        Path unpacked = Servers.unpacked("libfaketime");
        if (!Files.isDirectory(unpacked)) {
            return null;
        }
        try (Stream<Path> files = Files.walk(unpacked)) {
            return files.filter(f -> f.endsWith("libfaketimeMT.so.1"))
                    .findFirst()
                    .orElse(null);
        }
    }
}
