package io.github.rollcall;

import picocli.CommandLine.Option;

/** Which instance this is. Part of a command by {@code @Mixin}. */
public final class IdentityOptions {
    @Option(
            names = "--instance-id",
            paramLabel = "ID",
            description = "This instance's id (default: from the metadata service).")
    private String instanceId;

    @Option(
            names = "--private-ip",
            paramLabel = "ADDRESS",
            description = "This instance's private address, for target groups of type ip (default: from the metadata"
                    + " service).")
    private String privateIp;

    /**
     * The instance: what the options say, and for the rest what the metadata service says. With {@code --instance-id}
     * the service is not asked, because the address that it would give may be another instance's.
     *
     * @throws Failure as {@link Instance#here()}
     */
    public Instance instance() {
        if (instanceId != null) {
            return new Instance(instanceId, privateIp, null);
        }
        Instance here = Instance.here();
        return privateIp == null ? here : new Instance(here.id(), privateIp, here.region());
    }
}
