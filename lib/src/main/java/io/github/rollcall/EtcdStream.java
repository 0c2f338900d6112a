package io.github.rollcall;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.MalformedJsonException;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** An answer of etcd's JSON gateway that goes on, one object after another; see {@link EtcdGateway#stream}. Not thread-safe. */
public final class EtcdStream implements AutoCloseable {
    private final URI endpoint;
    private final HttpURLConnection http;
    private final JsonReader reader;

    EtcdStream(URI endpoint, HttpURLConnection http, InputStream body) {
        this.endpoint = endpoint;
        this.http = http;
        reader = new JsonReader(new InputStreamReader(body, StandardCharsets.UTF_8));
        // Several documents, one after another.
        reader.setStrictness(Strictness.LENIENT);
    }

    /**
     * Waits for the next object.
     *
     * @return null when there was silence for as long as was agreed; then the stream is of no use any more
     * @throws Failure unavailable when it broke off or ended, refused or temporary when etcd says so
     */
    public JsonObject next() {
        try {
            if (reader.peek() == JsonToken.END_DOCUMENT) {
                throw new Failure(Exit.UNAVAILABLE, "etcd at " + endpoint + " broke off: the answer has ended");
            }
            JsonObject object = JsonParser.parseReader(reader).getAsJsonObject();
            if (object.get("error") instanceof JsonObject error) {
                throw said(error);
            }
            if (object.get("result") instanceof JsonObject result && result.has("header")) {
                return result;
            }
            throw new IllegalStateException("neither a result nor an error");
        } catch (SocketTimeoutException silent) {
            return null;
        } catch (MalformedJsonException | IllegalStateException e) {
            throw new Failure(Exit.UNAVAILABLE, "what answers at " + endpoint + " is not etcd's v3 API", e);
        } catch (IOException e) {
            throw brokenOff(e);
        } catch (JsonParseException e) {
            if (e.getCause() instanceof SocketTimeoutException) {
                return null;
            }
            throw brokenOff(e.getCause() instanceof EOFException || e.getCause() == null ? e : e.getCause());
        }
    }

    private Failure brokenOff(Throwable e) {
        return new Failure(Exit.UNAVAILABLE, "etcd at " + endpoint + " broke off: " + e.getMessage(), e);
    }

    private Failure said(JsonObject error) {
        String words = EtcdStatus.words(error, error.toString());
        return new Failure(EtcdStatus.exit(EtcdStatus.code(error), words), "etcd at " + endpoint + " says: " + words);
    }

    /** Whom it is an answer of. */
    public URI endpoint() {
        return endpoint;
    }

    @Override
    public void close() {
        http.disconnect();
    }
}
