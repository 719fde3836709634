package outage

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

const millisecond = time.Millisecond

func TestAcksLook(t *testing.T) {
	type look struct {
		now, age time.Duration
		acked    uint64
		at, late time.Duration
		fresh    bool
	}
	for name, looks := range map[string][]look{
		"one in each slot": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{20 * millisecond, 4 * millisecond, 96, 16 * millisecond, 4 * millisecond, true},
		},
		"silence": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{20 * millisecond, 16 * millisecond, 48, 0, 0, false},
			{30 * millisecond, 28 * millisecond, 48, 0, 0, false},
		},
		"a duplicate, which acknowledges no more bytes": {
			{10 * millisecond, 20 * millisecond, 0, 0, 0, false},
			{20 * millisecond, 0, 0, 20 * millisecond, 4 * millisecond, true},
		},
		"bytes are acknowledged, and the tick makes it older than the look before": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{14 * millisecond, 8 * millisecond, 96, 10 * millisecond, 0, true},
		},
		"never": {{10 * millisecond, time.Hour, 0, 0, 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			a := Acks{Tick: 4 * millisecond}
			for i, l := range looks {
				at, late, fresh := a.Update(l.now, l.age, l.acked)
				if at != l.at || late != l.late || fresh != l.fresh {
					t.Errorf("look %d: at %s, late %s, fresh %v; want %+v", i, at, late, fresh, l)
				}
			}
		})
	}
}

// An acknowledgement is taken for the newest probe before it, by the definition of a blackout.
func TestAcknowledge(t *testing.T) {
	for name, c := range map[string]struct {
		acks     []int // at which millisecond each came; probes are sent at 10, 20, …
		blackout float64
		below    float64
	}{
		"all of them":                                {[]int{12, 22, 32, 42, 52, 62, 72, 82}, 0, 0},
		"the first is due at 32":                     {[]int{12, 22, 77, 82}, 45, 0},
		"not longer than error":                      {[]int{12, 22, 41, 52, 62, 72, 82}, 0, 9},
		"two for one probe":                          {[]int{12, 14, 22, 32, 36, 42, 52, 62, 72, 82}, 0, 0},
		"several at once":                            {[]int{12, 75, 76, 77, 82}, 53, 0},
		"before anything was sent, and then as ever": {[]int{3, 12, 22, 32, 42, 52, 62, 72, 82}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			k := New(Options{Interval: 10 * millisecond, Threshold: 30 * millisecond, Bucket: 10 * millisecond})
			next := 0
			for now := range 90 {
				if now > 0 && now%10 == 0 {
					k.Send(time.Duration(now)*millisecond, 0)
				}
				if next < len(c.acks) && c.acks[next] == now {
					k.Acknowledge(time.Duration(now)*millisecond, 0)
					next++
				}
			}
			var got report.Target
			k.ReportKernel(&got, Calendar{}, 85*millisecond)
			if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs != c.blackout || got.KernelBelowErrorMs != c.below {
				t.Errorf("%v and %v below error; want %v, %v", got.KernelBlackoutMs, got.KernelBelowErrorMs,
					c.blackout, c.below)
			}
		})
	}
	var none report.Target
	New(Options{Interval: millisecond, Threshold: millisecond, Bucket: millisecond}).ReportKernel(&none, Calendar{},
		time.Second)
	if none.KernelBlackoutMs != nil {
		t.Errorf("a kernel that never acknowledged has a blackout of %v ms", *none.KernelBlackoutMs)
	}
}

// A silence that lasts at the end of a run counts too.
func TestAcknowledgedOpen(t *testing.T) {
	k := New(Options{Interval: 10 * millisecond, Threshold: 30 * millisecond, Bucket: 10 * millisecond})
	for i := range 20 {
		k.Send(time.Duration(10*(i+1))*millisecond, 0)
		if i < 3 {
			k.Acknowledge(time.Duration(10*(i+1)+1)*millisecond, 0)
		}
	}
	var got report.Target
	k.ReportKernel(&got, Calendar{Start: time.Unix(100, 0)}, 200*millisecond)
	length := got.KernelBlackoutEnd.Sub(got.KernelBlackoutStart)
	if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs != 159 || length != 159*millisecond {
		t.Errorf("%v, from %s to %s", got.KernelBlackoutMs, got.KernelBlackoutStart, got.KernelBlackoutEnd)
	}
}
