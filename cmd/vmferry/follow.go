package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/guestprobe"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// followFor is how long a move through the manager is followed without --deadline.
const followFor = 10 * time.Minute

// errRestarted says that the guest did not move live.
var errRestarted = errors.New("the live migration failed, and Pacemaker stopped the guest and started it there")

// errSaved says that it did not, and kept its memory.
var errSaved = errors.New("the live migration failed, and the guest was saved and restored there")

// throughPacemaker has Pacemaker move a guest that is its resource: it asks for
// the node with a constraint that ends by itself, and follows what becomes of it.
func (c *call) throughPacemaker(ctx context.Context, inv *inventory, g *guest, o order) error {
	if name, ok := c.given("to-uri", "transport", "tls", "bandwidth", "budget", "disks"); ok {
		return misuse("migrate: Pacemaker has guest %q, and --%s is for the resource to say: type %s VALUE", g.Name, name,
			shellword.Line("crm_resource", "--resource", g.Claim.resource, "--set-parameter", parameterOf[name], "--parameter-value"))
	}
	agent, err := c.movable(ctx, g, o.node)
	if err == nil {
		err = inv.allowed(ctx, g, o.node)
	}
	if err != nil {
		return err
	}
	if err := c.examine(ctx, g, o.node); err != nil {
		if agent == vmferryAgent {
			return err
		}
		c.tell("%s may think otherwise: %s", agent, oneLine(err))
	}
	began := time.Now()
	var v *guestprobe.Probe
	if len(o.watch) > 0 {
		v = guestprobe.Begin(ctx, o.watch)
	}
	c.tell("asking Pacemaker to move %q to %s, and to prefer that node for %s", g.Claim.resource, o.node, o.lifetime)
	_, err = c.query(ctx, "crm_resource", "--resource", g.Claim.resource, "--move", "--node", o.node, "--lifetime", iso8601(o.lifetime))
	if err != nil {
		if v != nil {
			_, _ = v.End(ctx, false)
		}
		return fmt.Errorf("pacemaker refused: %w", err)
	}
	where, ferr := c.follow(ctx, g, o)
	record := c.recordSince(g, began)
	if v != nil {
		if record == nil {
			record = c.strangersRecord(g, o, began, ferr)
		}
		c.judge(context.WithoutCancel(ctx), record, v)
	}
	return c.conclude(ctx, inv, g, o, where, record, ferr)
}

// parameterOf is the resource's parameter that a flag stands for.
var parameterOf = map[string]string{
	"to-uri": "remoteuri", "transport": "migration_transport", "tls": "migration_tls", "bandwidth": "migration_speed",
	"budget": "blackout_budget", "disks": "disks",
}

// iso8601 is a duration as Pacemaker takes it, in whole seconds.
func iso8601(d time.Duration) string { return fmt.Sprintf("PT%dS", int(d.Seconds())) }

// vmferryAgent is the agent that makes the pre-flight itself.
const vmferryAgent = "ocf:vmferry:Domain"

// movable refuses what Pacemaker would not do, or would do by a restart. agent is the one that moves the guest.
func (c *call) movable(ctx context.Context, g *guest, node string) (agent string, err error) {
	id := g.Claim.resource
	if !cib.Bool(g.Claim.meta["allow-migrate"], false) {
		return "", fmt.Errorf("pacemaker would stop %q and start it on %s, not move it: type %s", id, node, allowMigrate(id))
	}
	status, err := c.crmStatus(ctx)
	if err != nil {
		return "", err
	}
	conf, err := c.configuration(ctx)
	if err != nil {
		return "", err
	}
	place := status.Places[id]
	_, known := status.Online[node]
	switch {
	case !known:
		return "", fmt.Errorf("node %q is not in the cluster: its nodes are %s", node, strings.Join(keys(status.Online), ", "))
	case !status.Online[node]:
		return "", fmt.Errorf("node %q is not online: type crm_mon -1", node)
	case status.Standby[node]:
		return "", fmt.Errorf("node %q is in standby, and takes no guest: on it, type vmferry undrain", node)
	case !place.Managed || place.Blocked:
		return "", fmt.Errorf("pacemaker does not touch %q (unmanaged or blocked): type %s, or manage it again", id,
			shellword.Line("crm_resource", "--resource", id, "--cleanup"))
	case place.Pending != "":
		return "", fmt.Errorf("pacemaker is at work on %q (%s): try again when it is done", id, place.Pending)
	}
	for _, r := range conf.Resources {
		if r.ID == id {
			agent = r.Agent
		}
	}
	return agent, inTheWay(conf.Constraints, id, node)
}

// runnable is a manager that knows which nodes may run a resource.
type runnable interface {
	Runnable(ctx context.Context, resource string) ([]string, error)
}

// allowed refuses a node that a location constraint forbids.
func (inv *inventory) allowed(ctx context.Context, g *guest, node string) error {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	for _, m := range inv.managers {
		r, able := m.peered.(runnable)
		if !able || m.String() != g.Claim.manager {
			continue
		}
		nodes, err := r.Runnable(ctx, g.Claim.resource)
		if err != nil {
			return err
		}
		if !slices.Contains(nodes, node) {
			return fmt.Errorf("pacemaker does not run %q on %s, by a location constraint: to see it, type %s", g.Claim.resource, node,
				shellword.Line("crm_resource", "--resource", g.Claim.resource, "--constraints"))
		}
	}
	return nil
}

// examine refuses what the agent or libvirt would refuse: Pacemaker stops a guest that it cannot migrate, and starts it
// on the other node.
func (c *call) examine(ctx context.Context, g *guest, node string) error {
	c.tell("asking node %s about guest %s", node, g.Name)
	asker := verdict.For(predictor{forecaster: c.forecaster}, c.openHost, c.program)
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	subject := verdict.Guest{Resource: g.Claim.resource, Name: g.Name, UUID: g.UUID, Params: g.Claim.env.Params,
		Problems: g.Claim.env.Problems, Ruled: g.Claim.ruled}
	asked := hbplugin.Verdict{Resource: g.Claim.resource, Fate: hbplugin.MovesLive, To: node}
	switch v := verdict.Decide(asked, subject, map[string]verdict.Answer{node: {}}); {
	case v.Fate == hbplugin.Untold:
		c.tell("%s", v.Why)
	case !v.Fate.KeepsRunning():
		return fmt.Errorf("guest %q would not be moved live: it %s: %s", g.Name, verdict.Words(v), v.Remedy)
	}
	req, err := asker.Request(ctx, subject, node)
	if err != nil {
		return fmt.Errorf("guest %q cannot be moved to %s: %w", g.Name, node, err)
	}
	x, err := asker.Examine(ctx, req)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s takes guest %q: %w", node, g.Name, err)
	}
	errs := make([]error, len(x.Refusals))
	for i, r := range x.Refusals {
		errs[i] = r
	}
	if len(errs) > 0 {
		return fmt.Errorf("pacemaker would stop %q and start it on %s, not move it: %w", g.Claim.resource, node, errors.Join(errs...))
	}
	for _, with := range x.With {
		c.tell("%s", with)
	}
	return nil
}

// inTheWay refuses to undo what somebody has decided for good. A move with a
// lifetime, such as ours, makes way for the next one, as crm_resource has it.
func inTheWay(constraints []cib.Constraint, id, node string) error {
	for _, l := range constraints {
		move := l.ID == "cli-prefer-"+id && l.Until.IsZero()
		ban := l.ID == "cli-ban-"+id+"-on-"+node && l.Holds(time.Now())
		if move || ban {
			return fmt.Errorf("an earlier move or ban of %q still holds (%s): type %s", id, l.ID, shellword.Line("crm_resource", "--resource", id, "--clear"))
		}
	}
	return nil
}

func allowMigrate(id string) string {
	return shellword.Line("crm_resource", "--resource", id, "--meta", "--set-parameter", "allow-migrate", "--parameter-value", "true")
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// errNotMoved says that Pacemaker has nothing to do, and the guest is not where the request wants it.
var errNotMoved = errors.New("pacemaker has decided otherwise")

// idle is closed once Pacemaker has nothing more to do, by its scheduler's word on the live configuration; never where
// that is not known.
func (c *call) idle(ctx context.Context, within time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		_, err := c.run(ctx, "crm_resource", "--wait", fmt.Sprintf("--timeout=%.0f", within.Seconds()+1))
		if err == nil {
			close(done)
		}
	}()
	return done
}

// follow waits until Pacemaker has the guest on the node, and on no other, and
// has nothing more to do with it. where is the last that was seen. The
// hypervisor is not asked: each question would lengthen the pause. The error is errNotMoved where Pacemaker
// does not move it.
func (c *call) follow(ctx context.Context, g *guest, o order) (where []string, err error) {
	limit := o.deadline
	if limit == 0 {
		limit = followFor
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	meter := c.meter()
	defer meter.end()
	began := time.Now()
	idle := c.idle(ctx, limit)
	for settled := 0; ; {
		begun := time.Now()
		decided := isClosed(idle) // before the look
		status, err := c.crmStatus(ctx)
		next := begun.Add(shutdown.Every(c.poll, time.Since(begun)))
		if err == nil {
			place := status.Places[g.Claim.resource]
			where = place.Nodes
			if place.Pending == "" && slices.Equal(where, []string{o.node}) {
				settled++
			} else {
				settled = 0
			}
			if settled == 2 { // once may be the moment between two actions
				return where, nil
			}
			if decided && settled == 0 && place.Pending == "" {
				return where, errNotMoved
			}
			c.showPlace(meter, g, place, time.Since(began))
		} else if ctx.Err() == nil {
			meter.show(time.Now(), "deaf", oneLine(err))
		}
		select {
		case <-ctx.Done():
			return where, ctx.Err()
		case <-time.After(time.Until(next)):
		}
	}
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func (c *call) showPlace(m *meter, g *guest, p cib.Place, spent time.Duration) {
	doing := p.Pending
	if doing == "" {
		doing = "waiting for Pacemaker"
	}
	on := strings.Join(p.Nodes, " and ")
	if on == "" {
		on = "no node"
	}
	m.show(time.Now(), doing+on, fmt.Sprintf("%s: %s, on %s, %.0f s", g.Name, doing, on, spent.Seconds()))
}

// recordSince is what the agent wrote about this move, nil where another agent
// made it.
func (c *call) recordSince(g *guest, began time.Time) *migrate.Record {
	records, err := history.ReadRecords(c.records())
	if err != nil {
		c.tell("the records cannot be read: %s", oneLine(err))
	}
	for i := len(records) - 1; i >= 0; i-- {
		if r := records[i]; r.Guest == g.Name && !r.Started.Before(began) {
			return &r
		}
	}
	return nil
}

// strangersRecord is for a move that another agent made: what can be told of it
// from here.
func (c *call) strangersRecord(g *guest, o order, began time.Time, ferr error) *migrate.Record {
	r := &migrate.Record{Schema: migrate.RecordSchema, Guest: g.Name, UUID: g.UUID, From: g.URI, To: o.node, Started: began, Ended: time.Now(), Outcome: migrate.Unknown}
	if ferr == nil {
		r.Outcome = migrate.Moved
	}
	r.DurationMS = float64(r.Ended.Sub(r.Started).Microseconds()) / 1000
	return r
}

// conclude says how it ended. A request that was not met in time stands: to take
// it back is the operator's choice. One that was interrupted is taken back.
func (c *call) conclude(ctx context.Context, inv *inventory, g *guest, o order, where []string, record *migrate.Record, ferr error) error {
	id := g.Claim.resource
	clear := shellword.Line("crm_resource", "--resource", id, "--clear", "--node", o.node)
	r := migrateResult{Schema: schema, Guest: g.Name, From: inv.node, To: o.node, By: managerPacemaker, Moved: ferr == nil, Record: record}
	r.Where = "on " + strings.Join(where, " and ")
	if len(where) == 0 {
		r.Where = "cannot tell: Pacemaker has it on no node just now"
	}
	restarted := false
	why := ""
	if ferr == nil {
		restarted, why = c.restarted(ctx, inv, g, where, record)
	}
	r.Moved = r.Moved && !restarted
	if err := c.result(r, r.table); err != nil {
		return err
	}
	switch {
	case restarted:
		err := errRestarted
		if record != nil && record.Rung == ladder.Save {
			err = errSaved
		}
		if why == "" {
			return err
		}
		return fmt.Errorf("%w: %s", err, why)
	case ferr == nil:
		c.tell("Pacemaker prefers %s for %s; to end that at once, type %s", o.node, o.lifetime, clear)
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return c.takeBack(ctx, g, o, clear)
	case errors.Is(ferr, errNotMoved):
		return c.notMoved(ctx, inv, g, o, clear)
	}
	return fmt.Errorf("guest %q has not come to %s in time; Pacemaker may still move it: see crm_mon -1, and to take the request back type %s", g.Name, o.node, clear)
}

// restarted tells whether the guest was stopped and started on its node, and why, by libvirt's word there and by the
// agent's record.
func (c *call) restarted(ctx context.Context, inv *inventory, g *guest, where []string, record *migrate.Record) (bool, string) {
	t := verdict.Trace{Node: inv.node, Nodes: where}
	if record != nil {
		t.Records = append(t.Records, *record)
	}
	there, err := c.statusOn(context.WithoutCancel(ctx), g, where[0])
	if err == nil {
		t.There = there
	}
	fate, why := verdict.Became(t)
	if fate == hbplugin.Untold {
		c.tell("how guest %s came to %s is not known: %s", g.Name, where[0], why)
	}
	return fate == hbplugin.Restarts, why
}

// notMoved withdraws a request that Pacemaker does not follow, and says why, as far as its forecast does.
func (c *call) notMoved(ctx context.Context, inv *inventory, g *guest, o order, clear string) error {
	id := g.Claim.resource
	taken := "; the request is taken back"
	if _, err := c.query(ctx, "crm_resource", "--resource", id, "--clear", "--node", o.node); err != nil {
		taken = fmt.Sprintf("; the request could not be taken back (%s): type %s", oneLine(err), clear)
	}
	for _, m := range inv.managers {
		said, err := predictor{m.peered, c.forecaster}.Forecast(ctx)
		for _, v := range said {
			if err == nil && v.Resource == id && v.Fate == hbplugin.Stops {
				return fmt.Errorf("pacemaker does not move %q to %s: %s%s", id, o.node, v.Why, taken)
			}
		}
	}
	return fmt.Errorf("pacemaker does not move %q to %s: to see its scores, type crm_simulate --live-check --show-scores%s", id, o.node, taken)
}

// takeBack withdraws the request. A migration that Pacemaker has begun is not
// aborted: it would take that for a failure, and restart the guest.
func (c *call) takeBack(ctx context.Context, g *guest, o order, clear string) error {
	_, err := c.query(context.WithoutCancel(ctx), "crm_resource", "--resource", g.Claim.resource, "--clear", "--node", o.node)
	if err != nil {
		return &failure{exitInterrupted, fmt.Errorf("interrupted, and the request could not be taken back: %w: type %s", err, clear)}
	}
	return &failure{exitInterrupted, errors.New("interrupted: the request is taken back; a migration that Pacemaker has begun goes on, and crm_mon -1 shows where the guest is")}
}
