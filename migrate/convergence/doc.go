// Package convergence is the rule by which a migration is steered. It does no input or output and reads no clock: a
// [Policy] says what is allowed, a [State] how the migration goes, and [Policy.Decide] what is wanted now.
//
//   - downtime.go: the downtime limit, and how a blackout budget and a longest pause are divided.
//   - begin.go: what QEMU takes at the begin only: auto-converge, XBZRLE, compression, parallel connections.
//   - decide.go: the decision, post-copy, and when to give up.
//   - trend.go: what the passes so far show.
//   - policy.go, state.go: what the rule decides from, and what its parts share.
//
// Package predict runs the same rule on a simulated guest.
package convergence
