///usr/bin/env true; exec jbang "$0" "$@"
// Who is master right now, as clustercron sees it: examples/operator/who-is-master.jsh LOAD_BALANCER...
//JAVA 17+
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0
//DEPS software.amazon.awssdk:elasticloadbalancing
//DEPS software.amazon.awssdk:url-connection-client

import io.github.rollcall.*
import software.amazon.awssdk.services.elasticloadbalancing.ElasticLoadBalancingClient

Table table = new Table("LOAD BALANCER", "MASTER", "WHY")

void add(String name, ElasticLoadBalancingClient elb) {
    try {
        Choice choice = Choice.of(new ClassicLoadBalancer(elb, name).health(), null, null);
        table.row("elb/" + name, choice.master(), choice.rule());
    } catch (Failure f) {
        table.row("elb/" + name, "?", f.getMessage());
    }
}

try {
    ElasticLoadBalancingClient elb = new AwsOptions().client(ElasticLoadBalancingClient.builder());
    for (String name : args) add(name, elb);
    System.out.print(table);
} catch (Failure f) {
    System.err.println("who-is-master: " + f.getMessage());
    System.exit(f.exit());
}
