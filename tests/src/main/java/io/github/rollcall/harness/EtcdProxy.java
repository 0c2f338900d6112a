package io.github.rollcall.harness;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayDeque;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A proxy before etcd's JSON gateway that breaks connections, by path ({@code kv/txn}): before a request arrives, or
 * after it was done. What is told of one path happens in that order, to one request each. Thread-safe.
 */
public final class EtcdProxy implements AutoCloseable {
    private enum Fault {
        /** Passes it on, and back. */
        NONE,
        /** Breaks off, and passes nothing on. */
        LOSE_REQUEST,
        /** Passes it on, and breaks off in place of the answer. */
        LOSE_ANSWER,
        /** Passes it on, and never answers. */
        HOLD_ANSWER
    }

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final HttpClient http = HttpClient.newHttpClient();
    private final URI etcd;
    private final Map<String, Queue<Fault>> faults = new ConcurrentHashMap<>();
    private final Map<String, AtomicInteger> requests = new ConcurrentHashMap<>();
    private final Set<String> silent = ConcurrentHashMap.newKeySet();
    private final CountDownLatch held = new CountDownLatch(1);

    private EtcdProxy(URI etcd) {
        this.etcd = etcd;
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        server.setExecutor(threads);
        server.createContext("/", this::handle);
        server.start();
    }

    /** A proxy before this etcd, which passes everything on. */
    public static EtcdProxy before(EtcdServer etcd) {
        return new EtcdProxy(etcd.url());
    }

    /** Where it listens; for {@code ETCDCTL_ENDPOINTS}. */
    public URI url() {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    /** Passes the next request to a path on, before anything else that is told of it. */
    public EtcdProxy pass(String path) {
        return fault(path, Fault.NONE);
    }

    /** The next request to a path is lost. */
    public EtcdProxy loseRequest(String path) {
        return fault(path, Fault.LOSE_REQUEST);
    }

    /** The next request to a path is done, and its answer is lost. */
    public EtcdProxy loseAnswer(String path) {
        return fault(path, Fault.LOSE_ANSWER);
    }

    /** What comes after that which was told of a path is done, and its answers never come. */
    public EtcdProxy holdAllAnswers(String path) {
        silent.add(path);
        return this;
    }

    /** Passes everything on again that is yet to come. */
    public EtcdProxy heal() {
        silent.clear();
        faults.clear();
        return this;
    }

    /** How many requests to a path have been passed on and done. */
    public int done(String path) {
        return requests.computeIfAbsent(path, p -> new AtomicInteger()).get();
    }

    @Override
    public void close() {
        held.countDown();
        server.stop(0);
        threads.shutdownNow();
    }

    private EtcdProxy fault(String path, Fault fault) {
        faults.computeIfAbsent(path, p -> new ArrayDeque<>()).add(fault);
        return this;
    }

    private void handle(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath().replaceFirst("^/v3/", "");
        Queue<Fault> told = faults.get(path);
        Fault fault;
        synchronized (this) {
            Fault afterwards = silent.contains(path) ? Fault.HOLD_ANSWER : Fault.NONE;
            fault = told == null || told.isEmpty() ? afterwards : told.remove();
        }
        try (exchange) {
            byte[] body = exchange.getRequestBody().readAllBytes();
            if (fault == Fault.LOSE_REQUEST) {
                return;
            }
            HttpResponse<byte[]> answer = http.send(
                    HttpRequest.newBuilder(etcd.resolve(exchange.getRequestURI().getPath()))
                            .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                            .build(),
                    HttpResponse.BodyHandlers.ofByteArray());
            requests.computeIfAbsent(path, p -> new AtomicInteger()).incrementAndGet();
            if (fault == Fault.HOLD_ANSWER) {
                held.await();
            }
            if (fault == Fault.NONE) {
                exchange.sendResponseHeaders(answer.statusCode(), answer.body().length);
                exchange.getResponseBody().write(answer.body());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
