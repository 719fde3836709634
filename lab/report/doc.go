// Package report is what `make demo` leaves behind: one measured comparison of
// vmferry's agent with its peer, in three forms that say the same.
//
//   - report.json, schema 1, for programs: [Report.WriteJSON] and [ReadJSON];
//   - a table for the terminal, at most 120 columns wide: [Report.WriteTable];
//   - report.html, one self-contained page with plots: [Report.WriteHTML].
//
// A [Report] holds one [Scenario] for each scenario (graceful-shutdown, crash),
// agent (vmferry; VirtualDomain on QEMU, Xen on Xen) and cluster manager (pacemaker, heartbeat) that
// was run; agents are compared under one manager only. A scenario holds one [Guest] for
// each virtual machine, and a guest holds how long its [Kernel] was silent and what the clients of
// its service saw over [UDP] and over [TCP]. The lab fills these in; this package judges nothing but the
// comparison of two numbers, and so needs neither libvirt nor root.
//
// Start the demo with [Check], so that a directory that cannot be written is
// found before the nodes are booted and not after.
//
// # What a number means
//
// A blackout is measured from outside, by the probe: the longest time without
// an answer. A pause is reported by the hypervisor, source STOP to destination
// RESUME, and is never called a blackout. A number that nobody measured is nil
// here, null in the JSON and a dash for people; it is never zero.
//
// The probe's time series ([Series]) are drawn on the page and are left out of
// report.json, which stays short enough to be read by eye.
package report
