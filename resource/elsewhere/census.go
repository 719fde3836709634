package elsewhere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	// silentTime is for one that gave no answer lately. The guests of a node that crashed are started one after the
	// other or several at once, and each would wait as long; one that answers again is believed at once.
	silentTime = 500 * time.Millisecond
	// silence is how long that is "lately".
	silence = 30 * time.Second
)

// Census is what the peers' libvirts have said of all their guests. The starts of a node share it: many begin at once
// after a crash, and each has to ask the same peers.
//
// An answer counts for a start only when its question was put after that start began to look for its guest. So it is
// as good as an answer of its own: the first start asks, and those that began before it asked and wait for its
// answer take that. One that comes later asks again.
type Census struct {
	Notes interface {
		Load(uri string, last *RollCall) error
		Save(uri string, now RollCall) error
		// Lock is the directory of a lock for one question at a time.
		Lock(uri string) string
	}
	Uptime func() time.Duration // since the boot; no clock that somebody sets
}

// RollCall is what came of the last question to one libvirt.
type RollCall struct {
	Asked  time.Duration      `json:"asked"`            // the uptime before the question
	Guests []libvirt.Resident `json:"guests"`           // valid when Why is empty
	Why    string             `json:"why,omitempty"`    // why there is no answer
	Silent time.Duration      `json:"silent,omitempty"` // the uptime before the last full question that got none
}

// patience is how long a libvirt gets for its answer, by what came of the last question: limit, or less.
func (last RollCall) patience(limit, now time.Duration) time.Duration {
	if last.Silent > 0 && last.Silent <= now && now-last.Silent < silence {
		return min(limit, silentTime)
	}
	return limit
}

// covers reports whether what came of the question counts for one who began to look at the uptime since.
func (last RollCall) covers(since, now time.Duration) bool {
	return last.Asked >= since && last.Asked <= now && last.Asked > 0
}

// next is the record of a question that was put at the uptime asked; full reports that it had all of its patience.
func (last RollCall) next(asked time.Duration, full bool, guests []libvirt.Resident, err error) RollCall {
	r := RollCall{Asked: asked, Guests: guests}
	if err == nil {
		return r
	}
	r.Why = err.Error()
	switch {
	case !errors.Is(err, context.DeadlineExceeded): // it took no time, and costs the next one none
	case full:
		r.Silent = asked
	default:
		r.Silent = last.Silent
	}
	return r
}

func (last RollCall) answer() ([]libvirt.Resident, error) {
	if last.Why != "" {
		return nil, fmt.Errorf("asked by another start: %s", last.Why)
	}
	return last.Guests, nil
}

// lister asks the libvirt of a URI for its active guests.
type lister func(ctx context.Context, uri string) ([]libvirt.Resident, error)

// ask returns the active guests at the libvirt of uri, as they were at some moment after the uptime since, or an
// error. It asks by list, which gets limit at most, or waits for the answer of another start, for at most twice as
// long.
func (c Census) ask(ctx context.Context, uri string, since, limit time.Duration, list lister) (
	[]libvirt.Resident, error,
) {
	turn, err := c.turn(ctx, uri, limit)
	if err != nil { // whoever has it hangs, or nobody can have it
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return list(ctx, uri)
	}
	defer turn.Release()
	var last RollCall
	if err := c.Notes.Load(uri, &last); err != nil {
		last = RollCall{} // none, or one that cannot be read
	}
	asked := c.Uptime()
	if last.covers(since, asked) {
		return last.answer()
	}
	patience := last.patience(limit, asked)
	soft, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	guests, err := list(soft, uri)
	if ctx.Err() == nil { // else it was cut short, which says nothing of the peer
		now := last.next(asked, patience == limit, guests, err)
		_ = c.Notes.Save(uri, now) // where it fails, the next one asks, too
	}
	return guests, err
}

// turn waits until no other start asks the libvirt: for one question that gets no answer, and for the shorter one
// after it.
func (c Census) turn(ctx context.Context, uri string, limit time.Duration) (*migrate.Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	return migrate.Slots{Dir: c.Notes.Lock(uri)}.Acquire(ctx, nil)
}
