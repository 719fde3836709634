package scenario

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/lab/report"
)

// blocks are what the lease device has of two nodes, or more: a slot each, and the claims of each against each other.
type blocks struct {
	slots  []lease.Slot
	claims []lease.Claim
}

// told are the changes between two looks at the lease device, as events.
func (now blocks) told(was blocks, names []string, at time.Time) (events []report.Event) {
	say := func(node int, format string, args ...any) {
		events = append(events, report.Event{At: at, Node: names[node-1], What: fmt.Sprintf(format, args...)})
	}
	for i, s := range now.slots {
		if i < len(was.slots) && (s.State != was.slots[i].State || s.Generation != was.slots[i].Generation) {
			say(i+1, "lease is %s, generation %d", s.State, s.Generation)
		}
	}
	for i, c := range now.claims {
		if i >= len(was.claims) {
			continue
		}
		before := was.claims[i]
		switch {
		case c.Open() && (!before.Open() || c.Split != before.Split):
			say(c.From, "claims the guests of %s: %s", names[c.Target-1], claimValues(c))
		case before.Open() && !c.Open():
			say(c.From, "withdraws its claim")
		}
		if j := slices.IndexFunc(now.claims, func(o lease.Claim) bool { return o.From == c.Target && o.Target == c.From }); j >= 0 &&
			c.Bound(now.claims[j]) && !bound(was.claims, i, j) && c.Beats(now.claims[j]) {
			say(c.From, "its claim wins: %s", reason(c, now.claims[j]))
		}
	}
	return events
}

// bound reports whether two claims were bound to each other already.
func bound(claims []lease.Claim, i, j int) bool { return j < len(claims) && claims[i].Bound(claims[j]) }

func claimValues(c lease.Claim) string {
	text := fmt.Sprintf("%d reached, %d guests, number %d", c.Reached, c.Guests, c.First)
	if c.Ordered {
		text = "ordered, " + text
	}
	return text
}

// reason is the first value in which one claim beats another.
func reason(c, o lease.Claim) string {
	switch {
	case c.Ordered != o.Ordered:
		return "the whole cluster wants it"
	case c.Quorate != o.Quorate:
		return "quorum"
	case c.Members != o.Members:
		return "more nodes"
	case c.Reached != o.Reached:
		return "more addresses reached"
	case c.Guests != o.Guests:
		return "more guests"
	}
	return "lower number"
}

// toldByRecords are a node's own records of its guard, as events: what began and what ended.
func toldByRecords(text string, since time.Time) (events []report.Event) {
	for line := range strings.Lines(text) {
		var e journal.Event
		if json.Unmarshal([]byte(line), &e) != nil || !e.Time.After(since) {
			continue
		}
		what := ""
		switch e.Kind {
		case journal.Fenced, journal.NotFenced:
			what = fmt.Sprintf("fence call: %s is %s: %s", e.Target, e.Kind, e.Evidence)
		case journal.Killed:
			what = fmt.Sprintf("its guests are gone, %d of them killed: %s", e.Guests, e.Evidence)
		case journal.Surrendered:
			what = "surrendered: " + e.Evidence
		case journal.Returned:
			what = "takes its lease again"
		default:
			what = fmt.Sprintf("%s: %s", e.Kind, e.Evidence)
		}
		events = append(events, report.Event{At: e.Time, Node: e.Node, What: what})
	}
	return events
}

// stamped is a line of journalctl's form short-unix.
var stamped = regexp.MustCompile(`^(\d+)\.(\d{6}) (.*)`)

// Messages of corosync and of pacemaker-controld; and all of the mirror's programs.
var (
	membership = regexp.MustCompile(`A new membership \(\S+\) was formed\. Members (joined|left): `)
	requested  = regexp.MustCompile(`Requesting fencing \((\w+)\) targeting node (\S+)`)
	terminated = regexp.MustCompile(`Peer (\S+) was (not )?terminated \(`)
	ours       = regexp.MustCompile(`^\S+ (vmferry-(?:agent|mirror))\[\d+\]: (.*)`)
	starting   = regexp.MustCompile(`Requesting local execution of (start|migrate_from) operation for (\S+) on `)
)

// toldByJournal are what Corosync and Pacemaker log on a node, as events.
func toldByJournal(text, node string, since time.Time) (events []report.Event) {
	for line := range strings.Lines(text) {
		m := stamped.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seconds, err := strconv.ParseInt(m[1], 10, 64)
		micros, microsErr := strconv.ParseInt(m[2], 10, 64)
		at, what := time.Unix(seconds, micros*1000), journalWords(m[3])
		if err == nil && microsErr == nil && what != "" && at.After(since) {
			events = append(events, report.Event{At: at, Node: node, What: what})
		}
	}
	return events
}

// journalWords are what a message says that decides something; empty for others.
func journalWords(message string) string {
	if m := membership.FindStringSubmatch(message); m != nil {
		return map[string]string{"left": "membership without the other node", "joined": "membership with the other node"}[m[1]]
	}
	if m := requested.FindStringSubmatch(message); m != nil {
		return "Pacemaker wants " + m[2] + " fenced"
	}
	if m := terminated.FindStringSubmatch(message); m != nil {
		return "Pacemaker takes " + m[1] + " as " + m[2] + "fenced"
	}
	if m := ours.FindStringSubmatch(message); m != nil {
		return m[1] + ": " + m[2]
	}
	if m := starting.FindStringSubmatch(message); m != nil {
		return "Pacemaker calls " + m[1] + " of " + m[2]
	}
	return ""
}

// executed are the events by which copies executed. Copies on a node that hangs do not, and those that wake up there have
// no access to their disks any more: they are judged by how long they live.
func (o Observation) executed() []Event {
	if o.Scenario != report.Hang {
		return o.Events
	}
	events := slices.DeleteFunc(slices.Clone(o.Events), func(e Event) bool { return e.Node == o.From && e.At.After(o.Trigger) })
	for _, name := range o.Guests {
		events = append(events, Event{At: o.Trigger, Node: o.From, Guest: name, Name: Stop})
	}
	return inOrder(events)
}

// wokenTime is how long a copy on a node that woke up may live.
const wokenTime = time.Second

// toldByWoken are what became of the copies on a node that woke up: as events, and what must not be.
func (o Observation) toldByWoken() (events []report.Event, failures []string) {
	for _, c := range o.Copies {
		if c.Node != o.From || c.Seen.After(o.Trigger) || !c.Gone.IsZero() && c.Gone.Before(o.Trigger) ||
			!slices.Contains(o.Guests, c.Guest) {
			continue
		}
		lived := c.Gone.Sub(o.Woken)
		switch {
		case c.Gone.IsZero() || lived > wokenTime:
			failures = append(failures, fmt.Sprintf("the copy of guest %s on the node that woke up was not killed within %s",
				c.Guest, wokenTime))
		default:
			events = append(events, report.Event{At: c.Gone, Node: c.Node, What: fmt.Sprintf("the woken copy of %s is gone, after %d ms",
				c.Guest, max(0, lived.Milliseconds()))})
		}
	}
	return events, failures
}
