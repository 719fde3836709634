package reflector

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// stay is a client with its first and newest probe; none where newest is before first.
func stay(owner string, born, first, last time.Duration) *place {
	p := &place{owner: ownerOf(netip.MustParseAddr(owner)), evict: func() {}}
	p.born, p.first, p.last, p.shown = born*time.Second, first*time.Second, last*time.Second, last >= first
	return p
}

const none = -1 // instead of the newest probe

func TestWhoGivesUpItsPlace(t *testing.T) {
	const now = 1000
	type seat = *place
	for name, test := range map[string]struct {
		there   []seat
		comer   string
		victim  int // of those that are there; free, or turned away
		limits  [2]int
		instant time.Duration
	}{
		"there is room": {[]seat{stay("10.0.0.1", 0, 0, none)}, "10.0.0.2", free, [2]int{2, 2},
			now},
		"the oldest without a probe": {[]seat{stay("10.0.0.1", 2, 0, none), stay("10.0.0.2", 1, 0, none),
			stay("10.0.0.3", 0, 1, 1)}, "10.0.0.4", 1, [2]int{3, 3}, now},
		"one without a probe, however new": {[]seat{stay("10.0.0.1", 0, 1, 1), stay("10.0.0.2", now, 0, none)},
			"10.0.0.4", 1, [2]int{2, 2}, now},
		"then the longest idle": {[]seat{stay("10.0.0.1", 0, 7, 7), stay("10.0.0.2", 0, 6, 6),
			stay("10.0.0.3", 0, 8, 8)}, "10.0.0.4", 1, [2]int{3, 3}, now},
		"one that sent for long stays for long": {[]seat{stay("10.0.0.1", 0, 0, 990), stay("10.0.0.2", 0, 995, 995)},
			"10.0.0.4", 1, [2]int{2, 2}, now},
		"ten times as long": {[]seat{stay("10.0.0.1", 0, 0, 10)}, "10.0.0.4", turned, [2]int{1, 1},
			109},
		"and no longer": {[]seat{stay("10.0.0.1", 0, 0, 10)}, "10.0.0.4", 0, [2]int{1, 1}, 110},
		"ten minutes at most": {[]seat{stay("10.0.0.1", 0, 0, 300)}, "10.0.0.4", 0, [2]int{1, 1},
			900},
		"nobody alive": {[]seat{stay("10.0.0.1", 0, 0, 990), stay("10.0.0.2", 0, 0, 999)},
			"10.0.0.4", turned, [2]int{2, 2}, now},
		"one of the same address": {[]seat{stay("10.0.0.1", 0, 0, none), stay("10.0.0.2", 9, 9, 9)},
			"10.0.0.2", 1, [2]int{4, 1}, now},
		"two minutes at most for their own": {[]seat{stay("10.0.0.2", 0, 0, 300)}, "10.0.0.2", 0, [2]int{2, 1},
			420},
		"and no less": {[]seat{stay("10.0.0.2", 0, 0, 300)}, "10.0.0.2", turned,
			[2]int{2, 1}, 419},
		"of the same address, all alive": {[]seat{stay("10.0.0.1", 0, 0, none), stay("10.0.0.2", 0, 0, 999)},
			"10.0.0.2", turned, [2]int{2, 1}, now},
		"of the same network": {[]seat{stay("2001:db8::1", 0, 0, none),
			stay("2001:db8::2", 1, 0, none)}, "2001:db8::3", 0, [2]int{9, 2}, now},
		"of another network": {[]seat{stay("2001:db8::1", 0, 0, none),
			stay("2001:db8::2", 1, 0, none)}, "2001:db8:0:1::3", free, [2]int{9, 2}, now},
		"mapped addresses are apart": {[]seat{stay("::ffff:10.0.0.1", 0, 0, none)}, "::ffff:10.0.0.2", free,
			[2]int{9, 1}, now},
		"and one with their own": {[]seat{stay("::ffff:10.0.0.1", 0, 0, none)}, "10.0.0.1", 0,
			[2]int{9, 1}, now},
	} {
		s := newPlaces(test.limits[0], test.limits[1])
		for _, p := range test.there {
			s.put(p)
		}
		v, ok := s.victim(ownerOf(netip.MustParseAddr(test.comer)), test.instant*time.Second)
		got := turned
		for i, p := range test.there {
			if p == v {
				got = i
			}
		}
		if ok && v == nil {
			got = free
		}
		if got != test.victim {
			t.Errorf("%s: %d goes, want %d", name, got, test.victim)
		}
	}
}

const (
	turned = -1 - iota // the newcomer goes
	free               // nobody goes
)

// However clients come, send and go, the limits are kept, the one that goes yields
// before all others, and none that is alive goes.
func TestPlacesKeepTheirLimits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const limit, each = 40, 6
	s := newPlaces(limit, each)
	there := make(map[*place]bool)
	now := time.Duration(0)
	var gone *place
	for range 50_000 {
		now += time.Duration(random.IntN(2000)) * time.Millisecond
		p := &place{owner: owner{network: 1 + random.Uint64N(12)}}
		p.evict = func() { gone = p }
		switch random.IntN(4) {
		case 0:
			gone = nil
			all, own := earliest(there, owner{}, maxKeep), earliest(there, p.owner, ownKeep)
			full := count(there, p.owner) >= each || len(there) >= limit
			ok := s.take(p, now)
			delete(there, gone)
			if ok {
				there[p] = true
			}
			if ok != (!full || gone != nil) || gone != nil && !goesFirst(gone, all, maxKeep, now) &&
				!goesFirst(gone, own, ownKeep, now) {
				t.Fatalf("full %v, taken %v, %+v goes", full, ok, gone)
			}
		case 1:
			for p := range there { // any of them
				s.free(p)
				s.free(p) // twice does no harm
				delete(there, p)
				break
			}
		default:
			for p := range there {
				p.touch(now)
				break
			}
		}
		if s.all.Len() != len(there) || len(there) > limit || len(s.owners) > len(there) {
			t.Fatalf("%d places for %d clients of %d owners", s.all.Len(), len(there), len(s.owners))
		}
		for of, q := range s.owners {
			if q.Len() > each || q.Len() != count(there, of) {
				t.Fatalf("%d places of %+v, which has %d", q.Len(), of, count(there, of))
			}
		}
	}
}

// goesFirst reports whether a place may go: it yields by now, and none yields before it.
func goesFirst(gone, first *place, most, now time.Duration) bool {
	return first != nil && gone.yields(most) <= now && gone.yields(most) == first.yields(most)
}

// earliest is the one that yields first, of an owner or, where there is none, of all.
func earliest(there map[*place]bool, of owner, most time.Duration) (first *place) {
	for p := range there {
		if (of == owner{} || p.owner == of) && (first == nil || p.yields(most) < first.yields(most)) {
			first = p
		}
	}
	return first
}

func count(there map[*place]bool, of owner) (n int) {
	for p := range there {
		if p.owner == of {
			n++
		}
	}
	return n
}

// Addresses count together when they are one, or of one /64.
func TestOwnerOf(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.7", "192.0.2.7", true}, {"192.0.2.7", "192.0.2.8", false},
		{"::ffff:192.0.2.7", "192.0.2.7", true}, {"::ffff:192.0.2.7", "::ffff:192.0.2.8", false},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", true}, {"2001:db8:1:2::", "2001:db8:1:3::", false},
		{"fe80::1", "fe80::2", true}, {"::1", "0.0.0.0", false}, {"::c000:207", "192.0.2.7", false},
	} {
		a, b := ownerOf(netip.MustParseAddr(test.a)), ownerOf(netip.MustParseAddr(test.b))
		if (a == b) != test.same {
			t.Errorf("%s and %s: %+v and %+v, want the same: %v", test.a, test.b, a, b, test.same)
		}
	}
}

// Runs that have ended leave sessions behind at their address. They make room for the runs that come after them.
func TestRunsOfOneAddressFollowEachOther(t *testing.T) {
	r := New(quiet(), Limits{})
	for run := range 20 {
		began := time.Duration(run) * time.Minute
		for host := range 30 {
			c := newPeer(r, fmt.Sprintf("192.0.2.1:%d", 10_000+run*100+host), uint64(run*100+host+1))
			for _, at := range []time.Duration{0, 10 * time.Second, 50 * time.Second} {
				if _, ok := c.next(began + at); !ok {
					t.Fatalf("run %d of host %d is not answered after %s", run, host, at)
				}
			}
		}
	}
}
