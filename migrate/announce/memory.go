package announce

import (
	"net/netip"
	"slices"
	"sync"
)

// maxSaid bounds what a Memory has of what was said. It is said again after that many.
const maxSaid = 4096

// Memory is what an Announcer has said and announced. Its zero value and nil have nothing; nil forgets at once.
// It may be used by several goroutines at once.
type Memory struct {
	mu    sync.Mutex
	said  map[string]bool
	addrs map[string][]netip.Addr // by guest that is here
}

// first tells whether a text was not said before.
func (m *Memory) first(text string) bool {
	if m == nil {
		return true
	}
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
	if m == nil {
		return
	}
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
	if m == nil {
		return
	}
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
