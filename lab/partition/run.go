package partition

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// Result is what came of one cut.
type Result struct {
	Cut      string   `json:"cut"`
	Expected string   `json:"expected"`
	Seen     string   `json:"seen"`
	Failures []string `json:"failures,omitempty"`

	Begun    time.Time `json:"begun"`
	DecidedS float64   `json:"decided_s,omitempty"`  // from the fault until the loser had surrendered
	RecoverS float64   `json:"recovery_s,omitempty"` // from the fault until every guest answered on the winner
	RejoinS  float64   `json:"rejoin_s,omitempty"`   // from the heal until the loser held its lease again
	WokenS   float64   `json:"woken_s,omitempty"`    // how long the guest lived on a node that woke up
	SilenceS []float64 `json:"silence_s"`            // the longest silence of each guest until the heal
	Slots    []Change  `json:"slots,omitempty"`

	// Of a guest that executed more than once.
	Copies []scenario.Copy  `json:"copies,omitempty"`
	Events []scenario.Event `json:"events,omitempty"`
}

// before is what is known of the nodes and guests before a cut.
type before struct {
	status     []guest.Status
	bystanders []string
	boots      []int
	slots      []uint64 // generations
}

// Make makes one cut and judges what came of it. The error is that nothing could be seen; what was seen and must not be
// is among the failures. Afterwards all is as it was, or the result says so.
func (m *Matrix) Make(ctx context.Context, c Cut) (r Result, err error) {
	r = Result{Cut: c.Name, Expected: c.expected(m)}
	fail := func(format string, args ...any) { r.Failures = append(r.Failures, fmt.Sprintf(format, args...)) }
	m.Progress(c.Name + ": waiting for rest")
	if err := m.calm(ctx); err != nil {
		return r, err
	}
	if c.Prepare != nil {
		if err := c.Prepare(ctx, m); err != nil {
			return r, fmt.Errorf("prepare %q: %w", c.Name, err)
		}
		if err := m.calm(ctx); err != nil {
			return r, err
		}
	}
	was, err := m.look(ctx)
	if err != nil {
		return r, err
	}
	probing, stop := context.WithCancel(ctx)
	defer stop()
	probe := m.Probe(probing, filepath.Join(m.Scratch, strings.ReplaceAll(c.Name, " ", "-")+".json"))
	if err := pause(ctx, 2*time.Second); err != nil {
		return r, err
	}
	m.Progress(c.Name + ": begins")
	r.Begun = time.Now()
	if err := c.Begin(ctx, m); err != nil {
		return r, fmt.Errorf("begin %q: %w", c.Name, err)
	}
	if c.Loser != None {
		if err := m.await(ctx, c); err != nil {
			fail("%v", err)
		}
		r.RecoverS = time.Since(r.Begun).Seconds()
	}
	if err := pause(ctx, time.Until(r.Begun.Add(c.Lasts))); err != nil {
		return r, err
	}
	seen := m.during(ctx, c, was, fail)
	healed := time.Now()
	m.Progress(c.Name + ": ends")
	if c.End != nil {
		if err := c.End(ctx, m); err != nil {
			return r, fmt.Errorf("end %q: %w", c.Name, err)
		}
	}
	if err := m.calm(ctx); err != nil {
		fail("%v", err)
	}
	m.judgeReturn(ctx, seen, fail)
	stop()
	probes, err := probe()
	if err != nil {
		return r, err
	}
	m.judge(ctx, c, was, healed, probes, &r, fail)
	return r, nil
}

// await waits until every guest answers on the winner.
func (m *Matrix) await(ctx context.Context, c Cut) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Recover, fmt.Errorf("%s are over", c.Recover))
	defer cancel()
	if c.Killed {
		return cluster.Await(ctx, "the guests of "+m.node(c.Loser)+" to be killed", func(context.Context) (bool, error) {
			return !slices.ContainsFunc(m.GuestsOf(c.Loser), func(g scenario.Guest) bool { return len(m.Where(g.Name)) > 0 }), nil
		})
	}
	return cluster.Await(ctx, "every guest to answer on "+m.node(1-c.Loser), func(ctx context.Context) (bool, error) {
		for _, g := range m.Guests {
			err := m.answersOn(ctx, g, 1-c.Loser, c.Hangs)
			if err != nil && c.Resets {
				err = m.answersOn(ctx, g, c.Loser, false)
			}
			if err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// look takes what is known before a cut.
func (m *Matrix) look(ctx context.Context) (b before, err error) {
	for _, g := range m.Guests {
		status, err := m.ask(ctx, g)
		if err != nil {
			return b, err
		}
		b.status = append(b.status, status)
	}
	for i := range m.Cluster.Nodes {
		boots, err := m.Boots(ctx, m.node(i))
		if err != nil {
			return b, err
		}
		b.boots = append(b.boots, boots)
		b.slots = append(b.slots, m.slots.now(i).Generation)
	}
	b.bystanders, err = m.bystanders(ctx)
	return b, err
}

// during judges what was seen before the cut ended. It returns the guests that ran then, by name.
func (m *Matrix) during(ctx context.Context, c Cut, was before, fail func(string, ...any)) map[string]guest.Status {
	if c.Both {
		return nil
	}
	m.judgeSlots(c, fail)
	seen := map[string]guest.Status{}
	for i, g := range m.Guests {
		if c.Killed && m.home(i) == c.Loser {
			continue
		}
		now, err := m.ask(ctx, g)
		if err != nil {
			fail("%v", err)
			continue
		}
		if kept := now.BootID == was.status[i].BootID; !kept && (m.home(i) != c.Loser || c.Live) {
			fail("guest %s was started again", g.Name)
		}
		if now.Counter < was.status[i].Counter {
			fail("the counter on the disk of guest %s went from %d to %d", g.Name, was.status[i].Counter, now.Counter)
		}
		seen[g.Name] = now
	}
	return seen
}

// judgeReturn judges the way back to where all began: a guest that ran at the end of the cut goes on, wherever it is.
func (m *Matrix) judgeReturn(ctx context.Context, seen map[string]guest.Status, fail func(string, ...any)) {
	for _, g := range m.Guests {
		was, ran := seen[g.Name]
		if now, err := m.ask(ctx, g); err == nil && ran && now.BootID != was.BootID {
			fail("guest %s was started again after the end of the cut", g.Name)
		}
	}
}

// judgeSlots judges what the nodes write to the lease device before the cut ends: that the cut is one.
func (m *Matrix) judgeSlots(c Cut, fail func(string, ...any)) {
	for i := range m.Cluster.Nodes {
		want := len(guarded.Gateways)
		if c.Reach != nil {
			want = c.Reach[i]
		}
		switch silent, now := m.slots.silence(i), m.slots.now(i); {
		case slices.Contains(c.Silent, i):
			if silent < 4*guarded.Times.Renew {
				fail("%s has written to the lease device", m.node(i))
			}
		case i == c.Loser && (c.Dies || c.Hangs || c.Reboots): // it may be down
		case now.Reached != want:
			fail("%s reaches %d gateways, not %d", m.node(i), now.Reached, want)
		}
	}
}

// judge judges the whole.
func (m *Matrix) judge(ctx context.Context, c Cut, was before, healed time.Time, probes scenario.Probes, r *Result,
	fail func(string, ...any),
) {
	r.Slots = m.slots.since(r.Begun)
	for i, g := range m.Guests {
		if c.Hangs && m.home(i) == c.Loser {
			m.judgeWoken(c, g, healed, r, fail)
		} else if n := m.MaxExecutingBetween(g.Name, r.Begun, time.Now()); n > 1 {
			fail("guest %s executed %d times at once", g.Name, n)
			r.Copies, r.Events = m.Seen(g.Name)
		}
		if now, err := m.ask(ctx, g); err == nil && now.ForeignWrites > was.status[i].ForeignWrites {
			fail("guest %s found %d writes on its disk that were not its own", g.Name, now.ForeignWrites)
		}
		silence := longest(probes[g.Name].UDP, r.Begun, healed)
		r.SilenceS = append(r.SilenceS, silence.Seconds())
		if c.Silence > 0 && silence > c.Silence {
			fail("guest %s was silent for %s: %s are allowed", g.Name, silence.Round(time.Millisecond), c.Silence)
		}
	}
	m.judgeNodes(ctx, c, was, healed, r, fail)
	r.Seen = m.seen(c, r)
}

// wokenTime is how long the copy on a node that woke up may live.
const wokenTime = time.Second

// judgeWoken judges the copy of a guest on a node that hung: it must not live long, as its disk is taken away.
func (m *Matrix) judgeWoken(c Cut, g scenario.Guest, woken time.Time, r *Result, fail func(string, ...any)) {
	copies, _ := m.Seen(g.Name)
	for _, copy := range copies {
		if copy.Node != m.node(c.Loser) || copy.Seen.After(r.Begun) || !copy.Gone.IsZero() && copy.Gone.Before(r.Begun) {
			continue
		}
		r.WokenS = copy.Gone.Sub(woken).Seconds()
		if copy.Gone.IsZero() || copy.Gone.Sub(woken) > wokenTime {
			fail("the copy of guest %s on the node that woke up lived for %.2f s", g.Name, r.WokenS)
		}
	}
}

// judgeNodes judges what became of the nodes.
func (m *Matrix) judgeNodes(ctx context.Context, c Cut, was before, healed time.Time, r *Result,
	fail func(string, ...any),
) {
	pids, err := m.bystanders(ctx)
	if err != nil {
		fail("%v", err)
		return
	}
	for i := range m.Cluster.Nodes {
		crashed := c.Both || (c.Dies || c.Reboots) && i == c.Loser
		boots, err := m.Boots(ctx, m.node(i))
		switch {
		case err != nil:
			fail("%v", err)
		case !crashed && boots != was.boots[i]:
			fail("node %s was booted again", m.node(i))
		case c.Resets && i == c.Loser && boots != was.boots[i]+1:
			fail("node %s was booted %d times by its watchdog", m.node(i), boots-was.boots[i])
		case !crashed && pids[i] != was.bystanders[i]:
			fail("the bystander on %s was process %s and is %s", m.node(i), was.bystanders[i], pids[i])
		}
		if lost := m.slots.now(i).Generation != was.slots[i]; lost != (c.Both || i == c.Loser) {
			fail("the lease of %s was lost: %v", m.node(i), lost)
		}
	}
	for _, change := range r.Slots {
		if c.Loser == None || change.Node != m.node(c.Loser) {
			continue
		}
		switch {
		case change.State == "surrendered" && r.DecidedS == 0 && change.At.Before(healed):
			r.DecidedS = change.At.Sub(r.Begun).Seconds()
		case change.State == "held" && change.At.After(r.Begun):
			r.RejoinS = change.At.Sub(healed).Seconds()
		}
	}
}

// longest is the longest outage that began in a time.
func longest(t *blackout.Target, from, to time.Time) (most time.Duration) {
	if t == nil {
		return 0
	}
	for _, o := range t.Outages {
		if o.End.After(from) && o.Start.Before(to) {
			most = max(most, time.Duration(o.Ms*float64(time.Millisecond)))
		}
	}
	return most
}

// All makes cuts one after the other.
func (m *Matrix) All(ctx context.Context, cuts []Cut) (results []Result, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	for _, c := range cuts {
		r, err := m.Make(ctx, c)
		if err != nil {
			return results, fmt.Errorf("cut %q: %w", c.Name, err)
		}
		results = append(results, r)
	}
	return results, nil
}
