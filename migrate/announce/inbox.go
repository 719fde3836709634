package announce

import (
	"slices"
	"sync"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// turn is a turn of a guest.
type turn struct {
	guest string
	libvirt.Turn
}

// inbox holds the turns that are not looked at yet. A guest that causes them without end has no more than three there.
type inbox struct {
	ready chan struct{} // has an element while there are turns

	mu      sync.Mutex
	order   []string // guests with turns
	pending map[string][]libvirt.Turn
}

func newInbox() *inbox {
	return &inbox{ready: make(chan struct{}, 1), pending: map[string][]libvirt.Turn{}}
}

// put does not block.
func (b *inbox) put(guest string, t libvirt.Turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending[guest]) == 0 {
		b.order = append(b.order, guest)
	}
	b.pending[guest] = coalesce(b.pending[guest], t)
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns all turns, those of a guest in their order.
func (b *inbox) take() []turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []turn
	for _, guest := range b.order {
		for _, t := range b.pending[guest] {
			all = append(all, turn{guest, t})
		}
	}
	b.order = nil
	clear(b.pending)
	return all
}

// coalesce adds a turn to those of the same guest that wait, and drops those that it makes void. No more than three
// wait.
func coalesce(waiting []libvirt.Turn, t libvirt.Turn) []libvirt.Turn {
	if t == libvirt.TurnHalted || t == libvirt.TurnArriving { // each ends what was before
		return []libvirt.Turn{t}
	}
	last := slices.IndexFunc(waiting, func(w libvirt.Turn) bool {
		return w == libvirt.TurnPaused || w == libvirt.TurnResumed
	})
	if last >= 0 {
		waiting = waiting[:last]
	}
	if t == libvirt.TurnRunning && slices.Contains(waiting, t) {
		return waiting
	}
	return append(waiting, t)
}
