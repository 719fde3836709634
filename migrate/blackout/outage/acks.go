package outage

import (
	"time"
)

// Acks turns what TCP_INFO (tcp(7)) reports of one connection, slot by slot, into the instants at which the other
// kernel acknowledged. The kernel counts tcpi_last_ack_recv in clock ticks and reports only the newest one: of
// several acknowledgements within a slot the last one counts.
type Acks struct {
	Tick   time.Duration // of the kernel's clock
	Looked time.Duration // when TCP_INFO was read last
	acked  uint64        // tcpi_bytes_acked then
}

// Update takes what was read at an instant: how long ago the newest acknowledgement came, and how many bytes are
// acknowledged. fresh is true where one came since the update before, at the instant at, give or take a tick: age is a
// difference of ticks. lateness is how much earlier it may have come.
func (a *Acks) Update(now, age time.Duration, acked uint64) (at, lateness time.Duration, fresh bool) {
	since := now - a.Looked
	if age < since || acked > a.acked {
		at = max(now-age, a.Looked)
		lateness, fresh = min(a.Tick, at-a.Looked), true
	}
	a.Looked, a.acked = now, acked
	return at, lateness, fresh
}
