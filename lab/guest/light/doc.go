// Package light is a reflector that costs an emulated processor as little as a service can: one thread in one loop of
// system calls. It answers the probes of package blackout over UDP and TCP, with the number of distinct probes of
// each session, so that losses are known in both directions.
//
// After a move, a guest on an emulator starts without translated code. A Go program then waits for the translation of
// its scheduler, its network poller and its collector before it answers; [Start] forks a process that uses none of
// them. What a client waits for is then the network, the hypervisor, and the guest's kernel.
//
// # Why the forked process may run Go code
//
// fork(2) leaves the child with the calling thread alone, so no part of the Go runtime that needs another thread works
// there: no collector, no scheduler, no signal handling. The child is sound because it never enters the runtime, by
// the rules by which syscall.forkAndExecInChild runs between fork and exec:
//
//   - All signals are blocked before the fork and stay blocked in the child. No preemption request reaches it.
//     A fault ends it, as a blocked SIGSEGV kills.
//   - Each function is go:nosplit. The stack never grows, there is no preemption point, and the linker refuses the
//     program when the frames together need more than what is always there; it refuses one that is not optimised (-N).
//   - Memory is mapped before the fork and belongs to no heap. It holds no Go pointers, so no store has a
//     write barrier, also when the fork happens while the collector marks.
//   - System calls are raw: the scheduler does not know. Indexes are masked, so that nothing can panic.
//   - go:norace and go:nocheckptr keep the race detector's calls out.
//
// # What it does not do
//
// There are no cookies and no quotas: the lab's network is closed, and whoever is on it may use every place. Where the
// tables of sessions and connections are full, the one that was idle longest goes. A session is its number alone,
// which the client draws at random. "blackout serve" is the reflector that defends itself.
package light
