///usr/bin/env true; exec jbang "$0" "$@"
//DESCRIPTION Runs a command for each member of a target group, one at a time, while it is out of the group.
//JAVA 17+
//COMPILE_OPTIONS --release 17
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancingv2
//DEPS software.amazon.awssdk:url-connection-client

import io.github.rollcall.AwsOptions;
import io.github.rollcall.Exit;
import io.github.rollcall.Failure;
import io.github.rollcall.LoadBalancer;
import io.github.rollcall.Log;
import io.github.rollcall.LogOptions;
import io.github.rollcall.Member;
import io.github.rollcall.MemberHealth;
import io.github.rollcall.MemberHealth.State;
import io.github.rollcall.TargetGroup;
import io.github.rollcall.Tool;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.function.Predicate;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import software.amazon.awssdk.services.elasticloadbalancingv2.ElasticLoadBalancingV2Client;

@Command(
        name = "roll-target-group",
        description = {
            "Runs COMMAND for each member of a target group, one at a time, while it is out of the group: with {} in"
                    + " place of its id. Stops at the first that fails, which stays out.",
        })
class RollTargetGroup extends Tool {
    @Parameters(index = "0", paramLabel = "TARGET_GROUP", description = "Its name or ARN.")
    private String group;

    @Parameters(index = "1..*", arity = "1..*", paramLabel = COMMAND, description = "What is run.")
    private List<String> command;

    @Option(names = "--timeout", defaultValue = "5m", description = "For each wait (default: ${DEFAULT-VALUE}).")
    private Duration timeout;

    @Mixin
    private AwsOptions aws;

    RollTargetGroup() {
        super(LogOptions.daemon());
    }

    public static void main(String... args) {
        main(new RollTargetGroup(), args);
    }

    @Override
    public Integer call() throws InterruptedException {
        TargetGroup balancer =
                TargetGroup.find(aws.client(ElasticLoadBalancingV2Client.builder()), TargetGroup.Ref.parse(group));
        List<MemberHealth> all = balancer.health();
        if (all.isEmpty()) {
            throw new Failure(Exit.CONFIG, group + " has no members");
        }
        for (MemberHealth other : all) {
            if (other.state() != State.IN_SERVICE) {
                throw new Failure(
                        Exit.TEMPORARY, other.member() + " is " + other.state().words() + ": nothing was done");
            }
        }
        for (MemberHealth one : all) {
            Member member = one.member();
            balancer.deregister(List.of(member));
            await(balancer, member, "drained", MemberHealth::isDrained);
            List<String> words = command.stream()
                    .map(word -> word.replace("{}", member.id()))
                    .toList();
            String problem = run(words);
            if (problem != null) {
                throw new Failure(Exit.TEMPORARY, words + " " + problem + ": " + member + " stays out of " + group);
            }
            balancer.register(List.of(member));
            await(balancer, member, "in service", health -> health.state() == State.IN_SERVICE);
        }
        return Exit.OK;
    }

    /** Null when it has done its work. */
    private static String run(List<String> words) throws InterruptedException {
        try {
            int code = new ProcessBuilder(words).inheritIO().start().waitFor();
            return code == 0 ? null : "ended with " + code;
        } catch (IOException e) {
            return "cannot be started";
        }
    }

    private void await(LoadBalancer balancer, Member member, String what, Predicate<MemberHealth> condition)
            throws InterruptedException {
        long end = System.nanoTime() + timeout.toNanos();
        while (!condition.test(balancer.health(member))) {
            if (System.nanoTime() - end > 0) {
                throw new Failure(
                        Exit.TEMPORARY,
                        member + " is not " + what + " in time, and is left so; the others are as they were");
            }
            Thread.sleep(1_000);
        }
        Log.of("tg/" + group).info(what, "member", member);
    }
}
