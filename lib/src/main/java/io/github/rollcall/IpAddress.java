package io.github.rollcall;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Comparator;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/** Addresses in one form each, so that they can be compared as text. Nothing is ever looked up. */
public final class IpAddress {
    private static final Pattern V4 = Pattern.compile("(0|[1-9]\\d{0,2})(\\.(0|[1-9]\\d{0,2})){3}");
    private static final Pattern V6 = Pattern.compile("[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");
    private static final Pattern ZEROS = Pattern.compile("(^|:)0(:0)+(:|$)");

    private IpAddress() {}

    /**
     * The address as RFC 5952 writes it: lower case, the first longest run of zeros as {@code ::}.
     *
     * @return null when it is no address
     */
    public static String canonical(String text) {
        boolean six = V6.matcher(text).matches();
        if (!six && !V4.matcher(text).matches()) {
            return null;
        }
        try {
            byte[] bytes = InetAddress.getByName(text).getAddress();
            return six == (bytes.length == 16) ? written(bytes) : null;
        } catch (UnknownHostException e) {
            return null;
        }
    }

    private static String written(byte[] bytes) {
        StringBuilder out = new StringBuilder();
        if (bytes.length == 4) {
            for (byte b : bytes) {
                out.append(out.isEmpty() ? "" : ".").append(b & 0xff);
            }
            return out.toString();
        }
        for (int i = 0; i < bytes.length; i += 2) {
            out.append(out.isEmpty() ? "" : ":")
                    .append(Integer.toHexString((bytes[i] & 0xff) << 8 | bytes[i + 1] & 0xff));
        }
        return ZEROS.matcher(out)
                .results()
                .max(Comparator.comparingInt((MatchResult run) -> zeros(run.group()))
                        .thenComparing(MatchResult::start, Comparator.reverseOrder()))
                .map(run -> out.substring(0, run.start()) + "::" + out.substring(run.end()))
                .orElse(out.toString());
    }

    private static int zeros(String run) {
        return run.replace(":", "").length();
    }
}
