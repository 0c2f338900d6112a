///usr/bin/env true; exec jbang "$0" "$@"
// The members of the etcd cluster at ETCDCTL_ENDPOINTS as a host list, for pssh, ansible or a loop:
// for host in $(examples/operator/etcd-hosts.jsh); do ssh $host uptime; done
//JAVA 17+
//DEPS io.github.rollcall:rollcall-parent:0.1.0@pom
//DEPS io.github.rollcall:rollcall:0.1.0

import io.github.rollcall.*
import java.time.Duration

try {
    new EtcdOptions().gateway(Duration.ofSeconds(5)).members().members().stream()
            .filter(EtcdMember::hasStarted)
            .map(member -> EtcdUrls.address(member.clientUrls().get(0)))
            .sorted()
            .forEach(System.out::println);
} catch (Failure f) {
    System.err.println("etcd-hosts: " + f.getMessage());
    System.exit(f.exit());
}
