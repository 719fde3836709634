package drain

import (
	"fmt"
	"slices"
	"time"
)

// Means is a rung of the ladder: one way to get a guest off its node.
type Means string

// The means, from the gentlest to the roughest. The first three move the running guest over a
// link, the others end it here so that it is brought back elsewhere.
const (
	Live     Means = "live"     // pre-copy, the guest at full speed
	Converge Means = "converge" // pre-copy, the guest slowed down until it converges
	PostCopy Means = "postcopy" // one pass, then the guest runs at the target and fetches the rest
	Save     Means = "save"     // save to shared storage, restore elsewhere
	Shutdown Means = "shutdown" // clean shutdown, cold start elsewhere
	Destroy  Means = "destroy"  // as a power cut, cold start elsewhere
)

// DefaultLadder is what may be done with a guest that does not say.
var DefaultLadder = []Means{Live, Converge, Shutdown}

const (
	// DefaultShutdown is how long a clean shutdown is given when the guest does not say.
	DefaultShutdown = time.Minute

	// destroyTime is what a forced stop may take: QEMU gets SIGTERM, and SIGKILL later.
	destroyTime = 17 * time.Second
)

var allMeans = []Means{Live, Converge, PostCopy, Save, Shutdown, Destroy}

// Compare is negative where m is a gentler rung than o, and positive where it is a rougher one.
func (m Means) Compare(o Means) int { return slices.Index(allMeans, m) - slices.Index(allMeans, o) }

// OverLink tells whether the means moves the guest while it runs.
func (m Means) OverLink() bool { return m == Live || m == Converge || m == PostCopy }

// ParseMeans is the means of that name.
func ParseMeans(name string) (Means, error) {
	if m := Means(name); slices.Contains(allMeans, m) {
		return m, nil
	}
	return "", fmt.Errorf("%q is no means of emptying a node; the means are %v", name, allMeans)
}
