package io.github.rollcall;

import java.util.Locale;

/**
 * What a load balancer is known by to {@code lbmanager}: the part of its keys that all its members share.
 *
 * @param region an AWS region; of a zone not the one in its keys but the one in which Route 53 is called
 * @param name the name of a classic load balancer or of a target group; of Route 53 {@code ZONE_ID/FQDN}, the domain
 *     name in lower case and without its final dot
 */
public record BalancerName(Kind kind, String region, String name) implements Comparable<BalancerName> {
    /** The kinds, by their words in keys. */
    public enum Kind {
        /** A classic load balancer. */
        ELB,
        /** A target group of an application or network load balancer. */
        ALB,
        /** The A and AAAA records of a domain name. */
        ROUTE53;

        /** As in keys: {@code elb}. */
        public String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** Of Route 53 the region is where its partition is at home: keys of several regions are of one record set. */
    public BalancerName {
        if (kind == Kind.ROUTE53) {
            region = region.startsWith("cn-")
                    ? "cn-north-1"
                    : region.startsWith("us-gov-") ? "us-gov-west-1" : region.contains("-iso") ? region : "us-east-1";
        }
    }

    /** Of Route 53 only: the hosted zone's id. */
    public String zone() {
        return name.substring(0, name.indexOf('/'));
    }

    /** Of Route 53 only: the domain name, in lower case and without a final dot. */
    public String domain() {
        return name.substring(name.indexOf('/') + 1);
    }

    @Override
    public int compareTo(BalancerName other) {
        return toString().compareTo(other.toString());
    }

    /** {@code elb/us-east-1/web}, as in keys. */
    @Override
    public String toString() {
        return kind.word() + "/" + region + "/" + name;
    }
}
