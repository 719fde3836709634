// Package check says whether a node can be drained, and if not, what to type.
//
// [Sources.Observe] asks everything that matters: libvirt here and on the other nodes, the cluster manager, systemd,
// logind, the operator's files. [Judge] is a pure rule over what was observed: one row of its table for each check, in
// the order in which an operator should read them, as what all else depends on comes first.
package check
