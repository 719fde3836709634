package probe

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// openTargets prepares a run on targets, which ends with the test.
func openTargets(t testing.TB, o Config, names ...string) *Run {
	t.Helper()
	o.Threshold, o.Bucket = 3*o.Interval, 10*time.Millisecond
	o.ReconnectAfter, o.RetryEvery, o.ConnectTimeout = 2*time.Second, 100*time.Millisecond, time.Second
	var ends []endpoint.Endpoint
	for _, name := range names {
		e, err := endpoint.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, e)
	}
	r, err := Open(context.Background(), ends, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestSendingDoesNotAllocate(t *testing.T) {
	addr := reflectortest.Start(t)
	r := openTargets(t, Config{Interval: time.Minute, Burst: 1}, "udp://"+addr, "tcp://"+addr)
	round := func() {
		for _, p := range r.loop.probers {
			p.tick(r.loop.clock.now(), 0)
		}
		for !r.loop.idle() {
			if _, err := r.loop.wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.loop.probers[1].tick(r.loop.clock.now(), 0)
	for r.loop.probers[1].(*tcpProber).connected() == false {
		if _, err := r.loop.wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(200, round); n > 0 {
		t.Errorf("%v allocations for each probe to two targets", n)
	}
}

// A loop that keeps its place in the scheduler while it waits must give it up to a
// collection of garbage at once, and not when the next slot begins. A machine that
// is paused for a while misses slots: those that were begun are counted.
func TestGarbageIsCollectedWhileTheLoopWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, err := newLoop(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.hold, l.base = true, l.clock.now()
	if err := l.arm(l.interval, l.interval); err != nil {
		t.Fatal(err)
	}
	const collections = 8
	var begun ticks
	l.probers = []prober{&begun}
	done := make(chan error, 1)
	go func() { done <- l.send(ctx) }()
	for range collections {
		runtime.GC()
	}
	cancel()
	l.interrupt()
	if err := <-done; err != nil || begun >= collections {
		t.Errorf("%d slots began in %d collections: %v", begun, collections, err)
	}
}

// ticks is a prober that counts how often it may send.
type ticks int

func (n *ticks) tick(time.Duration, uint64) { *n++ }

func (*ticks) ready(int, uint32, time.Duration) {}

func (*ticks) idle() bool { return true }

func (*ticks) close() {}

// Several runs in one process must leave a place for everything else.
func TestKeepPlace(t *testing.T) {
	places := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(places)
	quick, second := &loop{interval: time.Millisecond}, &loop{interval: time.Millisecond}
	slow, shared := &loop{interval: time.Second}, &loop{interval: time.Millisecond, shared: true}
	var releases []func()
	for _, l := range []*loop{slow, shared, quick, second} {
		releases = append(releases, l.keepPlace())
	}
	if slow.hold || shared.hold || !quick.hold || second.hold {
		t.Errorf("slow keeps a place %v, shared %v, the first of two quick ones %v, the other %v", slow.hold,
			shared.hold, quick.hold, second.hold)
	}
	for _, release := range releases {
		release()
	}
	if n := holders.Load(); n != 0 {
		t.Errorf("%d places are kept for good", n)
	}
}

// A machine that was suspended says so, and nothing is due until the next answer. What the
// clocks drift apart otherwise is no sleep.
func TestASuspendIsTheProbersFault(t *testing.T) {
	var slept time.Duration
	rests := 0
	l := &loop{interval: time.Millisecond, asleep: func() time.Duration { return slept }, onSuspend: func() { rests++ }}
	l.begin(1, time.Millisecond)
	slept = outage.LeastFault / 2
	l.begin(1, 2*time.Millisecond)
	if _, faults, _ := l.faults.Report(time.Time{}); rests != 0 || len(faults) != 0 {
		t.Fatalf("%d rests and %+v without a sleep", rests, faults)
	}
	slept += time.Hour
	l.begin(1, 3*time.Millisecond)
	l.begin(1, 4*time.Millisecond)
	_, faults, _ := l.faults.Report(time.Time{})
	if rests != 1 || len(faults) != 1 || faults[0].Kind != report.Asleep || l.faults.Slept() < time.Hour {
		t.Errorf("%d rests and %+v after a sleep of an hour", rests, faults)
	}
}
