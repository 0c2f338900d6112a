package io.github.rollcall.tests;

import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.io.TempDir;
import software.amazon.awssdk.services.ec2.model.Instance;

/** Three instances, in alphabetic order, and AWS behind a proxy that breaks nothing unless it is told to. */
abstract class ClusterCronScene {
    final Moto moto = Moto.shared();
    final AwsProxy aws = AwsProxy.before(moto);
    final String first;
    final String second;
    final String third;
    private final List<Run> runs = new ArrayList<>();

    @TempDir
    Path folder;

    ClusterCronScene() {
        List<String> ids = Stream.generate(moto::instance)
                .limit(3)
                .map(Instance::instanceId)
                .sorted()
                .toList();
        first = ids.get(0);
        second = ids.get(1);
        third = ids.get(2);
    }

    @AfterEach
    void endWhatWasStarted() {
        runs.forEach(Run::close);
        aws.close();
    }

    /** A classic load balancer with all three. */
    String classic() {
        String name = moto.classic();
        moto.elb.registerInstancesWithLoadBalancer(r -> r.loadBalancerName(name)
                .instances(Stream.of(first, second, third)
                        .map(id -> software.amazon.awssdk.services.elasticloadbalancing.model.Instance.builder()
                                .instanceId(id)
                                .build())
                        .toList()));
        return name;
    }

    /** The tool on an instance, through JBang. */
    ToolRunner on(String id, String... args) {
        return ToolRunner.tool("clustercron")
                .aws(aws.url())
                .args("--instance-id", id)
                .args(args);
    }

    /** The same as an installed command, with a home of its own. */
    ToolRunner plainOn(String id, String... args) {
        return ToolRunner.installed("clustercron")
                .aws(aws.url())
                .env("HOME", folder.toString())
                .env("XDG_CACHE_HOME", null)
                .args("--instance-id", id)
                .args(args);
    }

    Run closedAfterwards(Run run) {
        runs.add(run);
        return run;
    }
}
