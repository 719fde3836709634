package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/record"
)

// glance is what a node has of a guest at one look.
type glance struct {
	manifest *mirror.Manifest // nil: nothing
	aside    bool             // an image that was put aside
	off      bool             // the node is off
}

// mirrorWatch looks at the nodes again and again, and keeps what they had and when.
type mirrorWatch struct {
	nodes []string
	look  func(context.Context) ([]glance, error) // one for each node

	mu       sync.Mutex
	holdings []report.Holding
	rounds   []report.Round
	open     map[string]int          // the holding that lasts, by the node and the kind
	last     map[string]mirror.Point // of each node's rounds
}

// note takes one look.
func (w *mirrorWatch) note(at time.Time, all []glance) {
	if w.open == nil {
		w.open, w.last = map[string]int{}, map[string]mirror.Point{}
	}
	for i, g := range all {
		var other *mirror.Manifest
		for j, o := range all {
			if j != i {
				other = o.manifest
			}
		}
		what, epoch := copyOf(g.manifest, other)
		w.hold(at, w.nodes[i], "copy", what, epoch)
		w.hold(at, w.nodes[i], "aside", map[bool]string{true: report.HoldsAside}[g.aside], 0)
		w.hold(at, w.nodes[i], "off", map[bool]string{true: report.HoldsNoPower}[g.off], 0)
		if own := g.manifest; what == report.HoldsReplica && !own.Applying && own.Point != w.last[w.nodes[i]] {
			w.last[w.nodes[i]] = own.Point
			w.rounds = append(w.rounds, report.Round{Node: w.nodes[i], Epoch: own.Epoch, Generation: own.Generation, At: at,
				Taken: own.Taken()})
		}
	}
}

// hold lets what lasts go on, and begins what is new. what is empty for nothing.
func (w *mirrorWatch) hold(at time.Time, node, kind, what string, epoch uint64) {
	key := node + " " + kind
	if i, ok := w.open[key]; ok {
		h := &w.holdings[i]
		h.To = at
		if h.What == what && h.Epoch == epoch {
			return
		}
		delete(w.open, key)
	}
	if what != "" {
		w.open[key] = len(w.holdings)
		w.holdings = append(w.holdings, report.Holding{Node: node, What: what, Epoch: epoch, From: at, To: at})
	}
}

// copyOf is what a node has by its own manifest and the other node's; what is empty for nothing.
func copyOf(own, other *mirror.Manifest) (what string, epoch uint64) {
	switch {
	case own == nil:
		return "", 0
	case other != nil && other.Epoch > own.Epoch:
		return report.HoldsOld, own.Epoch
	case own.Role == mirror.Truth:
		return report.HoldsTruth, own.Epoch
	case own.Role == mirror.Promoting:
		return report.HoldsPromoting, own.Epoch
	case own.Taken().IsZero():
		return report.HoldsUnwhole, own.Epoch
	}
	return report.HoldsReplica, own.Epoch
}

// holdingWords are what a holding is as an event; those that are not here are told elsewhere.
var holdingWords = map[string]string{
	report.HoldsTruth: "has the truth, epoch %d", report.HoldsPromoting: "makes its replica the truth, epoch %d",
	report.HoldsReplica: "has the replica, epoch %d", report.HoldsUnwhole: "becomes the replica, epoch %d",
	report.HoldsOld: "its copy is old, epoch %d",
}

// toldByHoldings are the changes of what the nodes have since an instant, as events.
func toldByHoldings(all []report.Holding, since time.Time) (events []report.Event) {
	for _, h := range all {
		what := "has put its image aside"
		if h.What != report.HoldsAside {
			if holdingWords[h.What] == "" {
				continue
			}
			what = fmt.Sprintf(holdingWords[h.What], h.Epoch)
		}
		if h.From.After(since) {
			events = append(events, report.Event{At: h.From, Node: h.Node, What: what})
		}
	}
	return events
}

// toldByLedger is what a crash has lost of the numbers that were acknowledged before, and what must not be. has is what the
// guest has that was started from the replica, which was taken at some time, and said what the agent has said to be lost
// at most.
func toldByLedger(crashed time.Time, acked []ledger.Ack, has ledger.Scan, taken time.Time, said time.Duration) (
	l report.Ledger, lost []ledger.Ack, failures []string) {
	lost, torn := mirrored.Lost(acked, has)
	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	if len(torn) > 0 || has.Damaged > 0 {
		fail("the replica is torn: %d damaged, %q", has.Damaged, torn)
	}
	l = report.Ledger{Acked: len(acked), Lost: len(lost), SaidS: new(said.Seconds())}
	if !taken.IsZero() {
		l.ReplicaS = new(crashed.Sub(taken).Seconds())
	}
	if len(lost) == 0 {
		return l, nil, failures
	}
	before := crashed.Sub(lost[0].At)
	l.LostS = new(before.Seconds())
	if lost[0].At.Before(taken) {
		fail("number %d was acknowledged %s before the replica was taken, and is lost", lost[0].Number, taken.Sub(lost[0].At))
	}
	if before > said {
		fail("%s are lost, and the agent said %s at most", before, said)
	}
	return l, lost, failures
}

// toldByMoves are a node's own records of guests that came or went, as events.
func toldByMoves(text, node string, since time.Time) (events []report.Event) {
	for line := range strings.Lines(text) {
		var r record.Record
		if json.Unmarshal([]byte(line), &r) != nil || !r.Ended.After(since) {
			continue
		}
		what := fmt.Sprintf("record: %s, %s to %s, in %.1f s", r.Outcome, r.From, r.To, r.DurationMS/1000)
		if r.LostMS != nil {
			what = fmt.Sprintf("record: %s from %s, lost at most %.1f s", r.Outcome, r.From, *r.LostMS/1000)
		}
		if r.PauseMS != nil {
			what += fmt.Sprintf(", pause %.0f ms", *r.PauseMS)
		}
		if r.Error != "" {
			what += ": " + r.Error
		}
		events = append(events, report.Event{At: r.Ended, Node: node, What: what})
	}
	return events
}
