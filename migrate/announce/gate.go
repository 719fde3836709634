package announce

import (
	"context"
	"sync"
	"time"
)

// maxPause is how long a guest may be paused in the middle of its announcement. After that, what was prepared is out
// of date, and the network has heard the first rounds.
const maxPause = time.Minute

// gate is open while a guest runs. Nil is always open.
type gate struct {
	mu     sync.Mutex
	isOpen bool
	opened chan struct{} // closed while open
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen {
		g.isOpen = true
		close(g.opened)
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen {
		g.isOpen, g.opened = false, make(chan struct{})
	}
}

// pass waits until the gate is open, for limit at the most, 0 for no limit. It says how long that took, and is false
// when the limit is over or ctx ends.
func (g *gate) pass(ctx context.Context, limit time.Duration) (held time.Duration, open bool) {
	if g == nil {
		return 0, ctx.Err() == nil
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	began := time.Now()
	select {
	case <-opened:
	case <-ctx.Done():
	}
	return time.Since(began), ctx.Err() == nil
}
