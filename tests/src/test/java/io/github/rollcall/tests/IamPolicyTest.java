package io.github.rollcall.tests;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.rollcall.harness.EtcdServer;
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
        Run of(Scene scene, AccessKey key);
    }

    /** What there is: an instance, a load balancer of each kind, and a hosted zone. */
    private record Scene(Moto moto, String id, String web, String api, String zone) {}

    @Test
    void elbPresenceWorksWithExactlyItsActions() throws IOException {
        assertExact("elb-presence", 0, IamPolicyTest::presence);
    }

    @Test
    void clusterCronWorksWithExactlyItsActions() throws IOException {
        // Nothing is registered: allowed to ask is not to be master.
        assertExact("clustercron", 1, IamPolicyTest::question);
    }

    @Test
    void lbmanagerWorksOnClassicLoadBalancersWithExactlyItsActions() throws IOException {
        assertExact(
                "lbmanager-elb",
                0,
                (scene, key) -> manage(scene, key, "elb/" + Moto.REGION + "/" + scene.web + "/multiple/" + scene.id));
    }

    @Test
    void lbmanagerWorksOnTargetGroupsWithExactlyItsActions() throws IOException {
        assertExact(
                "lbmanager-alb",
                0,
                (scene, key) -> manage(scene, key, "alb/" + Moto.REGION + "/" + scene.api + "/multiple/" + scene.id));
    }

    @Test
    void lbmanagerWorksOnHostedZonesWithExactlyItsActions() throws IOException {
        assertExact(
                "lbmanager-route53",
                0,
                (scene, key) -> manage(
                        scene,
                        key,
                        "route53/" + Moto.REGION + "/" + scene.zone + "/www.example.com/multiple/10.0.0.1"));
    }

    /** Asks for health, puts a member in and takes it out again; the first of these that fails. */
    private static Run manage(Scene scene, AccessKey accessKey, String key) {
        try (EtcdServer etcd = EtcdServer.start()) {
            ToolRunner tool = ToolRunner.installed("lbmanager")
                    .aws(scene.moto.url())
                    .env("AWS_ACCESS_KEY_ID", accessKey.accessKeyId())
                    .env("AWS_SECRET_ACCESS_KEY", accessKey.secretAccessKey())
                    .env("ETCDCTL_ENDPOINTS", etcd.url().toString());
            etcd.put("/lbManager/" + key, "");
            Run run = tool.args("status").run();
            if (run.exit() == 0) {
                run = tool.args("--once").run();
            }
            if (run.exit() == 0) {
                run = tool.args("purge").run();
            }
            return run.exit() == 0 ? tool.args("--once").run() : run;
        }
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
            Scene scene = new Scene(moto, id, web, api, counted(moto.zone("example.com")));
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

            Run run = deed.of(scene, whole);
            assertThat(run.exit()).as("%s", run).isEqualTo(exit);
            lacking.forEach((action, key) -> {
                Run lame = deed.of(scene, key);
                assertThat(lame.exit()).as("without %s: %s", action, lame).isIn(75, 77);
            });
        }
    }

    /** Of both kinds, with the worst exit code of the two. */
    private static Run question(Scene scene, AccessKey key) {
        ToolRunner tool = ToolRunner.tool("clustercron")
                .aws(scene.moto.url())
                .env("AWS_ACCESS_KEY_ID", key.accessKeyId())
                .env("AWS_SECRET_ACCESS_KEY", key.secretAccessKey())
                .args("--instance-id", scene.id);
        Run classic = tool.args("elb", scene.web).run();
        return classic.exit() == 1 ? tool.args("alb", scene.api).run() : classic;
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
    private static Run presence(Scene scene, AccessKey key) {
        ToolRunner tool = ToolRunner.tool("elb-presence")
                .aws(scene.moto.url())
                .env("AWS_ACCESS_KEY_ID", key.accessKeyId())
                .env("AWS_SECRET_ACCESS_KEY", key.secretAccessKey())
                .args("--instance-id", scene.id, "--elb", scene.web, "--target-group", scene.api)
                .args("--stop-timeout", "100ms");
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
