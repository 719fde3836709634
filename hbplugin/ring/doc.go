// Package ring finds the addresses by which the nodes of the cluster reach each other: those that the cluster managers'
// own configuration names.
//
// Start with [Reader]. It reads corosync.conf(5) and ha.cf, resolves the names in them, and remembers the answer for a
// minute. It asks nothing of the cluster, which may be down.
package ring
