package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/scenario"
)

// What a failure is; each is a count in the report.
const (
	DoubleRun   = "double run"
	AckedLost   = "acknowledged number lost"
	GuestLost   = "guest lost"
	Killed      = "bystander killed"
	OverBound   = "over bound"
	NodeLost    = "node lost"
	DiskDamaged = "disk damaged"
)

// Finding is one thing that is wrong.
type Finding struct {
	What     string // such as [DoubleRun]
	Guest    string // or ""
	Node     string // or ""
	Evidence string
}

// checkCopies finds instants at which two copies of a guest could write.
func checkCopies(guest string, since time.Time, copies []scenario.Copy, events []scenario.Event,
	bars []scenario.Bar) []Finding {
	copies = slices.DeleteFunc(slices.Clone(copies), func(c scenario.Copy) bool {
		return c.Guest != guest || !c.Gone.IsZero() && c.Gone.Before(since)
	})
	if scenario.MaxWriting(guest, copies, events, bars, since) < 2 {
		return nil
	}
	var lives []string
	for _, c := range copies {
		gone := "now"
		if !c.Gone.IsZero() {
			gone = clock(c.Gone)
		}
		lives = append(lives, fmt.Sprintf("process %d on %s from %s to %s", c.ID, c.Node, clock(c.Seen), gone))
	}
	return []Finding{{What: DoubleRun, Guest: guest, Evidence: "two copies could write: " + strings.Join(lives, ", ")}}
}

// checkLedger turns what a ledger shows into findings.
func checkLedger(guest string, f ledger.Findings) (all []Finding) {
	for what, texts := range map[string][]string{AckedLost: f.Lost, DoubleRun: f.Double} {
		for _, text := range texts {
			all = append(all, Finding{What: what, Guest: guest, Evidence: "ledger: " + text})
		}
	}
	if f.Damaged > 1 { // one write was interrupted
		all = append(all, Finding{What: DiskDamaged, Guest: guest,
			Evidence: fmt.Sprintf("ledger: %d blocks have a wrong checksum", f.Damaged)})
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Evidence, b.Evidence) })
	return all
}

// checkStatus compares the record on a guest's disk with an earlier one. Its counter is durable when it is told.
func checkStatus(name string, was, now guest.Status) (all []Finding) {
	known := was.ForeignWrites
	if now.BootID != was.BootID {
		known = 0
	}
	if now.ForeignWrites > known {
		all = append(all, Finding{What: DoubleRun, Guest: name, Evidence: fmt.Sprintf(
			"record: boot %s found %d writes on its disk that were not its own", now.BootID, now.ForeignWrites-known)})
	}
	if now.Counter < was.Counter {
		all = append(all, Finding{What: AckedLost, Guest: name, Evidence: fmt.Sprintf(
			"record: the counter went back from %d in boot %s to %d in boot %s", was.Counter, was.BootID, now.Counter,
			now.BootID)})
	}
	return all
}

// checkBystanders finds processes outside the cluster's care that have ended. Those of nodes whose processes the faults
// themselves ended do not count.
func checkBystanders(episode []Fault, before, after map[string]Process) (all []Finding) {
	for _, node := range slices.Sorted(maps.Keys(before)) {
		ended := slices.ContainsFunc(episode, func(f Fault) bool { return f.Node == node && f.Kind.trait().ends })
		if now := after[node]; now != before[node] && !ended {
			all = append(all, Finding{What: Killed, Node: node,
				Evidence: fmt.Sprintf("process %d, started at %d, has ended", before[node].PID, before[node].Start)})
		}
	}
	return all
}

// bound is what an episode allows: all guests answer within that time from its begin. A silence that is no longer than
// blip is a live move, as guests return to their home when its node is back, and is always allowed.
type bound struct {
	begin        time.Time
	within, blip time.Duration
}

// recovery is how long after the begin the last silence of a guest ended, 0 where there was none. Live moves after the
// bound are not part of it.
func (b bound) recovery(silences []ledger.Silence) time.Duration {
	var last time.Duration
	for _, s := range silences {
		if s.From.Sub(b.begin) < b.within || s.To.Sub(s.From) > b.blip {
			last = max(last, s.To.Sub(b.begin))
		}
	}
	return last
}

// check finds guests that answered later than they had to. A guest that has not answered yet is lost, and found
// elsewhere.
func (b bound) check(guest string, silences []ledger.Silence) []Finding {
	long := slices.DeleteFunc(slices.Clone(silences), func(s ledger.Silence) bool { return s.To.Sub(s.From) <= b.blip })
	took := b.recovery(long)
	if took <= b.within {
		return nil
	}
	var text []string
	for _, s := range silences {
		text = append(text, fmt.Sprintf("from %s to %s", clock(s.From), clock(s.To)))
	}
	return []Finding{{What: OverBound, Guest: guest, Evidence: fmt.Sprintf(
		"answered again after %s, bound is %s; silent %s", took.Round(time.Millisecond), b.within,
		strings.Join(text, ", "))}}
}

// clock is a time of day, in milliseconds.
func clock(t time.Time) string { return t.Format("15:04:05.000") }
