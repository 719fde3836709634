package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// calmScenarios are those in which no guest boots.
var calmScenarios = []string{report.GracefulShutdown, report.SplitBrain, report.MirrorReturn, report.MirrorDrain}

// judge turns what was seen into a verdict. A scenario passes when every
// guest answers on the other node, never more than one copy of it executed,
// its counter on disk never went back, and, for a graceful shutdown, it is
// still the same boot. Guests that are none of the scenario's do not count.
func judge(o Observation) report.Scenario {
	o.Copies = slices.DeleteFunc(slices.Clone(o.Copies), func(c Copy) bool {
		before := !c.Gone.IsZero() && c.Gone.Before(o.Begun) // one of another scenario, or of a guest that nobody moved
		return before || !slices.Contains(o.Guests, c.Guest)
	})
	o.Events = slices.DeleteFunc(slices.Clone(o.Events),
		func(e Event) bool { return !slices.Contains(o.Guests, e.Guest) })
	s := report.Scenario{
		Name: o.Scenario, Agent: o.Agent, Manager: o.Manager, Hypervisor: o.Hypervisor, Trigger: o.Trigger,
	}
	fail := func(format string, args ...any) { s.Failures = append(s.Failures, fmt.Sprintf(format, args...)) }
	if o.Recovery != nil {
		fail("%v", o.Recovery)
	}
	s.Failures = append(s.Failures, o.Failures...)
	executed := o.executed()
	for _, name := range o.Guests {
		g := judgeGuest(o, name)
		if g.To != o.To {
			fail("guest %s should run on %s and runs on %q", name, o.To, g.To)
		}
		if g.CounterWentBack && o.Scenario != report.MirrorCrash { // which loses what came after the replica
			fail("the counter on the disk of guest %s went back", name)
		}
		if slices.Contains(calmScenarios, o.Scenario) && !g.BootIDKept {
			fail("guest %s rebooted", name)
		}
		if n := foreignWrites(o.Samples[name]); n > 0 {
			fail("guest %s found %d writes on its disk that were not its own", name, n)
		}
		copies := maxExecuting(name, o.Copies, executed)
		if copies > 1 {
			fail("guest %s executed %d times at once", name, copies)
		}
		s.MaxRunningCopies = max(s.MaxRunningCopies, copies)
		s.Guests = append(s.Guests, g)
	}
	if o.Scenario == report.GracefulShutdown || o.Scenario == report.MirrorDrain {
		s.DrainS = drainTime(o)
	}
	s.Events = timeline(o)
	s.Passed = len(s.Failures) == 0
	return s
}

// judgeGuest is what became of one guest.
func judgeGuest(o Observation, name string) report.Guest {
	g := report.Guest{Guest: name, From: cmp.Or(o.Homes[name], o.From), How: report.Cold}
	if where := whereNow(name, o.Copies); len(where) > 0 {
		g.To = strings.Join(nodesOf(where), "+")
	}
	before, after := around(o.Samples[name], o.Trigger)
	if before != nil && after != nil {
		g.BootIDKept = before.Status.BootID == after.Status.BootID
		if before.Status.Boots > 0 { // it has a disk, and counts on it
			boots := int(after.Status.Boots) - int(before.Status.Boots)
			g.Boots = &boots
			g.CounterBefore, g.CounterAfter = &before.Status.Counter, &after.Status.Counter
		}
	}
	g.CounterWentBack = wentBack(o.Samples[name])
	if g.BootIDKept {
		g.How = report.Live
	}
	if stop, resume, ok := pauseOf(name, g.From, o.To, o.during()); ok {
		pause := milliseconds(resume.Sub(stop))
		g.PauseMS = &pause
	}
	g.Kernel, g.UDP, g.TCP = clients(o.Probes[name])
	return g
}

// during are the events of this scenario alone.
func (o Observation) during() []Event {
	var events []Event
	for _, e := range o.Events {
		if !e.At.Before(o.Begun) && !e.At.After(o.Ended) {
			events = append(events, e)
		}
	}
	return events
}

// around are the last sample before t and the last of all, if it is after t.
func around(samples []Sample, t time.Time) (before, after *Sample) {
	for i := range samples {
		if samples[i].At.Before(t) {
			before = &samples[i]
		} else {
			after = &samples[i]
		}
	}
	return before, after
}

// wentBack reports whether a guest's counter was ever read smaller than before.
func wentBack(samples []Sample) bool {
	return !slices.IsSortedFunc(samples, func(a, b Sample) int {
		return int(int64(a.Status.Counter) - int64(b.Status.Counter))
	})
}

func foreignWrites(samples []Sample) uint64 {
	var most uint64
	for _, s := range samples {
		most = max(most, s.Status.ForeignWrites)
	}
	return most
}

// clients are the results of a guest's probes; nil where there was none.
func clients(seen Seen) (kernel *report.Kernel, udp *report.UDP, tcp *report.TCP) {
	if u := seen.UDP; u != nil {
		udp = &report.UDP{
			BlackoutMS: u.BlackoutMs, BlackoutAt: u.BlackoutStart, Open: open(*u), Sent: u.Sent,
			LostOut: u.LostOut, LostBack: u.LostBack, ErrorMS: u.ErrorMs, Series: series(*u),
		}
	}
	if t := seen.TCP; t != nil {
		tcp = &report.TCP{
			BlackoutMS: t.BlackoutMs, BlackoutAt: t.BlackoutStart, Open: open(*t),
			Resets: uint64(t.Resets), ErrorMS: t.ErrorMs, Series: series(*t),
		}
	}
	return kernelOf(seen), udp, tcp
}

// kernelOf is how long the guest's kernel was silent; nil where nobody probed it.
func kernelOf(seen Seen) *report.Kernel {
	if seen.ICMP == nil {
		return nil
	}
	i := seen.ICMP
	k := &report.Kernel{ICMPMS: i.BlackoutMs, ErrorMS: i.ErrorMs, At: i.BlackoutStart, Open: open(*i)}
	if seen.TCP != nil {
		k.TCPMS = seen.TCP.KernelBlackoutMs
	}
	return k
}

// open reports whether the target was still silent when the probe ended.
func open(t blackout.Target) bool {
	return len(t.Outages) > 0 && t.Outages[len(t.Outages)-1].Open
}

func series(t blackout.Target) *report.Series {
	s := t.Series
	return &report.Series{Start: s.Start, BucketMS: s.BucketMs, Sent: s.Sent, Answered: s.Answered,
		RTTMaxUS: s.RTTMaxUs}
}

// drainTime is from the trigger until the last guest's process left the node,
// in seconds; nil when one never did.
func drainTime(o Observation) *float64 {
	var last time.Time
	for _, c := range o.Copies {
		if c.Node != o.From || c.Seen.After(o.Trigger) || (!c.Gone.IsZero() && c.Gone.Before(o.Trigger)) {
			continue
		}
		if c.Gone.IsZero() {
			return nil
		}
		last = later(last, c.Gone)
	}
	if last.IsZero() {
		return nil
	}
	seconds := last.Sub(o.Trigger).Seconds()
	return &seconds
}

// timeline lists the turning points for the plot.
func timeline(o Observation) []report.Event {
	what := map[string]string{report.GracefulShutdown: "systemctl reboot", report.Crash: "killed",
		report.SplitBrain: "loses the link to " + o.To, report.Hang: "hangs",
		report.MirrorCrash: "killed", report.MirrorReturn: "power on", report.MirrorDrain: "standby"}[o.Scenario]
	events := []report.Event{{At: o.Trigger, Node: o.From, What: what}}
	add := func(at time.Time, node, what string) {
		if !at.Before(o.Trigger) && !at.After(o.Ended) {
			events = append(events, report.Event{At: at, Node: node, What: what})
		}
	}
	for _, e := range o.Events {
		if e.Name == Stop || e.Name == Resume || e.Name == Lost {
			add(e.At, e.Node, e.Guest+" "+e.Name)
		}
	}
	for _, c := range o.Copies {
		if !c.Incoming {
			add(c.Seen, c.Node, c.Guest+" starts")
		}
	}
	for _, s := range o.States {
		add(s.At, s.Node, s.What)
	}
	for _, f := range o.Fences {
		add(f.Asked, f.Node, "fencing asked")
		if !f.Done.IsZero() && f.Error == "" {
			add(f.Done, f.Node, "fenced")
		}
	}
	for _, e := range o.Told {
		add(e.At, e.Node, e.What)
	}
	slices.SortStableFunc(events, func(a, b report.Event) int { return a.At.Compare(b.At) })
	return events
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
