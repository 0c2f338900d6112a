package io.github.rollcall.harness;

import io.github.rollcall.EtcdOptions;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/**
 * One certificate for a network of addresses, which is its own authority, made by the JDK's keytool; as PEM files.
 * Immutable.
 */
final class Tls {
    private final Path cert;
    private final Path key;

    private Tls(Path cert, Path key) {
        this.cert = cert;
        this.key = key;
    }

    /** For the addresses from {@code network + first} on. */
    static Tls forAddresses(Path folder, String network, int first, int count) {
        Path store = folder.resolve("tls.p12");
        // On one machine all connections come from there, and etcd wants a peer to be at an address of its certificate.
        String names = "ip:127.0.0.1,"
                + IntStream.range(first, first + count)
                        .mapToObj(n -> "ip:" + network + n)
                        .collect(Collectors.joining(","));
        try {
            int code = new ProcessBuilder(
                            System.getProperty("java.home") + "/bin/keytool",
                            "-J-XX:TieredStopAtLevel=1",
                            "-genkeypair",
                            "-alias",
                            "etcd",
                            "-keyalg",
                            "EC",
                            "-dname",
                            "CN=etcd",
                            "-ext",
                            "san=" + names,
                            "-ext",
                            "eku=serverAuth,clientAuth",
                            "-ext",
                            "bc:c",
                            "-storetype",
                            "PKCS12",
                            "-storepass",
                            "secret",
                            "-keystore",
                            store.toString())
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start()
                    .waitFor();
            if (code != 0) {
                throw new IllegalStateException("keytool ended with " + code);
            }
            KeyStore keys = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(store)) {
                keys.load(in, "secret".toCharArray());
            }
            return new Tls(
                    pem(
                            folder.resolve("cert.pem"),
                            "CERTIFICATE",
                            keys.getCertificate("etcd").getEncoded()),
                    pem(
                            folder.resolve("key.pem"),
                            "PRIVATE KEY",
                            keys.getKey("etcd", "secret".toCharArray()).getEncoded()));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /** A folder as {@code DOCKER_CERT_PATH} has it. */
    Path dockerFolder() {
        try {
            return Files.copy(cert, cert.resolveSibling("ca.pem"), StandardCopyOption.REPLACE_EXISTING)
                    .getParent();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** For a server that shows the certificate, and lets in who shows it, too. */
    SSLContext context() {
        try {
            KeyStore keys = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(cert.resolveSibling("tls.p12"))) {
                keys.load(in, "secret".toCharArray());
            }
            keys.setCertificateEntry("ca", keys.getCertificate("etcd"));
            KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            own.init(keys, "secret".toCharArray());
            TrustManagerFactory others = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            others.init(keys);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(own.getKeyManagers(), others.getTrustManagers(), null);
            return context;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    List<String> toolOptions() {
        return List.of("--cacert", cert.toString(), "--cert", cert.toString(), "--key", key.toString());
    }

    EtcdOptions options() {
        Options parsed = new Options();
        new CommandLine(parsed).parseArgs(toolOptions().toArray(String[]::new));
        return parsed.etcd;
    }

    Map<String, String> etcdEnvironment() {
        return Map.of(
                "ETCD_CERT_FILE", cert.toString(),
                "ETCD_KEY_FILE", key.toString(),
                "ETCD_TRUSTED_CA_FILE", cert.toString(),
                "ETCD_CLIENT_CERT_AUTH", "true",
                "ETCD_PEER_CERT_FILE", cert.toString(),
                "ETCD_PEER_KEY_FILE", key.toString(),
                "ETCD_PEER_TRUSTED_CA_FILE", cert.toString(),
                "ETCD_PEER_CLIENT_CERT_AUTH", "true");
    }

    private static Path pem(Path file, String what, byte[] der) throws IOException {
        String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der);
        return Files.writeString(file, "-----BEGIN " + what + "-----\n" + text + "\n-----END " + what + "-----\n");
    }

    @Command
    private static final class Options {
        @Mixin
        private EtcdOptions etcd;
    }
}
