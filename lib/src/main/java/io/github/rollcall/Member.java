package io.github.rollcall;

/**
 * Something that a load balancer sends traffic to, in the form in which that load balancer knows it.
 *
 * @param id an instance id, or an address in a target group of type {@code ip}
 * @param port the port in a target group, or null for the group's own port and for classic load balancers
 */
public record Member(String id, Integer port) {
    /** {@code i-0123}, {@code 10.0.0.5:8080} or {@code [fd00::5]:8080}. */
    @Override
    public String toString() {
        if (port == null) {
            return id;
        }
        return (id.indexOf(':') >= 0 ? "[" + id + "]" : id) + ":" + port;
    }
}
