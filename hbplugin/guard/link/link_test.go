package link

import (
	"bytes"
	"testing"
	"time"
)

var (
	key     = []byte("0123456789abcdef")
	renewal = Message{Kind: Renewal, From: 1, To: 2, Generation: 7, Sequence: 1 << 40, Written: 12, Run: 99}
)

func TestSeal(t *testing.T) {
	sealed := renewal.Seal(key)
	if got, err := Unseal(key, sealed); err != nil || got != renewal {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Unseal([]byte("another"), sealed); err != ErrRefused {
		t.Errorf("with another key: %v", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := Unseal(key, changed); err != ErrRefused {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, n := range []int{0, plainSize, Size - 1} {
		if _, err := Unseal(key, sealed[:n]); err != ErrRefused {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	unknown := renewal
	unknown.Kind = 3
	if _, err := Unseal(key, unknown.Seal(key)); err != ErrRefused {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestForeign(t *testing.T) {
	other := renewal.Seal([]byte("another"))
	if from, to, ok := Foreign(other); !ok || from != 1 || to != 2 {
		t.Errorf("%d, %d, %v", from, to, ok)
	}
	if _, _, ok := Foreign(other[1:]); ok {
		t.Error("a shorter datagram is taken for a guard's")
	}
	other[0]++
	if _, _, ok := Foreign(other); ok {
		t.Error("a datagram without the magic is taken for a guard's")
	}
}

func TestFresh(t *testing.T) {
	var r Received
	for i, step := range []struct {
		run, sequence uint64
		want          bool
	}{
		{1, 1, true}, {1, 1, false}, {1, 3, true}, {1, 2, false}, {1, 4, true},
		{2, 1, true}, {1, 5, false}, {1, 1, false}, {2, 1, false}, {2, 2, true},
	} {
		if got := r.Fresh(Message{Run: step.run, Sequence: step.sequence}); got != step.want {
			t.Errorf("step %d, run %d, number %d: %v", i, step.run, step.sequence, got)
		}
	}
}

func TestAcknowledged(t *testing.T) {
	var s Sent
	s.Add(1, 10*time.Second, time.Second)
	s.Add(2, 10500*time.Millisecond, time.Second)
	if begun, ok := s.Acknowledged(2); !ok || begun != 10500*time.Millisecond {
		t.Errorf("%s, %v", begun, ok)
	}
	if _, ok := s.Acknowledged(2); ok {
		t.Error("one renewal is acknowledged twice")
	}
	s.Add(3, 12*time.Second, time.Second)
	if _, ok := s.Acknowledged(1); ok {
		t.Error("a renewal that is too old is acknowledged")
	}
}

func FuzzUnseal(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Unseal(key, b); err == nil && !bytes.Equal(m.Seal(key), b) {
			t.Errorf("%+v was not sealed as %x", m, b)
		}
	})
}
