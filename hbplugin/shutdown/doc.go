// Package shutdown makes a node's shutdown wait for its guests.
//
// It is a decision and a loop. [Decide] is a pure function from what was seen
// ([Observed]) to what is wanted ([Decision]): hold the shutdown or let it go,
// set or clear standby, and why. [Loop] gathers what Decide needs and carries
// out what it says; it is the only owner of the delay lock.
//
//	           PrepareForShutdown(true),               no guest left, window
//	           or SIGTERM while systemd stops          closed, nothing to wait for
//	watching ────────────────────────────► draining ──────────────────────► released
//	    ▲                                     │                                │
//	    └──────────── undoing ◄───────────────┴────────────────────────────────┘
//	     standby cleared       PrepareForShutdown(false): called off
//
// Before standby is set the guests that will not move live are named ([Options.Predict]), and after the shutdown was
// let go those that were not ([Account]): that a node is empty does not say that its guests still run. The shutdown is
// not held for either.
//
// What it promises: the lock is given back only when every guest is seen to
// have gone, when the window closes, when nothing that is left will ever move
// (it is unmanaged, or its resource was deleted while it ran), or when no cluster manager runs here. A look that failed
// is never taken for "gone". Standby that somebody else requested is never cleared.
//
// What it does not promise: that the guests have gone when the window closes.
// What is left then is the cluster manager's, which systemd stops next, and
// which moves guests as part of its own stop.
package shutdown
