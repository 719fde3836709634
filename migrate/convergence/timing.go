package convergence

import "time"

// What the engine and QEMU do at fixed times. The simulation of package predict does the same, and package history reads
// records by it.
const (
	// PollEvery is the time between two samples of a migration.
	PollEvery = 500 * time.Millisecond

	// PassSettle is how long after a new pass the hypervisor is left alone: if the pass has little to send, the guest
	// is stopped in this time, and a question would make its pause longer.
	PassSettle = 50 * time.Millisecond

	// PaceLift is the pass in which a bound of the first passes is lifted: the guest is no idle one.
	PaceLift = 3

	// BurstEvery is the time of one burst. A bounded rate is one of bursts: as much as that rate allows in a tenth of
	// a second (BUFFER_DELAY of QEMU's migration/options.h) is sent at once.
	BurstEvery = 100 * time.Millisecond
)
