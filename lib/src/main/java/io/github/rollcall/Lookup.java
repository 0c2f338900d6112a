package io.github.rollcall;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Finds many named things by few calls: by their names, of which Elastic Load Balancing takes 20 a call, or by reading
 * all pages, of 400 each, whichever is fewer as far as is known. Thread-safe.
 *
 * @param <T> what AWS describes
 */
final class Lookup<T> {
    private static final int NAMES_PER_CALL = 20;

    private final Function<List<String>, List<T>> byNames;
    private final Supplier<List<List<T>>> pages;
    private final Function<T, String> nameOf;
    private volatile int pageCount = 1;

    /**
     * @param byNames one call, which fails when one of the names does not exist
     * @param pages all there are, a call a page
     */
    Lookup(Function<List<String>, List<T>> byNames, Supplier<List<List<T>>> pages, Function<T, String> nameOf) {
        this.byNames = byNames;
        this.pages = pages;
        this.nameOf = nameOf;
    }

    /** Those of these names that exist. @throws Failure when AWS could not be asked */
    Map<String, T> find(Set<String> names) {
        List<List<String>> calls = Batches.cut(List.copyOf(new TreeSet<>(names)), NAMES_PER_CALL);
        Map<String, T> found = new HashMap<>();
        if (calls.size() <= pageCount) {
            try {
                calls.forEach(some -> put(byNames.apply(some), found));
                return found;
            } catch (Failure f) {
                if (!AwsCall.isNotFound(f)) {
                    throw f;
                }
                if (names.size() == 1) {
                    return Map.of();
                }
            }
        }
        List<List<T>> all = pages.get();
        pageCount = Math.max(1, all.size());
        all.forEach(page -> put(page, found));
        found.keySet().retainAll(names);
        return found;
    }

    private void put(List<T> things, Map<String, T> found) {
        things.forEach(thing -> found.put(nameOf.apply(thing), thing));
    }
}
