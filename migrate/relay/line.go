package relay

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// line is the relay of one card.
type line struct {
	place
	keep    *keeper
	send    *sender
	updates chan netlink.NeighUpdate // what the kernel's bridges learn; closed when nothing more is heard
	deaf    chan struct{}            // closed to hear no more

	// Of run's goroutine, and of others after its end.
	passed int   // frames that were handed on
	err    error // why not all were
}

// newLine opens what is needed, in the network namespace of the calling thread.
func newLine(p place) (*line, error) {
	l := &line{place: p, updates: make(chan netlink.NeighUpdate), deaf: make(chan struct{})}
	var err error
	if l.keep, err = openKeeper(p.tap, p.card.MAC); err != nil {
		return nil, err
	}
	if l.send, err = openSender(); err != nil {
		l.keep.close()
		return nil, err
	}
	if err = netlink.NeighSubscribe(l.updates, l.deaf); err != nil {
		l.keep.close()
		l.send.close()
		return nil, fmt.Errorf("ask the kernel to tell what its bridges learn: %w", err)
	}
	return l, nil
}

func (l *line) close() {
	close(l.deaf)
	for range l.updates { // until the kernel is heard no more
	}
	l.keep.close()
	l.send.close()
}

// run hands on what is kept, once begun is closed and the bridge knows the card behind another port. It ends
// when that is done, or early when over is closed.
func (l *line) run(begun, over <-chan struct{}) {
	defer l.close()
	at, err := l.await(begun, over)
	switch out, known := l.ports[at]; {
	case errors.Is(err, errOver):
		return
	case err == nil && known:
		l.drain(out)
		select {
		case <-time.After(settle):
		case <-over:
		}
		l.drain(out)
		return
	case err == nil:
		err = fmt.Errorf("%w: it is behind device number %d, which was no port for it before", ErrUnheard, at)
	}
	if l.keep.holds() {
		l.err = err
	}
}

// errOver says that the relay was ended before there was anything to hand on.
var errOver = errors.New("the relay was ended")

const (
	// trimEvery is how often what came for a running guest is dropped, and keepSpan how much of it stays: by as much may
	// the event of the guest's STOP be late.
	trimEvery = 50 * time.Millisecond
	keepSpan  = 100 * time.Millisecond
)

// await waits for begun and for the bridge, and returns the number of the card's port.
func (l *line) await(begun, over <-chan struct{}) (at int, err error) {
	updates, at := l.updates, l.tap
	var late <-chan time.Time
	trim, buffer := time.NewTicker(trimEvery), make([]byte, maxFrame)
	defer trim.Stop()
	for begun != nil || at == l.tap {
		select {
		case <-over:
			return 0, errOver
		case now := <-trim.C:
			l.keep.trim(now.Add(-keepSpan), buffer)
		case <-begun:
			trim.Stop()
			begun, late = nil, time.After(hearTime)
		case u, ok := <-updates:
			if !ok {
				updates = nil // more was told than there was room for: what is not known is not acted upon
			} else if index, ok := l.learned(u); ok {
				at = index
			}
		case <-late:
			return 0, ErrUnheard
		}
	}
	return at, nil
}

// drain sends what is kept by now.
func (l *line) drain(out port) {
	buffer := make([]byte, maxFrame)
	for {
		frame, err := l.keep.next(buffer)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err == nil {
			frame, err = readdress(frame, out.mac, out.VLAN)
		}
		if err == nil {
			err = l.send.send(out.Outlet, frame)
		}
		switch {
		case err == nil:
			l.passed++
		case l.err == nil:
			l.err = err
		}
		if errors.Is(err, errStuck) {
			return
		}
	}
}
