package ladder

import (
	"cmp"
	"time"
)

// Shutdown is a clean shutdown, and a cold start elsewhere.
const Shutdown Rung = "shutdown"

// DefaultShutdown is how long a clean shutdown is given when the guest does not say.
const DefaultShutdown = time.Minute

var shutdown = Spec{
	Name: Shutdown, Ended: "it was shut down", Always: true, Text: "(always tried) asks the guest to shut down.",
	Takes: func(e Ending) (time.Duration, bool) { return cmp.Or(e.Shutdown, DefaultShutdown), true },
}
