package outage

import (
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// Report is what is known of the target at an instant.
func (k *Tracker) Report(name, proto string, cal Calendar, now time.Duration) report.Target {
	lost, back := k.loss.totals()
	all := k.until(now)
	t := report.Target{
		Target: name, Proto: proto,
		Sent: k.sends.last, Answered: k.answered, Lost: lost + back,
		Directed: k.answered > 0 && !k.plain, LostOut: lost, LostBack: back,
		Unsettled: k.Pending(), SendErrors: uint64(k.events[NotSent]), Refused: uint64(k.events[Refused]),
		Skipped: k.skipped, Late: k.late, Duplicates: k.twice,
		WorstErrorMs: k.worstError(), BelowErrorMs: report.Millis(all.below),
		DarkMs: report.Millis(all.dark), DarkErrorMs: report.Millis(all.darkErr),
		Outages: make([]report.Outage, 0, len(all.list)), OutagesOmitted: all.omitted,
		Resets: k.events[Reset], Reconnects: k.events[Reconnected], Abandoned: k.events[Abandoned],
		Instances: k.loss.instances(), InstanceChanges: k.loss.changes,
		Series: k.series.report(cal.Start),
	}
	if proto == endpoint.TCP {
		t.StalledBytes = t.Late * wire.PacketSize
	}
	for _, o := range all.list {
		t.Outages = append(t.Outages, o.report(cal))
	}
	k.availability(&t, all, now)
	t.ErrorMs = t.WorstErrorMs
	if all.longest.length() > 0 {
		o := all.longest.report(cal)
		t.BlackoutMs, t.BlackoutStart, t.BlackoutEnd, t.ErrorMs = o.Ms, o.Start, o.End, o.ErrorMs
	}
	k.roundTrips(&t, all.longest)
	if k.plain {
		undirected(&t)
	}
	return t
}

// worstError is the widest time between two probes, in milliseconds.
func (k *Tracker) worstError() float64 { return report.Millis(max(k.worst, k.opt.Interval)) }

// availability fills in the share of the time since the first answer that was not dark.
func (k *Tracker) availability(t *report.Target, all outages, now time.Duration) {
	if k.answered == 0 {
		return
	}
	t.FirstAnswerMs = new(report.Millis(k.first))
	if known := now - k.first; known > 0 {
		t.Availability = max(1-float64(all.dark)/float64(known), 0)
		t.AvailabilityError = min(float64(all.darkErr)/float64(known), 1)
	}
}

// roundTrips fills in the round trips: of the whole run, before and after the longest outage.
func (k *Tracker) roundTrips(t *report.Target, longest outage) {
	all, before, after := k.rtt.report()
	t.RTT = all
	switch {
	case longest.open:
		t.RTTBefore = all
	case longest.length() > 0:
		t.RTTBefore, t.RTTAfter = before, after
	}
}

// ReportKernel fills in what a tracker of acknowledgements knows.
func (k *Tracker) ReportKernel(t *report.Target, cal Calendar, now time.Duration) {
	if k.answered == 0 {
		return
	}
	all := k.until(now)
	t.KernelBlackoutMs, t.KernelBelowErrorMs = new(report.Millis(all.longest.length())), report.Millis(all.below)
	t.KernelErrorMs = k.worstError()
	if all.longest.length() > 0 {
		o := all.longest.report(cal)
		t.KernelBlackoutStart, t.KernelBlackoutEnd, t.KernelErrorMs = o.Start, o.End, o.ErrorMs
	}
}

// undirected takes out what a service that only echoes does not report.
func undirected(t *report.Target) {
	t.LostOut, t.LostBack, t.Instances, t.InstanceChanges = 0, 0, 0, 0
	for i := range t.Outages {
		t.Outages[i].LostOut, t.Outages[i].LostBack = 0, 0
	}
}

func (o outage) report(cal Calendar) report.Outage {
	start := cal.Time(o.start)
	out, back := uint64(max(o.out, 0)), uint64(max(o.back, 0))
	return report.Outage{
		Start: start, End: start.Add(o.length()), Ms: report.Millis(o.length()), ErrorMs: report.Millis(o.err),
		Lost: out + back, LostOut: out, LostBack: back, Late: uint64(o.late),
		Resets: o.events[Reset], Reconnects: o.events[Reconnected], Abandoned: o.events[Abandoned],
		Open: o.open,
	}
}

func (s *series) report(start time.Time) report.Series {
	copied := func(b []uint32) []uint32 { return append(make([]uint32, 0, len(b)), b...) }
	return report.Series{
		Start: start, BucketMs: report.Millis(s.width),
		Sent: copied(s.sent), Answered: copied(s.answered), RTTMaxUs: copied(s.rttMax),
	}
}

// Progress is the state of a target while a run continues.
type Progress struct {
	Target         string
	Sent, Answered uint64
	// Lost were not answered, but a later one was.
	Lost    uint64
	Outages int
	// RTT is the newest round trip.
	RTT time.Duration
	// Silent is how long an answer is overdue, 0 when none is; Blackout is the
	// longest outage so far, Dark the length of all; both with an open one.
	Silent, Blackout, Dark time.Duration
}

// Progress is the state of a named target at an instant.
func (k *Tracker) Progress(name string, now time.Duration) Progress {
	p := Progress{
		Target: name, Sent: k.sends.last, Answered: k.answered, RTT: k.rtt.newest,
		Outages: len(k.outages.list) + k.outages.omitted, Blackout: k.outages.longest.length(), Dark: k.outages.dark,
	}
	p.Lost = p.Sent - p.Answered - k.Pending()
	if o, ok := k.ongoing(now); ok {
		p.Silent = o.length()
		p.Blackout = max(p.Blackout, p.Silent)
		p.Dark += p.Silent
	}
	return p
}
