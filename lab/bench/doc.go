// Package bench measures what vmferry's agent costs, against VirtualDomain, on a node of the lab.
//
// A [Bench] is one measurement by name; [Benches] lists them, and a new one is a new entry
// there. What it gives is one or more [Result], each with both sides' [Summary]. A [Report] is
// all of them, as build/bench/report.json and as a table.
//
// # How calls are measured
//
// The two sides are called in turn on the same guest with the same environment, and who goes
// first changes with each round, so that what happens on the machine meanwhile happens to
// both. The calls are made by [Caller], a process inside the node. It takes each call's CPU
// time, user and system, from wait4(2): the process itself and all that it has waited
// for. It is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), so that what a call leaves
// behind is waited for and counted too. What the daemons spend on a call, vmferryd and
// libvirt's, is a result of its own: no cost is hidden by moving it.
package bench
