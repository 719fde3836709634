// Package preflight finds out, before anything is changed, whether a guest can be migrated live to a target.
//
// Start with [Run]. It asks the libvirts at both ends, reads what they say, and returns [Findings]: what the engine
// needs to know of the guest, the parameters that the migration begins with, and the disks that it copies. What keeps
// the guest from being migrated is a [Refusal], with what to do about it.
//
//	connect to the source → state and job of the guest there → connect to the target → checks, in their order → Findings
//
// The table of the checks is in checks.go: the name of each, its time limit, and the function that makes it. Each reads
// what it needs from the hosts, and lets a pure rule decide. What could not be checked is a note, and refuses nothing.
package preflight
