package ladder

import (
	"fmt"
	"slices"
	"time"
)

// Rung is one way to get a guest off its node, by its name.
type Rung string

// The rungs, from the gentlest to the roughest. The first three move the running guest over a
// link, the others end it here so that it is brought back elsewhere.
const (
	Live     Rung = "live"     // pre-copy, the guest at full speed
	Converge Rung = "converge" // pre-copy, the guest slowed down until it converges
	PostCopy Rung = "postcopy" // one pass, then the guest runs at the target and fetches the rest
	Save     Rung = "save"     // save to shared storage, restore elsewhere
	Shutdown Rung = "shutdown" // clean shutdown, cold start elsewhere
	Destroy  Rung = "destroy"  // as a power cut, cold start elsewhere
)

// Default is what may be done with a guest that does not say.
var Default = []Rung{Live, Converge, Shutdown}

const (
	// DefaultShutdown is how long a clean shutdown is given when the guest does not say.
	DefaultShutdown = time.Minute

	// DestroyTime is what a forced stop may take: QEMU gets SIGTERM, and SIGKILL later.
	DestroyTime = 17 * time.Second
)

// Rungs are all that there are, from the gentlest to the roughest.
var Rungs = []Rung{Live, Converge, PostCopy, Save, Shutdown, Destroy}

// Compare is negative where m is a gentler rung than o, and positive where it is a rougher one.
func (m Rung) Compare(o Rung) int { return slices.Index(Rungs, m) - slices.Index(Rungs, o) }

// IsLive reports whether the rung moves the guest while it runs.
func (m Rung) IsLive() bool { return m == Live || m == Converge || m == PostCopy }

// Parse is the rung of that name.
func Parse(name string) (Rung, error) {
	if m := Rung(name); slices.Contains(Rungs, m) {
		return m, nil
	}
	return "", fmt.Errorf("unknown ladder rung %q: use %v", name, Rungs)
}
