package report

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// zero is the trigger of every sample.
var zero = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// shape is how a sample's series looks.
type shape struct {
	seconds int     // length of the watch, 10 s of it before the trigger
	bucket  float64 // ms
	sent    int     // per bucket
	from    float64 // s after the trigger: the blackout's beginning
	dark    float64 // ms
	resend  bool    // TCP: nothing is lost, answers come late
	seed    uint64
}

// series makes a believable time series with one blackout in it.
func (s shape) series() *Series {
	rnd := rand.New(rand.NewPCG(s.seed, 7))
	n := int(float64(s.seconds) * 1000 / s.bucket)
	out := &Series{Start: zero.Add(-10 * time.Second), BucketMS: s.bucket,
		Sent: make([]uint32, n), Answered: make([]uint32, n), RTTMaxUS: make([]uint32, n)}
	for i := range n {
		t := float64(i)*s.bucket - 10_000 // ms after the trigger
		in := t - s.from*1000             // ms since the blackout began
		out.Sent[i] = uint32(s.sent)
		switch {
		case in >= 0 && in < s.dark:
			continue
		case in >= s.dark && in < s.dark+s.bucket && s.resend:
			out.Answered[i], out.RTTMaxUS[i] = out.Sent[i], uint32(s.dark*1000)
		default:
			out.Answered[i] = out.Sent[i]
			out.RTTMaxUS[i] = uint32(300 + 150*rnd.ExpFloat64())
			if in > -2500 && in < 0 && rnd.IntN(3) == 0 { // the migration eats bandwidth
				out.RTTMaxUS[i] *= uint32(4 + rnd.IntN(9))
			}
		}
	}
	return out
}

// sample is a demo of n guests. Its numbers are made up, and look like it.
func sample(n int, bucket float64, seconds int) *Report {
	r := &Report{Commit: "3f2a9c41d07be85566aa01c9e2f4b7d8190c3e5a", Environment: Environment{
		Libvirt: "11.3.0", QEMU: "10.0.2", Pacemaker: "3.0.0", Corosync: "3.1.9", Heartbeat: "3.0.6",
		Kernel: "6.12.48+deb13-amd64",
		Cores:  2, Accel: "tcg", Started: zero.Add(-3 * time.Minute), Finished: zero.Add(9 * time.Minute)}}
	for _, agent := range []string{Ours, Peer} {
		r.Scenarios = append(r.Scenarios, shutdown(agent, n, bucket, seconds))
	}
	for _, agent := range []string{Ours, Peer} {
		r.Scenarios = append(r.Scenarios, crash(agent, n, bucket, seconds))
	}
	return r
}

func after(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }

func shutdown(agent string, n int, bucket float64, seconds int) Scenario {
	dark, pace, drain := 96.0, 2.1, 2.4+2.1*float64(n)
	if agent == Peer {
		dark, pace, drain = 214.0, 0.35, 4.1+2.6*float64(n)
	}
	s := Scenario{Name: GracefulShutdown, Agent: agent, Manager: "pacemaker", Hypervisor: "qemu", Passed: true,
		DrainS: &drain, MaxRunningCopies: 1, Trigger: zero, Events: []Event{
			{zero, "node-a", "systemctl poweroff"}, {after(0.04), "node-a", "inhibitor held"},
			{after(0.31), "node-a", "standby set"}, {after(1.2), "node-a", "migrate_to g1"}}}
	for i := range n {
		from := 3.2 + pace*float64(i)
		d := dark + 4*float64(i)
		lost := uint64(d / bucket)
		s.Guests = append(s.Guests, Guest{Guest: fmt.Sprintf("g%d", i+1), From: "node-a", To: "node-b", How: Live,
			BootIDKept: true, Boots: ptr(0), CounterBefore: ptr(uint64(4100 + i)), CounterAfter: ptr(uint64(9730 + i)),
			PauseMS: ptr(d / 2.2), Kernel: &Kernel{ICMPMS: d / 2, ErrorMS: 1.2, At: after(from), TCPMS: ptr(d/2 + 4)},
			UDP: &UDP{BlackoutMS: d, BlackoutAt: after(from), Sent: uint64(float64(seconds) * 1000 / bucket),
				LostOut: lost - lost/8, LostBack: lost / 8, ErrorMS: 1.2,
				Series: shape{seconds, bucket, 1, from, d, false, uint64(i)}.series()},
			TCP: &TCP{BlackoutMS: d * 0.8, ErrorMS: 1.4,
				Series: shape{seconds, bucket, 1, from, d * 0.8, true, uint64(100 + i)}.series()}})
		s.Events = append(s.Events, Event{after(from + d/1000), "node-b", fmt.Sprintf("g%d resumed", i+1)})
	}
	s.Events = append(s.Events, Event{after(drain), "node-a", "empty, inhibitor released"},
		Event{after(drain + 3.3), "node-a", "powered off"})
	return s
}

func crash(agent string, n int, bucket float64, seconds int) Scenario {
	dark := 11_240.0
	if agent == Peer {
		dark = 15_420
	}
	s := Scenario{Name: Crash, Agent: agent, Manager: "pacemaker", Hypervisor: "qemu", Passed: true,
		MaxRunningCopies: 1,
		Trigger:          zero, Events: []Event{{zero, "node-a", "killed"}, {after(3.1), "node-b", "peer lost"},
			{after(4.0), "node-b", "fenced"},
			{after(4.4), "node-b", "start g1"}}}
	for i := range n {
		d := dark + 310*float64(i)
		lost := uint64(d / bucket)
		g := Guest{Guest: fmt.Sprintf("g%d", i+1), From: "node-a", To: "node-b", How: Cold, Boots: ptr(1),
			CounterBefore: ptr(uint64(4100 + i)), CounterAfter: ptr(uint64(6730 + i)),
			UDP: &UDP{BlackoutMS: d, Sent: uint64(float64(seconds) * 1000 / bucket), LostOut: lost, ErrorMS: 1.2,
				Series: shape{seconds, bucket, 1, 0, d, false, uint64(i)}.series()},
			TCP: &TCP{BlackoutMS: d + 420, Resets: 1, ErrorMS: 1.4,
				Series: shape{seconds, bucket, 1, 0, d + 420, false, uint64(100 + i)}.series()}}
		if agent == Peer && i == n-1 {
			g.To, g.UDP.Open, g.UDP.BlackoutMS = "", true, float64(seconds-10)*1000
			g.UDP.Series = shape{seconds, bucket, 1, 0, 1e9, false, 5}.series()
			s.Passed, s.Failures = false, []string{fmt.Sprintf("guest %q answered no client in the %d s after the kill",
				g.Guest, seconds-10)}
		}
		s.Guests = append(s.Guests, g)
		s.Events = append(s.Events, Event{after(d / 1000), "node-b", g.Guest + " answers"})
	}
	return s
}
