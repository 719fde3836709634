package bench

import (
	"slices"
	"strings"
	"testing"
)

// With three sides that have their turns, the emulator's part is measured where ours moves the guest to.
func TestTargetOf(t *testing.T) {
	three := append(slices.Clone(sides), side{bare: true})
	at, last, moved := 0, -2, false
	ours, bare := map[int]int{}, map[int]int{}
	err := turns(three, 4, true, func(round int, who side) error {
		if round != last {
			last, moved = round, false
		}
		switch {
		case who.bare:
			bare[round] = targetOf(at, moved)
		case who.ours:
			at, moved = 1-at, true
			ours[round] = at
		default:
			at = 1 - at
		}
		return nil
	})
	if err != nil || len(bare) != 5 {
		t.Fatalf("%v, %v", bare, err)
	}
	for round, node := range bare {
		if ours[round] != node {
			t.Errorf("round %d: ours moved to %d, the emulator's part is of %d", round, ours[round], node)
		}
	}
}

func TestClient(t *testing.T) {
	var m moves
	for _, one := range []struct {
		who      side
		udp, tcp float64
	}{{sides[0], 60, 70}, {sides[0], 62, 72}, {sides[0], 64, 74}, {sides[1], 150, 160}} {
		m.add(one.who, move{Ended: endedLive, Pause: 20, UDP: &one.udp, TCP: &one.tcp})
	}
	m.add(sides[0], move{Ended: endedLive}) // nothing probed it
	got := m.client([]answered{{1, 2, 40, 50}, {1, 2, 50, 52}, {1, 2, 42, 60}})
	udp, tcp := got[0], got[1]
	if udp.N != 3 || udp.Ours.P50 != 20 || udp.Peer.P50 != 108 || tcp.Ours.P50 != 20 || tcp.Peer.P50 != 108 {
		t.Errorf("%+v", got)
	}
	const (
		want    = "its whole gap (62.0 ms, with VirtualDomain 150.0 ms) less the emulator's part, 42.0 ms (n 3, max 50.0)"
		medians = "kernel 1.0 ms (ICMP) and 2.0 ms (TCP), light service 42.0 ms (UDP) and 52.0 ms (TCP)"
	)
	if !strings.HasSuffix(udp.Notes[0], want) || !strings.HasSuffix(udp.Notes[2], medians) {
		t.Errorf("%q", udp.Notes)
	}
	// A connection that broke is reported: no figure has it.
	m.peer[0].Request = new(200.0)
	for i := range 3 {
		m.ours[i].Request = new(40.0 + float64(i))
	}
	const broken = "its connection broke in 1 live moves, with VirtualDomain in 0, which are in no figure"
	if r := m.requests(); r.N != 3 || r.Peer.P50 != 200 || !strings.HasSuffix(r.Notes[0], broken) {
		t.Errorf("%+v", r)
	}
	const parts = "pause + rest (medians): 20.0 + 42.0 ms, with VirtualDomain 20.0 + 130.0 ms"
	if rest := m.beyondPause(udpOf); rest != parts {
		t.Errorf("%q", rest)
	}
}
