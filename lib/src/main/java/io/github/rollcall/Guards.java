package io.github.rollcall;

/**
 * What a removal may not go past. A change that does is held back: its removals wait as a whole, for which of them to
 * make is not for a program to say; what it adds is added.
 *
 * @param minMembers how many members a load balancer is left with at least
 * @param maxRemovals how many may go at once, or as many percent of those there are; null for any number
 * @param reset why removals wait in every load balancer, or null
 */
public record Guards(int minMembers, Limit maxRemovals, String reset) {
    /** None. */
    public static final Guards NONE = new Guards(0, null, null);

    /** A number, or a percentage. */
    public record Limit(int n, boolean percent) {
        /** Reads {@code 3} or {@code 20%}. @throws IllegalArgumentException with a sentence that says what was expected */
        public static Limit parse(String text) {
            boolean percent = text.endsWith("%");
            String digits = percent ? text.substring(0, text.length() - 1) : text;
            if (!digits.matches("\\d{1,6}") || percent && Integer.parseInt(digits) > 100) {
                throw new IllegalArgumentException("'" + text + "' is not a limit: expected N or P%, such as 3 or 20%");
            }
            return new Limit(Integer.parseInt(digits), percent);
        }

        boolean isPassedBy(int removals, int members) {
            return percent ? removals * 100L > (long) n * members : removals > n;
        }

        @Override
        public String toString() {
            return n + (percent ? "%" : "");
        }
    }

    /** Why removals have to wait, or null when they need not. @param after how many members there would be then */
    String objection(int removals, int before, int after) {
        if (removals == 0) {
            return null;
        }
        if (reset != null) {
            return reset;
        }
        if (after < minMembers) {
            return "would leave " + after + " of at least " + minMembers + " (--min-members)";
        }
        if (maxRemovals != null && maxRemovals.isPassedBy(removals, before)) {
            return "would remove " + removals + " of " + before + " at once (--max-removals " + maxRemovals + ")";
        }
        return null;
    }
}
