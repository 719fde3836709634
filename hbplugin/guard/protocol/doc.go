// Package protocol decides for one node's guard: whether it holds its lease, whether it surrenders, and whether another
// node is proven to run no guest. It does no input or output, starts nothing and reads no clock: what happened comes in
// by the methods of [Guard], each with its time, and [Guard.Step] says what is to be done. The daemon and the
// simulation drive the same code.
//
//	         Open              first good write          a claim beats ours
//	 Out ──────────→ Opening ──────────────────→ Held ─────────────────────→ Moving
//	  ↑                 │ lease too old            │ lease too old,            │ nothing left to move, time is up,
//	  │                 ↓                          ↓ own slot is foreign       ↓ lease too old
//	  └───────────── Killing ←─────────────────────┴───────────────────────────┘
//	guests gone, sockets empty,
//	and that is on disk
//
// # What holds
//
// Times are read from CLOCK_BOOTTIME. The age of the own lease counts from the begin of the last write of the own slot
// that returned good or of the last good read of it, whichever is earlier; or from the oldest of the last renewals that
// the other nodes acknowledged over the link, where that is later. A node whose lease is older than self-kill kills its
// guests and never renews that generation again. What the others see is the write alone: a node that cannot read takes
// its lease for older than they do, which is the safe side (package model: a write that lands and does not count).
//
// Another node's lease is expired when a read that began after its count of [timing.Times.Expiry] had ended still
// showed the old renewal. A timer alone is no evidence: reads may have failed.
//
// Expiry proves nothing of a node that hangs: its access has to be revoked, its watchdog to have fired, or the
// administrator to say that the node is off, which is void as soon as it writes again (confirm.go).
//
// With three nodes and more the quorum decides: only a side with half of all nodes or more claims and fences, and its
// claim beats what a node of the other side answers. A lease device that is not the one of another node proves nothing
// of it (shared.go).
//
// Two nodes that want to fence each other write a claim each. A claim's values never change. A node surrenders to a
// claim only when both claims name each other on disk, so that both nodes judge the same pair, and the order of
// [lease.Claim.Beats] is strict: never do both surrender. A node that cannot read or write its slot surrenders by age.
package protocol
