package io.github.rollcall;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/**
 * Calls for many items, of which AWS takes all or none. A batch that is refused for the sake of one item is split, so
 * that the others get through: into those that AWS names and the others, or else into halves.
 */
final class Batches<T> {
    private final Consumer<List<T>> call;
    private final Map<T, Failure> refused = new LinkedHashMap<>();

    private Batches(Consumer<List<T>> call) {
        this.call = call;
    }

    /**
     * Makes a call a batch, and more for a batch that is refused.
     *
     * @return the items that were refused, and why; empty if all got through
     * @throws Failure when it is not about single items; the calls before it were made
     */
    static <T> Map<T, Failure> send(List<List<T>> batches, Consumer<List<T>> call) {
        Batches<T> sending = new Batches<>(call);
        batches.forEach(sending::send);
        return sending.refused;
    }

    /** As {@link #send(List, Consumer)}, with batches of at most so many items. */
    static <T> Map<T, Failure> send(Collection<T> items, int most, Consumer<List<T>> call) {
        return send(cut(List.copyOf(items), most), call);
    }

    /** The items in order, at most so many together. */
    static <T> List<List<T>> cut(List<T> items, int most) {
        List<List<T>> batches = new ArrayList<>();
        for (int from = 0; from < items.size(); from += most) {
            batches.add(items.subList(from, Math.min(items.size(), from + most)));
        }
        return batches;
    }

    /** @return whether every item got through */
    private boolean send(List<T> batch) {
        try {
            call.accept(batch);
            return true;
        } catch (Failure f) {
            List<T> named = batch.stream().filter(item -> names(f, item)).toList();
            if (named.isEmpty() && !AwsCall.isAboutMembers(f)) {
                throw f;
            }
            if (batch.size() == 1) {
                refused.put(batch.get(0), f);
                return false;
            }
            List<List<T>> parts = parts(batch, named);
            boolean first = send(parts.get(0));
            if (!first && AwsCall.isNoRoom(f)) {
                // What did not find room a moment ago will not now.
                parts.get(1).forEach(item -> refused.put(item, f));
                return false;
            }
            return send(parts.get(1)) && first;
        }
    }

    private static <T> List<List<T>> parts(List<T> batch, List<T> named) {
        if (named.isEmpty() || named.size() == batch.size()) {
            int half = batch.size() / 2;
            return List.of(batch.subList(0, half), batch.subList(half, batch.size()));
        }
        List<T> others = new ArrayList<>(batch);
        others.removeAll(named);
        return List.of(others, named);
    }

    private static boolean names(Failure f, Object item) {
        String id = item instanceof Member m ? m.id() : item.toString();
        return !AwsCall.code(f).isEmpty()
                && Pattern.compile("(?<![\\w.:-])" + Pattern.quote(id) + "(?![\\w-]|[.:]\\w)")
                        .matcher(f.getMessage())
                        .find();
    }
}
