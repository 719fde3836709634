package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// figure is one number of one agent in one scenario, as people read it.
type figure struct {
	value float64
	text  string
	open  bool // value is a lower bound
}

// metric is one thing that two agents are compared by; less is better. A
// figure is nil where nothing was measured.
type metric struct {
	label      string
	ours, peer *figure
}

// ratio is ours over the peer's; false where there is none.
func (m metric) ratio() (float64, bool) {
	if m.ours == nil || m.peer == nil || m.peer.value <= 0 {
		return 0, false
	}
	return m.ours.value / m.peer.value, true
}

// ratioText is the ratio as "0.48×", with "≤" or "≥" where one of the figures
// is a lower bound, or none.
func (m metric) ratioText() string {
	r, ok := m.ratio()
	if !ok {
		return none
	}
	bound := ""
	switch {
	case m.ours.open && m.peer.open:
		return none
	case m.peer.open:
		bound = "≤ "
	case m.ours.open:
		bound = "≥ "
	}
	return fmt.Sprintf("%s%.2f×", bound, r)
}

// kind is what makes runs comparable: one scenario under one cluster manager.
type kind struct{ name, manager string }

// String is the kind as people read it.
func (k kind) String() string {
	if k.manager == "" {
		return k.name
	}
	return k.name + ", " + k.manager
}

// kinds are all that there are, each once, in the order in which they ran.
func (r *Report) kinds() []kind {
	var out []kind
	for _, s := range r.Scenarios {
		if k := (kind{s.Name, s.Manager}); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// runs are the scenarios of that kind, of any agent.
func (r *Report) runs(k kind) []*Scenario {
	var out []*Scenario
	for i := range r.Scenarios {
		if s := &r.Scenarios[i]; (kind{s.Name, s.Manager}) == k {
			out = append(out, s)
		}
	}
	return out
}

// by are those of the runs that are an agent's.
func by(agent string, runs []*Scenario) []*Scenario {
	var out []*Scenario
	for _, s := range runs {
		if s.Agent == agent {
			out = append(out, s)
		}
	}
	return out
}

// peer is the agent that ours is compared with.
func (r *Report) peer() string {
	for _, s := range r.Scenarios {
		if s.Agent != Ours {
			return s.Agent
		}
	}
	return Peer
}

// compare holds the two agents' runs of one kind against each other.
func (r *Report) compare(k kind) []metric {
	runs := r.runs(k)
	ours, peer := by(Ours, runs), by(r.peer(), runs)
	var out []metric
	for _, m := range measures {
		row := metric{m.label, m.of(ours), m.of(peer)}
		if row.ours != nil || row.peer != nil {
			out = append(out, row)
		}
	}
	return out
}

// first is the comparison that is shown where there is room for one: the kernel's gap, or where nobody measured it,
// the blackout over UDP.
func (r *Report) first(k kind) metric {
	if c := r.compare(k); len(c) > 0 && (c[0].label == measures[0].label || c[0].label == measures[1].label) {
		return c[0]
	}
	return metric{label: measures[0].label}
}

// measure makes one figure of all runs of one scenario by one agent.
type measure struct {
	label string
	of    func([]*Scenario) *figure
}

// measures are in the order of the page's table; the terminal's last lines show the first one, see first.
var measures = []measure{
	{"worst kernel gap", func(runs []*Scenario) *figure {
		return worst(runs, func(g Guest) (float64, bool, bool) {
			if g.Kernel == nil {
				return 0, false, false
			}
			return g.Kernel.ICMPMS, g.Kernel.Open, true
		})
	}},
	{"worst UDP blackout", func(runs []*Scenario) *figure {
		return worst(runs, func(g Guest) (float64, bool, bool) {
			if g.UDP == nil {
				return 0, false, false
			}
			return g.UDP.BlackoutMS, g.UDP.Open, true
		})
	}},
	{"worst TCP blackout", func(runs []*Scenario) *figure {
		return worst(runs, func(g Guest) (float64, bool, bool) {
			if g.TCP == nil {
				return 0, false, false
			}
			return g.TCP.BlackoutMS, g.TCP.Open, true
		})
	}},
	{"longest pause", func(runs []*Scenario) *figure {
		return worst(runs, func(g Guest) (float64, bool, bool) {
			if g.PauseMS == nil {
				return 0, false, false
			}
			return *g.PauseMS, false, true
		})
	}},
	{"node empty after", drained},
	{"datagrams lost", func(runs []*Scenario) *figure {
		return total(runs, func(g Guest) (uint64, bool) {
			if g.UDP == nil {
				return 0, false
			}
			return g.UDP.LostOut + g.UDP.LostBack, true
		})
	}},
	{"TCP connections reset", func(runs []*Scenario) *figure {
		return total(runs, func(g Guest) (uint64, bool) {
			if g.TCP == nil {
				return 0, false
			}
			return g.TCP.Resets, true
		})
	}},
	{"guests rebooted", func(runs []*Scenario) *figure {
		return total(runs, func(g Guest) (uint64, bool) {
			if g.BootIDKept {
				return 0, true
			}
			return 1, true
		})
	}},
	{"copies running at once", copies},
}

// worst is the largest duration in milliseconds that value reports a guest.
// value also reports whether it is a lower bound and whether there is one at all.
func worst(runs []*Scenario, value func(Guest) (ms float64, open, known bool)) *figure {
	var out *figure
	for _, s := range runs {
		for _, g := range s.Guests {
			v, open, known := value(g)
			if known && (out == nil || v > out.value) {
				out = &figure{v, atLeast(duration(v), open), open}
			}
		}
	}
	return out
}

// total adds up what value counts for each guest; nil where nothing was counted.
func total(runs []*Scenario, value func(Guest) (n uint64, known bool)) *figure {
	var sum uint64
	counted := false
	for _, s := range runs {
		for _, g := range s.Guests {
			if n, known := value(g); known {
				sum, counted = sum+n, true
			}
		}
	}
	if !counted {
		return nil
	}
	return &figure{value: float64(sum), text: strconv.FormatUint(sum, 10)}
}

// drained is the slowest drain.
func drained(runs []*Scenario) *figure {
	var out *figure
	for _, s := range runs {
		if s.DrainS != nil && (out == nil || *s.DrainS > out.value) {
			out = &figure{value: *s.DrainS, text: seconds(*s.DrainS)}
		}
	}
	return out
}

// copies is the largest number of copies.
func copies(runs []*Scenario) *figure {
	var out *figure
	for _, s := range runs {
		if v := float64(s.MaxRunningCopies); out == nil || v > out.value {
			out = &figure{value: v, text: strconv.Itoa(s.MaxRunningCopies)}
		}
	}
	return out
}

// headline is one line that says who did better in a scenario, such as
// "crash, pacemaker: worst UDP blackout vmferry 9.1 s, VirtualDomain 15.4 s (0.59×)".
// An agent that did not run is not in it.
func (r *Report) headline(k kind) string {
	m := r.first(k)
	var sides []string
	for _, side := range []struct {
		agent  string
		figure *figure
	}{{Ours, m.ours}, {r.peer(), m.peer}} {
		text := "not measured"
		if side.figure != nil {
			text = side.figure.text
		}
		if len(by(side.agent, r.runs(k))) > 0 {
			sides = append(sides, plain(side.agent)+" "+text)
		}
	}
	line := fmt.Sprintf("%s: %s %s", plain(k.String()), m.label, strings.Join(sides, ", "))
	if r := m.ratioText(); r != none {
		line += " (" + r + ")"
	}
	return line
}

// writeHeadlines writes the headline of every scenario.
func (r *Report) writeHeadlines(w io.Writer) {
	for _, k := range r.kinds() {
		fmt.Fprintln(w, shorten(r.headline(k), maxWidth))
	}
	for _, b := range r.Baselines {
		fmt.Fprintln(w, shorten(b.headline(), maxWidth))
	}
	for _, l := range wrap(r.loss(), maxWidth) {
		fmt.Fprintln(w, l)
	}
}

// headline is one line such as "suspend-resume of vm1, nobody moved it: UDP
// blackout 612 ms, of which pause 30 ms".
func (b Baseline) headline() string {
	blackout := none
	if b.UDP != nil {
		blackout = atLeast(duration(b.UDP.BlackoutMS), b.UDP.Open)
	}
	return plain(fmt.Sprintf("%s of %s, nobody moved it: UDP blackout %s, of which pause %s", b.Name, b.Guest, blackout,
		optional(b.PauseMS, duration)))
}
