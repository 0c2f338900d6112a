package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** SIGTERM sent to any way of starting a tool reaches the tool. */
class WaysOfStartingTest extends ElbPresenceScene {
    private static final Path ROOT = ToolRunner.root();

    @Test
    void sigtermReachesAnInstalledCommand() {
        sigtermReachesTheTool(ToolRunner.installed("elb-presence").words()[0]);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "%s/jbang elb-presence",
                "%s/scripts/ElbPresence.java",
                "jbang elb-presence@%s/jbang-catalog.json"
            })
    void sigtermReachesTheTool(String how) {
        ToolRunner.tool("elb-presence");
        String web = moto.classic();
        Run run = closedAfterwards(
                ToolRunner.command("sh", "-c", "exec " + how.replace("%s", ROOT.toString()) + " \"$@\"", "sh")
                        .args("--elb", web)
                        .env("PATH", ROOT + ":" + System.getenv("PATH"))
                        .aws(aws.url())
                        .on(metadata)
                        .start());
        run.says("ready");
        assertThat(run.handle().descendants()).as("no process in between").isEmpty();

        assertThat(run.signal("TERM").exit()).as("%s", run).isZero();

        assertThat(moto.members(web)).isEmpty();
    }
}
