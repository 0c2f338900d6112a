package io.github.rollcall;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.util.stream.Stream;

/** etcd's errors, by gRPC's status codes, told apart as the exit codes of {@link Exit} do: for both of its clients. */
final class EtcdStatus {
    static final int INVALID_ARGUMENT = 3;
    static final int NOT_FOUND = 5;
    static final int ALREADY_EXISTS = 6;
    static final int PERMISSION_DENIED = 7;
    static final int UNIMPLEMENTED = 12;
    static final int UNAVAILABLE = 14;
    static final int UNAUTHENTICATED = 16;

    private EtcdStatus() {}

    /** The exit code. @param words etcd's own */
    static int exit(int code, String words) {
        return switch (code) {
            case PERMISSION_DENIED, UNAUTHENTICATED -> Exit.REFUSED;
            case UNAVAILABLE -> Exit.UNAVAILABLE;
            // Where authentication is on, a request without a user, or with a wrong password, is an invalid argument.
            case INVALID_ARGUMENT ->
                words.contains("user name is empty") || words.contains("authentication failed")
                        ? Exit.REFUSED
                        : Exit.CONFIG;
            case NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED -> Exit.CONFIG;
            // Out of range as well: a revision that was compacted in the midst of reading, or is not there any more.
            default -> Exit.TEMPORARY;
        };
    }

    /** The code in an error of the JSON gateway, or -1. In a stream it had another name before etcd 3.6. */
    static int code(JsonObject error) {
        return Stream.of("grpc_code", "code")
                .map(error::get)
                .filter(code -> code instanceof JsonPrimitive number && number.isNumber())
                .mapToInt(JsonElement::getAsInt)
                .findFirst()
                .orElse(-1);
    }

    /** etcd's words in an error of the JSON gateway: before 3.6 in both places, since then in one. */
    static String words(JsonObject error, String otherwise) {
        return Stream.of("error", "message")
                .map(error::get)
                .filter(JsonPrimitive.class::isInstance)
                .map(JsonElement::getAsString)
                .findFirst()
                .orElse(otherwise);
    }
}
