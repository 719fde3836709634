package guardd

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// recorded compares what a node has recorded with lines "KIND TARGET GUESTS EVIDENCE", of whose last a part is enough.
func (n *node) recorded(want ...[4]string) {
	n.Helper()
	events := n.done().events
	if len(events) != len(want) {
		n.Fatalf("node %d recorded %+v, want %d events", n.id, events, len(want))
	}
	for i, e := range events {
		w := want[i]
		if string(e.Kind) != w[0] || e.Target != w[1] || string(rune('0'+e.Guests)) != w[2] ||
			!strings.Contains(e.Evidence, w[3]) {
			n.Errorf("node %d: event %d is %+v, want %q", n.id, i, e, w)
		}
		if e.Node != n.name(n.id) || e.Time.IsZero() || e.DurationMS < 0 || e.Generation == 0 {
			n.Errorf("node %d: event %d is %+v", n.id, i, e)
		}
	}
}

func TestRecordOfASplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(nil, nil)
		w.cutLink(true)
		lost := make(chan error)
		go func() { _, err := a.fence("beta"); lost <- err }()
		if _, err := b.fence("alpha"); err != nil {
			t.Error(err)
		}
		<-lost
		time.Sleep(time.Second)
		w.cutLink(false)
		time.Sleep(time.Second)
		a.open(1)
		ctx := t.Context()
		if err := b.Surrender(ctx); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		const returned = "the lease is held"
		a.recorded(
			[4]string{"return", "", "0", returned},
			[4]string{"not fenced", "beta", "1", "this node does not hold its lease: claim 3600001 of node beta"},
			[4]string{"kill", "beta", "0", "beats claim 3600001 of node alpha"}, // all were moved
			[4]string{"surrender", "beta", "1", "beats claim 3600001 of node alpha"},
			[4]string{"return", "", "0", returned})
		b.recorded(
			[4]string{"return", "", "0", returned},
			[4]string{"fenced", "alpha", "3", "node alpha has surrendered generation 1"},
			[4]string{"kill", "", "3", "the guard ends"},
			[4]string{"surrender", "", "3", "the guard ends"})
		a.end()
		b.end()
	})
}

// A node whose storage hangs records its kill at once, and the surrender when that is on the device.
func TestRecordOfAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, func(c *Config) { c.Link = nil })
		a.open(2)
		time.Sleep(2 * time.Second)
		hang := make(chan struct{})
		w.disk.mu.Lock()
		w.disk.hangs[1] = hang
		w.disk.mu.Unlock()
		time.Sleep(time.Minute)
		want := [][4]string{{"return", "", "0", ""}, {"kill", "", "2", "the lease is 3"}, {"surrender", "", "2", "the lease is 3"}}
		a.recorded(want[:2]...)
		w.disk.mu.Lock()
		w.disk.hangs[1] = nil
		w.disk.mu.Unlock()
		close(hang)
		time.Sleep(2 * time.Second)
		a.recorded(want...)
		if took := a.done().events[2].DurationMS; took < 55000 || took > 60000 {
			t.Errorf("the surrender took %d ms", took)
		}
		a.end()
	})
}

func TestRecordOfAResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		a.open(1)
		time.Sleep(time.Second)
		a.end()
		good := a.done().until - timing.Default.SelfKill
		again := w.start(1, func(c *Config) { c.Previous, c.Good = w.slot(1), good })
		time.Sleep(time.Second)
		again.recorded([4]string{"resume", "", "0", "the lease of the guard before this one is held"})
		again.end()
	})
}

// A disk for the records that is full or hangs holds up nothing: fence calls are answered, and guests killed in time.
func TestRecordFails(t *testing.T) {
	for name, fail := range map[string]func() error{
		"full":  func() error { return errors.New("no space left on device") },
		"hangs": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.disk.slots[2] = lease.Slot{Node: 2, Instance: lease.Instance{2}, Generation: 1, State: lease.Held}
			release := make(chan struct{})
			var asked atomic.Int64
			a := w.start(1, func(c *Config) {
				c.Link, c.Policy = nil, protocol.Policy{TrustExpiry: true}
				c.Node.Record = func(journal.Event) error {
					asked.Add(1)
					if fail == nil {
						<-release
						return nil
					}
					return fail()
				}
			})
			a.open(2)
			for range 2 * cap(a.records) {
				if _, err := a.fence("beta"); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if !a.mayRun() {
				t.Errorf("%s: the lease is lost", name)
			}
			hang := make(chan struct{})
			w.disk.mu.Lock()
			w.disk.hangs[1] = hang
			w.disk.mu.Unlock()
			begun := w.now()
			time.Sleep(10 * time.Second)
			if s := a.done(); s.killed == 0 || s.killed-begun > timing.Default.SelfKill+2*step {
				t.Errorf("%s: killed %s after the storage hung", name, s.killed-begun)
			}
			close(release)
			close(hang)
			time.Sleep(time.Second)
			if got, least := asked.Load(), int64(cap(a.records)); got < least {
				t.Errorf("%s: %d events came to the disk, want %d or more", name, got, least)
			}
			a.end()
		})
	}
}
