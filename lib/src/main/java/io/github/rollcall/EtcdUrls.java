package io.github.rollcall;

import java.net.URI;

/**
 * How the URLs of a cluster's members are made from their addresses: the same on every node. Immutable.
 *
 * @param clientScheme {@code http} or {@code https}
 * @param peerScheme {@code http} or {@code https}
 */
public record EtcdUrls(String clientScheme, int clientPort, String peerScheme, int peerPort) {
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
        return IpAddress.canonical(address(url)) != null
                && url.startsWith(peerScheme + "://")
                && URI.create(url).getPort() == peerPort;
    }

    /** An address, which may be written in many ways, in one of them; a name as it is. */
    static String sameForm(String host) {
        String canonical = IpAddress.canonical(host);
        return canonical == null ? host : canonical;
    }

    private static String host(String address) {
        return address.contains(":") ? "[" + address + "]" : address;
    }
}
