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
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

// defaultDrain is how long an operator's drain is followed: nobody waits for a
// shutdown, so logind's limit does not count.
const defaultDrain = 30 * time.Minute

// askAgain is after what time standby is asked for again that does not show: the
// attribute takes a moment through the cluster.
const askAgain = 5 * time.Second

// drainResult is what drain and undrain print.
type drainResult struct {
	Schema  int              `json:"schema"`
	Node    string           `json:"node"`
	Manager string           `json:"manager"`
	Standby bool             `json:"standby"` // as asked for
	Empty   bool             `json:"empty"`
	Seconds float64          `json:"seconds"`
	Left    []leftGuest      `json:"left"`
	Guests  []drainedGuest   `json:"guests,omitempty"` // of drain: what became of each guest that was here
	Moves   []migrate.Record `json:"moves"`            // those that were recorded meanwhile
	Notes   string           `json:"why"`
}

type leftGuest struct {
	Guest string `json:"guest"` // the resource's name
	Stuck string `json:"stuck,omitempty"`
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
	m, err := c.manager(ctx)
	if err != nil {
		return err
	}
	node, err := c.ownNode(ctx, m, rest[0])
	if err != nil {
		return err
	}
	d := &drainer{call: c, manager: m, node: node, began: time.Now()}
	d.seen = shutdown.Observed{Announced: true, Stopping: shutdown.No, Window: *window}
	d.foresee(ctx)
	if ctx.Err() != nil {
		return &failure{exitInterrupted, errors.New("interrupted: nothing was changed")}
	}
	return d.carryOut(ctx)
}

// foresee has the verdicts before anything is changed, and names the guests that will not be moved live. It takes a part of
// the window only.
func (d *drainer) foresee(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.seen.Window/4, errors.New("no answer within a quarter of the window"))
	defer cancel()
	d.said = d.foretell(ctx, d.survey(ctx))
	for _, f := range d.said {
		if f.Fate.KeepsRunning() {
			continue
		}
		d.tell("guest %s %s", f.guest.Name, verdict.Words(f.Verdict))
		if f.Remedy != "" {
			d.tell("    %s", f.Remedy)
		}
	}
}

// drainer is one drain under way. It goes by the same rule as vmferryd.
type drainer struct {
	*call
	manager managed
	node    string
	said    []foretold // what becomes of each guest, by what was said before
	began   time.Time
	asked   bool // this run has asked for standby
	askedAt time.Time
	seen    shutdown.Observed
}

func (d *drainer) carryOut(ctx context.Context) error {
	meter := d.meter()
	for {
		begun := time.Now()
		d.look(ctx)
		next := begun.Add(shutdown.Every(d.poll, time.Since(begun)))
		if end := d.began.Add(d.seen.Window); begun.Before(end) && next.After(end) {
			next = end
		}
		step := shutdown.Decide(d.seen)
		if !step.Hold || ctx.Err() != nil {
			meter.end()
			return d.end(ctx, step)
		}
		meter.show(time.Now(), step.Why, d.node+": "+shutdown.StatusLine(d.seen, step))
		if step.Act == shutdown.SetStandby && time.Since(d.askedAt) >= askAgain {
			if err := d.standby(ctx); err != nil {
				meter.end()
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
}

// standby notes first and asks second, so that undrain knows whose it is even
// if this process is killed in between.
func (d *drainer) standby(ctx context.Context) error {
	if err := d.drained().Set(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	if err := d.manager.Standby(ctx); err != nil {
		return fmt.Errorf("%s did not take the request for standby: %w: it may have been heard all the same, and vmferry undrain takes it back", d.manager, err)
	}
	d.asked, d.askedAt, d.seen.Tried = true, time.Now(), true
	return nil
}

// look counts the guests by the manager's word and by their processes.
func (d *drainer) look(ctx context.Context) {
	s := &d.seen
	s.Spent = time.Since(d.began)
	view, err := look(ctx, d.manager)
	here, herr := notes.Present(ctx, d.path(d.config.GuestsDir), d.processes)
	if ctx.Err() != nil {
		return // what was cut short says nothing
	}
	s.Looked, s.Standby, s.Blind = true, view.Standby, ""
	s.Running = shutdown.No
	switch {
	case err != nil:
		s.Running = shutdown.Unknown
	case view.Running:
		s.Running = shutdown.Yes
	}
	if err := errors.Join(err, herr); err != nil {
		s.Blind = oneLine(err)
	}
	s.Guests = shutdown.Union(view.Guests, here, d.adrift(ctx, view, here))
	s.Most = max(s.Most, len(s.Guests))
}

// adrift are those of the guests with a process here that are no resource any more, of any agent: nobody moves them.
// Where that cannot be told there are none.
func (d *drainer) adrift(ctx context.Context, view hbplugin.View, here []string) []string {
	beside := slices.DeleteFunc(slices.Clone(here), func(name string) bool {
		return slices.ContainsFunc(view.Guests, func(g hbplugin.Guest) bool { return g.Name == name })
	})
	if len(beside) == 0 || !view.Running {
		return nil
	}
	claims, err := d.manager.Claims(ctx)
	if d.manager.pacemaker() {
		conf, cerr := d.configuration(ctx)
		for _, r := range conf.Resources {
			claims = append(claims, hbplugin.Claim{Resource: r.ID})
		}
		err = cerr
	}
	if err != nil {
		return nil
	}
	return shutdown.Adrift(beside, claims)
}

// end tells how it went. Standby stays where the window closed: what is left may
// yet move. An interrupt takes back what this run has asked for.
func (d *drainer) end(ctx context.Context, step shutdown.Decision) error {
	if ctx.Err() != nil {
		d.look(context.WithoutCancel(ctx))
	}
	r := drainResult{Schema: schema, Node: d.node, Manager: d.manager.String(), Standby: d.seen.Standby || d.asked, Seconds: time.Since(d.began).Seconds(),
		Empty: !step.Hold && d.seen.Running == shutdown.Yes && len(d.seen.Guests) == 0 && d.seen.Blind == "", Left: []leftGuest{}, Notes: step.Why, Moves: []migrate.Record{}}
	for _, g := range d.seen.Guests {
		r.Left = append(r.Left, leftGuest{g.Name, g.Stuck})
	}
	records, err := migrate.ReadRecords(d.records())
	if err != nil {
		d.tell("the records cannot be read: %s", oneLine(err))
	}
	for _, rec := range records {
		if !rec.Started.Before(d.began) {
			r.Moves = append(r.Moves, rec)
		}
	}
	if ctx.Err() == nil {
		r.Guests = d.aftermath(ctx, r.Moves, r.Empty)
	}
	var failed error
	switch {
	case ctx.Err() != nil:
		failed, r.Standby = d.undo(ctx), d.seen.Standby && !d.asked
	case !r.Empty:
		failed = fmt.Errorf("the node is not empty: %s; %s", step.Why, d.stays())
	default:
		failed = notMoved(r.Guests)
	}
	if err := d.result(r, r.table); err != nil {
		return err
	}
	return failed
}

// stays says what becomes of the standby of a drain that did not end well.
func (d *drainer) stays() string {
	switch {
	case !d.seen.Standby && !d.asked:
		return "it is not in standby"
	case d.whose() == "vmferry drain":
		return "standby stays, and vmferry undrain takes it back"
	}
	return "standby stays, as it was asked for by " + d.whose()
}

func (d *drainer) undo(ctx context.Context) error {
	if !d.asked {
		return &failure{exitInterrupted, errors.New("interrupted: the node's standby stays, as it was not asked for here")}
	}
	if err := d.unstandby(ctx, d.manager); err != nil {
		return &failure{exitInterrupted, fmt.Errorf("interrupted, and standby could not be taken back: %w: type vmferry undrain", err)}
	}
	return &failure{exitInterrupted, errors.New("interrupted: standby is taken back; guests that have left stay where they are, and migrations under way go on")}
}

// unstandby takes back and then removes the note, so that no standby of ours is
// ever without one.
func (c *call) unstandby(ctx context.Context, m hbplugin.Manager) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), managerTime)
	defer cancel()
	if err := m.Unstandby(ctx); err != nil {
		return err
	}
	return c.drained().Clear()
}

func (r drainResult) table(w io.Writer) error {
	stray := slices.ContainsFunc(r.Guests, func(g drainedGuest) bool { return g.Happened == hbplugin.Stays })
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
	tellGuests(w, r.Guests)
	return nil
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

// undrain takes back what drain has asked for, and nothing else.
func undrain(ctx context.Context, c *call, args []string) error {
	rest, done, err := c.begin(args, "[NODE]")
	if done {
		return err
	}
	m, err := c.manager(ctx)
	if err != nil {
		return err
	}
	node, err := c.ownNode(ctx, m, rest[0])
	if err != nil {
		return err
	}
	ours, err := c.drained().Exists()
	if err != nil {
		return err
	}
	r := drainResult{Schema: schema, Node: node, Manager: m.String(), Left: []leftGuest{}, Moves: []migrate.Record{}}
	switch {
	case ours:
		if err := c.unstandby(ctx, m); err != nil {
			return fmt.Errorf("%s did not take it back: %w: try again", m, err)
		}
		r.Notes = "standby is taken back: guests may come to this node again"
	case m.view.Standby:
		return c.notOurs(m, node)
	default:
		r.Notes = "the node was not in standby: nothing was changed"
	}
	for _, g := range m.view.Guests {
		r.Left = append(r.Left, leftGuest{g.Name, g.Stuck})
	}
	return c.result(r, func(w io.Writer) error { return say(w, "node "+node+": "+r.Notes+"\n") })
}

// notOurs explains a standby that this program has not asked for.
func (c *call) notOurs(m managed, node string) error {
	if daemons, err := c.forShutdown().Exists(); err == nil && daemons {
		return errors.New("vmferryd has put this node into standby for a shutdown, and takes that back itself when the shutdown is called off: type shutdown -c, or see systemctl status vmferryd")
	}
	if m.pacemaker() {
		return fmt.Errorf("somebody else has put this node into standby: to take that back, type %s, and the same with --lifetime reboot",
			shellword.Line("crm_attribute", "--node", node, "--name", "standby", "--delete"))
	}
	return errors.New("vmferry drain was not what took this node's resources: to take them back, type hb_takeover local, or all")
}
