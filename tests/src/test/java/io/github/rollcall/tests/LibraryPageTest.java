package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.rollcall.ClassicLoadBalancer;
import io.github.rollcall.Member;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code examples/LIBRARY.md}: its script is the one that is run here. */
@Tag("once")
class LibraryPageTest {
    private static final Path PAGE = ToolRunner.root().resolve("examples/LIBRARY.md");

    private final Moto moto = Moto.shared();

    @TempDir
    private Path folder;

    @Test
    void theScriptOfThePageIsComplete() throws IOException {
        Matcher m = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(PAGE));
        assertThat(m.find()).isTrue();
        Path script = Files.writeString(folder.resolve("elb-wait.java"), m.group(1));
        ToolRunner elbWait = ToolRunner.tool(script.toString()).aws(moto.url());
        String web = moto.classic();
        String id = moto.instance().instanceId();
        new ClassicLoadBalancer(moto.elb, web).register(List.of(new Member(id, null)));

        Run inService = elbWait.args(web).run();
        moto.ec2.stopInstances(r -> r.instanceIds(id));
        Run never = elbWait.args(web, "--timeout", "0").run();
        Run missing = elbWait.args("missing").run();
        Run misused = elbWait.args("--nonsense").run();

        assertThat(inService.exit()).as("%s", inService).isZero();
        assertThat(never.exit()).as("%s", never).isEqualTo(75);
        assertThat(never.err()).contains("elb-wait: error: 1 members of " + web + " are not in service");
        assertThat(missing.exit()).as("%s", missing).isEqualTo(78);
        assertThat(misused.exit()).as("%s", misused).isEqualTo(64);
    }

    @Test
    void everyNounOfThePageIsInTheLibrary() throws IOException {
        Path sources = ToolRunner.root().resolve("lib/src/main/java/io/github/rollcall");
        List<String> nouns = Files.readAllLines(PAGE).stream()
                .filter(line -> line.startsWith("| `"))
                .map(line -> line.split("\\|")[1])
                .flatMap(cell -> Pattern.compile("`(\\w+)`").matcher(cell).results())
                .map(found -> found.group(1))
                .toList();

        assertThat(nouns).hasSizeGreaterThan(20).allSatisfy(noun -> assertThat(sources.resolve(noun + ".java"))
                .exists());
    }
}
