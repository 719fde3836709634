package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/outcome"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

// defaultDrain is how long an operator's drain is followed: nobody waits for a
// shutdown, so logind's limit does not count.
const defaultDrain = 30 * time.Minute

// askAgain is after what time standby is requested again that does not show: the
// attribute takes a moment through the cluster.
const askAgain = 5 * time.Second

// drainResult is what drain and undrain print.
type drainResult struct {
	Schema  int             `json:"schema"`
	Node    string          `json:"node"`
	Manager string          `json:"manager"`
	Standby bool            `json:"standby"` // as requested
	Empty   bool            `json:"empty"`
	Seconds float64         `json:"seconds"`
	Left    []leftGuest     `json:"left"`
	Guests  []outcome.Guest `json:"guests,omitempty"` // of drain: what became of each guest that was here
	Moves   []record.Record `json:"moves"`            // those that were recorded meanwhile
	Notes   string          `json:"why"`
}

type leftGuest struct {
	Guest string `json:"guest"` // the resource's name
	Stuck string `json:"stuck,omitempty"`
}

func (r *drainResult) addLeft(guests []hbplugin.Guest) {
	for _, g := range guests {
		r.Left = append(r.Left, leftGuest{g.Name, g.Stuck})
	}
}

// drainNode has the cluster manager move all guests off this node, and follows it.
func drainNode(ctx context.Context, c *call, args []string) error {
	window := c.flags.Duration("window", defaultDrain, "")
	rest, done, err := c.begin(args, "[NODE]")
	if done {
		return err
	}
	if *window < time.Second {
		return misuse("drain: --window %s is too short: the least is 1s", *window)
	}
	m, node, err := c.manager(ctx, rest[0])
	if err != nil {
		return err
	}
	d := &drainer{call: c, manager: m, node: node, began: time.Now()}
	d.seen = shutdown.Observed{Announced: true, Stopping: shutdown.No, Window: *window}
	d.predict(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return d.run(ctx)
}

// predict has the verdicts before anything is changed, and names the guests that will not be moved live. It takes a
// part of the window only.
func (d *drainer) predict(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.seen.Window/4,
		errors.New("no answer within a quarter of the window"))
	defer cancel()
	d.predicted = d.call.predict(ctx, d.survey(ctx))
	for _, f := range d.predicted {
		if f.Fate.KeepsRunning() {
			continue
		}
		d.printf("guest %s %s", f.Guest.Name, verdict.Words(f.Verdict))
		if f.Remedy != "" {
			d.printf("    %s", f.Remedy)
		}
	}
}

// drainer is one drain under way. It goes by the same rule as vmferryd.
type drainer struct {
	*call
	manager   inventory.Manager
	node      string
	predicted []inventory.Prediction // what becomes of each guest
	began     time.Time
	asked     bool // this run has requested standby
	askedAt   time.Time
	seen      shutdown.Observed
}

func (d *drainer) run(ctx context.Context) error {
	meter := d.meter()
	var step shutdown.Decision
	var failed error
	managers.Poll(ctx, d.poll, d.began.Add(d.seen.Window), func() (done bool) {
		d.look(ctx)
		step = shutdown.Decide(d.seen)
		if !step.Hold || ctx.Err() != nil {
			return true
		}
		meter.show(time.Now(), step.Why, d.node+": "+shutdown.StatusLine(d.seen, step))
		if step.Act == shutdown.SetStandby && time.Since(d.askedAt) >= askAgain {
			failed = d.standby(ctx)
		}
		return failed != nil
	})
	meter.end()
	if failed != nil {
		return failed
	}
	return d.end(ctx, step)
}

// standby requests it, and notes that this program has. Where that cannot be noted nothing is requested.
func (d *drainer) standby(ctx context.Context) error {
	if err := d.drained().Set(); err != nil {
		return err
	}
	if err := d.perform(ctx, d.manager, shutdown.SetStandby); err != nil {
		return fmt.Errorf("%s did not take the request for standby: %w: it may be in effect all the same: to take it "+
			"back, type vmferry undrain", d.manager, err)
	}
	d.asked, d.askedAt, d.seen.Tried = true, time.Now(), true
	return nil
}

// perform is shutdown.Perform with the note of this program.
func (c *call) perform(ctx context.Context, m hbplugin.Manager, act shutdown.Act) error {
	return managers.Request(ctx, func(ctx context.Context) error { return shutdown.Perform(ctx, m, c.drained(), act) })
}

// look counts the guests by the manager's word and by their processes.
func (d *drainer) look(ctx context.Context) {
	d.seen.Spent = time.Since(d.began)
	seen := shutdown.LookAt(ctx, inTime(d.manager.View), func(ctx context.Context) ([]string, error) {
		return notes.Present(ctx, d.path(d.config.GuestsDir), d.processes)
	}, inTime(d.manager.Resources))
	if ctx.Err() == nil { // what was cut short says nothing
		d.seen.Update(seen)
	}
}

// inTime is a question to the manager that has [managers.AnswerTime] for itself.
func inTime[T any](question func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) { return managers.Ask(ctx, question) }
}

// end says how it went. Standby stays where the window closed: what is left may
// yet move. An interrupt takes back what this run has requested.
func (d *drainer) end(ctx context.Context, step shutdown.Decision) error {
	if ctx.Err() != nil {
		d.look(context.WithoutCancel(ctx))
	}
	r := drainResult{Schema: schema, Node: d.node, Manager: d.manager.String(), Standby: d.seen.Standby || d.asked,
		Seconds: time.Since(d.began).Seconds(),
		Empty:   !step.Hold && d.seen.Running == shutdown.Yes && len(d.seen.Guests) == 0 && d.seen.Blind == "",
		Left:    []leftGuest{}, Notes: step.Why, Moves: []record.Record{}}
	r.addLeft(d.seen.Guests)
	records, err := history.ReadRecords(d.records())
	if err != nil {
		d.printf("the records cannot be read: %s", verdict.OneLine(err))
	}
	for _, rec := range records {
		if !rec.Started.Before(d.began) {
			r.Moves = append(r.Moves, rec)
		}
	}
	if ctx.Err() == nil {
		r.Guests = d.outcome(ctx, r)
	}
	var failed error
	switch {
	case ctx.Err() != nil:
		failed, r.Standby = d.undo(ctx), d.seen.Standby && !d.asked
	case !r.Empty:
		failed = fmt.Errorf("the node is not empty: %s; %s", step.Why, d.stays())
	default:
		failed = outcome.NotLive(r.Guests)
	}
	if err := d.result(r, r.table); err != nil {
		return err
	}
	return failed
}

// outcome is what became of each guest that was here.
func (d *drainer) outcome(ctx context.Context, r drainResult) []outcome.Guest {
	places := outcome.Sources{Node: d.node, Manager: d.manager, Open: d.open, Run: d.call.run, Poll: d.poll,
		Guests: d.predicted, Held: d.seen.Guests, Report: d.printf}.Wait(ctx, r.Empty)
	guests := make([]outcome.Guest, 0, len(d.predicted))
	for _, p := range d.predicted {
		guests = append(guests, outcome.Of(d.node, p, places[p.Guest.Name], r.Moves))
	}
	return guests
}

// stays says what becomes of the standby of a drain that did not end well.
func (d *drainer) stays() string {
	switch {
	case !d.seen.Standby && !d.asked:
		return "it is not in standby"
	case d.standbyBy() == byDrain:
		return "standby stays: to take it back, type vmferry undrain"
	}
	return "standby stays, as it was requested by " + d.standbyBy()
}

func (d *drainer) undo(ctx context.Context) error {
	if !d.asked {
		return interrupted(": the node's standby stays, as it was not requested here")
	}
	if err := d.perform(context.WithoutCancel(ctx), d.manager, shutdown.ClearStandby); err != nil {
		return interrupted(", and standby could not be taken back: %w: type vmferry undrain", err)
	}
	return interrupted(": the node left standby again; guests that were migrated stay where they are, " +
		"and migrations under way continue")
}

func (r drainResult) table(w io.Writer) error {
	stray := slices.ContainsFunc(r.Guests, func(g outcome.Guest) bool { return g.Happened == hbplugin.Stays })
	switch {
	case r.Empty && stray:
		fmt.Fprintf(w, "node %s has no guest of %s left after %.0f s\n", r.Node, r.Manager, r.Seconds)
	case r.Empty:
		fmt.Fprintf(w, "node %s is empty after %.0f s\n", r.Node, r.Seconds)
	case r.Standby:
		fmt.Fprintf(w, "node %s still has %s\n", r.Node, r.names())
	default:
		fmt.Fprintf(w, "node %s is not in standby, and has %s\n", r.Node, r.names())
	}
	printGuests(w, r.Guests)
	return nil
}

// printGuests writes a line for each guest, and how often the prediction was right.
func printGuests(w io.Writer, guests []outcome.Guest) {
	held := 0
	for _, g := range guests {
		fmt.Fprintln(w, "  "+g.Line())
		if g.AsSaid {
			held++
		}
	}
	if len(guests) > 0 {
		fmt.Fprintf(w, "the prediction was right for %d of %s\n", held, verdict.Count(len(guests), "guest"))
	}
}

func (r drainResult) names() string {
	var names []string
	for _, g := range r.Left {
		name := g.Guest
		if g.Stuck != "" {
			name += " (" + g.Stuck + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "no guest that is known of"
	}
	return strings.Join(names, ", ")
}

// undrain takes back what drain has requested, and nothing else.
func undrain(ctx context.Context, c *call, args []string) error {
	rest, done, err := c.begin(args, "[NODE]")
	if done {
		return err
	}
	m, node, err := c.manager(ctx, rest[0])
	if err != nil {
		return err
	}
	ours, err := c.drained().Exists()
	if err != nil {
		return err
	}
	r := drainResult{Schema: schema, Node: node, Manager: m.String(), Left: []leftGuest{}, Moves: []record.Record{}}
	switch {
	case ours:
		if err := c.perform(context.WithoutCancel(ctx), m, shutdown.ClearStandby); err != nil {
			return fmt.Errorf("%s did not take standby back: %w: type vmferry undrain again", m, err)
		}
		r.Notes = "the node left standby again: guests may come to this node again"
	case m.Seen.Standby:
		return c.notOurs(m, node)
	default:
		r.Notes = "the node was not in standby: nothing was changed"
	}
	r.addLeft(m.Seen.Guests)
	return c.result(r, func(w io.Writer) error { return say(w, "node "+node+": "+r.Notes+"\n") })
}

// notOurs explains a standby that this program has not requested.
func (c *call) notOurs(m inventory.Manager, node string) error {
	if daemons, err := c.forShutdown().Exists(); err == nil && daemons {
		return errors.New("vmferryd has put this node into standby for a shutdown, and takes that back itself when " +
			"the shutdown is cancelled: see systemctl status vmferryd")
	}
	if m.Pacemaker() != nil {
		return fmt.Errorf("somebody else has put this node into standby: to take that back, type %s, and the same "+
			"with --lifetime reboot",
			shellword.Line("crm_attribute", "--node", node, "--name", "standby", "--delete"))
	}
	return errors.New("vmferry drain was not what took this node's resources: to take them back, type hb_takeover " +
		"local, or all")
}
