package migrate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/qmp"
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
	linksSchema = 1

	// enough is how much a move must have sent to say something about the link: a small guest is mostly
	// empty pages, and is over before the connection is at its speed.
	enough = 32 << 20
)

type linksDoc struct {
	Schema int             `json:"schema"`
	Peers  map[string]Link `json:"peers"` // by node name
}

// ReadLinks reads what is remembered of each peer, by its name. A file that does not exist, that is
// of another schema or has no name says nothing of any peer.
func ReadLinks(path string) (map[string]Link, error) {
	var doc linksDoc
	if err := recall(path, &doc); err != nil {
		return nil, fmt.Errorf("read what is known of the links: %w", err)
	}
	if doc.Schema != linksSchema {
		return nil, nil
	}
	return doc.Peers, nil
}

// LearnLink adds what a move says of the link to its target to the file at path, which it replaces in
// one step; several processes may do so at once. A record that teaches nothing changes nothing. A file
// that cannot be read is replaced: the next moves tell again what it held.
func LearnLink(path string, r Record) error {
	err := revise(path, func() any {
		peers, err := ReadLinks(path)
		if err != nil || peers == nil {
			peers = map[string]Link{}
		}
		link, ok := peers[r.To].learn(r)
		if !ok {
			return nil
		}
		peers[r.To] = link
		return linksDoc{linksSchema, peers}
	})
	if err != nil {
		return fmt.Errorf("remember the link to %q: %w", r.To, err)
	}
	return nil
}

// learn is l and what r adds to it; ok is false when that is nothing.
func (l Link) learn(r Record) (_ Link, ok bool) {
	if r.Outcome != Moved || r.To == "" || r.Rung == "" {
		return l, false
	}
	bound := r.capped() || r.Shared || r.Compressed // maybe by what compresses
	if rate := r.Rate; r.Transferred >= enough && rate > 0 && (!bound || rate > l.Bandwidth) {
		old := l.Bandwidth
		if l.AtLeast && rate > old {
			old = 0 // what a bound allowed is no measure of the link
		}
		l.AtLeast = bound && (l.AtLeast || l.Bandwidth == 0)
		l.Bandwidth, ok = uint64(blend(float64(old), float64(rate))), true
	}
	if setUp, known := r.setUp(); known {
		l.SetUpMS, ok = blend(l.SetUpMS, setUp), true
	}
	if handOver, known := r.handOver(); known {
		if len(l.HandOvers) == 0 && l.HandOverMS > 0 {
			l.HandOvers = []float64{l.HandOverMS}
		}
		l.HandOvers, ok = latest(l.HandOvers, handOver), true
		l.HandOverMS = median(l.HandOvers)
	}
	if rate, known := r.lastCopy(); known {
		l.LastCopy, ok = uint64(blend(float64(l.LastCopy), rate)), true
	}
	if relearn, known := r.relearn(); known {
		l.RelearnMS, ok = blend(l.RelearnMS, relearn), true
	}
	l.Moves++
	l.Updated = r.Ended
	return l, ok
}

// blend gives the last value as much weight as all before it, so that a link that was changed is
// known anew after a few moves.
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

// median is the geometric mean of the two in the middle where there are two: how far a prediction is counts as a factor.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return math.Sqrt(sorted[(len(sorted)-1)/2] * sorted[len(sorted)/2])
}

// capped tells whether the rate says more of the bound that was asked for than of the link.
func (r *Record) capped() bool { return r.Cap > 0 && r.Rate >= r.Cap/10*9 }

// setUp is what libvirt took before the first byte and after the guest ran, by our receipts.
func (r *Record) setUp() (ms float64, known bool) {
	step, ok := r.step("migrate")
	if !ok || r.DurationMS <= 0 || len(r.Disks) > 0 {
		return 0, false
	}
	t := qmp.Timeline{Phases: r.Phases}
	active, began := t.Find(qmp.Source, qmp.PhaseActive)
	resume, ended := t.Find(qmp.Target, qmp.PhaseResume)
	if !began || !ended {
		return 0, false
	}
	ms = step.MS - millis(resume.Received.Sub(active.Received))
	return ms, ms > 0
}

// copied is what of the pause QEMU spent on sending the last of the memory and the device state, by its events.
func (r *Record) copied() (ms float64, known bool) {
	t := qmp.Timeline{Phases: r.Phases}
	device, began := t.Find(qmp.Source, qmp.PhaseDevice)
	completed, ended := t.Find(qmp.Source, qmp.PhaseCompleted)
	if !began || !ended || r.PauseMS == nil || r.Rung == ladder.PostCopy {
		return 0, false
	}
	ms = millis(completed.Stamp.Sub(device.Stamp))
	return ms, ms >= 0 && ms <= *r.PauseMS
}

// bigCopy is a last copy that the device state does not count beside.
const bigCopy = 4 << 20

// lastCopy is the rate of the last copy in bytes per second, where it had much to send.
func (r *Record) lastCopy() (rate float64, known bool) {
	ms, ok := r.copied()
	f := r.Predicted
	if !ok || ms <= 0 || f == nil || f.LastCopy < bigCopy || f.Rung != r.Rung || r.Compressed || f.Compressed {
		return 0, false
	}
	return float64(f.LastCopy) / ms * 1000, true
}

// device is what sending the device state took, of a pause whose limit left next to nothing for the memory.
func (r *Record) device() (ms float64, known bool) {
	ms, known = r.copied()
	n := len(r.DowntimeLimitsMS)
	return ms, known && n > 0 && r.DowntimeLimitsMS[n-1] <= millis(defaultFirst)
}

// handOver is what the pause took beyond the last copy. Where the events do not tell that, there is the forecast alone,
// which says nothing of a guest that moved by other means.
func (r *Record) handOver() (ms float64, known bool) {
	if copied, ok := r.copied(); ok {
		return *r.PauseMS - copied, *r.PauseMS > copied
	}
	if f := r.Predicted; f != nil && r.PauseMS != nil && f.Rung == r.Rung {
		ms = *r.PauseMS - f.LastCopyMS
	}
	if ms <= 0 && r.HandOverMS != nil {
		ms = *r.HandOverMS
	}
	return ms, ms > 0
}

// relearn is what clients waited for beyond the pause, at most.
func (r *Record) relearn() (ms float64, known bool) {
	if r.PauseMS == nil {
		return 0, false
	}
	for _, b := range r.Blackouts {
		ms = max(ms, b.MS-*r.PauseMS)
	}
	return ms, ms > 0
}

// step is the last one of that name.
func (r *Record) step(name string) (last Step, ok bool) {
	for _, s := range r.Steps {
		if s.Name == name {
			last, ok = s, true
		}
	}
	return last, ok
}
