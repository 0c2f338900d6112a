package io.github.rollcall.harness;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;

/**
 * Classic load balancers in memory, for benchmarks: where a call takes moto milliseconds, and the description of a
 * thousand load balancers takes it seconds, moto would be what is measured. It takes any instance, and any number of
 * them. Thread-safe.
 */
public final class StandInElb implements AutoCloseable {
    static {
        // Else the JDK's server holds the last bytes of an answer back.
        System.setProperty("sun.net.httpserver.nodelay", "true");
    }

    private static final String NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/";

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final NavigableMap<String, Set<String>> balancers = new TreeMap<>();
    private final AtomicInteger calls = new AtomicInteger();
    private volatile long delayMillis;

    private StandInElb() {
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        server.setExecutor(threads);
        server.createContext("/", this::answer);
        server.start();
    }

    /** One with no load balancer in it. */
    public static StandInElb start() {
        return new StandInElb();
    }

    /** Where it listens; for {@code AWS_ENDPOINT_URL}. */
    public URI url() {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    /** Makes load balancers of these names with these members. */
    public synchronized void make(List<String> names, Set<String> members) {
        names.forEach(name -> balancers.put(name, new TreeSet<>(members)));
    }

    /** Adds so much time to every call. */
    public void delay(Duration time) {
        delayMillis = time.toMillis();
    }

    /** How many calls have come in so far. */
    public int calls() {
        return calls.get();
    }

    /** How many members a load balancer has. */
    public synchronized int size(String name) {
        return balancers.get(name).size();
    }

    /** How many members all of them have. */
    public synchronized int size() {
        return balancers.values().stream().mapToInt(Set::size).sum();
    }

    /** Whether a load balancer has a member. */
    public synchronized boolean has(String name, String member) {
        return balancers.get(name).contains(member);
    }

    /** Returns as soon as something is so. @throws IllegalStateException when it has not been for ten minutes */
    public synchronized void await(BooleanSupplier holds) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MINUTES.toNanos(10);
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("it does not come to that: " + balancers.keySet());
            }
            wait(1_000);
        }
    }

    private void answer(HttpExchange exchange) throws IOException {
        try (exchange) {
            Map<String, String> form =
                    form(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            calls.incrementAndGet();
            Thread.sleep(delayMillis);
            String action = form.get("Action");
            byte[] body = ("<" + action + "Response xmlns=\"" + NAMESPACE + "\"><" + action + "Result>"
                            + result(action, form) + "</" + action + "Result></" + action + "Response>")
                    .getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private synchronized String result(String action, Map<String, String> form) {
        String name = form.get("LoadBalancerName");
        switch (action) {
            case "RegisterInstancesWithLoadBalancer" -> balancers.get(name).addAll(values(form, "Instances.member."));
            case "DeregisterInstancesFromLoadBalancer" ->
                balancers.get(name).removeAll(values(form, "Instances.member."));
            case "DescribeLoadBalancers" -> {
                return descriptions(form);
            }
            default -> throw new IllegalArgumentException(action);
        }
        notifyAll();
        return "";
    }

    private String descriptions(Map<String, String> form) {
        List<String> names = values(form, "LoadBalancerNames.member.");
        int page = Integer.parseInt(form.getOrDefault("PageSize", "400"));
        NavigableMap<String, Set<String>> rest = balancers.tailMap(form.getOrDefault("Marker", ""), false);
        StringBuilder xml = new StringBuilder("<LoadBalancerDescriptions>");
        String last = null;
        int count = 0;
        for (String name : names.isEmpty() ? rest.keySet() : names) {
            if (++count > page) {
                break;
            }
            last = name;
            xml.append("<member><LoadBalancerName>").append(name).append("</LoadBalancerName><Instances>");
            balancers
                    .get(name)
                    .forEach(id -> xml.append("<member><InstanceId>").append(id).append("</InstanceId></member>"));
            xml.append("</Instances></member>");
        }
        xml.append("</LoadBalancerDescriptions>");
        return count > page ? xml + "<NextMarker>" + last + "</NextMarker>" : xml.toString();
    }

    private static List<String> values(Map<String, String> form, String prefix) {
        List<String> values = new ArrayList<>();
        form.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                values.add(value);
            }
        });
        return values;
    }

    private static Map<String, String> form(String body) {
        Map<String, String> form = new TreeMap<>();
        for (String field : body.split("&")) {
            String[] both = field.split("=", 2);
            form.put(
                    URLDecoder.decode(both[0], StandardCharsets.UTF_8),
                    URLDecoder.decode(both[1], StandardCharsets.UTF_8));
        }
        return form;
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }
}
