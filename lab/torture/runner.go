package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Times of the runner itself.
const (
	pace     = 100 * time.Millisecond // between two numbers to one guest, where it is not set
	quiet    = time.Second            // a shorter silence is none
	lookRest = 2 * time.Second        // between two looks at whether the cluster has settled: it has if two agree
	lookMost = 20 * time.Second       // for one look
	undoMost = 30 * time.Second       // to undo a fault after an interrupt
	grace    = 2 * time.Minute        // beyond the bound: then a guest is lost
)

// Runner carries out a plan. All fields but Dial and Pace are needed.
type Runner struct {
	World    World
	Plan     []Fault
	Out      string                                          // folder for the report and for what the nodes logged
	Progress func(line string)                               // gets a line for each fault
	Replay   func(first, faults int) string                  // the command that carries out some of the faults again
	Dial     func(context.Context, string) (net.Conn, error) // how a guest's ledger is reached; nil: TCP
	Pace     time.Duration                                   // between two numbers to one guest; 0: 100 ms
}

// run is a plan that is being carried out.
type run struct {
	Runner
	limits     Limits
	guests     []string
	clients    map[string]*ledger.Client
	bystanders map[string]Process
	statuses   map[string]guest.Status // as last seen
	report     *Report
}

// Run carries the plan out and fills the report, which is written after each episode. When ctx ends, the fault that is
// at work is undone, and the report has what was done before. An error means that the plan could not be carried out to
// its end; what went wrong with the guests is in the report alone.
func (r Runner) Run(ctx context.Context, report *Report) (err error) {
	report.begin(r.Plan)
	t := &run{Runner: r, report: report, clients: map[string]*ledger.Client{}, statuses: map[string]guest.Status{}}
	defer func() { err = errors.Join(err, t.save()) }()
	if t.guests, t.limits, err = r.World.Prepare(ctx); err != nil {
		return fmt.Errorf("prepare the cluster: %w", err)
	}
	report.BoundsS = t.limits.seconds()
	if t.bystanders, err = r.World.Bystanders(ctx); err != nil {
		return err
	}
	defer t.serve(ctx)()
	if err := t.awaitCalm(ctx); err != nil {
		return err
	}
	for _, e := range Episodes(r.Plan) {
		if err := t.episode(ctx, e); err != nil {
			return err
		}
		report.Next = e[len(e)-1].Number + 1
		if err := t.save(); err != nil {
			return err
		}
	}
	return t.end(ctx)
}

// save writes the report as it is now.
func (t *run) save() error {
	t.report.tick()
	return t.report.WriteJSON(filepath.Join(t.Out, "report.json"))
}

// serve starts the clients; the function that it returns ends them.
func (t *run) serve(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	for _, name := range t.guests {
		c := &ledger.Client{Address: t.World.Service(name), Pace: cmp.Or(t.Pace, pace), Quiet: quiet, Dial: t.Dial}
		t.clients[name] = c
		group.Go(func() { c.Run(ctx) })
	}
	return func() { cancel(); group.Wait() }
}

// awaitCalm waits until the cluster has settled and all guests answer.
func (t *run) awaitCalm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.limits.Return+grace, errors.New("the cluster did not settle"))
	defer cancel()
	return t.settle(ctx, time.Now())
}

// settle looks until the cluster has settled, for two looks in a row, and each guest has answered after since.
func (t *run) settle(ctx context.Context, since time.Time) error {
	for good := 0; ; {
		look, cancel := context.WithTimeout(ctx, lookMost)
		err := t.World.Settled(look)
		cancel()
		if silent := t.silent(since); len(silent) > 0 {
			err = errors.Join(err, fmt.Errorf("no answer of %s", strings.Join(silent, ", ")))
		}
		if good++; err != nil {
			good = 0
		}
		if good == 2 {
			return nil
		}
		if wait.For(ctx, lookRest) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// silent are the guests that have not answered after since.
func (t *run) silent(since time.Time) (names []string) {
	for _, name := range t.guests {
		if _, at := t.clients[name].Last(); !at.After(since) {
			names = append(names, name)
		}
	}
	return names
}

// episode carries out one episode and checks what became of it. An error means that there is no going on.
func (t *run) episode(ctx context.Context, faults []Fault) error {
	if err := wait.For(ctx, faults[0].Rest); err != nil {
		return err
	}
	begun, within := time.Now(), t.limits.Within(faults)
	results := t.strike(ctx, faults)
	over := time.Now()
	limit := max(within-over.Sub(begun), t.limits.Return) + grace
	look, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not settled %s after the faults", limit))
	unsettled := t.settle(look, over)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.report.count(faults, results)
	found, took := t.check(ctx, faults, begun, over, within)
	if unsettled != nil && len(t.silent(over)) == 0 {
		found = append(found, Finding{What: NodeLost, Evidence: unsettled.Error()})
	}
	t.report.recover(took)
	t.note(ctx, faults, found, begun, took, within)
	if unsettled != nil {
		if err := t.mend(ctx, faults); err != nil {
			return err
		}
	}
	return t.renew(ctx)
}

// strike carries out the faults of an episode, each in its own time, and returns when the last one is over, with why each
// was not carried out. What ctx interrupts is undone.
func (t *run) strike(ctx context.Context, faults []Fault) []error {
	var group sync.WaitGroup
	var at time.Duration
	results := make([]error, len(faults))
	for i, f := range faults {
		if i > 0 {
			at += f.Rest
		}
		later := at
		group.Go(func() { results[i] = t.carryOut(ctx, f, later) })
	}
	group.Wait()
	return results
}

// carryOut carries out one fault. The error is that of its first step: later ones may find a node that another fault
// has taken down, and what they leave behind is seen when the cluster does not settle.
func (t *run) carryOut(ctx context.Context, f Fault, later time.Duration) error {
	all, undo := steps(t.World, f)
	begun := time.Now().Add(later)
	for i, s := range all {
		if wait.For(ctx, time.Until(begun.Add(s.after))) != nil {
			break
		}
		if err := s.do(ctx); err != nil && ctx.Err() == nil {
			if i == 0 {
				return errors.Join(err, undoAfter(ctx, undo)) // a part of it may have been done
			}
			if !errors.Is(err, cluster.ErrDown) {
				t.Progress(fmt.Sprintf("%s: step %d: %v", f, i+1, err))
			}
		}
	}
	if ctx.Err() != nil {
		return undoAfter(ctx, undo)
	}
	return nil
}

// undoAfter undoes a fault, though ctx may have ended. undo may be nil.
func undoAfter(ctx context.Context, undo func(context.Context) error) error {
	if undo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoMost)
	defer cancel()
	return undo(ctx)
}

// check asks all checkers.
func (t *run) check(ctx context.Context, faults []Fault, begun, over time.Time, within time.Duration) (
	found []Finding, took time.Duration) {
	b := bound{begun, within, t.limits.Blip}
	for _, name := range t.guests {
		c := t.clients[name]
		_, last := c.Last()
		if copies, events, bars, err := t.World.Seen(ctx, name); err != nil {
			found = append(found, Finding{What: NodeLost, Guest: name, Evidence: "its copies are not known: " + err.Error()})
		} else {
			found = append(found, checkCopies(name, begun, copies, events, bars)...)
		}
		if !last.After(over) {
			found = append(found, Finding{What: GuestLost, Guest: name, Evidence: "last answer " + clock(last)})
			continue
		}
		silences := c.Silences(begun)
		took = max(took, b.recovery(silences))
		found = append(found, b.check(name, silences)...)
		found = append(found, t.verify(ctx, name)...)
		if now, err := t.World.Status(ctx, name); err == nil { // it answers, but for a moment
			found = append(found, checkStatus(name, t.statuses[name], now)...)
			t.statuses[name] = now
		}
	}
	after, err := t.World.Bystanders(ctx)
	if err != nil {
		return append(found, Finding{What: NodeLost, Evidence: err.Error()}), took
	}
	return append(found, checkBystanders(faults, t.bystanders, after)...), took
}

// verify checks the ledger of a guest that answers. A connection may fail once.
func (t *run) verify(ctx context.Context, name string) []Finding {
	var found []Finding
	for try := 0; ; try++ {
		f, err := t.clients[name].Verify(ctx)
		found = append(found, checkLedger(name, f)...)
		if err == nil || ctx.Err() != nil {
			return found
		}
		if try == 3 {
			return append(found, Finding{What: GuestLost, Guest: name,
				Evidence: "its ledger is not readable: " + err.Error()})
		}
		_ = wait.For(ctx, lookRest)
	}
}

// note writes down what was found and says it in one line.
func (t *run) note(ctx context.Context, faults []Fault, found []Finding, begun time.Time, took, within time.Duration) {
	var texts []string
	for _, f := range faults {
		texts = append(texts, f.String())
	}
	line := strings.Join(texts, "; ") + ": guests answer"
	if took > 0 {
		line += fmt.Sprintf(" after %.1f s of %.1f s", seconds(took), seconds(within))
	}
	if len(found) > 0 {
		log := t.evidence(ctx, faults[0].Number, begun)
		for _, f := range found {
			line += fmt.Sprintf("; %s %s%s: %s", strings.ToUpper(f.What), f.Guest, f.Node, f.Evidence)
			t.report.add(Failure{Fault: faults[0].Number, Faults: texts, What: f.What, Guest: f.Guest, Node: f.Node,
				Begun: begun,
				Ended: time.Now(), Evidence: f.Evidence, Log: log, Replay: t.Replay(faults[0].Number, len(faults))})
		}
	}
	t.Progress(line)
}

// evidence writes what the nodes logged to a file beside the report, and returns its name, or why there is none.
func (t *run) evidence(ctx context.Context, number int, since time.Time) string {
	name := fmt.Sprintf("fault-%d.txt", number)
	err := os.MkdirAll(t.Out, 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.Create(filepath.Join(t.Out, name)); err == nil {
			err = errors.Join(t.World.Evidence(ctx, since, f), f.Close())
		}
	}
	if err != nil {
		return "none: " + err.Error()
	}
	return name
}

// mend brings the cluster back by force, as the next fault needs one that is well.
func (t *run) mend(ctx context.Context, faults []Fault) error {
	t.Progress(fmt.Sprintf("fault %d: mending the cluster", faults[0].Number))
	if err := t.World.Mend(ctx); err != nil {
		return fmt.Errorf("the cluster did not recover from fault %d and cannot be mended: %w", faults[0].Number, err)
	}
	return t.awaitCalm(ctx)
}

// renew makes the cluster ready for the next episode.
func (t *run) renew(ctx context.Context) (err error) {
	if err := t.World.Renew(ctx); err != nil {
		return err
	}
	t.bystanders, err = t.World.Bystanders(ctx)
	return err
}

// end stops the guests and compares what was acknowledged with what the storage has.
func (t *run) end(ctx context.Context) error {
	scans, err := t.World.End(ctx)
	if err != nil {
		return fmt.Errorf("read the ledgers from the storage: %w", err)
	}
	for _, name := range t.guests {
		scan, ok := scans[name]
		found := checkLedger(name, t.clients[name].Against(scan))
		if !ok {
			found = []Finding{{What: GuestLost, Guest: name, Evidence: "its disk was not read"}}
		}
		for _, f := range found {
			t.Progress(fmt.Sprintf("at the end: %s %s: %s", strings.ToUpper(f.What), f.Guest, f.Evidence))
			t.report.add(Failure{Faults: []string{"all"}, What: f.What, Guest: f.Guest, Begun: t.report.Begun,
				Ended:    time.Now(),
				Evidence: "on the storage: " + f.Evidence, Replay: t.Replay(t.Plan[0].Number, len(t.Plan))})
		}
	}
	return nil
}
