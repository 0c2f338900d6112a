/**
 * What the Rollcall tools share: who this instance is, load balancers and their members, how AWS is called and how its
 * errors read, and what it means to run a tool (options, exit codes, logging, signals, systemd, HTTP).
 */
package io.github.rollcall;
