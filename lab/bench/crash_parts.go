package bench

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// instant is a turning point of a crash. They are in the order in which they happen.
type instant int

// The instants.
const (
	killed         instant = iota // the node is killed
	tokenLost                     // corosync on the survivor gives the token up
	newMembership                 // it has waited for consensus, and has a membership without the node
	fencing                       // the fence device is asked
	fenced                        // it has confirmed
	startCalled                   // Pacemaker calls the agent's start
	processThere                  // the guest's QEMU process is on the survivor
	guestRuns                     // RESUME: QEMU lets the guest run
	kernelAnswers                 // the guest's kernel answers the first ICMP echo request
	serviceAnswers                // the light service answers the first probe over UDP
	instantCount
)

// parts name the time that ends at each instant, in the notes.
var parts = [instantCount]string{
	tokenLost:      "until corosync's token timeout",
	newMembership:  "until corosync has a new membership (consensus)",
	fencing:        "until Pacemaker asks the fence device",
	fenced:         "until the fence device confirms",
	startCalled:    "until Pacemaker calls start",
	processThere:   "from the call of start until the QEMU process is there",
	guestRuns:      "until the guest runs (RESUME)",
	kernelAnswers:  "until the guest's kernel answers (ICMP)",
	serviceAnswers: "until its service answers (UDP)",
}

// own are the parts in which the agent works. In all others corosync, Pacemaker, the fence device and the guest do.
var own = []instant{processThere, guestRuns}

// crashed is what was seen of one crash.
type crashed struct {
	at       [instantCount]time.Time // the zero time where it was not seen
	returned time.Time               // when start returned, as Pacemaker logs it
}

// took is the time from the instant before i until i, in seconds. It is false where one of the two was not seen.
func (c crashed) took(i instant) (float64, bool) {
	if i == killed || c.at[i].IsZero() || c.at[i-1].IsZero() {
		return 0, false
	}
	return c.at[i].Sub(c.at[i-1]).Seconds(), true
}

// since is the time from the kill until an instant, in seconds.
func (c crashed) since(i instant) float64 { return c.at[i].Sub(c.at[killed]).Seconds() }

// start is the time from the call of start until it returned, in seconds.
func (c crashed) start() (float64, bool) {
	if c.at[startCalled].IsZero() || c.returned.IsZero() {
		return 0, false
	}
	return c.returned.Sub(c.at[startCalled]).Seconds(), true
}

// crashes are one side's.
type crashes []crashed

// median is of the crashes for which of is true; it is false where that is none.
func (all crashes) median(of func(crashed) (float64, bool)) (float64, bool) {
	var values []float64
	for _, c := range all {
		if v, ok := of(c); ok {
			values = append(values, v)
		}
	}
	return Summarize(values).P50, len(values) > 0
}

// inWords is a median in seconds.
func (all crashes) inWords(of func(crashed) (float64, bool)) string {
	v, ok := all.median(of)
	if !ok {
		return "not seen"
	}
	return fmt.Sprintf("%.2f s", v)
}

// shares is the median time that the agent takes of a crash, and the one that all others take.
func (all crashes) shares() (agent, others float64) {
	sum := func(want bool) func(crashed) (float64, bool) {
		return func(c crashed) (total float64, ok bool) {
			for i := killed + 1; i < instantCount; i++ {
				if took, seen := c.took(i); seen && slices.Contains(own, i) == want {
					total += took
					ok = true
				}
			}
			return total, ok
		}
	}
	agent, _ = all.median(sum(true))
	others, _ = all.median(sum(false))
	return agent, others
}

// whereTimeGoes tells both sides' medians of each part.
func whereTimeGoes(ours, peer crashes) []string {
	var notes []string
	line := func(what string, of func(crashed) (float64, bool)) {
		notes = append(notes, fmt.Sprintf("%s: %s, %s with %s", what, ours.inWords(of), peer.inWords(of), report.Peer))
	}
	for i := killed + 1; i < instantCount; i++ {
		line(parts[i], func(c crashed) (float64, bool) { return c.took(i) })
	}
	line("beside that, the agent's start as a whole", crashed.start)
	oursAgent, oursOthers := ours.shares()
	peerAgent, peerOthers := peer.shares()
	return append(notes, fmt.Sprintf("of it the agent's own: %.2f s, %.2f s with %s; "+
		"corosync's, Pacemaker's, the fence device's and the guest's: %.2f s and %.2f s",
		oursAgent, peerAgent, report.Peer, oursOthers, peerOthers))
}

// until are the times from the kill until an instant, in seconds.
func (all crashes) until(i instant) []float64 {
	var seconds []float64
	for _, c := range all {
		seconds = append(seconds, c.since(i))
	}
	return seconds
}

// fence takes the instants of the device's first action on the node since the kill that succeeded.
func (c *crashed) fence(events []supervisor.FenceEvent, node string) {
	i := slices.IndexFunc(events, func(e supervisor.FenceEvent) bool {
		return e.Node == node && e.Op != supervisor.OpOn && !e.Asked.Before(c.at[killed]) && e.Error == "" &&
			!e.Done.IsZero()
	})
	if i >= 0 {
		c.at[fencing], c.at[fenced] = events[i].Asked, events[i].Done
	}
}

// watched takes the instants of the guest's process on the node.
func (c *crashed) watched(copies []scenario.Copy, events []scenario.Event, node string) {
	for _, one := range copies {
		if one.Node == node && one.Seen.After(c.at[killed]) {
			c.first(processThere, one.Seen)
		}
	}
	for _, e := range events {
		if e.Node == node && e.Name == scenario.Resume && e.At.After(c.at[killed]) {
			c.first(guestRuns, e.At)
		}
	}
}

// journal takes the instants that Corosync and Pacemaker log on the survivor, from journalctl's form short-unix.
func (c *crashed) journal(text, guest string) {
	for line := range strings.Lines(text) {
		m := stampedLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, ok := journalTime(m[1], m[2])
		if !ok || !at.After(c.at[killed]) {
			continue
		}
		switch {
		case strings.Contains(m[3], "A processor failed, forming new configuration"):
			c.first(tokenLost, at)
		case strings.Contains(m[3], "A new membership (") && !c.at[tokenLost].IsZero():
			c.first(newMembership, at)
		}
	}
	for _, call := range callsIn(text) {
		if call.guest == guest && call.action == "start" && call.began.After(c.at[killed]) && c.returned.IsZero() {
			c.at[startCalled], c.returned = call.began, call.ended
		}
	}
}

// stampedLine is a line of the journal with its time.
var stampedLine = regexp.MustCompile(`^(\d+)\.(\d{6}) (.*)`)

// first takes an instant that was not seen yet.
func (c *crashed) first(i instant, at time.Time) {
	if c.at[i].IsZero() {
		c.at[i] = at
	}
}
