package blackout

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

const relayInterval = 2 * time.Millisecond

// watchOne runs Watch on one target until stop is called by what the test
// arranged.
func watchOne(t *testing.T, ctx context.Context, target string) Target {
	t.Helper()
	report, err := Watch(ctx, Config{
		Targets: []string{target}, Interval: relayInterval,
		ReconnectAfter: 200 * time.Millisecond, RetryEvery: 20 * time.Millisecond,
		ConnectTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Complete || len(report.Targets) != 1 {
		t.Fatalf("report is complete %v with %d targets", report.Complete, len(report.Targets))
	}
	if err := report.Check(); err != nil {
		t.Errorf("report: %v", err)
	}
	return report.Targets[0]
}

// Deadline bounds a test run, should what ends it not happen.
func deadline(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx, cancel
}

func between(low, high uint64) func(uint64) bool {
	return func(seq uint64) bool { return seq >= low && seq < high }
}

func TestWatchUDP(t *testing.T) {
	tests := map[string]struct {
		out, back        func(uint64) bool
		lostOut, lostBck uint64
	}{
		"lost on the way out":  {between(100, 200), never, 100, 0},
		"lost on the way back": {never, between(100, 200), 0, 100},
		"both, one by one":     {between(100, 150), between(150, 200), 50, 50},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := deadline(t)
			relay := &udpRelay{t: t, dropOut: tt.out, dropBack: tt.back, route: func(uint64) int { return 0 },
				seen: func(seq uint64) {
					if seq >= 260 {
						cancel()
					}
				}}
			got := watchOne(t, ctx, "udp://"+relay.start(reflectortest.Start(t)))
			o := checkOutage(t, got, &relay.ledger, 100, relayInterval)
			if got.LostOut != tt.lostOut || got.LostBack != tt.lostBck {
				t.Errorf("lost out %d back %d, want %d and %d", got.LostOut, got.LostBack, tt.lostOut, tt.lostBck)
			}
			if o.LostOut != tt.lostOut || o.LostBack != tt.lostBck || o.Open {
				t.Errorf("outage %+v, want %d lost out and %d back", o, tt.lostOut, tt.lostBck)
			}
			if got.Instances != 1 || got.Unsettled != 0 {
				t.Errorf("instances %d unsettled %d, want 1 and 0", got.Instances, got.Unsettled)
			}
		})
	}
}

func TestWatchServiceStartedAgain(t *testing.T) {
	ctx, cancel := deadline(t)
	relay := &udpRelay{t: t, dropOut: between(100, 150), dropBack: never,
		route: func(seq uint64) int {
			if seq >= 150 {
				return 1
			}
			return 0
		},
		seen: func(seq uint64) {
			if seq >= 250 {
				cancel()
			}
		}}
	got := watchOne(t, ctx, "udp://"+relay.start(reflectortest.Start(t), reflectortest.Start(t)))
	checkOutage(t, got, &relay.ledger, 100, relayInterval)
	if got.Instances != 2 || got.InstanceChanges != 1 || got.LostOut != 50 || got.LostBack != 0 {
		t.Errorf("instances %d changes %d out %d back %d, want 2, 1, 50, 0", got.Instances, got.InstanceChanges,
			got.LostOut, got.LostBack)
	}
}

func TestWatchTCPStall(t *testing.T) {
	ctx, cancel := deadline(t)
	// A busy machine sends many probes at once, so that their number alone is no time.
	var begun time.Time
	var over uint64 // the first probe after the stall
	relay := &tcpRelay{t: t,
		accepted: func(n int) bool { return n == 0 }, // attempts during the stall fail
		hold: func(_ int, seq uint64) bool {
			if seq == 100 {
				begun = time.Now()
			}
			if over == 0 && seq >= 300 && time.Since(begun) >= 200*relayInterval {
				over = seq
			}
			return seq >= 100 && over == 0
		},
		probe: func(_ int, seq uint64) bool {
			if over > 0 && seq >= over+60 {
				cancel()
			}
			return true
		}}
	got := watchOne(t, ctx, "tcp://"+relay.start(reflectortest.Start(t)))
	o := checkOutage(t, got, &relay.ledger, 100, relayInterval)
	if got.Resets != 0 || got.Reconnects != 0 || got.Abandoned != 0 {
		t.Errorf("resets %d reconnects %d abandoned %d, want none", got.Resets, got.Reconnects, got.Abandoned)
	}
	if got.LostOut+got.LostBack+got.Unsettled != 0 {
		t.Errorf("lost out %d back %d unsettled %d, want none", got.LostOut, got.LostBack, got.Unsettled)
	}
	if o.Late < 190 {
		t.Errorf("%d late, want about 200", o.Late)
	}
}

func TestWatchTCPReset(t *testing.T) {
	ctx, cancel := deadline(t)
	relay := &tcpRelay{t: t,
		accepted: func(n int) bool { return n == 0 || n > 5 },
		hold:     func(int, uint64) bool { return false },
		probe: func(n int, seq uint64) bool {
			if n > 5 && seq >= 260 {
				cancel()
			}
			return n > 0 || seq < 100
		}}
	got := watchOne(t, ctx, "tcp://"+relay.start(reflectortest.Start(t)))
	o := checkOutage(t, got, &relay.ledger, 100, relayInterval)
	if got.Resets != 1 || got.Reconnects != 1+got.Abandoned {
		t.Errorf("resets %d reconnects %d abandoned %d, want one reset and one reconnect for it", got.Resets,
			got.Reconnects, got.Abandoned)
	}
	if o.Resets != 1 || o.Reconnects != 1 || got.Instances != 1 {
		t.Errorf("outage %+v of %d instances, want one reset and one reconnect, 1", o, got.Instances)
	}
}

func TestWatchTCPAbandonsWhatStaysSilent(t *testing.T) {
	ctx, cancel := deadline(t)
	relay := &tcpRelay{t: t,
		accepted: func(int) bool { return true },
		hold:     func(n int, seq uint64) bool { return n == 0 && seq >= 100 },
		probe: func(n int, seq uint64) bool {
			if n > 0 && seq >= 260 {
				cancel()
			}
			return true
		}}
	got := watchOne(t, ctx, "tcp://"+relay.start(reflectortest.Start(t)))
	o := checkOutage(t, got, &relay.ledger, 100, relayInterval)
	// A busy machine may stall a later connection for long enough as well.
	if got.Resets != 0 || got.Reconnects < 1 || got.Abandoned != got.Reconnects {
		t.Errorf("resets %d reconnects %d abandoned %d, want 0, 1, 1", got.Resets, got.Reconnects, got.Abandoned)
	}
	if o.Abandoned != 1 || o.Reconnects != 1 || o.Ms < 190 {
		t.Errorf("outage %+v, want one connection abandoned after 200 ms", o)
	}
}

func TestWatchWithoutAnswer(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	report, err := Watch(context.Background(), Config{
		Targets: []string{"udp://" + silent.LocalAddr().String(), "tcp://127.0.0.1:1"},
		For:     100 * time.Millisecond, Linger: time.Millisecond, Interval: relayInterval,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range report.Targets {
		if got.Answered != 0 || got.FirstAnswerMs != nil || len(got.Outages) != 1 || !got.Outages[0].Open {
			t.Errorf("%s: answered %d, outages %+v; want one open", got.Target, got.Answered, got.Outages)
		}
		if got.BlackoutMs != ms(report.End.Sub(report.Start)) {
			t.Errorf("%s: blackout %v ms, want the whole run", got.Target, got.BlackoutMs)
		}
	}
}

func TestWatchIsCancelled(t *testing.T) {
	addr := reflectortest.Start(t)
	ctx, cancel := deadline(t)
	var first *Report
	report, err := Watch(ctx, Config{
		Targets: []string{"udp://" + addr, "tcp://" + addr}, Version: "v", Args: []string{"a"},
		ProgressEvery: time.Millisecond,
		Checkpoint: func(r *Report) {
			if first == nil {
				first = r
			}
		},
		Progress: func(state []Progress) {
			if state[0].Answered > 20 && state[1].Answered > 20 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if first == nil || first.Complete || !report.Complete || report.Version != "v" || len(report.Args) != 1 {
		t.Errorf("first checkpoint %+v, report %+v", first, report)
	}
	for _, got := range report.Targets {
		if got.Answered <= 20 || got.LostOut+got.LostBack+got.Unsettled != 0 || got.RTT.Max <= 0 {
			t.Errorf("%s: answered %d, out %d, back %d, unsettled %d, rtt %+v", got.Target, got.Answered, got.LostOut,
				got.LostBack, got.Unsettled, got.RTT)
		}
		var sent, answered uint64
		for i := range got.Series.Sent {
			sent += uint64(got.Series.Sent[i])
			answered += uint64(got.Series.Answered[i])
		}
		if sent != got.Sent || answered != got.Answered {
			t.Errorf("%s: series of %d and %d, sent %d, answered %d", got.Target, sent, answered, got.Sent,
				got.Answered)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no targets":         {},
		"unknown host":       {Targets: []string{"udp://host.invalid:1"}},
		"unknown interface":  {Targets: []string{"udp://[fe80::1%nosuchlink]:1"}},
		"interval too short": {Targets: []string{"udp://127.0.0.1:1"}, Interval: 1},
	} {
		ctx, _ := deadline(t)
		if r, err := Watch(ctx, cfg); err == nil {
			t.Errorf("%s: %+v, want an error", name, r)
		}
	}
}
