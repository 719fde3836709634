package bench

import (
	"io"
	"strings"
	"testing"
)

func TestBusyShare(t *testing.T) {
	const before = "cpu  100 10 50 1000 40 5 5 10 60 0\ncpu0 1 2 3\n"
	for _, c := range []struct {
		name, after string
		want        float64 // negative: an error
	}{
		{"a quarter, and a guest's time counts once", "cpu  115 10 55 1050 65 5 10 10 75 0\n", 25},
		{"all idle", "cpu  100 10 50 1100 40 5 5 10 60 0\n", 0},
		{"stolen time is not idle", "cpu  100 10 50 1050 40 5 5 60 60 0\n", 50},
		{"no time passed", before, -1},
		{"no first line", "intr 5\n", -1},
		{"too short", "cpu 1 2 3 4\n", -1},
		{"no number", "cpu  x 10 50 1000 40 5 5 10 60 0\n", -1},
	} {
		got, err := busyShare(before, c.after)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
	if _, err := busyShare("", before); err == nil {
		t.Error("nothing before was taken")
	}
}

func TestHalved(t *testing.T) {
	var m moves
	for _, one := range []struct {
		who  side
		gaps [4]float64
	}{{side{ours: true}, [4]float64{40, 50, 100, 120}}, {side{}, [4]float64{45, 50, 125, 110}}} {
		g := one.gaps
		m.add(one.who, move{Ended: endedLive, ICMP: &g[0], Acks: &g[1], UDP: &g[2], TCP: &g[3]})
	}
	r := m.halved()
	most, middle := 25/ms(moveInterval), 5/ms(moveInterval)
	if r.Unit != "intervals" || r.Ours.N != 4 || r.Ours.Max != most || r.Ours.P50 != middle ||
		r.OursEnded[endedLive] != 2 {
		t.Errorf("%+v", r)
	}
	const want = "kernel, ICMP 40.0 and 45.0; kernel, TCP 50.0 and 50.0; " +
		"light service, UDP 100.0 and 125.0; light service, TCP 120.0 and 110.0"
	if !strings.HasSuffix(r.Notes[0], want) {
		t.Errorf("%q", r.Notes)
	}
}

// A busy loop ends with the pipe that whoever started it holds, and not before.
func TestBurn(t *testing.T) {
	in, out := io.Pipe()
	ended := make(chan struct{})
	began := burnt()
	go func() {
		defer close(ended)
		Burn(in)
	}()
	for burnt() < began+5_000_000 {
		select {
		case <-ended:
			t.Fatal("it ended by itself")
		default:
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}
