package announce

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxSaid bounds what a Memory has of what was said. It is said again after that many.
const maxSaid = 4096

// maxSightings bounds what a Memory has of the neighbour table.
const maxSightings = 16384

// sighting is an address at a MAC.
type sighting struct {
	link int
	addr netip.Addr
	mac  MAC
}

// The node's bound for frames with addresses, of all guests together: so many each second, and so many at once.
const (
	framesPerSecond = 10_000
	framesAtOnce    = 2_000
)

// Memory is what an Announcer has said, seen and announced. Its zero value has nothing.
// It may be used by several goroutines at once.
type Memory struct {
	mu    sync.Mutex
	said  map[string]bool
	addrs map[string][]netip.Addr // by guest that is here
	seen  map[sighting]time.Time  // when last
	left  float64                 // frames that may be sent at once
	sent  time.Time               // when left was true

	barred atomic.Bool // this process may not teach a bridge
}

// first reports whether a text was not said before.
func (m *Memory) first(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said[text] {
		return false
	}
	if m.said == nil || len(m.said) >= maxSaid {
		m.said = map[string]bool{}
	}
	m.said[text] = true
	return true
}

// keep remembers what is announced for a guest, in place of what was before. Without addresses it forgets the guest.
func (m *Memory) keep(guest string, addrs []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(addrs) == 0 {
		delete(m.addrs, guest)
		return
	}
	if m.addrs == nil {
		m.addrs = map[string][]netip.Addr{}
	}
	m.addrs[guest] = slices.Clone(addrs)
}

// others adds to a map the addresses of all guests but one.
func (m *Memory) others(guest string, to map[netip.Addr]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for of, addrs := range m.addrs {
		for _, a := range addrs {
			if of != guest {
				to[a] = of
			}
		}
	}
}

// watch takes note of what the neighbour table has, and forgets what it had long ago.
func (m *Memory) watch(now time.Time, table []Neighbour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[sighting]time.Time{}
	}
	maps.DeleteFunc(m.seen, func(_ sighting, at time.Time) bool { return now.Sub(at) > seenLately })
	for _, n := range table {
		s := sighting{n.Link, n.Addr, n.MAC}
		if _, known := m.seen[s]; known || len(m.seen) < maxSightings {
			m.seen[s] = now.Add(-min(n.Age, seenLately))
		}
	}
}

// past is what the neighbour table had not long ago: who takes over the address of another in the table does not
// make it forgotten at once.
func (m *Memory) past(now time.Time) (all []Neighbour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s, at := range m.seen {
		if age := now.Sub(at); age <= seenLately {
			all = append(all, Neighbour{MAC: s.mac, Addr: s.addr, Age: age, Link: s.link, Past: true})
		}
	}
	return all
}

// allow reports whether a frame with an address may be sent now, and counts it.
func (m *Memory) allow(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = min(framesAtOnce, m.left+now.Sub(m.sent).Seconds()*framesPerSecond)
	m.sent = now
	if m.left < 1 {
		return false
	}
	m.left--
	return true
}
