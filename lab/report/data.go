package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// pageBudget is how many buckets the page carries before it merges those
	// that are far from any outage: it keeps the page under 3 MB.
	pageBudget = 640_000
	// keepAround is what stays as fine as it was measured on both sides of an
	// outage when buckets are merged.
	keepAround = 2 * time.Second
	// keepOutages is how many of a lane's outages, the longest ones, get that.
	keepOutages = 3
	// drawOutages is how many of a lane's outages get a band of their own.
	drawOutages = 200
)

// pageData is what page.js draws. All times are milliseconds after the
// scenario's trigger.
type pageData struct {
	// Figures are found by the name of their run's element.
	Figures map[string]pageFigure `json:"figures"`
	// RTTSteps and RTTTop undo rttStep.
	RTTSteps int     `json:"rttSteps"`
	RTTTop   float64 `json:"rttTop"`
	Digits   string  `json:"digits"`
}

// pageFigure is the plot of one run. Runs with the same Group share their axes.
type pageFigure struct {
	Group  int        `json:"group"`
	Agent  string     `json:"agent"`
	Ours   bool       `json:"ours"`
	Events []pageMark `json:"events"`
	Lanes  []pageLane `json:"lanes"`
}

// pageMark is a vertical line.
type pageMark struct {
	At    float64 `json:"t"`
	Label string  `json:"label"`
}

// pageLane is one strip.
type pageLane struct {
	Guest string `json:"guest"`
	Proto string `json:"proto"`
	Note  string `json:"note"`
	// Blackout is the longest one as [time, length], or null.
	Blackout *[2]float64 `json:"blackout"`
	// Open reports that the blackout's end was not seen.
	Open  bool   `json:"open"`
	Label string `json:"label"`
	// Outages are all of them as [time, length], the longest first.
	Outages [][2]float64 `json:"outages"`
	Pieces  []pagePiece  `json:"pieces"`
}

// pagePiece is a stretch of points that are Step apart. Missed is
// zigzag(sent, answered) and RTT is rttStep of each point.
type pagePiece struct {
	At     float64 `json:"t"`
	Step   float64 `json:"step"`
	Points int     `json:"n"`
	Sent   packed  `json:"sent"`
	Missed packed  `json:"missed"`
	RTT    packed  `json:"rtt"`
}

// data packs all series so that the page stays within budget buckets.
func (r *Report) data(budget int) pageData {
	buckets := 0
	for i := range r.Scenarios {
		for _, l := range r.Scenarios[i].lanes() {
			buckets += l.series.len()
		}
	}
	stride := thinning(buckets, budget)
	d := pageData{Figures: map[string]pageFigure{}, RTTSteps: rttSteps, RTTTop: rttTop, Digits: digits}
	for i, k := range r.kinds() {
		for j, s := range r.runs(k) {
			d.Figures[figureName(i, j)] = s.figure(i, stride)
		}
	}
	return d
}

// figure packs one run.
func (s *Scenario) figure(group, stride int) pageFigure {
	zero := s.trigger()
	f := pageFigure{Group: group, Agent: s.Agent, Ours: s.Agent == Ours, Events: []pageMark{}, Lanes: []pageLane{}}
	for _, e := range s.sorted() {
		f.Events = append(f.Events, pageMark{ms(e.At.Sub(zero)), strings.TrimSpace(e.Node + " " + e.What)})
	}
	for _, l := range s.lanes() {
		f.Lanes = append(f.Lanes, l.pack(zero, stride))
	}
	return f
}

// sorted are the events in the order of time.
func (s *Scenario) sorted() []Event {
	return slices.SortedStableFunc(slices.Values(s.Events), func(a, b Event) int { return a.At.Compare(b.At) })
}

// pageEvents are the rows of the run's list of events.
func (s *Scenario) pageEvents() []pageEvent {
	zero := s.trigger()
	var out []pageEvent
	for i, e := range s.sorted() {
		out = append(out, pageEvent{i + 1, fmt.Sprintf("%+.3f s", e.At.Sub(zero).Seconds()), e.Node, e.What})
	}
	return out
}

// pack makes a lane ready for the page.
func (l *lane) pack(zero time.Time, stride int) pageLane {
	s := l.series
	start := ms(s.Start.Sub(zero))
	out := pageLane{Guest: l.guest, Proto: l.proto, Note: l.note(), Open: l.open,
		Label:   atLeast(duration(l.blackoutMS), l.open),
		Outages: [][2]float64{}, Pieces: []pagePiece{}}
	outages := s.outages(silence)
	realigned := s.realign(outages)
	slices.SortStableFunc(outages, func(a, b span) int { return b.len() - a.len() })
	for _, o := range outages[:min(len(outages), drawOutages)] {
		out.Outages = append(out.Outages, [2]float64{start + float64(o.from)*s.BucketMS, float64(o.len()) * s.BucketMS})
	}
	if b, ok := l.blackout(); ok {
		out.Blackout = &[2]float64{start + b.at, b.length}
	}
	for _, p := range pieces(s.len(), l.keep(outages), stride) {
		out.Pieces = append(out.Pieces, realigned.pack(p, start))
	}
	return out
}

// keep are the stretches that are not to be merged: those around the measured
// blackout and around the longest of the outages, which come sorted.
func (l *lane) keep(outages []span) []span {
	s := l.series
	margin := int(ms(keepAround)/s.BucketMS) + 1
	around := func(o span) span { return span{max(0, o.from-margin), min(s.len(), o.to+margin)} }
	var out []span
	for _, o := range outages[:min(len(outages), keepOutages)] {
		out = append(out, around(o))
	}
	if b, ok := l.blackout(); ok {
		out = append(out, around(span{int(b.at / s.BucketMS), int((b.at+b.length)/s.BucketMS) + 1}))
	}
	return out
}

// note is the second line of the lane's name.
func (l *lane) note() string {
	if l.proto == "TCP" {
		return fmt.Sprintf("reset: %d", l.reset)
	}
	return fmt.Sprintf("lost: %d of %d", l.lost, l.sent)
}

// pack writes one piece of the series, which begins start ms after the trigger.
func (s *Series) pack(p piece, start float64) pagePiece {
	sent, answered, rtt := s.merge(p)
	missed := make([]uint32, len(sent))
	for i := range sent {
		missed[i] = zigzag(sent[i], answered[i])
		rtt[i] = rttStep(rtt[i])
	}
	return pagePiece{At: start + float64(p.from)*s.BucketMS, Step: float64(p.stride) * s.BucketMS,
		Points: len(sent), Sent: pack(sent), Missed: pack(missed), RTT: pack(rtt)}
}
