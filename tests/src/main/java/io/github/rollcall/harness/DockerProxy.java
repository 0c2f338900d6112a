package io.github.rollcall.harness;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLServerSocket;

/** A TCP port before Docker's socket, which can cut connections, swallow events, hold lists back, and want TLS. Thread-safe. */
public final class DockerProxy implements AutoCloseable {
    private final DockerServer docker;
    private final ServerSocket server;
    private final Tls tls;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final AtomicInteger held = new AtomicInteger();
    private final CountDownLatch letGo = new CountDownLatch(1);
    private volatile boolean mute;
    private volatile boolean holding;

    private DockerProxy(DockerServer docker, Tls tls) {
        this.docker = docker;
        this.tls = tls;
        try {
            InetAddress loopback = InetAddress.getLoopbackAddress();
            if (tls == null) {
                server = new ServerSocket(0, 50, loopback);
            } else {
                SSLServerSocket secure =
                        (SSLServerSocket) tls.context().getServerSocketFactory().createServerSocket(0, 50, loopback);
                secure.setNeedClientAuth(true);
                server = secure;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        threads.execute(this::accept);
    }

    /** One that passes everything on. */
    public static DockerProxy before(DockerServer docker) {
        return new DockerProxy(docker, null);
    }

    /** The same, with TLS, and certificates asked of clients. @param folder for the certificate */
    public static DockerProxy withTls(DockerServer docker, Path folder) {
        return new DockerProxy(docker, Tls.forAddresses(folder, "127.0.0.", 1, 1));
    }

    /** For {@code DOCKER_HOST}. */
    public String host() {
        return "tcp://127.0.0.1:" + server.getLocalPort();
    }

    /** For {@code DOCKER_CERT_PATH}. */
    public String certPath() {
        return tls.dockerFolder().toString();
    }

    /** Passes no event on any more, though streams of them are taken and stay open. */
    public void swallowEvents() {
        mute = true;
    }

    /** Passes no list of containers back from now on, until {@link #letListsGo}. */
    public void holdLists() {
        holding = true;
    }

    /** How many lists it has held back. */
    public int listsHeld() {
        return held.get();
    }

    /** Passes on what it has held back, and whatever comes later. */
    public void letListsGo() {
        letGo.countDown();
    }

    /** Cuts all connections that are open. */
    public void cut() {
        open.forEach(DockerProxy::close);
    }

    private void accept() {
        while (!server.isClosed()) {
            try {
                Socket client = server.accept();
                open.add(client);
                threads.execute(() -> serve(client));
            } catch (IOException e) {
                // The next one, unless it is closed.
            }
        }
    }

    private void serve(Socket client) {
        try (client;
                SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(docker.socket()))) {
            byte[] head = head(client.getInputStream());
            String question = new String(head, StandardCharsets.US_ASCII);
            boolean events = question.startsWith("GET /events");
            Channels.newOutputStream(channel).write(head);
            InputStream answer = Channels.newInputStream(channel);
            OutputStream out = client.getOutputStream();
            byte[] answerHead = head(answer);
            if (holding && question.startsWith("GET /containers/json")) {
                held.incrementAndGet();
                letGo.await();
            }
            out.write(answerHead);
            byte[] buffer = new byte[8192];
            for (int n = answer.read(buffer); n >= 0; n = answer.read(buffer)) {
                if (!events || !mute) {
                    out.write(buffer, 0, n);
                }
            }
        } catch (IOException | InterruptedException cut) {
            // As it is meant.
        } finally {
            open.remove(client);
        }
    }

    /** Up to the empty line. */
    private static byte[] head(InputStream in) throws IOException {
        ByteArrayOutputStream head = new ByteArrayOutputStream();
        while (!head.toString(StandardCharsets.US_ASCII).endsWith("\r\n\r\n")) {
            int c = in.read();
            if (c < 0) {
                throw new IOException("closed");
            }
            head.write(c);
        }
        return head.toByteArray();
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        try {
            server.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        cut();
        threads.shutdownNow();
    }
}
