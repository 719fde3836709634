package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/record"
)

// Profile is what earlier moves away from this node have taught of one guest. Values that are not known are zero.
type Profile struct {
	UUID       string `json:"uuid"`
	WorkingSet uint64 `json:"working_set,omitempty"` // bytes: the most that a pass after the first had to send
	// Touched is the part of its used memory that the first pass sent, 0 to 1: pages of zeroes cost nothing.
	Touched   float64 `json:"touched,omitempty"`
	DirtyRate uint64  `json:"dirty_rate,omitempty"` // bytes per second at the last move
	// DevicesMS is what sending the device state took while the guest was paused, at the latest moves.
	DevicesMS []float64 `json:"devices_ms,omitempty"`
	// HandOversMS is what its pauses took beside the last copy and that: a busy guest has its own.
	HandOversMS []float64 `json:"hand_overs_ms,omitempty"`
	// Shrink is by how much zstd made its memory smaller, 1 for not at all.
	Shrink float64 `json:"shrink,omitempty"`
	// Delta is the part of a rewritten page that XBZRLE had to send, 0 to 1.
	Delta   float64   `json:"delta,omitempty"`
	Moves   int       `json:"moves"` // that taught it
	Updated time.Time `json:"updated"`
}

// GuestsFile is the name of the file of guests in a node's state directory.
const GuestsFile = "guests.json"

const (
	guestsMost = 4096                // entries; the oldest go first
	guestsAge  = 90 * 24 * time.Hour // after which an entry says nothing
	pauseMost  = time.Minute         // no pause is longer
	clockSlip  = 24 * time.Hour      // by which this node's clock may have been set back since
)

// ReadGuests reads what is remembered of each guest, by its name. A file that does not exist or has no name says
// nothing. Entries that are old or hold what no move can teach are left out.
func ReadGuests(path string) (map[string]Profile, error) {
	f, err := read(path)
	return valid(f.Guests, time.Now()), err
}

// LearnGuest adds what a move says of its guest to the file at path, as [LearnLink] does of the link. A move that
// failed teaches what its passes showed.
func LearnGuest(path string, r record.Record) error {
	err := update(path, func(f *file) bool {
		now := time.Now()
		p, ok := valid(f.Guests, now)[r.Guest].Of(r.UUID).learn(r)
		if !ok || r.Guest == "" || !p.valid(now) {
			return false
		}
		set(&f.Guests, r.Guest, p)
		youngest(f.Guests, guestsMost)
		return true
	})
	if err != nil {
		return fmt.Errorf("update the history of guest %q: %w", r.Guest, err)
	}
	return nil
}

// valid are the guests without entries that say nothing.
func valid(guests map[string]Profile, now time.Time) map[string]Profile {
	maps.DeleteFunc(guests, func(name string, p Profile) bool { return name == "" || !p.valid(now) })
	return guests
}

// youngest leaves the n of them that were updated last.
func youngest(guests map[string]Profile, n int) {
	names := slices.SortedFunc(maps.Keys(guests), func(a, b string) int {
		return cmp.Or(guests[b].Updated.Compare(guests[a].Updated), strings.Compare(a, b))
	})
	for _, name := range names[min(n, len(names)):] {
		delete(guests, name)
	}
}

// valid reports whether moves can have taught this, and not too long ago.
func (p Profile) valid(now time.Time) bool {
	const most = 1 << 50 // bytes
	share := func(x float64) bool { return x >= 0 && x <= 1 }
	age := now.Sub(p.Updated)
	return age < guestsAge && age > -clockSlip && p.WorkingSet <= most && p.DirtyRate <= most &&
		share(p.Touched) && share(p.Delta) && (p.Shrink == 0 || p.Shrink >= 1 && !math.IsInf(p.Shrink, 0)) &&
		pauses(p.DevicesMS) && pauses(p.HandOversMS) && p.Moves >= 0
}

// pauses reports whether all may be parts of a pause, in milliseconds.
func pauses(ms []float64) bool {
	return !slices.ContainsFunc(ms, func(ms float64) bool { return !(ms >= 0 && ms <= record.Millis(pauseMost)) })
}

// Of is p where it is of the guest with that UUID, and empty for another guest of its name. An unknown UUID is
// believed.
func (p Profile) Of(uuid string) Profile {
	if uuid == "" || p.UUID == "" || strings.EqualFold(uuid, p.UUID) {
		return p
	}
	return Profile{}
}

// learn is p and what r adds to it; ok is false when that is nothing.
func (p Profile) learn(r record.Record) (_ Profile, ok bool) {
	passes := passesOf(&r)
	if len(passes) == 0 {
		return p, false
	}
	p.UUID = cmp.Or(r.UUID, p.UUID)
	p, ok = p.learnWriting(&r, passes)
	if device, known := device(&r); known {
		p.DevicesMS, ok = latest(p.DevicesMS, device), true
	}
	if handOver, known := r.HandOver(); known && r.Outcome == record.Moved {
		p.HandOversMS, ok = latest(p.HandOversMS, handOver), true
	}
	if r.Compression == "zstd" && r.Pages > r.Transferred && r.Transferred > 0 {
		p.Shrink, ok = blend(p.Shrink, float64(r.Pages)/float64(r.Transferred)), true
	}
	switch {
	case r.Delta != nil:
		p.Delta, ok = *r.Delta, true
	case p.Delta >= convergence.PoorXBZRLE:
		p.Delta *= 0.9 // after some moves without XBZRLE it is tried again
	}
	p.Moves++
	p.Updated = r.Ended
	return p, ok
}

// learnWriting is p and what the passes show of the memory that the guest uses, and of how it writes to it.
func (p Profile) learnWriting(r *record.Record, passes []pass) (_ Profile, ok bool) {
	// Of a part of the link, or of pages that are compressed, the time of a pass does not show the size.
	sized := !r.Shared && (r.Compression == "" || r.Compression == "xbzrle")
	whole := sized && r.Used > 0 && r.Outcome == record.Moved
	if whole {
		p.Touched, ok = blend(p.Touched, min(float64(passes[0].bytes)/float64(r.Used), 1)), true
	}
	shown := passes
	if r.Throttle > 0 || r.Compression == "xbzrle" {
		shown = passes[:min(2, len(passes))] // the others are shorter for that
	}
	most := largest(shown[1:])
	switch {
	case most > 0 && sized:
		exact, bound := writes(shown)
		if most < p.WorkingSet/20*19 {
			exact = cmp.Or(exact, bound) // it left some of the set alone, so that this is all that it wrote
		}
		p.WorkingSet, ok = most, true
		p.DirtyRate = cmp.Or(exact, *cmp.Or(r.DirtyRate, new(uint64)), max(p.DirtyRate, bound))
	case r.DirtyRate != nil:
		p.DirtyRate, ok = *r.DirtyRate, true
	case whole && r.Rung.IsPlain() && r.Throttle == 0 && len(r.DowntimeLimitsMS) < 2:
		p = p.calmed(r, passes) // of passes that no raised limit cut short
	}
	return p, ok
}

// calmed lowers what a busier time taught, by passes that were too short to show what they found: it was no more than
// their time and one burst carry.
func (p Profile) calmed(r *record.Record, passes []pass) Profile {
	found := uint64(0)
	for _, next := range passes[1:] {
		found = max(found, next.bytes)
	}
	found += uint64(convergence.BurstEvery.Seconds() * float64(rateOf(r, 0)))
	p.WorkingSet = min(p.WorkingSet, found)
	p.DirtyRate = min(p.DirtyRate, uint64(float64(found)/passes[0].took.Seconds()))
	return p
}
