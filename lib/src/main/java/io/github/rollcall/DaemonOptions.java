package io.github.rollcall;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * What a daemon shows of itself: {@code /metrics} for Prometheus, {@code /healthz} and {@code /readyz}, and systemd's
 * watchdog. Part of a command by {@code @Mixin}.
 */
public final class DaemonOptions {
    private static final Pattern HOST_PORT = Pattern.compile("(?:\\[([^\\]]+)\\]|([^:\\[\\]]*)):(\\d{1,5})");

    @Spec(Spec.Target.MIXEE)
    private CommandSpec spec;

    private InetSocketAddress address;

    @Option(
            names = "--http",
            paramLabel = "HOST:PORT",
            description = "Serve /metrics (Prometheus), /healthz and /readyz here.")
    void setHttp(String hostPort) {
        Matcher m = HOST_PORT.matcher(hostPort);
        if (!m.matches() || Integer.parseInt(m.group(3)) > 65_535) {
            throw new ParameterException(
                    spec.commandLine(), "--http is '" + hostPort + "': expected HOST:PORT, such as 127.0.0.1:9102");
        }
        String host = m.group(1) != null ? m.group(1) : m.group(2);
        int port = Integer.parseInt(m.group(3));
        address = host.isEmpty() ? new InetSocketAddress(port) : new InetSocketAddress(host, port);
    }

    /**
     * Starts serving, if {@code --http} was given, and feeding systemd's watchdog, if systemd asks for that; both go on,
     * on threads that keep no process alive.
     *
     * @param notReady null when the tool does what it is for, else why not
     * @param metrics registers the tool's metrics; called only where they are served
     * @throws Failure configuration when the address cannot be listened on
     */
    public void start(Supplier<String> notReady, Consumer<PrometheusRegistry> metrics) {
        Systemd.watchdogInterval().ifPresent(every -> Executors.newSingleThreadScheduledExecutor(daemonThread())
                .scheduleAtFixedRate(Systemd::alive, 0, every.toMillis(), java.util.concurrent.TimeUnit.MILLISECONDS));
        if (address != null) {
            serve(notReady, metrics);
        }
    }

    private void serve(Supplier<String> notReady, Consumer<PrometheusRegistry> metrics) {
        PrometheusRegistry registry = new PrometheusRegistry();
        metrics.accept(registry);
        try {
            // A client that connects and says nothing is not to hold a thread for good. Seconds; read at the first use.
            System.setProperty("sun.net.httpserver.maxReqTime", "10");
            HttpServer server = HttpServer.create(address, 0);
            server.setExecutor(Executors.newCachedThreadPool(daemonThread()));
            server.createContext(
                    "/metrics", x -> answer(x, 200, PrometheusTextFormatWriter.CONTENT_TYPE, text(registry)));
            server.createContext("/healthz", x -> answer(x, 200, "text/plain", "ok\n"));
            server.createContext("/readyz", x -> {
                String why = notReady.get();
                answer(x, why == null ? 200 : 503, "text/plain", (why == null ? "ok" : why) + "\n");
            });
            server.start();
            Log.of("http").info("listening", "address", server.getAddress());
        } catch (IOException | IllegalArgumentException e) {
            throw new Failure(Exit.CONFIG, "cannot listen on --http " + address + ": " + e.getMessage(), e);
        }
    }

    private static String text(PrometheusRegistry registry) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        PrometheusTextFormatWriter.create().write(out, registry.scrape());
        return out.toString(StandardCharsets.UTF_8);
    }

    private static void answer(HttpExchange exchange, int status, String type, String text) throws IOException {
        try (exchange) {
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", type);
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
        }
    }

    private static java.util.concurrent.ThreadFactory daemonThread() {
        return task -> {
            Thread thread = new Thread(task, "rollcall-daemon");
            thread.setDaemon(true);
            return thread;
        };
    }
}
