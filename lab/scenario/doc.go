// Package scenario breaks the lab's nodes on purpose and tells what became of
// the guests and of their clients.
//
// A [Runner] has the cluster run guests with one agent, starts the probes and
// the watchers, pulls the trigger (a reboot command, or the death of a node),
// waits until every guest answers again, and judges what was seen. The
// watchers are independent of the agent under test: [Watch] sees every QEMU
// process on every node from outside, the event listeners take QEMU's own
// STOP and RESUME, and each guest keeps a counter on its disk that it is asked
// for all the time.
//
// What a scenario must show is decided by [judge] alone, from an
// [Observation] and nothing else.
package scenario
