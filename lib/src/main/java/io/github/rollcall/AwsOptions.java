package io.github.rollcall;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.time.Duration;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.awscore.client.builder.AwsSyncClientBuilder;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.SdkSystemSetting;
import software.amazon.awssdk.core.exception.AbortedException;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.regions.providers.AwsProfileRegionProvider;
import software.amazon.awssdk.regions.providers.AwsRegionProviderChain;
import software.amazon.awssdk.regions.providers.SystemSettingsRegionProvider;
import software.amazon.awssdk.retries.api.RetryStrategy;

/**
 * How AWS is reached: the SDK's own chains for credentials and region, and the options that bound a call. Part of a
 * command by {@code @Mixin}, or by itself with the defaults; thread-safe once the options are parsed.
 */
public final class AwsOptions {
    private static final int MOST_RETRIES = 100;

    @SuppressWarnings("unused")
    private static volatile Object prepared;

    @Spec(Spec.Target.MIXEE)
    private CommandSpec spec;

    @Option(
            names = "--region",
            paramLabel = "REGION",
            description = "AWS region (default: the SDK's chain, then the metadata service).")
    private String region;

    private URI endpoint;

    private Duration timeout = Duration.ofSeconds(5);
    private int retries = 2;
    private volatile BooleanSupplier mayChange = () -> true;
    private final ConcurrentMap<String, LongAdder> calls = new ConcurrentHashMap<>();

    @Option(
            names = "--aws-timeout",
            paramLabel = "DURATION",
            description = "How long one attempt of an AWS call may take (default: ${DEFAULT-VALUE}).",
            defaultValue = "5s")
    void setTimeout(Duration time) {
        if (time.isZero()) {
            throw new ParameterException(spec.commandLine(), "--aws-timeout is 0: expected more");
        }
        timeout = time;
    }

    @Option(
            names = "--aws-retries",
            paramLabel = "N",
            description = "How often a failed AWS call is tried again at once (default: ${DEFAULT-VALUE}).",
            defaultValue = "2")
    void setRetries(int times) {
        if (times < 0 || times > MOST_RETRIES) {
            throw new ParameterException(
                    spec.commandLine(), "--aws-retries is " + times + ": expected 0 to " + MOST_RETRIES);
        }
        retries = times;
    }

    @Option(
            names = "--endpoint-url",
            paramLabel = "URL",
            description = "Send AWS calls here (default: AWS_ENDPOINT_URL, else the region's endpoints).")
    void setEndpoint(String url) {
        try {
            endpoint = url("--endpoint-url", url);
        } catch (Failure f) {
            throw new ParameterException(spec.commandLine(), f.getMessage());
        }
    }

    private static URI endpointVariable() {
        String variable = System.getenv("AWS_ENDPOINT_URL");
        return variable == null || variable.isBlank() ? null : url("AWS_ENDPOINT_URL", variable);
    }

    private static URI url(String source, String text) {
        try {
            URI url = URI.create(text);
            if (url.getHost() != null && String.valueOf(url.getScheme()).matches("https?")) {
                return url;
            }
        } catch (IllegalArgumentException e) {
            // Said below, for both ways of being no URL.
        }
        throw new Failure(Exit.CONFIG, source + " is '" + text + "': expected an http or https URL");
    }

    /**
     * A client of one service, made with these options.
     *
     * @throws Failure when there is no region to be found, configuration, or unavailable where the metadata service
     *     that should have said it is away; and configuration when variables or profiles make no sense
     */
    public <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C client(B builder) {
        return client(builder, region(), this::retryStrategy);
    }

    /** As {@link #client(AwsClientBuilder)} for a region of its own, called at this pace. */
    public <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C client(
            B builder, String region, Pace pace) {
        return client(builder, region, () -> pace.paced(retryStrategy()));
    }

    private <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C client(
            B builder, String where, Supplier<RetryStrategy> retryStrategy) {
        // IMDSv1 answers whoever can make this host send a GET; the SDK would fall back to it for credentials.
        System.setProperty(SdkSystemSetting.AWS_EC2_METADATA_V1_DISABLED.property(), "true");
        if (endpoint == null) {
            endpoint = endpointVariable();
        }
        return AwsCall.of(() -> {
            builder.region(Region.of(where))
                    .credentialsProvider(credentials())
                    .overrideConfiguration(c -> c.apiCallAttemptTimeout(timeout)
                            .retryStrategy(retryStrategy.get())
                            .addExecutionInterceptor(new Attempts()));
            return connected(builder, endpoint, timeout);
        });
    }

    private static <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> C connected(
            B builder, URI endpoint, Duration timeout) {
        if (endpoint != null) {
            builder.endpointOverride(endpoint);
        }
        if (endpoint != null && "http".equals(endpoint.getScheme())) {
            // The SDK's own way sets up TLS before it knows of any URL.
            return builder.httpClient(UrlConnectionHttpClient.create(url -> plainConnection(url, timeout)))
                    .build();
        }
        return builder.httpClientBuilder(UrlConnectionHttpClient.builder()
                        .connectionTimeout(timeout)
                        .socketTimeout(timeout))
                .build();
    }

    private static HttpURLConnection plainConnection(URI url, Duration timeout) {
        try {
            HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection();
            connection.setConnectTimeout((int) timeout.toMillis());
            connection.setReadTimeout((int) timeout.toMillis());
            return connection;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Builds a client on a thread of its own, and forgets it: what the first one costs, above all TLS with the JDK's
     * trust store and the SDK's list of all services, is done while the command line is read. For the first line of a
     * tool that is certain to ask AWS; without effect but on the time.
     */
    public static <B extends AwsClientBuilder<B, C> & AwsSyncClientBuilder<B, C>, C> void prepare(Supplier<B> builder) {
        Thread thread = new Thread(
                () -> {
                    try {
                        // The JDK keeps the trust store that it has read only as long as somebody holds it.
                        prepared = connected(
                                builder.get().region(Region.US_EAST_1), endpointVariable(), Duration.ofSeconds(1));
                    } catch (RuntimeException e) {
                        // The tool's own client meets it, too, where it can be said.
                        Log.of("aws").trace(e);
                    }
                },
                "aws");
        thread.setDaemon(true);
        thread.start();
    }

    /** How many attempts of AWS calls there were so far, by {@code OPERATION STATUS}; live, for metrics. */
    public ConcurrentMap<String, LongAdder> calls() {
        return calls;
    }

    /**
     * The region, as {@code --region}, the SDK's chain, {@code AWS_DEFAULT_REGION} and the metadata service say.
     *
     * @throws Failure when there is none to be found
     */
    public String region() {
        if (region != null) {
            return region;
        }
        try {
            return new AwsRegionProviderChain(new SystemSettingsRegionProvider(), new AwsProfileRegionProvider())
                    .getRegion()
                    .id();
        } catch (SdkClientException notConfigured) {
            String boto = System.getenv("AWS_DEFAULT_REGION");
            String found =
                    boto != null && !boto.isBlank() ? boto : Instance.here().region();
            if (found == null) {
                throw new Failure(Exit.CONFIG, "no region: give --region or AWS_REGION", notConfigured);
            }
            return found;
        }
    }

    private RetryStrategy retryStrategy() {
        return AwsRetryStrategy.standardRetryStrategy().toBuilder()
                .maxAttempts(retries + 1)
                .retryOnException(e -> e instanceof AwsServiceException s && AwsCall.isThrottling(s))
                .build();
    }

    /** The originals' variables are honoured where the standard ones are absent. */
    private static AwsCredentialsProvider credentials() {
        String id = System.getenv("AWS_ACCESS_KEY");
        String secret = System.getenv("AWS_SECRET_KEY");
        boolean legacy = id != null
                && secret != null
                && !id.isBlank()
                && !secret.isBlank()
                && SdkSystemSetting.AWS_ACCESS_KEY_ID.getStringValue().isEmpty();
        return legacy
                ? StaticCredentialsProvider.create(AwsBasicCredentials.create(id, secret))
                : DefaultCredentialsProvider.builder().build();
    }

    /**
     * Lets calls that change something be made only while this holds. It is asked before every attempt, for between two of them
     * a process may have been paused for long.
     */
    public void changeOnlyWhile(BooleanSupplier condition) {
        mayChange = condition;
    }

    private final class Attempts implements ExecutionInterceptor {
        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            String operation = attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME);
            if (!operation.startsWith("Describe") && !operation.startsWith("List") && !mayChange.getAsBoolean()) {
                throw AbortedException.create("it may not change anything any more");
            }
        }

        @Override
        public void afterTransmission(Context.AfterTransmission context, ExecutionAttributes attributes) {
            String operation = attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME);
            int status = context.httpResponse().statusCode();
            calls.computeIfAbsent(operation + " " + status, key -> new LongAdder())
                    .increment();
            Log.of("aws").debug("called", "operation", operation, "status", status);
        }
    }
}
