package reflector

import (
	"container/heap"
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

const (
	// keepFactor is how many times as long as a client has been sending it keeps its
	// place in silence, when others want it: its outage is what is measured.
	keepFactor = 10
	// maxKeep is the longest time for which it does.
	maxKeep = 10 * time.Minute
	// ownKeep is the longest where another client of its own address wants the place:
	// the path to that address works then, so what is silent has most likely ended. It
	// is twice the longest interval of a watch.
	ownKeep = 2 * wire.MaxInterval
	// neverShown puts clients that sent no probe before all others, the oldest first.
	neverShown = time.Duration(math.MinInt64 / 2)
)

// place is what a client takes up at a reflector: a session, or a connection.
type place struct {
	owner       owner
	born        time.Duration // when the client came
	first, last time.Duration // its first and its newest probe
	shown       bool          // there was one
	evict       func()        // called when the place is given to another

	in [2]position // in the queue of all, and in that of its owner
}

// position is where a place is in a queue. key is never later than the instant
// at which it yields, and is brought up to date when it comes first.
type position struct {
	key   time.Duration
	index int
}

// The queues that a place is in.
const (
	ofAll = iota
	ofOwner
)

// keeps is for how long a silent client keeps its place in each of them.
var keeps = [...]time.Duration{ofAll: maxKeep, ofOwner: ownKeep}

// owner is whose quota an address counts against: its own for IPv4, else that of its
// /64, as one client may have all of that to itself (RFC 6177).
type owner struct{ network, six uint64 }

// ownerOf is whose quota an address counts against. An IPv4-mapped IPv6 address is
// an IPv4 address.
func ownerOf(ip netip.Addr) owner {
	ip = ip.Unmap()
	if ip.Is4() {
		four := ip.As4()
		return owner{network: uint64(binary.BigEndian.Uint32(four[:]))}
	}
	sixteen := ip.As16()
	return owner{binary.BigEndian.Uint64(sixteen[:]), unix.AF_INET6}
}

// touch notes a probe.
func (p *place) touch(now time.Duration) {
	if !p.shown {
		p.first, p.shown = now, true
	}
	p.last = now
}

// yields is the instant from which a client gives up its place to a newcomer. A client
// that sent no probe, or only one, yields at once. The longer a client has been sending,
// the longer it may be silent, up to most. Where several yield, the earliest goes.
func (p *place) yields(most time.Duration) time.Duration {
	if !p.shown {
		return p.born + neverShown
	}
	return p.last + min(keepFactor*(p.last-p.first), most)
}

// places are the bounded places of a reflector. They are not safe for concurrent use.
type places struct {
	limit, each int // in all, and of one owner
	all         queue
	owners      map[owner]*queue
}

func newPlaces(limit, each int) *places {
	return &places{limit: limit, each: each, all: queue{which: ofAll}, owners: make(map[owner]*queue)}
}

// victim decides who makes room for a newcomer: nil when there is room, one of the
// newcomer's owner when its quota is used up, else the one of all that yields first.
// Not ok when nobody yields: a live client does not go for one that has shown nothing.
func (s *places) victim(of owner, now time.Duration) (v *place, ok bool) {
	if q := s.owners[of]; q != nil && q.Len() >= s.each {
		v = q.due(now)
		return v, v != nil
	}
	if s.all.Len() >= s.limit {
		v = s.all.due(now)
		return v, v != nil
	}
	return nil, true
}

// take gives p a place, and reports whether there was one.
func (s *places) take(p *place, now time.Duration) bool {
	v, ok := s.victim(p.owner, now)
	if !ok {
		return false
	}
	if v != nil {
		s.free(v)
		v.evict()
	}
	p.born = now
	s.put(p)
	return true
}

// put queues a place.
func (s *places) put(p *place) {
	q := s.owners[p.owner]
	if q == nil {
		q = &queue{which: ofOwner}
		s.owners[p.owner] = q
	}
	heap.Push(&s.all, p)
	heap.Push(q, p)
}

// free takes the place of p back, if it still has one.
func (s *places) free(p *place) {
	q := s.owners[p.owner]
	if q == nil || p.in[ofAll].index < 0 {
		return
	}
	heap.Remove(&s.all, p.in[ofAll].index)
	heap.Remove(q, p.in[ofOwner].index)
	if q.Len() == 0 {
		delete(s.owners, p.owner)
	}
}

// queue is a heap of places by their keys; see container/heap.
type queue struct {
	list  []*place
	which int
}

// due is the place that yields first, if one does by now. An outdated key is corrected
// first; at least one probe has come for each correction.
func (q *queue) due(now time.Duration) *place {
	for q.Len() > 0 {
		p := q.list[0]
		at := &p.in[q.which]
		if at.key > now {
			return nil
		}
		if yields := p.yields(keeps[q.which]); yields != at.key {
			at.key = yields
			heap.Fix(q, 0)
			continue
		}
		return p
	}
	return nil
}

func (q *queue) Len() int           { return len(q.list) }
func (q *queue) Less(i, j int) bool { return q.list[i].in[q.which].key < q.list[j].in[q.which].key }

func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].in[q.which].index, q.list[j].in[q.which].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	p := x.(*place)
	p.in[q.which] = position{p.yields(keeps[q.which]), len(q.list)}
	q.list = append(q.list, p)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	n := len(q.list) - 1
	p := q.list[n]
	q.list[n], q.list = nil, q.list[:n]
	p.in[q.which].index = -1
	return p
}
