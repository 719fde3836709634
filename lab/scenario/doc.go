// Package scenario breaks the lab's nodes on purpose and says what became of
// the guests and of their clients.
//
// A [Runner] has the cluster run guests with one agent, starts the probes and
// the watchers, pulls the trigger (a reboot command, or the death of a node),
// waits until every guest answers again, and judges what was seen. The
// watchers are independent of the agent under test. An observer knows every [Copy]
// of a guest and each [Event] of it: on QEMU, [Watch] sees every process on
// every node from outside, and listeners take QEMU's own STOP and RESUME; on Xen,
// the hypervisor of each node reports its domains (package xendomains). Each guest
// is asked for its boot, and for the counter on its disk if it has one, all the time.
//
// What depends on the hypervisor is a profile: what guests are made of, who
// observes them, and how long things may take.
//
// What a scenario must show is decided by [judge] alone, from an
// [Observation] and nothing else.
package scenario
