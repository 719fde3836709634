package libvirt

import "time"

// Load is what a running domain would give a migration to carry, at one instant. Fields that
// the driver does not report are zero.
type Load struct {
	Memory   uint64 // bytes of memory that the guest has
	Resident uint64 // bytes of the host's memory that its process holds: pages never touched cost nothing to send
	Dirty    Dirty  // how fast it writes, as of the last measurement
}

// Dirty is the result of a measurement of how fast a guest writes to its memory.
type Dirty struct {
	Measured bool      // a measurement ended, and the rest is its result
	Rate     uint64    // bytes per second of pages that became dirty, to the next MiB
	Since    time.Time // when it was begun, on the clock of the guest's host, to the second
}
