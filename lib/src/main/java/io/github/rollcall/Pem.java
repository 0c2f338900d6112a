package io.github.rollcall;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** Certificates and keys from PEM files, as etcd's tools read them. */
final class Pem {
    private static final Pattern PKCS8 =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");

    private Pem() {}

    /**
     * Sockets that trust {@code cacert} and show {@code cert}; each may be null.
     *
     * @throws Failure configuration, with the file's name, when one cannot be read
     */
    static SSLSocketFactory socketFactory(Path cacert, Path cert, Path key) {
        if (cacert == null && cert == null) {
            return (SSLSocketFactory) SSLSocketFactory.getDefault();
        }
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(
                    cert == null ? null : keys(cert, key).getKeyManagers(),
                    cacert == null ? null : trust(cacert).getTrustManagers(),
                    null);
            return context.getSocketFactory();
        } catch (GeneralSecurityException | IOException e) {
            throw new Failure(Exit.CONFIG, "TLS cannot be set up: " + e.getMessage(), e);
        }
    }

    /** What trusts the CAs of a file. @throws Failure configuration, with the file's name, when it cannot be read */
    static TrustManagerFactory trust(Path cacert) throws GeneralSecurityException, IOException {
        KeyStore store = emptyStore();
        int n = 0;
        for (Certificate ca : certificates(cacert)) {
            store.setCertificateEntry("ca" + n++, ca);
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory;
    }

    /** What shows a certificate. @throws Failure configuration, with the file's name, when one cannot be read */
    static KeyManagerFactory keys(Path cert, Path key) throws GeneralSecurityException, IOException {
        KeyStore store = emptyStore();
        store.setKeyEntry(
                "client", privateKey(key), new char[0], certificates(cert).toArray(new Certificate[0]));
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(store, new char[0]);
        return factory;
    }

    private static KeyStore emptyStore() throws GeneralSecurityException, IOException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        return store;
    }

    private static Collection<? extends Certificate> certificates(Path file) throws GeneralSecurityException {
        Collection<? extends Certificate> found = CertificateFactory.getInstance("X.509")
                .generateCertificates(new ByteArrayInputStream(read(file).getBytes(StandardCharsets.UTF_8)));
        if (found.isEmpty()) {
            throw new Failure(Exit.CONFIG, file + " holds no certificate: expected PEM");
        }
        return found;
    }

    private static PrivateKey privateKey(Path file) throws GeneralSecurityException {
        Matcher pem = PKCS8.matcher(read(file));
        if (!pem.find()) {
            throw new Failure(
                    Exit.CONFIG,
                    file + " holds no unencrypted PKCS#8 key: convert it with openssl pkcs8 -topk8 -nocrypt -in "
                            + file);
        }
        PKCS8EncodedKeySpec spec =
                new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem.group(1)));
        for (String algorithm : new String[] {"EC", "RSA", "EdDSA"}) {
            try {
                return KeyFactory.getInstance(algorithm).generatePrivate(spec);
            } catch (InvalidKeySpecException another) {
                // The file does not say which it is.
            }
        }
        throw new Failure(Exit.CONFIG, file + " holds a key that is neither EC, RSA nor EdDSA");
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            String why = e instanceof NoSuchFileException ? "no such file" : String.valueOf(e.getMessage());
            throw new Failure(Exit.CONFIG, "cannot read " + file + ": " + why, e);
        }
    }
}
