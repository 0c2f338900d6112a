package io.github.rollcall;

import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/** A {@link Change} made in one load balancer: the new members first, so that it is never without any. */
final class Replacement {
    private final LoadBalancer balancer;
    private final int batch;
    private final Map<Member, Failure> refused = new LinkedHashMap<>();

    private Replacement(LoadBalancer balancer, int batch) {
        this.balancer = balancer;
        this.batch = batch;
    }

    /**
     * Makes it. Where none of the new members is taken the old ones stay.
     *
     * @param batch how many members a call may have
     * @param room how many more members it can have before some have left
     * @return the members that were refused, and why
     * @throws Failure when it is not about single members
     */
    static Map<Member, Failure> of(Change change, LoadBalancer balancer, int batch, int room) {
        Replacement replacement = new Replacement(balancer, batch);
        if (room < change.register().size()) {
            Set<Member> first =
                    change.register().stream().limit(Math.max(0, room)).collect(Collectors.toSet());
            Set<Member> rest = new HashSet<>(change.register());
            rest.removeAll(first);
            replacement.register(first);
            replacement.deregister(change.deregister());
            replacement.register(rest);
            return replacement.refused;
        }
        replacement.register(change.register());
        Set<Member> roomless = replacement.roomless();
        boolean nothingNew = !change.register().isEmpty()
                && replacement.refused.size() == change.register().size();
        if (nothingNew && roomless.isEmpty()) {
            replacement.keep(change.deregister());
        } else if (!change.deregister().isEmpty()) {
            replacement.deregister(change.deregister());
            replacement.register(roomless);
        }
        return replacement.refused;
    }

    private Set<Member> roomless() {
        return refused.entrySet().stream()
                .filter(e -> AwsCall.isNoRoom(e.getValue()))
                .map(Map.Entry::getKey)
                .collect(Collectors.toSet());
    }

    private void register(Set<Member> members) {
        refused.keySet().removeAll(members);
        refused.putAll(Batches.send(members, batch, balancer::register));
    }

    private void deregister(Set<Member> members) {
        refused.putAll(Batches.send(members, batch, balancer::deregister));
    }

    private void keep(Set<Member> members) {
        Failure why = refused.values().iterator().next();
        members.forEach(m -> refused.put(
                m,
                new Failure(
                        why.exit(), "kept, for nothing new could be registered: " + why.getMessage(), why.getCause())));
    }
}
