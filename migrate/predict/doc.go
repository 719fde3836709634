// Package predict says how a migration will go, from what is [Known] of the guest and the link. It has two models.
//
//   - simulate.go runs the engine's own rule (package convergence) on a simulated guest, with QEMU's bursts,
//     its auto-converge and a second begin. [Known.Forecast] makes of it what the record has beside what was measured.
//   - model.go is simpler and monotone: more bandwidth never makes a move longer. Package drain plans with it, and
//     [Known.Expect] says by it what the rule may begin a migration with.
//
// measure.go has the guest's dirty rate measured by QEMU. All else does no input or output.
package predict
