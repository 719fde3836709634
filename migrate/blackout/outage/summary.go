package outage

import (
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// Report renders the state of a tracker at an instant as a part of a report.
func (k *Tracker) Report(name, proto string, cal Calendar, now time.Duration) report.Target {
	out, back := k.loss.totals()
	t := report.Target{
		Target: name, Proto: proto,
		Sent: k.sends.last, Answered: k.answered, Lost: out + back,
		Directed: k.answered > 0 && !k.plain, LostOut: out, LostBack: back,
		Unsettled: k.Pending(), SendErrors: k.failed, Refused: k.refused, Skipped: k.skipped,
		Late: k.late, Duplicates: k.duplicates,
		WorstErrorMs: report.Millis(max(k.worst, k.Interval)), BelowErrorMs: report.Millis(k.below),
		Outages: make([]report.Outage, 0, len(k.outages)+1), OutagesOmitted: k.omitted,
		Resets: k.links.resets, Reconnects: k.links.reconnects, Abandoned: k.links.abandoned,
		Instances: k.loss.instances(), InstanceChanges: k.loss.changes,
		Series: k.series.report(cal.Start),
	}
	if proto == endpoint.TCP {
		t.StalledBytes = t.Late * wire.PacketSize
	}
	if k.answered > 0 {
		first := report.Millis(k.first)
		t.FirstAnswerMs = &first
	}
	for _, o := range k.outages {
		t.Outages = append(t.Outages, o.report(cal))
	}
	k.sum(&t, cal, now)
	if k.plain {
		undirected(&t)
	}
	return t
}

// sum fills in what is known of the outages together, the one that is still
// open with them.
func (k *Tracker) sum(t *report.Target, cal Calendar, now time.Duration) {
	longest, dark, darkErr := k.longest, k.dark, k.darkErr
	if o, ok := k.ongoing(now); ok {
		if o.length() >= k.Threshold {
			t.Outages = append(t.Outages, o.report(cal))
			dark, darkErr = dark+o.length(), darkErr+o.err
		}
		if o.length() > longest.length() {
			longest = o
		}
	}
	t.DarkMs, t.DarkErrorMs = report.Millis(dark), report.Millis(darkErr)
	if known := now - k.first; k.answered > 0 && known > 0 {
		t.Availability = max(1-float64(dark)/float64(known), 0)
		t.AvailabilityError = min(float64(darkErr)/float64(known), 1)
	}
	t.ErrorMs = t.WorstErrorMs
	if longest.length() > 0 {
		o := longest.report(cal)
		t.BlackoutMs, t.BlackoutStart, t.BlackoutEnd, t.ErrorMs = o.Ms, o.Start, o.End, o.ErrorMs
	}
	t.RTT, t.RTTBefore, t.RTTAfter = k.rtt.report()
	if k.longest.length() == 0 || longest.open {
		t.RTTBefore, t.RTTAfter = report.RTT{}, report.RTT{}
	}
	if longest.open {
		t.RTTBefore = t.RTT
	}
}

// ReportKernel fills in what a tracker of acknowledgements knows.
func (k *Tracker) ReportKernel(t *report.Target, cal Calendar, now time.Duration) {
	if k.answered == 0 {
		return
	}
	longest := k.longest
	if o, ok := k.ongoing(now); ok && o.length() > longest.length() {
		longest = o
	}
	blackout := report.Millis(longest.length())
	t.KernelBlackoutMs, t.KernelBelowErrorMs = &blackout, report.Millis(k.below)
	t.KernelErrorMs = report.Millis(max(k.worst, k.Interval))
	if longest.length() > 0 {
		o := longest.report(cal)
		t.KernelBlackoutStart, t.KernelBlackoutEnd, t.KernelErrorMs = o.Start, o.End, o.ErrorMs
	}
}

// undirected takes out what a service that only echoes did not tell.
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
		Resets: o.links.resets, Reconnects: o.links.reconnects, Abandoned: o.links.abandoned,
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

// Progress is the state of the target that goes by a name, at an instant.
func (k *Tracker) Progress(name string, now time.Duration) Progress {
	p := Progress{
		Target: name, Sent: k.sends.last, Answered: k.answered, RTT: k.rtt.newest,
		Outages: len(k.outages) + k.omitted, Blackout: k.longest.length(), Dark: k.dark,
	}
	p.Lost = p.Sent - p.Answered - k.Pending()
	if o, ok := k.ongoing(now); ok {
		p.Silent = o.length()
		p.Blackout = max(p.Blackout, p.Silent)
		p.Dark += p.Silent
	}
	return p
}
