package io.github.rollcall;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What a key says: this member is to be in this load balancer.
 *
 * <pre>
 * elb/REGION/NAME/CLASS/INSTANCE
 * alb/REGION/TARGET_GROUP/CLASS/(INSTANCE|IP)[:PORT]
 * route53/REGION/ZONE_ID/FQDN/CLASS/IP
 * </pre>
 *
 * <p>A key is checked here as strictly as AWS would: one malformed name in a batch would fail the whole batch. The forms
 * are those of the API references of Elastic Load Balancing and of "DNS domain name format" in the Route 53 guide.
 */
public record BalancerKey(BalancerName balancer, MemberClass memberClass, Member member) {
    /** How many members of a load balancer count. */
    public enum MemberClass {
        /** The one whose key was put last. */
        SINGLE,
        /** All. */
        MULTIPLE
    }

    private static final Pattern REGION = Pattern.compile("[a-z]{2,3}(-[a-z]+)+-\\d{1,2}");
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?");
    private static final Pattern ZONE = Pattern.compile("[A-Z0-9]{1,32}");
    private static final Pattern DOMAIN = Pattern.compile("(\\*|[a-z0-9_-]{1,63})(\\.[a-z0-9_-]{1,63}){1,126}");
    private static final Pattern INSTANCE = Pattern.compile("i-[0-9a-f]{1,32}");
    private static final Pattern WITH_PORT = Pattern.compile("\\[([^\\]]+)\\]:(.*)|([^:]+):(.*)");

    /**
     * Reads a key.
     *
     * @param key without the configuration's path, such as {@code elb/us-east-1/web/multiple/i-0123}
     * @throws IllegalArgumentException with one sentence about what is wrong with it
     */
    public static BalancerKey parse(String key) {
        int last = key.lastIndexOf('/');
        if (last < 0) {
            throw wrong("it has no TYPE/REGION/NAME/CLASS before the member");
        }
        BalancerKey balancer = parseBalancer(key.substring(0, last));
        return balancer.with(member(balancer.balancer.kind(), key.substring(last + 1)));
    }

    /**
     * Reads the part of a key before the member.
     *
     * @param key such as {@code elb/us-east-1/web/multiple}
     * @return the key without a member: {@link #member} is null
     * @throws IllegalArgumentException with one sentence about what is wrong with it
     */
    public static BalancerKey parseBalancer(String key) {
        String[] parts = key.split("/", -1);
        BalancerName.Kind kind = kind(parts[0]);
        int length = kind == BalancerName.Kind.ROUTE53 ? 5 : 4;
        if (parts.length != length) {
            throw wrong("expected " + form(kind));
        }
        check(REGION, parts[1], "a region such as us-east-1");
        return new BalancerKey(
                new BalancerName(kind, parts[1], name(kind, parts)), memberClass(parts[length - 1]), null);
    }

    /** The same load balancer and class with this member. */
    public BalancerKey with(Member other) {
        return new BalancerKey(balancer, memberClass, other);
    }

    /** The key without the configuration's path; of a key without a member, with nothing after the class. */
    @Override
    public String toString() {
        String path = balancer + "/" + memberClass.name().toLowerCase(Locale.ROOT);
        return member == null ? path : path + "/" + member;
    }

    private static BalancerName.Kind kind(String word) {
        for (BalancerName.Kind kind : BalancerName.Kind.values()) {
            if (kind.word().equals(word)) {
                return kind;
            }
        }
        throw wrong("'" + word + "' is no type: expected elb, alb or route53");
    }

    private static String form(BalancerName.Kind kind) {
        return switch (kind) {
            case ELB -> "elb/REGION/NAME/CLASS/INSTANCE";
            case ALB -> "alb/REGION/TARGET_GROUP/CLASS/(INSTANCE|IP)[:PORT]";
            case ROUTE53 -> "route53/REGION/ZONE_ID/FQDN/CLASS/IP";
        };
    }

    private static String name(BalancerName.Kind kind, String[] parts) {
        if (kind != BalancerName.Kind.ROUTE53) {
            return check(NAME, parts[2], "a name of at most 32 letters, digits and hyphens");
        }
        String domain = parts[3].toLowerCase(Locale.ROOT).replaceFirst("\\.$", "");
        return check(ZONE, parts[2], "a hosted zone's id such as Z0123456789ABC") + "/"
                + check(DOMAIN, domain, "a domain name such as www.example.com");
    }

    private static MemberClass memberClass(String word) {
        return switch (word) {
            case "single" -> MemberClass.SINGLE;
            case "multiple" -> MemberClass.MULTIPLE;
            default -> throw wrong("'" + word + "' is no class: expected single or multiple");
        };
    }

    private static Member member(BalancerName.Kind kind, String text) {
        return switch (kind) {
            case ELB -> new Member(check(INSTANCE, text, "an instance id such as i-0123456789abcdef0"), null);
            case ROUTE53 -> new Member(address(text), null);
            case ALB -> target(text);
        };
    }

    private static Member target(String text) {
        Matcher m = WITH_PORT.matcher(text);
        if (IpAddress.canonical(text) != null || !m.matches()) {
            return new Member(instanceOrAddress(text), null);
        }
        boolean bracketed = m.group(1) != null;
        return new Member(instanceOrAddress(bracketed ? m.group(1) : m.group(3)), port(m.group(bracketed ? 2 : 4)));
    }

    private static String instanceOrAddress(String text) {
        return INSTANCE.matcher(text).matches() ? text : address(text);
    }

    private static String address(String text) {
        String canonical = IpAddress.canonical(text);
        if (canonical == null) {
            throw wrong("'" + text + "' is no " + (text.startsWith("i-") ? "instance id" : "address"));
        }
        return canonical;
    }

    private static int port(String text) {
        if (!text.matches("[1-9]\\d{0,4}") || Integer.parseInt(text) > 65_535) {
            throw wrong("'" + text + "' is no port");
        }
        return Integer.parseInt(text);
    }

    private static String check(Pattern form, String text, String expected) {
        if (!form.matcher(text).matches()) {
            throw wrong("'" + text + "' is not " + expected);
        }
        return text;
    }

    private static IllegalArgumentException wrong(String sentence) {
        return new IllegalArgumentException(sentence);
    }
}
