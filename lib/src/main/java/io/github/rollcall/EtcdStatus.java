package io.github.rollcall;

/** etcd's errors, by gRPC's status codes, told apart as the exit codes of {@link Exit} do: for both of its clients. */
final class EtcdStatus {
    static final int INVALID_ARGUMENT = 3;
    static final int NOT_FOUND = 5;
    static final int ALREADY_EXISTS = 6;
    static final int PERMISSION_DENIED = 7;
    static final int OUT_OF_RANGE = 11;
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
            case NOT_FOUND, ALREADY_EXISTS, OUT_OF_RANGE, UNIMPLEMENTED -> Exit.CONFIG;
            default -> Exit.TEMPORARY;
        };
    }
}
