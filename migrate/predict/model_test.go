package predict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

const (
	ms  = time.Millisecond
	sec = time.Second
	mb  = 1_000_000
	gb  = 1_000_000_000
)

// The numbers can be checked by hand: the link carries 1 GB/s where nothing else is said, so that a
// GB takes a second and a MB a millisecond.
func TestPredict(t *testing.T) {
	for _, c := range []struct {
		name string
		load Load
		by   ladder.Rung
		want Prediction
	}{
		{"idle guest", Load{Memory: 4 * gb}, ladder.Live,
			Prediction{Duration: 4 * sec, Bytes: 4 * gb, Passes: 1, Limit: 30 * ms, Kept: true}},
		{"device state and hand-over are pause", Load{Memory: 4 * gb, Device: 5 * mb, HandOver: 50 * ms}, ladder.Live,
			Prediction{Duration: 4*sec + 55*ms, Bytes: 4*gb + 5*mb, Passes: 1, Pause: 55 * ms, Limit: 30 * ms,
				Kept: true}},
		// 1 GB, 100 MB, then 10 MB fit 30 ms.
		{"a tenth again in each pass", Load{Memory: gb, DirtyRate: 100 * mb}, ladder.Live,
			Prediction{Duration: 1110 * ms, Bytes: 1110 * mb, Passes: 2, Pause: 10 * ms, Limit: 30 * ms, Kept: true}},
		// 10 MB do not fit 5 ms: one pass more, which leaves 1 MB.
		{"a lower limit, a pass more", Load{Memory: gb, DirtyRate: 100 * mb, Limit: 5 * ms}, ladder.Live,
			Prediction{Duration: 1111 * ms, Bytes: 1111 * mb, Passes: 3, Pause: ms, Limit: 5 * ms, Kept: true}},
		// It writes twice what the link carries, but always the same 20 MB.
		{"small working set", Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 20 * mb}, ladder.Live,
			Prediction{Duration: 1020 * ms, Bytes: 1020 * mb, Passes: 1, Pause: 20 * ms, Limit: 30 * ms, Kept: true}},
		// 100 MB remain for ever. After three passes the limit goes 60, 120 ms: 1 GB + 4 × 100 MB + 100 MB.
		{"the limit is raised as far as the budget",
			Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 100 * mb, Budget: 200 * ms, HandOver: 50 * ms}, ladder.Live,
			Prediction{Duration: 1550 * ms, Bytes: 1500 * mb, Passes: 5, Pause: 150 * ms, Limit: 120 * ms, Kept: true}},
		// 200 MB remain for ever, and 150 ms are allowed: a hundred passes without effect. With 51 % off, each is
		// 0.98 of the one before, and 150 MB are reached after 15.
		{"beyond the budget", Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 200 * mb, Budget: 200 * ms,
			HandOver: 50 * ms}, ladder.Live,
			Prediction{Duration: 21050 * ms, Bytes: 21 * gb, Passes: 100, Pause: 250 * ms, Limit: 150 * ms,
				Need: &Need{Throttle: 51, PostCopy: true}}},
		{"no budget: as long as it takes", Load{Memory: gb, DirtyRate: 2 * gb}, ladder.Live,
			// The limit is 30 ms × 2⁶ = 1.92 s after nine passes, and 0.96 s after eight.
			Prediction{Duration: 10 * sec, Bytes: 10 * gb, Passes: 9, Pause: sec, Limit: 1920 * ms, Kept: true}},
		{"the hand-over alone breaks the budget", Load{Memory: gb, Budget: 40 * ms, HandOver: 50 * ms}, ladder.Live,
			Prediction{Duration: 1050 * ms, Bytes: gb, Passes: 1, Pause: 50 * ms, Limit: 20 * ms, Need: &Need{}}},
		// Five passes of 1 GB, as 0.8 × 1.25 = 1. At 30 %, each is 0.875 of the one before: 875 and 765.6 MB.
		// At 40 % three quarters: 574.2 and 430.7; at 50 % 269.2 and 168.2; at 60 % a half: 84.1 and 42.06;
		// at 70 % three eighths: 15.77 MB, which fit.
		{"slowed down until it converges", Load{Memory: gb, DirtyRate: 1.25 * gb, Budget: 20 * ms, Limit: 20 * ms},
			ladder.Converge,
			Prediction{Duration: 8224843502, Bytes: 8224843502, Passes: 13, Pause: 15771389, Limit: 20 * ms,
				Throttle: 70, Kept: true}},
		{"post-copy sends the working set after the switch",
			Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 200 * mb, Device: 4 * mb, Budget: 100 * ms,
				HandOver: 50 * ms}, ladder.PostCopy,
			Prediction{Duration: 1254 * ms, Bytes: 1204 * mb, Passes: 1, Pause: 54 * ms, Limit: 4 * ms, Kept: true}},
		{"disks are copied first", Load{Memory: gb, Device: 5 * mb, Disks: 20 * gb}, ladder.Live,
			Prediction{Duration: 21*sec + 5*ms, Bytes: 21*gb + 5*mb, Passes: 1, Pause: 5 * ms, Limit: 30 * ms,
				Kept: true}},
		{"no post-copy with disks", Load{Memory: gb, Disks: gb}, ladder.PostCopy,
			Prediction{Duration: Forever, Pause: Forever}},
		{"no link to predict for", Load{Memory: gb}, ladder.Shutdown, Prediction{Duration: Forever, Pause: Forever}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := WithNeed(c.load, gb, c.by)
			c.want.Rung, c.want.Rate = c.by, gb
			near := func(a, b float64) bool { return math.Abs(a-b) <= 1000 } // ns, bytes
			if n, w := got.Need, c.want.Need; (n == nil) != (w == nil) || n != nil && *n != *w {
				t.Errorf("needs %+v, want %+v", n, w)
			}
			got.Need, c.want.Need = nil, nil
			if near(float64(got.Duration), float64(c.want.Duration)) &&
				near(float64(got.Bytes), float64(c.want.Bytes)) && near(float64(got.Pause), float64(c.want.Pause)) {
				got.Duration, got.Bytes, got.Pause = c.want.Duration, c.want.Bytes, c.want.Pause
			}
			if got != c.want {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// TestNeedThrottle proves the least per cent: it is enough, and one less is not.
func TestNeedThrottle(t *testing.T) {
	l := Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 200 * mb, Budget: 200 * ms, HandOver: 50 * ms}
	n := WithNeed(l, gb, ladder.Live).Need
	kept := func(percent int) bool { return l.preCopy(gb, func(int) int { return percent }).Kept }
	if !kept(n.Throttle) || kept(n.Throttle-1) {
		t.Errorf("%d %% is not the least", n.Throttle)
	}
}

func TestPredictWithoutALink(t *testing.T) {
	for _, rate := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		p := WithNeed(Load{Memory: gb}, rate, ladder.Live)
		if p.Kept || p.Duration != Forever || *p.Need != (Need{}) {
			t.Errorf("at %v: %+v", rate, p)
		}
	}
}

func randomLoad(r *rand.Rand) Load {
	l := Load{Memory: 64*mb + uint64(r.Int64N(16*gb)), DirtyRate: r.ExpFloat64() * 300 * mb,
		Device: uint64(r.Int64N(4 * mb)), HandOver: time.Duration(r.Int64N(int64(60 * ms)))}
	if r.IntN(2) == 0 {
		l.WorkingSet = uint64(r.Int64N(int64(l.Memory)))
	}
	if r.IntN(2) == 0 {
		l.Budget = 100*ms + time.Duration(r.Int64N(int64(sec)))
	}
	return l
}

// harder makes a load that is nowhere easier.
func harder(r *rand.Rand, l Load) Load {
	switch r.IntN(5) {
	case 0:
		if l.WorkingSet == 0 {
			l.WorkingSet = l.Memory // or a larger memory would mean a larger set too
		}
		l.Memory += uint64(r.Int64N(gb))
	case 1:
		l.DirtyRate *= 1 + r.Float64()
	case 2:
		if l.WorkingSet > 0 {
			l.WorkingSet += uint64(r.Int64N(gb))
		}
	case 3:
		l.Device += uint64(r.Int64N(mb))
	case 4:
		l.Limit = 30*ms - time.Duration(r.Int64N(int64(29*ms)))
	}
	return l
}

func TestPredictIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4_000 {
		l, rate := randomLoad(r), 50*mb+r.Float64()*2*gb
		for _, m := range []ladder.Rung{ladder.Live, ladder.Converge, ladder.PostCopy} {
			p := AtRate(l, rate, m)
			checkSane(t, l, p)
			checkNotBetter(t, p, AtRate(l, rate*(1+r.Float64()), m), "with less bandwidth")
			checkNotBetter(t, AtRate(harder(r, l), rate, m), p, "with a harder load")
		}
	}
}

// checkNotBetter finds where bad comes out better than good; a rounded nanosecond does not count.
func checkNotBetter(t *testing.T, bad, good Prediction, when string) {
	t.Helper()
	if bad.Duration < good.Duration-2 || float64(bad.Bytes) < float64(good.Bytes)*(1-1e-12)-2 ||
		bad.Passes < good.Passes || bad.Kept && !good.Kept {
		t.Fatalf("%s it goes better:\n%+v\n%+v", when, bad, good)
	}
}

func checkSane(t *testing.T, l Load, p Prediction) {
	t.Helper()
	switch {
	case p.Duration < 0 || p.Pause < 0 || p.Passes > maxPasses || p.Throttle < 0 || p.Throttle > 99:
		t.Fatalf("%+v: out of range: %+v", l, p)
	case p.Kept && l.Budget > 0 && p.Pause > l.Budget:
		t.Fatalf("%+v: beyond the budget, and kept: %+v", l, p)
	case p.Passes > 0 && float64(p.Bytes) < float64(l.Memory)*(1-1e-12):
		t.Fatalf("%+v: memory was not sent: %+v", l, p)
	case p.Pause > p.Duration:
		t.Fatalf("%+v: the pause is longer than the move: %+v", l, p)
	}
}

func FuzzPredict(f *testing.F) {
	f.Add(uint64(4*gb), 1e8, uint64(0), uint64(mb), int64(0), int64(250*ms), int64(50*ms), 1e9)
	f.Add(uint64(0), 0.0, uint64(0), uint64(0), int64(0), int64(0), int64(0), 1.0)
	f.Add(uint64(math.MaxUint64), math.Inf(1), uint64(math.MaxUint64), uint64(math.MaxUint64), int64(math.MaxInt64),
		int64(math.MaxInt64), int64(math.MaxInt64), 1e-300)
	f.Add(uint64(gb), math.NaN(), uint64(1), uint64(1), int64(-1), int64(1), int64(2), math.NaN())
	f.Fuzz(func(t *testing.T, memory uint64, dirty float64, set, device uint64, limit, budget, hand int64,
		rate float64) {
		l := Load{memory, dirty, set, device, time.Duration(limit), time.Duration(budget), max(time.Duration(hand), 0),
			device}
		for _, m := range ladder.All() {
			checkSane(t, l, WithNeed(l, rate, m))
		}
	})
}
