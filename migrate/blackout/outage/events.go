package outage

// Event is something that happened to a probe or to the connection.
type Event int

// The events.
const (
	Refused     Event = iota // the service turned a probe down
	NotSent                  // the kernel did not take the newest probe
	Reset                    // the TCP connection was reset
	Reconnected              // a new TCP connection replaced an earlier one
	Abandoned                // a stalled TCP connection was given up for a newer one
	events
)

// counts is how often each event happened.
type counts [events]int
