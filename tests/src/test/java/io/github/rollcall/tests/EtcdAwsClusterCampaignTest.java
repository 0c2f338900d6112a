package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.EtcdMember;
import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.EtcdLab;
import io.github.rollcall.harness.EtcdLab.Node;
import io.github.rollcall.harness.EtcdLab.Way;
import io.github.rollcall.harness.ToolRunner.Run;
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
 * Lifetimes of nodes at random: etcd and the tool are killed at any moment, instances are terminated, disks lost, members
 * paused, AWS throttles or is away. Who breaks things takes for good only what the cluster can spare; everything else
 * comes back. Then there must never be a second cluster, the quorum must come back by itself, and nothing that was
 * acknowledged may be lost. {@code -Drollcall.campaign.seed} repeats a sequence, {@code -Drollcall.campaign.steps} sets
 * its length.
 */
@Tag("once")
class EtcdAwsClusterCampaignTest {
    private static final long SEED = Long.getLong("rollcall.campaign.seed", 20_260_101);
    private static final int STEPS = Integer.getInteger("rollcall.campaign.steps", 12);
    private static final int SIZE = 3;
    private static final long STEP_MILLIS = 2_000;

    private final Map<Node, Unit> units = new ConcurrentHashMap<>();
    private final List<String> acts = new ArrayList<>();
    private final Set<String> clusters = ConcurrentHashMap.newKeySet();

    @Test
    @Timeout(value = 30, unit = TimeUnit.MINUTES)
    void neverASecondClusterAndNeverAQuorumOrAWriteLost() throws Exception {
        Random random = new Random(SEED);
        try (EtcdLab lab = EtcdLab.of(SIZE)) {
            superviseAll(lab);
            lab.awaitMembers(lab.nodes());
            clusters.addAll(lab.clusters());
            try (EtcdWriter writer = new EtcdWriter(lab)) {
                for (int step = 0; step < STEPS; step++) {
                    breakSomething(lab, random);
                    Thread.sleep(STEP_MILLIS);
                    superviseAll(lab);
                    clusters.addAll(lab.clusters());
                    lab.aws.heal();
                    units.keySet().forEach(Node::thaw);
                }
                lab.awaitMembers(lab.nodes());
                writer.close();

                clusters.addAll(lab.clusters());
                assertThat(clusters).as("%s", this).hasSize(1);
                assertThat(writer.acknowledged()).as("%s", this).isNotEmpty();
                assertThat(writer.found()).as("%s", this).containsAll(writer.acknowledged());
            } catch (AssertionError e) {
                throw new AssertionError(this + "\n" + e.getMessage(), e);
            } finally {
                units.values().forEach(Unit::end);
            }
        }
    }

    private void breakSomething(EtcdLab lab, Random random) {
        // All numbers are drawn, whether they are needed or not: the sequence is the seed's alone.
        int act = random.nextInt(8);
        List<Node> nodes = lab.nodes();
        Node node = nodes.get(random.nextInt(SIZE) % nodes.size());
        switch (act) {
            case 0 -> told("kill etcd on " + node, node::kill);
            case 1, 2 -> told("kill the tool on " + node, units.get(node)::killTool);
            case 3 -> told("pause " + node, node::freeze);
            case 4 -> told("throttle AWS", () -> lab.aws.throttle(AwsProxy.ANY, AwsProxy.ALWAYS));
            case 5 -> {
                told("AWS is away", () -> lab.aws.cut(AwsProxy.ANY, AwsProxy.ALWAYS));
                told("kill etcd on " + node, node::kill);
            }
            case 6 ->
                ifItCanBeSpared(
                        lab, "lose the disk of " + node, () -> units.get(node).loseDisk());
            default ->
                ifItCanBeSpared(lab, "terminate " + node, () -> {
                    units.get(node).end();
                    node.terminate();
                });
        }
    }

    private void told(String what, Runnable act) {
        acts.add(what);
        act.run();
    }

    private void ifItCanBeSpared(EtcdLab lab, String what, Runnable act) {
        List<EtcdMember> members;
        try {
            members = lab.members();
        } catch (RuntimeException nobodyServes) {
            acts.add("not: " + what);
            return;
        }
        boolean spare = members.size() >= SIZE
                && members.stream().allMatch(EtcdMember::hasStarted)
                && lab.serving().size() - 1 > members.size() / 2;
        if (spare) {
            told(what, act);
        } else {
            acts.add("not: " + what);
        }
    }

    private void superviseAll(EtcdLab lab) {
        lab.nodes().forEach(n -> units.computeIfAbsent(n, Unit::new));
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("seed " + SEED + ", acts " + acts + ", clusters " + clusters);
        units.forEach(
                (node, unit) -> text.append("\n--- ").append(node).append('\n').append(unit.lastWords));
        return text.toString();
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
