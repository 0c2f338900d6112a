package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.harness.Moto;
import io.github.rollcall.harness.ToolRunner;
import io.github.rollcall.harness.ToolRunner.Run;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import software.amazon.awssdk.services.autoscaling.AutoScalingClient;
import software.amazon.awssdk.services.elasticloadbalancingv2.model.TargetTypeEnum;
import software.amazon.awssdk.services.iam.IamClient;
import software.amazon.awssdk.services.iam.model.AccessKey;

/** The policies of {@code examples/iam}, with IAM enforced: each is enough, and needs every action in it. */
@Tag("once")
class IamPolicyTest {
    /** More calls than setting the scene takes; the rest of them is used up before the tools run. */
    private static final int SCENE = 80;

    private int calls;

    /** What a tool does with a policy: registers or asks, as this user. */
    private interface Deed {
        Run of(Moto moto, AccessKey key, String id, String web, String api);
    }

    @Test
    void elbPresenceWorksWithExactlyItsActions() throws IOException {
        assertExact("elb-presence", 0, IamPolicyTest::presence);
    }

    @Test
    void clusterCronWorksWithExactlyItsActions() throws IOException {
        // Nothing is registered: allowed to ask is not to be master.
        assertExact("clustercron", 1, IamPolicyTest::question);
    }

    private void assertExact(String tool, int exit, Deed deed) throws IOException {
        JsonObject policy = JsonParser.parseString(
                        Files.readString(ToolRunner.root().resolve("examples/iam/" + tool + ".json")))
                .getAsJsonObject();
        List<String> actions = actions(policy);
        try (Moto moto = Moto.enforcingIamAfter(SCENE)) {
            String id = counted(moto.instance()).instanceId();
            String web = counted(moto.classic());
            String api = moto.targetGroup(TargetTypeEnum.INSTANCE);
            calls += 2;
            IamClient iam = moto.client(IamClient.builder());
            AccessKey whole = user(iam, "whole", policy.toString());
            Map<String, AccessKey> lacking = new LinkedHashMap<>();
            for (String action : actions) {
                String user = "without-" + action.replaceAll(".*:", "");
                lacking.put(action, user(iam, user, without(policy, action).toString()));
            }
            while (calls < SCENE) {
                counted(moto.ec2.describeVpcs());
            }

            assertThat(deed.of(moto, whole, id, web, api).exit()).isEqualTo(exit);
            lacking.forEach(
                    (action, key) -> assertThat(deed.of(moto, key, id, web, api).exit())
                            .as("without " + action)
                            .isIn(75, 77));
        }
    }

    /** Of both kinds, with the worst exit code of the two. */
    private static Run question(Moto moto, AccessKey key, String id, String web, String api) {
        ToolRunner tool = ToolRunner.tool("clustercron")
                .aws(moto.url())
                .env("AWS_ACCESS_KEY_ID", key.accessKeyId())
                .env("AWS_SECRET_ACCESS_KEY", key.secretAccessKey())
                .args("--instance-id", id);
        Run classic = tool.args("elb", web).run();
        return classic.exit() == 1 ? tool.args("alb", api).run() : classic;
    }

    @Test
    void etcdAwsClusterWorksWithExactlyItsActions() throws IOException {
        JsonObject policy = JsonParser.parseString(
                        Files.readString(ToolRunner.root().resolve("examples/iam/etcd-aws-cluster.json")))
                .getAsJsonObject();
        try (Moto moto = Moto.enforcingIamAfter(SCENE)) {
            // Loopback, where nothing else can answer.
            String vpc = counted(moto.ec2.createVpc(r -> r.cidrBlock("127.251.0.0/16")))
                    .vpc()
                    .vpcId();
            String subnet = counted(moto.ec2.createSubnet(r -> r.vpcId(vpc).cidrBlock("127.251.1.0/24")))
                    .subnet()
                    .subnetId();
            AutoScalingClient scaling = moto.client(AutoScalingClient.builder());
            counted(scaling.createLaunchConfiguration(r ->
                    r.launchConfigurationName("etcd").imageId("ami-12c6146b").instanceType("t3.micro")));
            counted(scaling.createAutoScalingGroup(r -> r.autoScalingGroupName("etcd")
                    .launchConfigurationName("etcd")
                    .minSize(1)
                    .maxSize(1)
                    .vpcZoneIdentifier(subnet)));
            String id = counted(scaling.describeAutoScalingInstances())
                    .autoScalingInstances()
                    .get(0)
                    .instanceId();
            IamClient iam = moto.client(IamClient.builder());
            AccessKey whole = user(iam, "whole", policy.toString());
            Map<String, AccessKey> lacking = new LinkedHashMap<>();
            for (String action : actions(policy)) {
                String user = "without-" + action.replaceAll(".*:", "");
                lacking.put(action, user(iam, user, without(policy, action).toString()));
            }
            while (calls < SCENE) {
                counted(moto.ec2.describeVpcs());
            }

            Run run = cluster(moto, whole, id);
            assertThat(run.exit()).as("%s", run).isZero();
            lacking.forEach((action, key) -> {
                Run lame = cluster(moto, key, id);
                assertThat(lame.exit()).as("without %s: %s", action, lame).isEqualTo(77);
            });
        }
    }

    private static Run cluster(Moto moto, AccessKey key, String id) {
        return ToolRunner.tool("etcd-aws-cluster")
                .aws(moto.url())
                .env("AWS_ACCESS_KEY_ID", key.accessKeyId())
                .env("AWS_SECRET_ACCESS_KEY", key.secretAccessKey())
                .args("--instance-id", id, "--data-dir", "/nonexistent/etcd", "--peer-timeout", "200ms")
                .args("--client-port", "2", "--peer-port", "3")
                .run();
    }

    /** Both halves, with the worst exit code of the two. */
    private static Run presence(Moto moto, AccessKey key, String id, String web, String api) {
        ToolRunner tool = ToolRunner.tool("elb-presence")
                .aws(moto.url())
                .env("AWS_ACCESS_KEY_ID", key.accessKeyId())
                .env("AWS_SECRET_ACCESS_KEY", key.secretAccessKey())
                .args("--instance-id", id, "--elb", web, "--target-group", api, "--stop-timeout", "100ms");
        Run register = tool.args("--register-only").run();
        return register.exit() == 0 ? tool.args("--deregister-only").run() : register;
    }

    private AccessKey user(IamClient iam, String name, String policy) {
        counted(iam.createUser(r -> r.userName(name)));
        counted(iam.putUserPolicy(r -> r.userName(name).policyName("p").policyDocument(policy)));
        return counted(iam.createAccessKey(r -> r.userName(name))).accessKey();
    }

    private <T> T counted(T answer) {
        calls++;
        return answer;
    }

    private static List<String> actions(JsonObject policy) {
        List<String> actions = new ArrayList<>();
        for (JsonElement statement : policy.getAsJsonArray("Statement")) {
            statement.getAsJsonObject().getAsJsonArray("Action").forEach(a -> actions.add(a.getAsString()));
        }
        return actions;
    }

    private static JsonObject without(JsonObject policy, String action) {
        JsonArray statements = new JsonArray();
        for (JsonElement statement : policy.deepCopy().getAsJsonArray("Statement")) {
            JsonArray left = new JsonArray();
            for (JsonElement a : statement.getAsJsonObject().getAsJsonArray("Action")) {
                if (!a.getAsString().equals(action)) {
                    left.add(a);
                }
            }
            // A statement without actions is malformed.
            if (!left.isEmpty()) {
                statement.getAsJsonObject().add("Action", left);
                statements.add(statement);
            }
        }
        JsonObject copy = policy.deepCopy();
        copy.add("Statement", statements);
        return copy;
    }
}
