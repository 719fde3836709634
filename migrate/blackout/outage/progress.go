package outage

import "time"

// Progress is the state of a target while a run goes on.
type Progress struct {
	Target         string
	Sent, Answered uint64
	// Lost were not answered and are settled: a later one was.
	Lost    uint64
	Outages int
	// RTT is the newest round trip.
	RTT time.Duration
	// Silent is how long an answer is overdue, 0 when none is; Blackout is the
	// longest outage so far, Dark the length of all; both with an open one.
	Silent, Blackout, Dark time.Duration
}
