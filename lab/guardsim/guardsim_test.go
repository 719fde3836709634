package guardsim

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

var (
	schedules = flag.Int("schedules", 2000, "how many random schedules TestSchedules plays")
	seed      = flag.Uint64("seed", 0, "play the schedule of this seed alone, and print what happens")
)

// many is above every seed of a schedule of two nodes: those above it have three to five.
const many = 1_000_000_000

// options are the ones of a seed: a quarter of the schedules has a single fault, a quarter no revocation and no hang.
func options(seed uint64) Options {
	o := Options{Seed: seed, Nodes: 2, Faults: 1 + int(seed%4), Policy: protocol.Policy{Revoke: true}}
	if seed > many {
		o.Nodes = 3 + int(seed/4%3)
	}
	if seed%4 == 3 {
		o.NoHang, o.Policy = true, protocol.Policy{TrustExpiry: true}
	}
	return o
}

func TestSchedules(t *testing.T) {
	if *seed != 0 {
		o := options(*seed)
		o.Log = func(format string, a ...any) { fmt.Printf(format+"\n", a...) }
		for _, broken := range Run(o).Broken {
			t.Error(broken)
		}
		return
	}
	sum := play(t, 1, uint64(*schedules), options)
	t.Logf("%d schedules: %d surrenders to a claim, %d expired leases, %d generations", *schedules, sum.Surrenders,
		sum.Expired, sum.Opened)
	if sum.Surrenders < *schedules/20 || sum.Expired < *schedules/20 {
		t.Error("too few of the schedules come to a surrender or to an expiry: they try nothing")
	}
}

// share is which share of the schedules has more than two nodes, which take longer.
const share = 20

func TestMoreNodes(t *testing.T) {
	if *seed != 0 {
		t.Skip("TestSchedules plays the seed")
	}
	n := *schedules / share
	sum := play(t, many+1, uint64(n), options)
	t.Logf("%d schedules: %d surrenders to a claim, %d expired leases, %d generations", n, sum.Surrenders, sum.Expired,
		sum.Opened)
	if sum.Surrenders < n/20 || sum.Expired < n/20 {
		t.Error("too few of the schedules come to a surrender or to an expiry: they try nothing")
	}
}

// play runs the schedules of n seeds on all processors, and reports what broke, with the seed that plays it again.
func play(t *testing.T, first, n uint64, options func(uint64) Options) (sum Result) {
	t.Helper()
	var next atomic.Uint64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1); i <= n && !t.Failed(); i = next.Add(1) {
				s := first + i - 1
				r := Run(options(s))
				mu.Lock()
				sum.Surrenders += r.Surrenders
				sum.Expired += r.Expired
				sum.Opened += r.Opened
				for _, broken := range r.Broken {
					t.Errorf("%s: type make sim SEED=%d", broken, s)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return sum
}

// What is known to be unsafe is found: the simulation can fail.
func TestUnsafeIsFound(t *testing.T) {
	for name, unsafe := range map[string]func(*Options){
		"a hang, expiry trusted": func(o *Options) { o.Policy, o.NoHang = protocol.Policy{TrustExpiry: true}, false },
		"an expiry shorter than the kill": func(o *Options) {
			o.Policy, o.NoHang = protocol.Policy{TrustExpiry: true}, true
			o.Times = Times
			o.Times.Margin -= 1500 * time.Millisecond
		},
	} {
		found := 0
		for s := uint64(1); s <= 3000 && found == 0; s++ {
			o := options(s)
			unsafe(&o)
			found = len(Run(o).Broken)
		}
		if found == 0 {
			t.Errorf("%s: nothing was broken in 3000 schedules", name)
		}
	}
}

// The same seed plays the same schedule.
func TestDeterminism(t *testing.T) {
	record := func() (lines []string) {
		o := options(4242)
		o.Log = func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
		Run(o)
		return lines
	}
	if a, b := fmt.Sprint(record()), fmt.Sprint(record()); a != b || len(a) < 100 {
		t.Errorf("two runs of one seed differ:\n%s\n%s", a, b)
	}
}
