package timing

import (
	"strings"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*Times)
		watchdog time.Duration
		want     time.Duration
	}{
		"the defaults":               {func(*Times) {}, 0, 4408 * time.Millisecond},
		"a watchdog of 10 s":         {func(*Times) {}, 10 * time.Second, 13426 * time.Millisecond},
		"a watchdog within the kill": {func(*Times) {}, time.Second, 4408 * time.Millisecond},
		"a clock that drifts by 1 %": {func(s *Times) { s.Drift = 0.01 }, 0, 4480 * time.Millisecond},
	} {
		times := Default
		test.change(&times)
		if got := times.Expiry(test.watchdog).Truncate(time.Millisecond); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestWatchdog(t *testing.T) {
	for kill, want := range map[time.Duration]time.Duration{
		time.Second: 3 * time.Second, 1100 * time.Millisecond: 4 * time.Second, 100 * time.Millisecond: 3 * time.Second,
		20 * time.Second: 22 * time.Second,
	} {
		if got := (Times{Kill: kill}).Watchdog(); got != want {
			t.Errorf("kill %s: %s, want %s", kill, got, want)
		}
	}
}

// On any two clocks within the drift, the holder is done before another node takes its lease as expired.
func TestExpiryCoversTheKill(t *testing.T) {
	for _, times := range []Times{Default, {SelfKill: time.Minute, Kill: 20 * time.Second, Margin: time.Second, Drift: 0.05}} {
		slow, fast := 1-times.Drift, 1+times.Drift
		done := float64(times.SelfKill+times.Kill) / slow // true time until the holder with the slow clock is done
		seen := float64(times.Expiry(0)) / fast           // true time until the reader with the fast clock is
		if done > seen {
			t.Errorf("%+v: the holder is done after %.3f s, its lease expires after %.3f s", times, done/1e9, seen/1e9)
		}
	}
}

func TestBounds(t *testing.T) {
	start := time.Second
	for name, test := range map[string]struct {
		manager      Manager
		watchdog     time.Duration
		revocable    bool
		crash, split time.Duration
	}{
		"token 1 s": {Pacemaker(time.Second, 0, start), 0, false, 5408 * time.Millisecond, 11400 * time.Millisecond},
		"token 3 s": {Pacemaker(3*time.Second, 0, start), 0, false, 9 * time.Second, 15800 * time.Millisecond},
		"revoked":   {Pacemaker(time.Second, 0, start), 0, true, 7508 * time.Millisecond, 13500 * time.Millisecond},
		"watchdog":  {Pacemaker(time.Second, 0, start), 10 * time.Second, false, 14426 * time.Millisecond, 11400 * time.Millisecond},
		"Heartbeat": {Heartbeat(10*time.Second, start), 0, false, 12 * time.Second, 18800 * time.Millisecond},
	} {
		got := Default.Bounds(test.manager, test.watchdog, test.revocable)
		if crash := got.Crash.Truncate(time.Millisecond); crash != test.crash || got.Split != test.split {
			t.Errorf("%s: crash %s, split %s, want %s, %s", name, crash, got.Split, test.crash, test.split)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Times)
		want   string
	}{
		"the defaults":           {func(*Times) {}, ""},
		"no drift":               {func(s *Times) { s.Drift = 0 }, "drift is 0: use 0.0001 to 0.05"},
		"a self-kill of 1 s":     {func(s *Times) { s.SelfKill = time.Second }, "self-kill 1s is less than 3 renewals of 500ms"},
		"a poll of a second":     {func(s *Times) { s.Poll = time.Second }, "poll 1s is longer than renew 500ms"},
		"no time to kill":        {func(s *Times) { s.Kill = 0 }, "kill is 0s: use 100ms to 1m0s"},
		"a move that never ends": {func(s *Times) { s.Move = time.Hour }, "move is 1h0m0s: use 0s to 10m0s"},
	} {
		times := Default
		test.change(&times)
		err := times.Check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestCheckManager(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		0:                "",
		time.Minute:      "",
		20 * time.Second: "the fence timeout of 20s is shorter than the guard's worst case: set it to 24s or more",
	} {
		err := Default.CheckManager(Pacemaker(time.Second, timeout, time.Second), 0, true)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", timeout, err, want)
		}
	}
}
