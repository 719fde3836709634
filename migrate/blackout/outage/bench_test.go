package outage

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// BenchmarkTracker is the arithmetic of a probe and its answer.
func BenchmarkTracker(b *testing.B) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	b.ReportAllocs()
	for i := range b.N {
		at := time.Duration(i) * time.Millisecond
		seq := k.Send(at, 0)
		k.Sent(seq, at+time.Microsecond)
		k.Answer(wire.Packet{Kind: wire.Answer, Seq: seq, Instance: 1, Count: seq}, at+100*time.Microsecond, 0)
	}
}
