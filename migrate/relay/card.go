package relay

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cardRelay is the relay of one network card.
type cardRelay struct {
	place
	queue   *tapQueue
	send    *sender
	updates chan netlink.NeighUpdate // what the kernel's bridges learn; closed when no more are received
	done    chan struct{}            // closed to end that

	// Of run's goroutine, and of others after its end.
	forwarded int   // frames that were forwarded
	err       error // why not all were
}

// newCardRelay opens what is needed, in the network namespace of the calling thread.
func newCardRelay(p place) (*cardRelay, error) {
	c := &cardRelay{place: p, updates: make(chan netlink.NeighUpdate), done: make(chan struct{})}
	var err error
	if c.queue, err = openTapQueue(p.tap, p.card.MAC); err != nil {
		return nil, err
	}
	if c.send, err = openSender(); err != nil {
		c.queue.close()
		return nil, err
	}
	if err = netlink.NeighSubscribe(c.updates, c.done); err != nil {
		c.queue.close()
		c.send.close()
		return nil, fmt.Errorf("subscribe to the bridges' forwarding databases: %w", err)
	}
	return c, nil
}

func (c *cardRelay) close() {
	close(c.done)
	for range c.updates { // until the kernel sends no more
	}
	c.queue.close()
	c.send.close()
}

// run forwards what is kept, once begun is closed and the bridge knows the card behind another port. It ends
// when that is done, or early when over is closed.
func (c *cardRelay) run(begun, over <-chan struct{}) {
	defer c.close()
	at, err := c.await(begun, over)
	switch out, known := c.ports[at]; {
	case errors.Is(err, errOver):
		return
	case err == nil && known:
		c.drain(out)
		select {
		case <-time.After(drainAgain):
		case <-over:
		}
		c.drain(out)
		return
	case err == nil:
		err = fmt.Errorf("%w: it is behind device number %d, which was no port for it before", ErrNotLearned, at)
	}
	if !c.queue.isEmpty() {
		c.err = err
	}
}

const (
	// learnTime is how long after Forward the bridge may take to learn where the guest is now. The announcements
	// come within milliseconds of the guest's RESUME, again and again, and a client has retransmitted by itself before
	// long.
	learnTime = 500 * time.Millisecond
	// drainAgain is when the socket is read once more after the bridge began to send elsewhere: what another processor
	// had on its way to the tap has arrived by then.
	drainAgain = 10 * time.Millisecond
)

// ErrNotLearned is in the error of a Close that sent nothing, because the node's bridge never learned that the
// guest is behind another port.
var ErrNotLearned = errors.New("the node's bridge has not learned the guest's new port")

// errOver says that the relay was ended before there was anything to forward.
var errOver = errors.New("the relay was ended")

const (
	// trimEvery is how often what came for a running guest is dropped, and keepSpan how much of it stays: by as much
	// may the event of the guest's STOP be late.
	trimEvery = 50 * time.Millisecond
	keepSpan  = 100 * time.Millisecond
)

// await waits for begun and for the bridge, and returns the number of the card's port.
func (c *cardRelay) await(begun, over <-chan struct{}) (at int, err error) {
	updates, at := c.updates, c.tap
	var late <-chan time.Time
	trim, buffer := time.NewTicker(trimEvery), make([]byte, maxFrame)
	defer trim.Stop()
	for begun != nil || at == c.tap {
		select {
		case <-over:
			return 0, errOver
		case now := <-trim.C:
			c.queue.trim(now.Add(-keepSpan), buffer)
		case <-begun:
			trim.Stop()
			begun, late = nil, time.After(learnTime)
		case u, ok := <-updates:
			if !ok {
				updates = nil // more came than there was room for: what is not known is not acted upon
			} else if index, ok := c.learned(u); ok {
				at = index
			}
		case <-late:
			return 0, ErrNotLearned
		}
	}
	return at, nil
}

// drain sends what is kept by now.
func (c *cardRelay) drain(out port) {
	buffer := make([]byte, maxFrame)
	for {
		frame, err := c.queue.next(buffer)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err == nil {
			frame, err = readdress(frame, out.mac, out.VLAN)
		}
		if err == nil {
			err = c.send.send(out.Outlet, frame)
		}
		switch {
		case err == nil:
			c.forwarded++
		case c.err == nil:
			c.err = err
		}
		if errors.Is(err, errStuck) {
			return
		}
	}
}
