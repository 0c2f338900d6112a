package io.github.rollcall.harness;

import static com.github.tomakehurst.wiremock.client.WireMock.aResponse;
import static com.github.tomakehurst.wiremock.client.WireMock.any;
import static com.github.tomakehurst.wiremock.client.WireMock.anyUrl;
import static com.github.tomakehurst.wiremock.client.WireMock.containing;
import static com.github.tomakehurst.wiremock.client.WireMock.get;
import static com.github.tomakehurst.wiremock.client.WireMock.matching;
import static com.github.tomakehurst.wiremock.client.WireMock.post;
import static com.github.tomakehurst.wiremock.client.WireMock.urlPathMatching;
import static com.github.tomakehurst.wiremock.core.WireMockConfiguration.options;

import com.github.tomakehurst.wiremock.WireMockServer;
import com.github.tomakehurst.wiremock.client.MappingBuilder;
import com.github.tomakehurst.wiremock.client.ResponseDefinitionBuilder;
import com.github.tomakehurst.wiremock.http.Fault;
import com.github.tomakehurst.wiremock.matching.RequestPatternBuilder;
import com.github.tomakehurst.wiremock.stubbing.Scenario;
import com.github.tomakehurst.wiremock.verification.LoggedRequest;
import java.net.URI;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/**
 * A proxy before AWS that breaks things, by operation ({@code RegisterTargets}; {@code RegisterTargets@eu-west-1} for
 * those in one region, {@code RegisterTargets with REGEX} for those that have that in their body; {@link #ANY} for all): it throttles,
 * answers 5xx, delays, cuts, garbles, refuses or answers with something else, a number of times or {@link #ALWAYS}, and
 * passes everything else on. What is told of one operation happens in that order. It counts calls. Thread-safe.
 */
public final class AwsProxy implements AutoCloseable {
    /** Every operation. */
    public static final String ANY = "[A-Za-z]+";

    /** Of Route 53, whose operations are methods and paths. */
    private static final String RECORD_SETS = "/2013-04-01/hostedzone/[^/]+/rrset/?";

    /** Until further notice. */
    public static final int ALWAYS = Integer.MAX_VALUE;

    private final URI aws;
    private final WireMockServer server;
    private final Map<String, Integer> queued = new HashMap<>();

    private AwsProxy(URI aws) {
        this.aws = aws;
        server = new WireMockServer(options()
                .bindAddress("127.0.0.1")
                .dynamicPort()
                .containerThreads(40)
                .disableOptimizeXmlFactoriesLoading(true));
        server.start();
        heal();
    }

    /** A proxy before this AWS, which passes everything on. */
    public static AwsProxy before(Moto moto) {
        return new AwsProxy(moto.url());
    }

    /** Where it listens; for {@code AWS_ENDPOINT_URL}. */
    public URI url() {
        return URI.create(server.baseUrl());
    }

    /** Passes everything on again. */
    public synchronized void heal() {
        server.resetMappings();
        server.resetScenarios();
        queued.clear();
        server.stubFor(any(anyUrl()).atPriority(10).willReturn(aResponse().proxiedFrom(aws.toString())));
        // moto has no such filters, and no instance with other addresses than it can be asked for by id.
        server.stubFor(any(anyUrl())
                .atPriority(9)
                .withRequestBody(containing("network-interface."))
                .willReturn(aResponse().withBody("<DescribeInstancesResponse/>")));
    }

    /** HTTP 400 "Rate exceeded", as AWS throttles. */
    public AwsProxy throttle(String operation, int times) {
        return error(operation, times, 400, "Throttling", "Rate exceeded");
    }

    /** HTTP 403, as IAM refuses. */
    public AwsProxy refuse(String operation, int times) {
        return error(operation, times, 403, "AccessDenied", "User is not authorized to perform this action");
    }

    /** HTTP 503. */
    public AwsProxy unavailable(String operation, int times) {
        return error(operation, times, 503, "ServiceUnavailable", "Service is unavailable");
    }

    /** Any error that AWS answers with. */
    public AwsProxy error(String operation, int times, int status, String code, String message) {
        String error = "<Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error>";
        // EC2 has a level more; each client reads the form that it knows.
        String xml = "<ErrorResponse>" + error + "<Errors>" + error + "</Errors><RequestId>" + UUID.randomUUID()
                + "</RequestId></ErrorResponse>";
        return fault(operation, times, aResponse().withStatus(status).withBody(xml));
    }

    /** Passes the call on, and holds the answer back for a while. */
    public AwsProxy delay(String operation, int times, Duration time) {
        return fault(operation, times, aResponse().proxiedFrom(aws.toString()).withFixedDelay((int) time.toMillis()));
    }

    /** Breaks the connection in place of an answer. */
    public AwsProxy cut(String operation, int times) {
        return fault(operation, times, aResponse().withFault(Fault.CONNECTION_RESET_BY_PEER));
    }

    /** HTTP 200 with something that is not XML. */
    public AwsProxy garble(String operation, int times) {
        return fault(operation, times, aResponse().withStatus(200).withBody("\0\1<Half>an answ"));
    }

    /** Answers itself, with HTTP 200. @param xml the whole body */
    public AwsProxy answer(String operation, int times, String xml) {
        return fault(operation, times, aResponse().withStatus(200).withBody(xml));
    }

    /** The answer of {@code DescribeInstanceHealth} for one instance. */
    public static String instanceHealth(String id, String state, String reason, String description) {
        return """
                <DescribeInstanceHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/">
                <DescribeInstanceHealthResult><InstanceStates><member><InstanceId>%s</InstanceId><State>%s</State>
                <ReasonCode>%s</ReasonCode><Description>%s</Description></member></InstanceStates>
                </DescribeInstanceHealthResult></DescribeInstanceHealthResponse>
                """
                .formatted(id, state, reason, description);
    }

    /** The answer of {@code DescribeTargetHealth} for one target. */
    public static String targetHealth(String id, int port, String state, String reason, String description) {
        return """
                <DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
                <DescribeTargetHealthResult><TargetHealthDescriptions><member>
                <Target><Id>%s</Id><Port>%d</Port></Target>
                <TargetHealth><State>%s</State><Reason>%s</Reason><Description>%s</Description></TargetHealth>
                </member></TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>
                """
                .formatted(id, port, state, reason, description);
    }

    /** How many calls of an operation have come in so far. */
    public int calls(String operation) {
        return requests(operation).size();
    }

    /** The credential scopes of all calls so far: they begin with the access key. */
    public List<String> accessKeys() {
        return requests(ANY).stream()
                .map(r -> r.getHeader("Authorization").replaceFirst(".*Credential=([^/]+)/.*", "$1"))
                .distinct()
                .toList();
    }

    private List<LoggedRequest> requests(String operation) {
        return server.findAll(RequestPatternBuilder.like(on(operation).build().getRequest()));
    }

    @Override
    public void close() {
        server.stop();
    }

    private synchronized AwsProxy fault(String operation, int times, ResponseDefinitionBuilder response) {
        int told = queued.getOrDefault(operation, 0);
        int last = times == ALWAYS ? told : told + times - 1;
        for (int i = told; i <= last; i++) {
            server.stubFor(on(operation)
                    .inScenario(operation)
                    .whenScenarioStateIs(i == 0 ? Scenario.STARTED : "after " + i)
                    .willSetStateTo(times == ALWAYS ? (i == 0 ? Scenario.STARTED : "after " + i) : "after " + (i + 1))
                    .willReturn(response));
        }
        queued.put(operation, last + 1);
        return this;
    }

    private static MappingBuilder on(String which) {
        String[] withBody = which.split(" with ", 2);
        String[] inRegion = withBody[0].split("@", 2);
        String operation = inRegion[0];
        MappingBuilder request =
                switch (operation) {
                    case ANY -> any(anyUrl());
                    case "ListResourceRecordSets" -> get(urlPathMatching(RECORD_SETS));
                    case "ChangeResourceRecordSets" -> post(urlPathMatching(RECORD_SETS));
                    default -> any(anyUrl()).withRequestBody(matching("(?s)(.*&)?Action=" + operation + "(&.*)?"));
                };
        if (inRegion.length == 2) {
            request.withHeader("Authorization", containing("/" + inRegion[1] + "/"));
        }
        if (withBody.length == 2) {
            request.withRequestBody(matching("(?s).*?" + withBody[1] + ".*"));
        }
        return request.atPriority(1);
    }
}
