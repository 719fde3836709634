package partition

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

const held = lease.Held

// lookEvery is how often the slots are read.
const lookEvery = 50 * time.Millisecond

// Change is a change of a node's slot on the lease device.
type Change struct {
	At         time.Time `json:"at"`
	Node       string    `json:"node"`
	State      string    `json:"state"`
	Generation uint64    `json:"generation"`
}

// slots are what the lease device says of the nodes.
type slots struct {
	mu      sync.Mutex
	last    []lease.Slot
	written []time.Time // when each was seen to be written last
	changes []Change
}

// Watch reads the slots until ctx ends.
func (m *Matrix) Watch(ctx context.Context) error {
	d, err := device.Open(m.Lease, false)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		for i := range m.Cluster.Nodes {
			s, err := d.Slot(i + 1)
			if err != nil {
				return fmt.Errorf("read the slot of %s: %w", m.node(i), err)
			}
			m.slots.take(m.node(i), i, s)
		}
		if pause(ctx, lookEvery) != nil {
			return nil
		}
	}
}

func (s *slots) take(name string, node int, now lease.Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.last) <= node {
		s.last, s.written = append(s.last, lease.Slot{}), append(s.written, time.Time{})
	}
	was := s.last[node]
	s.last[node] = now
	if now.Newer(was) {
		s.written[node] = time.Now()
	}
	if was.State != now.State || was.Generation != now.Generation {
		s.changes = append(s.changes, Change{time.Now(), name, now.State.String(), now.Generation})
	}
}

// now is the slot of a node, as last read.
func (s *slots) now(node int) lease.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node >= len(s.last) {
		return lease.Slot{}
	}
	return s.last[node]
}

// silence is how long a node has written nothing.
func (s *slots) silence(node int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node >= len(s.written) {
		return 0
	}
	return time.Since(s.written[node])
}

// since are the changes of the slots since an instant.
func (s *slots) since(t time.Time) (all []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if c.At.After(t) {
			all = append(all, c)
		}
	}
	return all
}
