/**
 * Real servers on loopback and real processes, for the tests and for whoever wants to see the tools at work: moto in
 * place of AWS, the instance metadata service, a proxy before AWS that breaks things, and the tools through JBang. All
 * of it uses free ports and folders of its own, and ends what it started.
 */
package io.github.rollcall.harness;
