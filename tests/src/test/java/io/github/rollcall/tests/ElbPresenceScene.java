package io.github.rollcall.tests;

import io.github.rollcall.harness.AwsProxy;
import io.github.rollcall.harness.MetadataServer;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.io.TempDir;
import software.amazon.awssdk.services.ec2.model.Instance;

/** One instance, its metadata service, and AWS behind a proxy that breaks nothing unless it is told to. */
abstract class ElbPresenceScene {
    final Moto moto = Moto.shared();
    final AwsProxy aws = AwsProxy.before(moto);
    final String id;
    final String privateIp;
    final MetadataServer metadata;
    private final List<Run> runs = new ArrayList<>();

    @TempDir
    Path folder;

    ElbPresenceScene() {
        Instance instance = moto.instance();
        id = instance.instanceId();
        privateIp = instance.privateIpAddress();
        metadata = MetadataServer.of(id, privateIp);
    }

    @AfterEach
    void endWhatWasStarted() {
        runs.forEach(Run::close);
        aws.close();
        metadata.close();
    }

    ToolRunner elbPresence(String... args) {
        return ToolRunner.installed("elb-presence").aws(aws.url()).on(metadata).args(args);
    }

    Run started(String... args) {
        return closedAfterwards(elbPresence(args).start());
    }

    Run closedAfterwards(Run run) {
        runs.add(run);
        return run;
    }
}
