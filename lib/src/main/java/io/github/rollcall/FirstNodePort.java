package io.github.rollcall;

import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Answers others with a {@link FirstNode} at this node's peer port, as long as no etcd does. Everything else that is asked
 * there is 404; who asks for TLS, as members of a cluster do, is hung up on at once. Thread-safe.
 */
public final class FirstNodePort implements AutoCloseable {
    private static final String QUESTION = "GET " + FirstNode.PATH + " HTTP/1.";
    private static final int MOST_AT_ONCE = 64;
    private static final int PATIENCE_MILLIS = 2_000;
    private static final int LARGEST_QUESTION = 4_096;

    private ServerSocket server;
    private volatile FirstNode said;

    /** What it answers from now on. */
    public void say(FirstNode node) {
        said = node;
    }

    /**
     * Listens at the address, or on all where the address is none of this host's, as in a container. Does nothing when
     * it does so already.
     *
     * @throws IOException when it cannot; a {@link BindException} when something else listens there
     */
    public synchronized void open(String address, int port) throws IOException {
        if (server != null) {
            return;
        }
        ServerSocket listening = new ServerSocket();
        try {
            try {
                listening.bind(new InetSocketAddress(address, port));
            } catch (BindException e) {
                if (String.valueOf(e.getMessage()).contains("in use")) {
                    throw e;
                }
                listening.bind(new InetSocketAddress(port));
            }
        } catch (IOException e) {
            listening.close();
            throw e;
        }
        server = listening;
        // Those who are too many are hung up on.
        ExecutorService threads = new ThreadPoolExecutor(
                0, MOST_AT_ONCE, 1, TimeUnit.SECONDS, new SynchronousQueue<>(), FirstNodePort::daemon);
        daemon(() -> accept(listening, threads)).start();
    }

    /** Whether it listens. */
    public synchronized boolean isOpen() {
        return server != null;
    }

    /** Leaves the port to etcd. */
    @Override
    public synchronized void close() {
        if (server != null) {
            hangUp(server);
            server = null;
        }
    }

    private void accept(ServerSocket listening, ExecutorService threads) {
        while (!listening.isClosed()) {
            Socket caller = null;
            try {
                Socket next = listening.accept();
                caller = next;
                threads.execute(() -> answer(next));
            } catch (IOException | RuntimeException e) {
                hangUp(caller);
            }
        }
        threads.shutdownNow();
    }

    private void answer(Socket caller) {
        try (caller) {
            caller.setSoTimeout(PATIENCE_MILLIS);
            String question = question(caller);
            FirstNode now = said;
            if (!question.isEmpty()) {
                boolean known = question.startsWith(QUESTION) && now != null;
                String body = known ? now.json() : "";
                String head = "HTTP/1.1 " + (known ? "200 OK" : "404 Not Found") + "\r\nContent-Type: application/json"
                        + "\r\nContent-Length: " + body.length() + "\r\nConnection: close\r\n\r\n";
                caller.getOutputStream().write((head + body).getBytes(StandardCharsets.US_ASCII));
            }
        } catch (IOException gone) {
            // The caller's loss.
        }
    }

    /** The head of a request, or nothing where it is none that could be answered. */
    private static String question(Socket caller) throws IOException {
        StringBuilder head = new StringBuilder();
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MILLIS);
        while (head.indexOf("\r\n\r\n") < 0) {
            int next = caller.getInputStream().read();
            boolean isText = next >= ' ' && next < 127 || next == '\r' || next == '\n' || next == '\t';
            if (!isText || head.length() == LARGEST_QUESTION || System.nanoTime() > end) {
                return "";
            }
            head.append((char) next);
        }
        return head.toString();
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "first-node");
        thread.setDaemon(true);
        return thread;
    }

    private static void hangUp(AutoCloseable connection) {
        try {
            if (connection != null) {
                connection.close();
            }
        } catch (Exception e) {
            // It is closed as far as it can be.
        }
    }
}
