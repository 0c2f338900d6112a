package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.EtcdMember;
import io.github.rollcall.EtcdMembership;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.EtcdLab.Way;
import io.github.rollcall.harness.ToolRunner.Run;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Lifetimes of a group's nodes at random: etcd and the tool are killed at any moment, alone or all at once, instances are
 * terminated, launched and made to leave, disks lost, members paused, AWS throttles or is away. Who breaks things takes for
 * good only what the cluster can spare; everything else comes back. A {@link Model} knows what has been done, and holds
 * what the tools make of it against that. {@code -Drollcall.campaign.seed} repeats a sequence,
 * {@code -Drollcall.campaign.steps} and {@code -Drollcall.campaign.size} set its length and the largest group.
 */
@Tag("once")
class EtcdAwsClusterCampaignTest {
    private static final long SEED = Long.getLong("rollcall.campaign.seed", 20_260_101);
    private static final int STEPS = Integer.getInteger("rollcall.campaign.steps", 12);
    private static final int LARGEST = Integer.getInteger("rollcall.campaign.size", 5);
    private static final long STEP_MILLIS = 1_500;
    private static final Duration CONVERGENCE = Duration.ofSeconds(150);

    private final Map<Node, Unit> units = new ConcurrentHashMap<>();
    private final List<String> acts = new ArrayList<>();
    private final EtcdLab lab = EtcdLab.of(Math.min(3, LARGEST));
    private final Model model = new Model(lab);

    @Test
    @Timeout(value = 60, unit = TimeUnit.MINUTES)
    void neverASecondClusterAndNeverAQuorumOrAWriteLost() throws Exception {
        Random random = new Random(SEED);
        try (lab) {
            superviseAll();
            lab.awaitMembers(lab.nodes(), CONVERGENCE);
            try (EtcdWriter writer = new EtcdWriter(lab);
                    Model.Watch watch = model.watch()) {
                for (int step = 0; step < STEPS; step++) {
                    breakSomething(random);
                    Thread.sleep(STEP_MILLIS);
                    superviseAll();
                    lab.aws.heal();
                    units.keySet().forEach(Node::thaw);
                }
                lab.awaitMembers(lab.nodes(), CONVERGENCE);
                writer.close();
                watch.close();

                assertThat(model.wrong()).as("%s", this).isEmpty();
                assertThat(writer.acknowledged()).as("%s", this).isNotEmpty();
                assertThat(writer.found()).as("%s", this).containsAll(writer.acknowledged());
            } catch (AssertionError e) {
                throw new AssertionError(this + "\n" + e.getMessage(), e);
            } finally {
                units.values().forEach(Unit::end);
            }
        }
    }

    private void breakSomething(Random random) {
        // All numbers are drawn, whether they are needed or not: the sequence is the seed's alone.
        int act = random.nextInt(12);
        int which = random.nextInt(1_000);
        List<Node> nodes = lab.nodes();
        Node node = nodes.get(which % nodes.size());
        switch (act) {
            case 0 -> told("kill etcd on " + node, node::kill);
            case 1 -> told("kill the tool on " + node, units.get(node)::killTool);
            case 2 -> told("pause " + node, node::freeze);
            case 3 -> told("throttle AWS", () -> lab.aws.throttle(AwsProxy.ANY, AwsProxy.ALWAYS));
            case 4 ->
                told("AWS is away, kill etcd on " + node, () -> {
                    lab.aws.cut(AwsProxy.ANY, AwsProxy.ALWAYS);
                    node.kill();
                });
            case 5, 6 ->
                ifItCanBeSpared("lose the disk of " + node, () -> {
                    model.lost(node);
                    units.get(node).loseDisk();
                });
            case 7 ->
                ifItCanBeSpared("terminate " + node, () -> {
                    model.lost(node);
                    units.get(node).end();
                    node.terminate();
                });
            case 8 -> launch(1, nodes);
            case 9 -> launch(2, nodes);
            case 10 -> {
                // The whole cluster is off while new nodes boot.
                told(
                        "power cut",
                        () -> units.forEach((n, unit) -> {
                            unit.killTool();
                            n.kill();
                        }));
                launch(1 + which % 2, nodes);
            }
            default ->
                ifItCanBeSpared(node + " leaves", () -> {
                    model.lost(node);
                    Run leave = node.tool("--leave", "--wait", "10s").run();
                    acts.add("exit " + leave.exit());
                    units.get(node).end();
                    lab.retire(node);
                });
        }
    }

    private void launch(int more, List<Node> nodes) {
        int size = Math.min(LARGEST, nodes.size() + more);
        told("scale to " + size, () -> lab.scale(size));
    }

    private void told(String what, Runnable act) {
        acts.add(what);
        act.run();
    }

    private void ifItCanBeSpared(String what, Runnable act) {
        if (model.canSpareOne()) {
            told(what, act);
        } else {
            acts.add("not: " + what);
        }
    }

    private void superviseAll() {
        lab.nodes().forEach(n -> units.computeIfAbsent(n, Unit::new));
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("seed " + SEED + ", acts " + acts + ", wrong " + model.wrong());
        units.forEach(
                (node, unit) -> text.append("\n--- ").append(node).append('\n').append(unit.lastWords));
        return text.toString();
    }

    /**
     * What the members of the one cluster may be: whom the breaker has taken for good may be removed, and nobody else; and
     * of those that are listed, a quorum comes back by itself at any time. Thread-safe.
     */
    private static final class Model {
        private final EtcdLab lab;
        private final Set<String> lost = ConcurrentHashMap.newKeySet();
        private final Map<Long, EtcdMember> seen = new ConcurrentHashMap<>();
        private final Set<String> wrong = ConcurrentHashMap.newKeySet();
        private volatile Long cluster;

        Model(EtcdLab lab) {
            this.lab = lab;
        }

        /** Its member will not come back as it was: its disk, or its instance, is about to be gone. */
        void lost(Node node) {
            members().members().stream()
                    .filter(m -> m.name().equals(node.id) || m.peerUrls().contains(node.peerUrl()))
                    .forEach(m -> lost.add(m.hexId()));
        }

        boolean canSpareOne() {
            EtcdMembership now = members();
            if (now == null || !now.members().stream().allMatch(EtcdMember::hasStarted)) {
                return false;
            }
            int size = now.members().size();
            return now.members().stream().noneMatch(m -> lost.contains(m.hexId()))
                    && lab.serving().size() - 1 > size / 2;
        }

        private EtcdMembership members() {
            try {
                return lab.membership();
            } catch (RuntimeException nobodyServes) {
                return null;
            }
        }

        private void check() {
            Set<String> ids = lab.clusters();
            EtcdMembership now = members();
            if (now == null) {
                return;
            }
            if (cluster == null) {
                cluster = now.clusterId();
            }
            ids.stream()
                    .filter(id -> Long.parseUnsignedLong(id) != cluster)
                    .forEach(id -> wrong.add("a second cluster " + id));
            now.members().forEach(m -> seen.put(m.id(), m));
            seen.values().stream()
                    .filter(m -> now.byId(m.id()) == null && !lost.contains(m.hexId()))
                    .forEach(m -> wrong.add(m.label() + " (" + m.hexId() + ") was removed, and was not lost"));
            long back = now.members().stream()
                    .filter(m -> !lost.contains(m.hexId()))
                    .count();
            if (back < now.members().size() / 2 + 1) {
                wrong.add("of " + now.members() + " only " + back + " can come back");
            }
        }

        List<String> wrong() {
            return List.copyOf(wrong);
        }

        /** Looks all the time, until it is closed. */
        Watch watch() {
            return new Watch();
        }

        private final class Watch implements AutoCloseable {
            private final Thread thread = new Thread(this::run, "model");
            private volatile boolean ended;

            Watch() {
                thread.start();
            }

            private void run() {
                while (!ended) {
                    check();
                    try {
                        Thread.sleep(100);
                    } catch (InterruptedException e) {
                        return;
                    }
                }
            }

            @Override
            public void close() throws InterruptedException {
                ended = true;
                thread.join();
                check();
            }
        }
    }

    /** What systemd does with the unit of the examples: the tool, etcd, and again. */
    private static final class Unit {
        private static final long START_TIMEOUT_NANOS = TimeUnit.SECONDS.toNanos(30);

        private final Node node;
        private final Thread thread;
        private volatile boolean ended;
        private volatile Run tool;
        private volatile String lastWords = "";

        Unit(Node node) {
            this.node = node;
            thread = new Thread(this::run, "unit-" + node);
            thread.setDaemon(true);
            thread.start();
        }

        private void run() {
            try {
                while (!ended) {
                    tool = node.tool("--output", node.parameters.toString(), "--wait", "20s", "--aws-retries", "0")
                            .start();
                    int exit = tool.exit();
                    lastWords = tool.toString();
                    if (exit == 0 && !ended) {
                        node.startEtcd(Way.ENVIRONMENT_FILE);
                        watch();
                    }
                    Thread.sleep(500);
                }
            } catch (InterruptedException e) {
                // Ended.
            }
        }

        private void watch() throws InterruptedException {
            long alive = System.nanoTime();
            boolean started = false;
            while (node.isRunning() && !ended) {
                Thread.sleep(200);
                started |= node.status() != null;
                if (!started && System.nanoTime() - alive > START_TIMEOUT_NANOS) {
                    node.kill();
                }
            }
        }

        void killTool() {
            Run running = tool;
            if (running != null && running.isAlive()) {
                running.signal("KILL");
            }
        }

        /** At once with the process that uses it, as when a disk fails. */
        void loseDisk() {
            killTool();
            node.loseDisk();
        }

        void end() {
            ended = true;
            thread.interrupt();
            killTool();
            node.kill();
        }
    }
}
