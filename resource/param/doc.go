// Package param reads one call of the agent: what the cluster manager says in OCF_RESKEY_* variables, and what of it
// cannot be used.
//
// Start with [ParseEnviron]. It never fails: each [Problem] names its parameter, and [Environ.Check] says which of
// them an action cannot do without. [Params] has the values; package metadata is the table that documents each and
// says how it is written. [Params.Route] and [Params.Move] are what the parameters make of a migration: where it goes,
// and how.
//
//	environ.go  the call: resource, nodes, timeout, probe, parameters
//	params.go   the values
//	problem.go  what cannot be used, and which actions fail for it
//	reader.go   one value: number, boolean, choice, list, …
//	options.go  migrate_options, as virsh migrate has them
//	check.go    values, and pairs of them that contradict each other
//	mirror.go   mirror and mirror_*
//	uri.go      the node's own libvirt
//	move.go     the migration that the parameters ask for, and the way to the other node's libvirt
package param
