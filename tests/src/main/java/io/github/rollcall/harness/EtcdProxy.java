package io.github.rollcall.harness;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A proxy before etcd's JSON gateway that breaks connections and answers, by path ({@code kv/txn}): before a request
 * arrives, or after it was done. What is told of one path happens in that order, to one request each. Watches are passed
 * on as they come. Thread-safe.
 */
public final class EtcdProxy implements AutoCloseable {
    /** @param length of what is promised; 0 when that is not said @param rest what is yet to come, or null */
    private record Answer(int status, byte[] body, long length, InputStream rest) {}

    private interface Request {
        Answer done() throws IOException, InterruptedException;
    }

    /** What happens to a request; null is to break off. */
    private interface Fault {
        Answer on(Request request) throws IOException, InterruptedException;
    }

    private static final String WATCH = "watch";
    private static final String AUTHORIZATION = "Authorization";

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final HttpClient http = HttpClient.newHttpClient();
    private volatile URI etcd;
    private final Map<String, Queue<Fault>> faults = new ConcurrentHashMap<>();
    private final Map<String, AtomicInteger> requests = new ConcurrentHashMap<>();
    private final Set<String> silent = ConcurrentHashMap.newKeySet();
    private final Set<InputStream> watches = ConcurrentHashMap.newKeySet();
    private final CountDownLatch held = new CountDownLatch(1);
    private volatile boolean mute;

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
        return fault(path, Request::done);
    }

    /** The next request to a path is lost. */
    public EtcdProxy loseRequest(String path) {
        return fault(path, request -> null);
    }

    /** The next request to a path is done, and its answer is lost. */
    public EtcdProxy loseAnswer(String path) {
        return fault(path, request -> {
            request.done();
            return null;
        });
    }

    /** The next request to a path is done, and its answer ends in the middle. */
    public EtcdProxy cutAnswer(String path) {
        return fault(path, request -> {
            Answer whole = request.done();
            byte[] half = Arrays.copyOf(whole.body, whole.body.length / 2);
            return new Answer(whole.status, half, whole.length, null);
        });
    }

    /** The next request to a path is answered with that, by somebody who is no etcd. */
    public EtcdProxy garble(String path, String text) {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        return fault(path, request -> new Answer(200, body, body.length, null));
    }

    /** The next request to a path is done, and before its answer is passed back this happens. */
    public EtcdProxy meanwhile(String path, Runnable what) {
        return fault(path, request -> {
            Answer answer = request.done();
            what.run();
            return answer;
        });
    }

    /** What comes after that which was told of a path is done, and its answers never come. */
    public EtcdProxy holdAllAnswers(String path) {
        silent.add(path);
        return this;
    }

    /** Nothing more is passed back of watches, which look alive. */
    public EtcdProxy muteWatches() {
        mute = true;
        return this;
    }

    /** Ends the watches that there are. */
    public EtcdProxy endWatches() throws IOException {
        for (InputStream one : watches) {
            one.close();
        }
        return this;
    }

    /** Passes everything on to another etcd from now on; watches that there are remain. */
    public EtcdProxy turnTo(EtcdServer other) {
        etcd = other.url();
        return this;
    }

    /** Passes everything on again that is yet to come. */
    public EtcdProxy heal() {
        mute = false;
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
            Fault afterwards = silent.contains(path) ? this::hold : Request::done;
            fault = told == null || told.isEmpty() ? afterwards : told.remove();
        }
        try (exchange) {
            byte[] body = exchange.getRequestBody().readAllBytes();
            String token = exchange.getRequestHeaders().getFirst(AUTHORIZATION);
            Answer answer = fault.on(() -> passOn(path, token, body));
            if (answer != null) {
                exchange.sendResponseHeaders(answer.status, answer.length);
                exchange.getResponseBody().write(answer.body);
                if (answer.rest != null) {
                    copy(answer.rest, exchange.getResponseBody());
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private Answer passOn(String path, String token, byte[] body) throws IOException, InterruptedException {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(etcd.resolve("/v3/" + path)).POST(HttpRequest.BodyPublishers.ofByteArray(body));
        if (token != null) {
            request.header(AUTHORIZATION, token);
        }
        HttpResponse<InputStream> answer = http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        requests.computeIfAbsent(path, p -> new AtomicInteger()).incrementAndGet();
        if (path.equals(WATCH)) {
            return new Answer(answer.statusCode(), new byte[0], 0, answer.body());
        }
        byte[] whole = answer.body().readAllBytes();
        return new Answer(answer.statusCode(), whole, whole.length, null);
    }

    private Answer hold(Request request) throws IOException, InterruptedException {
        request.done();
        held.await();
        return null;
    }

    private void copy(InputStream watch, OutputStream to) throws IOException {
        watches.add(watch);
        try (watch) {
            byte[] some = new byte[8192];
            for (int n = watch.read(some); n >= 0; n = watch.read(some)) {
                if (!mute) {
                    to.write(some, 0, n);
                    to.flush();
                }
            }
        } finally {
            watches.remove(watch);
        }
    }
}
