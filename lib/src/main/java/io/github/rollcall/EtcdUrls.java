package io.github.rollcall;

import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/**
 * How the URLs of a cluster's members are made from their addresses: the same on every node. Immutable.
 *
 * @param clientScheme {@code http} or {@code https}
 * @param peerScheme {@code http} or {@code https}
 */
public record EtcdUrls(String clientScheme, int clientPort, String peerScheme, int peerPort) {
    private static final Pattern LONG_ZEROS = Pattern.compile("(?:^|:)0(?::0)+(?::|$)");

    /** The client URL at an address. */
    public String client(String address) {
        return clientScheme + "://" + host(address) + ":" + clientPort;
    }

    /** The peer URL at an address. */
    public String peer(String address) {
        return peerScheme + "://" + host(address) + ":" + peerPort;
    }

    /** The address in a URL, as {@link #sameForm}; empty where there is none. */
    public static String address(String url) {
        try {
            String host = URI.create(url).getHost();
            return host == null ? "" : sameForm(host.replaceAll("[\\[\\]]", ""));
        } catch (IllegalArgumentException e) {
            return "";
        }
    }

    /** Whether a peer URL is made as these are, at any address; a host name is none. */
    public boolean isPeer(String url) {
        String address = address(url);
        return (address.contains(":") || address.matches("[0-9]+(?:\\.[0-9]+){3}"))
                && url.startsWith(peerScheme + "://")
                && URI.create(url).getPort() == peerPort;
    }

    /** An IPv6 address, which may be written in many ways, as RFC 5952 and EC2 write it; everything else as it is. */
    static String sameForm(String host) {
        if (!host.contains(":")) {
            return host;
        }
        try {
            // With a colon it is a literal, and nobody is asked for it.
            String full = InetAddress.getByName(host).getHostAddress().replaceFirst("%.*", "");
            String zeros = LONG_ZEROS
                    .matcher(full)
                    .results()
                    .map(MatchResult::group)
                    .reduce("", (a, b) -> b.length() > a.length() ? b : a);
            return zeros.isEmpty() ? full : full.replaceFirst(zeros, "::");
        } catch (UnknownHostException e) {
            return host;
        }
    }

    private static String host(String address) {
        return address.contains(":") ? "[" + address + "]" : address;
    }
}
