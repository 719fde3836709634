package outage

import (
	"testing"
	"time"
)

func TestSendTimes(t *testing.T) {
	k := newSendTimes(16 * time.Millisecond)
	for i := range minSends + 5 {
		k.add(time.Duration(i*i) * time.Millisecond)
	}
	if got := k.spacing(minSends+5, 1); got != (2*minSends+7)*time.Millisecond {
		t.Errorf("newest spacing = %s", got)
	}
	for _, seq := range []uint64{0, 1, 5, 6, minSends + 6} {
		if got := k.spacing(seq, 1); got != 1 {
			t.Errorf("spacing(%d) = %s, want the nominal one", seq, got)
		}
	}
}
