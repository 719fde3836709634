package elsewhere

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/resource/notes"
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
	Notes  notes.Store
	Uptime func() time.Duration // hostproc.Uptime: no clock that somebody sets
}

// patience is how long a libvirt gets for its answer, by what came of the last question: limit, or less.
func patience(last notes.PeerGuests, limit, now time.Duration) time.Duration {
	if last.Silent > 0 && last.Silent <= now && now-last.Silent < silence {
		return min(limit, silentTime)
	}
	return limit
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
	last, _ := c.Notes.Peers.Load(uri) // none is as good as one that cannot be read
	asked := c.Uptime()
	if last.Covers(since, asked) {
		return last.Answer()
	}
	most := patience(last, limit, asked)
	soft, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	guests, err := list(soft, uri)
	if ctx.Err() == nil { // else it was cut short, which says nothing of the peer
		// Where it fails, the next one asks, too.
		_ = c.Notes.Peers.Save(uri, last.Next(asked, most == limit, guests, err))
	}
	return guests, err
}

// turn waits until no other start asks the libvirt: for one question that gets no answer, and for the shorter one
// after it.
func (c Census) turn(ctx context.Context, uri string, limit time.Duration) (*slot.Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	return c.Notes.PeerLock(uri).Acquire(ctx, nil)
}
