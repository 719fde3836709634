package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/record"
)

// Link is what earlier moves to one peer have taught. Values that are not known are zero.
type Link struct {
	Bandwidth  uint64    `json:"bandwidth"`               // bytes per second that it carries
	AtLeast    bool      `json:"at_least,omitempty"`      // it may carry more: all moves so far were bounded
	SetUpMS    float64   `json:"set_up_ms,omitempty"`     // of a migration, what is neither copying nor pause
	HandOverMS float64   `json:"hand_over_ms,omitempty"`  // of a pause, what is not the last copy
	HandOvers  []float64 `json:"hand_overs_ms,omitempty"` // the latest, of which HandOverMS is the median
	LastCopy   uint64    `json:"last_copy,omitempty"`     // bytes per second of a last copy, for which no bound holds
	RelearnMS  float64   `json:"relearn_ms,omitempty"`    // of a blackout, what is not the pause
	Moves      int       `json:"moves"`                   // that taught it
	Updated    time.Time `json:"updated"`
}

// LinksFile is the name of the file of links in a node's state directory.
const LinksFile = "links.json"

const (
	// enough is how much a move must have sent to say something about the link: a small guest is mostly
	// empty pages, and is over before the connection is at its speed.
	enough = 32 << 20

	// defaultHandOver is the part of a pause that is not the last copy, for a peer of which no other is
	// known: what libvirt's protocol takes from one libvirtd to the other. 15 to 50 ms were measured.
	defaultHandOver = 50 * time.Millisecond

	// defaultSetUp is what libvirt takes around the copying, for a peer of which no other is known.
	defaultSetUp = 500 * time.Millisecond
)

// ReadLinks reads what is remembered of each peer, by its name. A file that does not exist or has no name says nothing.
func ReadLinks(path string) (map[string]Link, error) {
	f, err := read(path)
	return f.Peers, err
}

// LearnLink adds what a move says of the link to its target to the file at path. Several processes may do so at once. A
// record that teaches nothing changes nothing.
func LearnLink(path string, r record.Record) error {
	err := update(path, func(f *file) bool {
		link, ok := f.Peers[r.To].learn(r)
		if ok {
			set(&f.Peers, r.To, link)
		}
		return ok
	})
	if err != nil {
		return fmt.Errorf("update the history of the link to %q: %w", r.To, err)
	}
	return nil
}

// learn is l and what r adds to it; ok is false when that is nothing.
func (l Link) learn(r record.Record) (_ Link, ok bool) {
	if r.Outcome != record.Moved || r.To == "" || r.Rung == "" {
		return l, false
	}
	bound := r.Capped() || r.Shared || r.Compressed // maybe by what compresses
	if rate := r.Rate; r.Transferred >= enough && rate > 0 && (!bound || rate > l.Bandwidth) {
		old := l.Bandwidth
		if l.AtLeast && rate > old {
			old = 0 // what a bound allowed is no measure of the link
		}
		l.AtLeast = bound && (l.AtLeast || l.Bandwidth == 0)
		l.Bandwidth, ok = uint64(blend(float64(old), float64(rate))), true
	}
	if setUp, known := r.SetUp(); known {
		l.SetUpMS, ok = blend(l.SetUpMS, setUp), true
	}
	if handOver, known := r.HandOver(); known {
		if len(l.HandOvers) == 0 && l.HandOverMS > 0 {
			l.HandOvers = []float64{l.HandOverMS}
		}
		l.HandOvers, ok = latest(l.HandOvers, handOver), true
		l.HandOverMS = Median(l.HandOvers)
	}
	if rate, known := r.LastCopyRate(); known {
		l.LastCopy, ok = uint64(blend(float64(l.LastCopy), rate)), true
	}
	if relearn, known := r.Relearn(); known {
		l.RelearnMS, ok = blend(l.RelearnMS, relearn), true
	}
	l.Moves++
	l.Updated = r.Ended
	return l, ok
}

// HandOver is what of a pause is not the last copy.
func (l Link) HandOver() time.Duration {
	return cmp.Or(time.Duration(l.HandOverMS*float64(time.Millisecond)), defaultHandOver)
}

// SetUp is what of a migration is neither copying nor pause.
func (l Link) SetUp() time.Duration {
	return cmp.Or(time.Duration(l.SetUpMS*float64(time.Millisecond)), defaultSetUp)
}

// Bounded is what a migration may put on the link, in bytes per second, when most, where not 0, bounds it; 0
// where neither is known.
func (l Link) Bounded(most uint64) uint64 {
	if l.Bandwidth == 0 || most > 0 && most < l.Bandwidth {
		return most
	}
	return l.Bandwidth
}

// blend gives the last value as much weight as all before it, so that a link that was changed is
// known again after a few moves.
func blend(old, seen float64) float64 {
	if old <= 0 {
		return seen
	}
	return (old + seen) / 2
}

// recent is how many values count of what now and then takes many times as long, as when the node is busy.
const recent = 5

// latest are the recent ones of old, which it leaves as it is, and of seen.
func latest(old []float64, seen float64) []float64 {
	return slices.Concat(old[max(0, len(old)-recent+1):], []float64{seen})
}

// Median is the geometric mean of the two in the middle where there are two: how far a prediction is counts as a
// factor.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return math.Sqrt(sorted[(len(sorted)-1)/2] * sorted[len(sorted)/2])
}
