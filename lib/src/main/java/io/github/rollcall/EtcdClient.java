package io.github.rollcall;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.etcd.jetcd.common.exception.EtcdException;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.netty.handler.ssl.SslContextBuilder;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * etcd for a tool that stays: jetcd, with a deadline for each call, and with its errors told apart as the exit codes of
 * {@link Exit} do. {@link EtcdGateway} is for tools that ask and end. Thread-safe.
 *
 * <p>A dead connection is noticed within 15 seconds also where nothing is asked, by pings. A token that has expired, which etcd
 * calls invalid, or on a watch "permission denied", is renewed by jetcd; so is one that a restarted etcd does not know.
 *
 * <p>gRPC waits for up to two minutes between its attempts to connect. Where nobody has answered for five seconds the
 * connections are therefore made anew, at most every five seconds, by a new jetcd client: {@link #jetcd()} is to be
 * asked for each time that something is begun. Watches and elections of the one before have ended then. Certificates are
 * read again for that; where they cannot be read, those of before stay.
 *
 * <p>Of jetcd's own {@code Lease.keepAlive} no use is to be made: it ends silently at times, and needs jars that are left
 * out. {@link EtcdLease} keeps leases alive.
 */
public final class EtcdClient implements AutoCloseable {
    private static final Log LOG = Log.of("etcd");

    /** etcd refuses pings that come more often than every five seconds. */
    private static final Duration PING_EVERY = Duration.ofSeconds(10);

    private static final Duration PING_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration RECONNECT_AFTER = Duration.ofSeconds(5);

    private final List<URI> endpoints;
    private final Path trust;
    private final Path certificate;
    private final Path key;
    private final EtcdOptions.Login login;
    private final Duration timeout;
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "etcd");
        thread.setDaemon(true);
        return thread;
    });

    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "etcd-timer");
        thread.setDaemon(true);
        return thread;
    });

    private volatile Client client;
    private volatile long answered = System.nanoTime();
    /** Whether it has been said that etcd is away. */
    private volatile boolean away;

    private boolean closed;

    /** Whether etcd has said that its authentication is off: then it refuses whoever gives a user. */
    private boolean withoutUser;

    private long made;

    /** Whether it has been said that no new client can be made. */
    private boolean stays;

    EtcdClient(List<URI> endpoints, Path trust, Path certificate, Path key, EtcdOptions.Login login, Duration timeout) {
        this.endpoints = endpoints;
        this.trust = trust;
        this.certificate = certificate;
        this.key = key;
        this.login = login;
        this.timeout = timeout;
        this.client = newClient(false);
    }

    /** The jetcd client of now; calls that are made with it directly are to be given to {@link #failure} if they fail. */
    public Client jetcd() {
        return client;
    }

    /**
     * Asks and waits for the answer: {@code etcd.ask(c -> c.getKVClient().get(key))}.
     *
     * @throws Failure unavailable when etcd cannot be reached or does not answer in time, temporary when it cannot do it
     *     now, refused by its auth, configuration where it takes it for a mistake
     */
    public <T> T ask(Function<Client, CompletableFuture<T>> question) {
        try {
            return start(question).get();
        } catch (ExecutionException e) {
            throw failure(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new Failure(Exit.TEMPORARY, "given up: interrupted while etcd was asked", e);
        }
    }

    /** Asks, and returns at once; what comes back fails with nothing but a {@link Failure}, as {@link #ask}. */
    public <T> CompletableFuture<T> start(Function<Client, CompletableFuture<T>> question) {
        CompletableFuture<T> answer = new CompletableFuture<>();
        start(question, answer, true);
        return answer;
    }

    private <T> void start(
            Function<Client, CompletableFuture<T>> question, CompletableFuture<T> answer, boolean mayAskAgain) {
        CompletableFuture<T> call;
        try {
            call = question.apply(client);
        } catch (RuntimeException e) {
            call = CompletableFuture.failedFuture(e);
        }
        // The call has a deadline of its own, except for some of jetcd's that are streams underneath.
        call.orTimeout(timeout.toMillis() + 500, TimeUnit.MILLISECONDS).whenComplete((value, problem) -> {
            if (problem == null) {
                answered = System.nanoTime();
                back();
                answer.complete(value);
                return;
            }
            Failure failure = failure(problem);
            boolean again = false;
            try {
                again = learn(failure) && mayAskAgain;
            } finally {
                // Whatever happens in between: who asked is not to wait for ever.
                if (!again) {
                    answer.completeExceptionally(failure);
                }
            }
            if (again) {
                start(question, answer, false);
            }
        });
    }

    /** What a failed call comes to: for watches and elections, whose errors come otherwise. */
    public Failure failure(Throwable problem) {
        Throwable cause = problem;
        while (cause.getCause() != null
                && (cause instanceof CompletionException || cause instanceof ExecutionException)) {
            cause = cause.getCause();
        }
        if (cause instanceof Failure failure) {
            return failure;
        }
        if (cause instanceof TimeoutException) {
            return new Failure(Exit.UNAVAILABLE, name() + " did not answer in " + Durations.format(timeout), cause);
        }
        if (cause instanceof CancellationException) {
            return new Failure(Exit.UNAVAILABLE, name() + " cannot be reached: the connection is made anew", cause);
        }
        Status status = status(cause);
        if (status == null) {
            return new Failure(Exit.SOFTWARE, "a defect in asking etcd: " + cause, cause);
        }
        String words = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        boolean said = words.startsWith("etcdserver: ") || words.startsWith("auth: ");
        return switch (status.getCode()) {
            case DEADLINE_EXCEEDED ->
                new Failure(Exit.UNAVAILABLE, name() + " did not answer in " + Durations.format(timeout), cause);
            case UNAVAILABLE, CANCELLED, UNKNOWN, INTERNAL ->
                said
                        ? new Failure(
                                EtcdStatus.exit(status.getCode().value(), words), name() + " says: " + words, cause)
                        : new Failure(Exit.UNAVAILABLE, name() + " cannot be reached: " + root(status, words), cause);
            default -> new Failure(EtcdStatus.exit(status.getCode().value(), words), name() + " says: " + words, cause);
        };
    }

    /** Whether it was etcd saying that there is no such lease. */
    public static boolean isLeaseNotFound(Failure failure) {
        return failure.getMessage().endsWith("requested lease not found");
    }

    /**
     * Says that etcd is away, once, whoever finds out first: for those who try again and again. When it answers the next
     * time, that is said, too.
     */
    void away(Failure failure) {
        synchronized (timer) {
            if (!away) {
                away = true;
                LOG.warn(failure.getMessage() + "; trying again");
                return;
            }
        }
        LOG.debug("still away: " + failure.getMessage());
    }

    private void back() {
        if (away) {
            synchronized (timer) {
                if (away) {
                    away = false;
                    LOG.info("answers again");
                }
            }
        }
    }

    /** One thread for what has to be done later, by all leases of this client; nothing on it may block. */
    ScheduledExecutorService timer() {
        return timer;
    }

    /** A key or a value, in UTF-8. */
    public static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }

    /** How long a call may take. */
    public Duration timeout() {
        return timeout;
    }

    @Override
    public synchronized void close() {
        closed = true;
        client.close();
        threads.shutdownNow();
        timer.shutdownNow();
    }

    /** Makes the connections anew where that may help. Whether to ask again, for nothing has been done. */
    private synchronized boolean learn(Failure failure) {
        String words = failure.getMessage();
        if (login != null && words.endsWith(withoutUser ? "user name is empty" : "authentication is not enabled")) {
            return renew(!withoutUser);
        }
        if (failure.exit() == Exit.UNAVAILABLE && isLongAgo(answered) && isLongAgo(made)) {
            renew(withoutUser);
        }
        return false;
    }

    private static boolean isLongAgo(long nanoTime) {
        return System.nanoTime() - nanoTime > RECONNECT_AFTER.toNanos();
    }

    /** Whether there is a new client. Where none can be made, of files that are being replaced for one, the old one stays. */
    private boolean renew(boolean withoutUser) {
        if (closed) {
            return false;
        }
        Client old = client;
        try {
            client = newClient(withoutUser);
        } catch (RuntimeException e) {
            String words = e.getMessage() + "; going on with what was read before";
            if (stays) {
                LOG.debug(words);
            } else {
                LOG.warn(words);
            }
            stays = true;
            return false;
        }
        this.withoutUser = withoutUser;
        stays = false;
        // Not on this thread, which may be one that closing would wait for.
        threads.execute(old::close);
        return true;
    }

    private Client newClient(boolean withoutUser) {
        made = System.nanoTime();
        ClientBuilder builder = Client.builder()
                .endpoints(endpoints)
                .connectTimeout(timeout)
                .keepaliveTime(PING_EVERY)
                .keepaliveTimeout(PING_TIMEOUT)
                .keepaliveWithoutCalls(true)
                // Whoever asks decides whether to try again: what cannot be reached is said at once.
                .waitForReady(false)
                .retryMaxAttempts(1)
                .retryDelay(100)
                .retryMaxDelay(200)
                .interceptors(List.of(new Deadline(timeout)))
                .executorService(threads);
        if (login != null && !withoutUser) {
            builder.user(bytes(login.name())).password(bytes(login.password()));
        }
        try {
            if (endpoints.get(0).getScheme().equals("https")) {
                builder.sslContext(this::secure);
            }
            return builder.build();
        } catch (IOException e) {
            throw new Failure(Exit.CONFIG, "TLS cannot be set up: " + e.getMessage(), e);
        }
    }

    private void secure(SslContextBuilder ssl) {
        try {
            if (trust != null) {
                ssl.trustManager(Pem.trust(trust));
            }
            if (certificate != null) {
                ssl.keyManager(Pem.keys(certificate, key));
            }
        } catch (GeneralSecurityException | IOException e) {
            throw new Failure(Exit.CONFIG, "TLS cannot be set up: " + e.getMessage(), e);
        }
    }

    private String name() {
        return "etcd at " + endpoints.stream().map(URI::toString).collect(Collectors.joining(","));
    }

    /** The innermost status: a call that could not get its token has that of the authentication as its cause. */
    private static Status status(Throwable problem) {
        Status found = null;
        for (Throwable t = problem; t != null; t = t.getCause()) {
            if (t instanceof StatusRuntimeException e) {
                found = e.getStatus();
            } else if (t instanceof StatusException e) {
                found = e.getStatus();
            } else if (t instanceof EtcdException e && found == null) {
                found = Status.Code.valueOf(e.getErrorCode().name()).toStatus().withDescription(e.getMessage());
            }
        }
        return found;
    }

    private static String root(Status status, String words) {
        Throwable root = status.getCause();
        if (root == null) {
            return words;
        }
        while (root.getCause() != null) {
            root = root.getCause();
        }
        String message = root.getMessage() == null ? root.getClass().getSimpleName() : root.getMessage();
        return root instanceof java.net.UnknownHostException ? "unknown host " + message : message;
    }

    /** A question that is not answered is over after a while, on the wire as well. */
    private record Deadline(Duration time) implements ClientInterceptor {
        /** Who campaigns or locks waits until it is its turn. */
        private static final Set<String> PATIENT = Set.of("v3electionpb.Election/Campaign", "v3lockpb.Lock/Lock");

        @Override
        public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            boolean question = method.getType() == MethodDescriptor.MethodType.UNARY
                    && options.getDeadline() == null
                    && !PATIENT.contains(method.getFullMethodName());
            return next.newCall(
                    method, question ? options.withDeadlineAfter(time.toMillis(), TimeUnit.MILLISECONDS) : options);
        }
    }
}
