package io.github.rollcall;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * How etcd is reached: etcdctl's own options and variables. Part of a command by {@code @Mixin}. A password is never an
 * option's value, because every user of the host can read a command line: it comes from {@code ETCDCTL_PASSWORD}, or
 * from {@code ETCDCTL_USER=name:password}.
 */
public final class EtcdOptions {
    private static final String DEFAULT = "http://127.0.0.1:2379";

    @Spec(Spec.Target.MIXEE)
    private CommandSpec spec;

    @Option(
            names = "--endpoints",
            paramLabel = "URL",
            split = ",",
            description = "etcd's client URLs (default: ETCDCTL_ENDPOINTS, ETCD_HOST, else " + DEFAULT + ").")
    private List<String> endpoints = new ArrayList<>();

    @Option(
            names = "--cacert",
            paramLabel = "FILE",
            description = "Trust these CAs for etcd (default: ETCDCTL_CACERT).")
    private Path cacert;

    @Option(names = "--cert", paramLabel = "FILE", description = "Client certificate for etcd (default: ETCDCTL_CERT).")
    private Path cert;

    @Option(names = "--key", paramLabel = "FILE", description = "The certificate's key (default: ETCDCTL_KEY).")
    private Path key;

    @Option(
            names = "--user",
            paramLabel = "NAME",
            description = "etcd user, with the password in ETCDCTL_PASSWORD (default: ETCDCTL_USER).")
    private String user;

    /** Where variables are read from; another one in tests. */
    Map<String, String> environment = System.getenv();

    /** The endpoints, as URLs with a scheme: https where none is given and there is a certificate or a CA. */
    public List<URI> endpoints() {
        List<String> given = endpoints;
        String from = "--endpoints";
        for (String variable : List.of("ETCDCTL_ENDPOINTS", "ETCD_HOST")) {
            if (given.isEmpty() && variable(variable) != null) {
                from = variable;
                given = List.of(variable(variable).split(","));
            }
        }
        String source = from;
        return (given.isEmpty() ? List.of(DEFAULT) : given)
                .stream().map(text -> url(source, text.strip())).toList();
    }

    private URI url(String source, String text) {
        String scheme = trust() == null && certificate() == null ? "http://" : "https://";
        try {
            URI url = URI.create(text.contains("://") ? text : scheme + text);
            if (url.getHost() != null && url.getScheme().matches("https?")) {
                return URI.create(url.getScheme() + "://" + url.getAuthority());
            }
        } catch (IllegalArgumentException e) {
            // Said below, for both ways of being no URL.
        }
        throw misuse(source + " has '" + text + "': expected HOST:PORT or an http or https URL");
    }

    /** The file of trusted CAs, or null for the JDK's own. */
    public Path trust() {
        return file(cacert, "ETCDCTL_CACERT");
    }

    /** The client certificate's file, or null; given together with {@link #key()} or not at all. */
    public Path certificate() {
        Path certificate = file(cert, "ETCDCTL_CERT");
        if ((certificate == null) != (key() == null)) {
            throw misuse("--cert and --key go together");
        }
        return certificate;
    }

    /** The file of the certificate's key, or null. */
    public Path key() {
        return file(key, "ETCDCTL_KEY");
    }

    /** Name and password, or null where etcd wants none. */
    public Login login() {
        if (user != null && user.contains(":")) {
            throw misuse("--user takes a name only: give the password in ETCDCTL_PASSWORD");
        }
        String from = user != null ? user : variable("ETCDCTL_USER");
        if (from == null) {
            return null;
        }
        String[] both = from.split(":", 2);
        String password = both.length == 2 ? both[1] : variable("ETCDCTL_PASSWORD");
        if (password == null) {
            throw misuse("no password for etcd user '" + both[0] + "': set ETCDCTL_PASSWORD");
        }
        return new Login(both[0], password);
    }

    /** A name and its password; never logged. */
    public record Login(String name, String password) {
        @Override
        public String toString() {
            return name;
        }
    }

    /**
     * A client for a few questions; see {@link EtcdGateway}.
     *
     * @param timeout for connecting, and for each answer
     * @throws Failure configuration when a certificate or key cannot be read
     */
    public EtcdGateway gateway(Duration timeout) {
        return gateway(endpoints(), timeout);
    }

    /** As {@link #gateway(Duration)}, with other endpoints than the options say. */
    public EtcdGateway gateway(List<URI> others, Duration timeout) {
        return new EtcdGateway(others, Pem.socketFactory(trust(), certificate(), key()), login(), timeout);
    }

    /**
     * A client for a tool that stays: leases, watches, elections; see {@link EtcdClient}.
     *
     * @param timeout for connecting, and for each answer
     * @throws Failure configuration when a certificate or key cannot be read
     */
    public EtcdClient client(Duration timeout) {
        List<URI> urls = endpoints();
        if (urls.stream().map(URI::getScheme).distinct().count() > 1) {
            throw misuse("--endpoints has both http and https: expected one of them");
        }
        return new EtcdClient(urls, trust(), certificate(), key(), login(), timeout);
    }

    /**
     * A client of peer ports, whose certificates may be others than those of client ports.
     *
     * @param peerCacert null for {@link #trust()}
     * @param peerCert null for {@link #certificate()}, together with its key
     */
    public EtcdGateway peerGateway(URI peer, Duration timeout, Path peerCacert, Path peerCert, Path peerKey) {
        return new EtcdGateway(
                List.of(peer),
                Pem.socketFactory(
                        peerCacert == null ? trust() : peerCacert,
                        peerCert == null ? certificate() : peerCert,
                        peerCert == null ? key() : peerKey),
                null,
                timeout);
    }

    private Path file(Path option, String variable) {
        return option != null || variable(variable) == null ? option : Path.of(variable(variable));
    }

    private String variable(String name) {
        String value = environment.get(name);
        return value == null || value.isBlank() ? null : value;
    }

    private ParameterException misuse(String sentence) {
        return new ParameterException(spec.commandLine(), sentence);
    }
}
