package qmp

import (
	"testing"
	"time"
)

var epoch = time.Unix(1_800_000_000, 0)

// ev makes an event stamped and received so many milliseconds after the epoch.
func ev(t testing.TB, side Side, name string, stamp, received int, details string) Observed {
	t.Helper()
	at := epoch.Add(time.Duration(stamp) * time.Millisecond)
	o, err := Parse(side, name, at.Unix(), uint(at.Nanosecond()/1000), details,
		epoch.Add(time.Duration(received)*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func status(s string) string { return `{"status":"` + s + `"}` }

func ms(n int) *time.Duration { d := time.Duration(n) * time.Millisecond; return &d }

func same(a, b *time.Duration) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// usual is a migration as QEMU 10 under libvirt tells it; the target's clock is skew ms ahead.
func usual(t testing.TB, skew int) []Observed {
	return []Observed{
		ev(t, Source, "MIGRATION", 0, 1, status("setup")),
		ev(t, Target, "MIGRATION", 2+skew, 4, status("setup")),
		ev(t, Target, "MIGRATION", 3+skew, 5, status("active")),
		ev(t, Source, "MIGRATION", 10, 11, status("active")),
		ev(t, Source, "MIGRATION_PASS", 10, 11, `{"pass":1}`),
		ev(t, Source, "MIGRATION_PASS", 900, 901, `{"pass":2}`),
		ev(t, Source, "STOP", 1000, 1001, ""),
		ev(t, Source, "MIGRATION", 1002, 1003, status("pre-switchover")),
		ev(t, Source, "MIGRATION", 1005, 1006, status("device")),
		ev(t, Source, "MIGRATION", 1020, 1021, status("completed")),
		ev(t, Target, "MIGRATION", 1021+skew, 1023, status("completed")),
		ev(t, Target, "RESUME", 1035+skew, 1038, ""),
		ev(t, Source, "SHUTDOWN", 1050, 1051, `{"guest":false,"reason":"host-signal"}`),
	}
}

func TestBuild(t *testing.T) {
	cases := []struct {
		name            string
		events          []Observed
		clock           Clock
		pause, handOver *time.Duration
		iterations      int
		rebooted        bool
	}{
		{"clocks agree", usual(t, 0), ClockQEMU, ms(35), ms(15), 2, false},
		{"a little skew is not noticed", usual(t, 15), ClockQEMU, ms(50), ms(30), 2, false},
		{"target 22 ms ahead: 57 by stamps, 37 by receipt, just inside", usual(t, 22), ClockQEMU, ms(57), ms(37), 2, false},
		{"target 23 ms ahead: just outside", usual(t, 23), ClockReceipt, ms(37), ms(17), 2, false},
		{"target a second behind: resumed before it stopped", usual(t, -1000), ClockReceipt, ms(37), ms(17), 2, false},
		{"target 36 ms behind: 1 ms before", usual(t, -36), ClockReceipt, ms(37), ms(17), 2, false},
		{"nothing seen", nil, "", nil, nil, 0, false},
		{"guest was paused before", append(usual(t, 0)[:6:6], usual(t, 0)[7:11]...), "", nil, nil, 2, false},
		{"cancelled before the switchover",
			append(usual(t, 0)[:6:6], ev(t, Source, "MIGRATION", 950, 951, status("cancelled"))), "", nil, nil, 2,
			false},
		{"target lost at the switchover", append(usual(t, 0)[:9:9], ev(t, Source, "RESUME", 1200, 1201, "")), "", nil,
			nil, 2, false},
		{"second try counts", append([]Observed{ev(t, Source, "STOP", 500, 501, ""),
			ev(t, Source, "RESUME", 520, 521, "")}, usual(t, 0)...), ClockQEMU, ms(35), ms(15), 2, false},
		{"completed not seen", append(usual(t, 0)[:9:9], usual(t, 0)[11]), ClockQEMU, ms(35), nil, 2, false},
		{"post-copy", []Observed{
			ev(t, Source, "MIGRATION_PASS", 10, 11, `{"pass":1}`), ev(t, Source, "STOP", 1000, 1001, ""),
			ev(t, Source, "MIGRATION", 1010, 1011, status("postcopy-active")), ev(t, Target, "RESUME", 1012, 1013, ""),
			ev(t, Source, "MIGRATION", 9000, 9001, status("completed")),
		}, ClockQEMU, ms(12), nil, 1, false},
		{"guest reset itself", append(usual(t, 0),
			ev(t, Target, "RESET", 1100, 1101, `{"guest":true,"reason":"guest-reset"}`)), ClockQEMU, ms(35), ms(15), 2,
			true},
		{"guest switched off", append(usual(t, 0)[:5:5], ev(t, Source, "SHUTDOWN", 600, 601, `{"guest":true}`)), "",
			nil, nil, 1, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Build(c.events)
			if got.Clock != c.clock || !same(got.Pause, c.pause) || !same(got.HandOver, c.handOver) {
				t.Errorf("clock %q pause %v hand-over %v, want %q %v %v", got.Clock, got.Pause, got.HandOver, c.clock,
					c.pause, c.handOver)
			}
			if got.Iterations != c.iterations || got.Rebooted != c.rebooted {
				t.Errorf("iterations %d rebooted %v, want %d %v", got.Iterations, got.Rebooted, c.iterations, c.rebooted)
			}
		})
	}
}

func TestBuildKeepsBothPauses(t *testing.T) {
	got := Build(usual(t, 500))
	if !same(got.StampPause, ms(535)) || !same(got.ReceiptPause, ms(37)) {
		t.Errorf("by stamps %v, by receipts %v", got.StampPause, got.ReceiptPause)
	}
}

func TestBuildOrder(t *testing.T) {
	events := usual(t, 0)
	events[0], events[7] = events[7], events[0]
	got := Build(events)
	want := []string{"setup", "setup", "active", "active", "pass", "pass", "stop", "pre-switchover", "device",
		"completed", "completed", "resume"}
	if len(got.Phases) != len(want) {
		t.Fatalf("%d phases, want %d", len(got.Phases), len(want))
	}
	for i, p := range got.Phases {
		if p.Name != want[i] {
			t.Errorf("phase %d is %q, want %q", i, p.Name, want[i])
		}
	}
	if events[0].Status() != "pre-switchover" {
		t.Error("the caller's slice was sorted")
	}
}

func TestSwitching(t *testing.T) {
	cases := []struct {
		e               Observed
		switching, goes bool
	}{
		{ev(t, Source, "STOP", 0, 0, ""), true, false},
		{ev(t, Target, "STOP", 0, 0, ""), false, false},
		{ev(t, Source, "MIGRATION", 0, 0, status("pre-switchover")), true, false},
		{ev(t, Source, "MIGRATION", 0, 0, status("active")), false, false},
		{ev(t, Source, "RESUME", 0, 0, ""), false, true},
		{ev(t, Target, "RESUME", 0, 0, ""), false, false},
		{ev(t, Source, "MIGRATION", 0, 0, status("failed")), false, true},
	}
	for _, c := range cases {
		if c.e.Switching() != c.switching || c.e.Cancelled() != c.goes {
			t.Errorf("%s %s %v: switching %v, cancelled %v", c.e.Side, c.e.Event.Event, c.e.Data, c.e.Switching(),
				c.e.Cancelled())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("MIGRATION", int64(1), uint(2), `{"status":"active"}`)
	f.Add("MIGRATION_PASS", int64(1), uint(2), `{"pass":3}`)
	f.Add("MIGRATION_PASS", int64(-1), uint(4_000_000_000), `{"pass":1e300}`)
	f.Add("MIGRATION", int64(0), uint(0), `{"status":7}`)
	f.Add("SHUTDOWN", int64(0), uint(0), `{"guest":"yes"}`)
	f.Add("STOP", int64(0), uint(0), ``)
	f.Add("STOP", int64(0), uint(0), `[]`)
	f.Add("STOP", int64(0), uint(0), `null`)
	f.Fuzz(func(t *testing.T, name string, seconds int64, micros uint, details string) {
		o, err := Parse(Source, name, seconds, micros, details, epoch)
		if err != nil {
			return
		}
		if o.Pass() < 0 {
			t.Errorf("pass %d", o.Pass())
		}
		tl := Build([]Observed{o, ev(t, Target, "RESUME", 5, 5, "")})
		if len(tl.Phases) < 1 || (tl.Pause != nil) != (name == "STOP") {
			t.Errorf("%d phases, pause %v after %q", len(tl.Phases), tl.Pause, name)
		}
	})
}
