package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/outcome"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/guestprobe"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/migrate/shellword"
)

const (
	// followFor is how long a move through the manager is followed without --deadline.
	followFor = 10 * time.Minute
	// examineTime bounds the pre-flight of one guest. A libvirtd that was just started takes most of a minute to
	// report its capabilities.
	examineTime = time.Minute
)

// errRestarted says that the guest did not move live.
var errRestarted = errors.New("the live migration failed, and Pacemaker stopped the guest and started it there")

// errSaved says that it did not, and kept its memory.
var errSaved = errors.New("the live migration failed, and the guest was saved and restored there")

// relocation is a move of a guest that is Pacemaker's resource: Pacemaker is asked for the node with a constraint that
// ends by itself, and what becomes of it is followed.
type relocation struct {
	*call
	order
	*inventory.Guest
	manager inventory.Manager
	client  *pacemaker.Client
	from    string // this node
	where   []string
	record  *record.Record
}

// throughPacemaker has Pacemaker move the guest.
func (c *call) throughPacemaker(ctx context.Context, inv *inventory.Inventory, g *inventory.Guest, o order) error {
	if name, ok := c.given("to-uri", "transport", "tls", "bandwidth", "budget", "disks"); ok {
		return misuse("migrate: Pacemaker has guest %q, whose resource decides --%s: type %s VALUE", g.Name, name,
			shellword.Line("crm_resource", "--resource", g.Claim.Resource, "--set-parameter", parameterOf[name],
				"--parameter-value"))
	}
	r := &relocation{call: c, order: o, Guest: g, from: inv.Node}
	for _, m := range inv.Managers {
		if p := m.Pacemaker(); p != nil {
			r.manager, r.client = m, p
		}
	}
	if err := r.check(ctx); err != nil {
		return err
	}
	return r.move(ctx)
}

// parameterOf is the resource's parameter that a flag stands for.
var parameterOf = map[string]string{
	"to-uri": "remoteuri", "transport": "migration_transport", "tls": "migration_tls", "bandwidth": "migration_speed",
	"budget": "blackout_budget", "disks": "disks",
}

// check refuses what Pacemaker would not do, or would do by a restart.
func (r *relocation) check(ctx context.Context) error {
	status, err := managers.Ask(ctx, r.client.Status)
	if err != nil {
		return err
	}
	conf, err := managers.Ask(ctx, r.client.Configuration)
	if err != nil {
		return err
	}
	agent, err := pacemaker.CheckMove(status, conf, r.Claim.Claim, r.node, time.Now())
	if err != nil {
		return err
	}
	if err := r.ask(ctx, r.client.CheckRunnable); err != nil {
		return err
	}
	if err := r.examine(ctx); err != nil {
		if agent == hbplugin.OwnAgent { // which makes the same pre-flight
			return err
		}
		r.printf("%s may think otherwise: %s", agent, verdict.OneLine(err))
	}
	return nil
}

// examine refuses what the agent or libvirt would refuse: Pacemaker stops a guest that it cannot migrate, and starts it
// on the other node.
func (r *relocation) examine(ctx context.Context) error {
	r.printf("asking node %s about guest %s", r.node, r.Name)
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	asker, subject := verdict.For(r.manager, r.open.Host, r.call.run), r.Subject()
	asked := hbplugin.Verdict{Resource: r.Claim.Resource, Fate: hbplugin.MovesLive, To: r.node}
	switch v := verdict.Decide(asked, subject, map[string]verdict.Answer{r.node: {}}); {
	case v.Fate == hbplugin.Unknown:
		r.printf("%s", v.Why)
	case !v.Fate.KeepsRunning():
		return fmt.Errorf("guest %q would not be moved live: it %s: %s", r.Name, verdict.Words(v), v.Remedy)
	}
	req, err := asker.Request(ctx, subject, r.node)
	if err != nil {
		return fmt.Errorf("guest %q cannot be moved to %s: %w", r.Name, r.node, err)
	}
	x, err := asker.Examine(ctx, req)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s takes guest %q: %w", r.node, r.Name, err)
	}
	var refused error
	for _, refusal := range x.Refusals {
		refused = errors.Join(refused, refusal)
	}
	if refused != nil {
		return fmt.Errorf("pacemaker would stop %q and start it on %s, not move it: %w", r.Claim.Resource, r.node,
			refused)
	}
	for _, with := range x.With {
		r.printf("%s", with)
	}
	return nil
}

// move asks for the node, and follows.
func (r *relocation) move(ctx context.Context) error {
	began := time.Now()
	var v *guestprobe.Probe
	if len(r.watch) > 0 {
		v = guestprobe.Begin(ctx, r.watch)
	}
	r.printf("asking Pacemaker to move %q to %s, and to prefer that node for %s", r.Claim.Resource, r.node, r.lifetime)
	err := managers.Request(ctx, func(ctx context.Context) error {
		return r.client.Move(ctx, r.Claim.Resource, r.node, r.lifetime)
	})
	if err != nil {
		if v != nil {
			_, _ = v.End(ctx, false)
		}
		return fmt.Errorf("pacemaker refused: %w", err)
	}
	err = r.follow(ctx)
	r.readRecord(began)
	if v != nil {
		if r.record == nil {
			r.record = r.strangersRecord(began, err)
		}
		recorded.Moves{StateDir: r.stateDir, Log: logTo(r.stderr), ByHand: true}.Judge(ctx, v, r.record)
	}
	return r.conclude(ctx, err)
}

// follow waits until Pacemaker has the guest on the node, and on no other, and has nothing more to do with it. The
// hypervisor is not asked: each question would lengthen the pause. The error is pacemaker.ErrNotMoved where Pacemaker
// does not move it.
func (r *relocation) follow(ctx context.Context) error {
	limit := cmp.Or(r.deadline, followFor)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	meter := r.meter()
	defer meter.end()
	var idle atomic.Bool
	go func() { idle.Store(r.client.Wait(ctx, limit+time.Second) == nil) }()
	arrival := pacemaker.Arrival{Node: r.node}
	began, result, isDone := time.Now(), error(nil), false
	managers.Poll(ctx, r.poll, time.Time{}, func() bool {
		wasIdle := idle.Load() // before the look
		status, err := managers.Ask(ctx, r.client.Status)
		if err != nil {
			if ctx.Err() == nil {
				meter.show(time.Now(), "no answer", verdict.OneLine(err))
			}
			return false
		}
		place := status.Places[r.Claim.Resource]
		r.where = place.Nodes
		if isDone, result = arrival.Look(place, wasIdle); !isDone {
			r.showPlace(meter, place, time.Since(began))
		}
		return isDone
	})
	if !isDone {
		return ctx.Err()
	}
	return result
}

func (r *relocation) showPlace(m *meter, p cib.Place, spent time.Duration) {
	doing := cmp.Or(p.Pending, "waiting for Pacemaker")
	on := cmp.Or(strings.Join(p.Nodes, " and "), "no node")
	m.show(time.Now(), doing+on, fmt.Sprintf("%s: %s, on %s, %.0f s", r.Name, doing, on, spent.Seconds()))
}

// readRecord reads what the agent wrote about this move; there is none where another agent made it.
func (r *relocation) readRecord(began time.Time) {
	records, err := history.ReadRecords(r.records())
	if err != nil {
		r.printf("the records cannot be read: %s", verdict.OneLine(err))
	}
	for _, rec := range records {
		if rec.Guest == r.Name && !rec.Started.Before(began) {
			r.record = &rec
		}
	}
}

// strangersRecord is for a move that another agent made: what is known of it
// here.
func (r *relocation) strangersRecord(began time.Time, err error) *record.Record {
	rec := &record.Record{Schema: record.Schema, Guest: r.Name, UUID: r.UUID, From: r.URI, To: r.node,
		Started: began, Ended: time.Now(), Outcome: record.Unknown}
	if err == nil {
		rec.Outcome = record.Moved
	}
	rec.DurationMS = float64(rec.Ended.Sub(rec.Started).Microseconds()) / 1000
	return rec
}

// conclude says how it ended. A request that was not met in time stays: to take
// it back is the operator's choice. One that was interrupted is taken back.
func (r *relocation) conclude(ctx context.Context, ferr error) error {
	clearLine := pacemaker.ClearMoveLine(r.Claim.Resource, r.node)
	result := migrateResult{Schema: schema, Guest: r.Name, From: r.from, To: r.node, By: config.Pacemaker,
		Record: r.record,
		Where:  "on " + strings.Join(r.where, " and ")}
	if len(r.where) == 0 {
		result.Where = "cannot tell: Pacemaker has it on no node just now"
	}
	var restarted error
	if ferr == nil {
		restarted = r.restarted(ctx)
	}
	result.Moved = ferr == nil && restarted == nil
	if err := r.result(result, result.table); err != nil {
		return err
	}
	switch {
	case restarted != nil:
		return restarted
	case ferr == nil:
		r.printf("Pacemaker prefers %s for %s; to end that at once, type %s", r.node, r.lifetime, clearLine)
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return r.takeBack(ctx, clearLine)
	case errors.Is(ferr, pacemaker.ErrNotMoved):
		return r.notMoved(ctx, clearLine)
	}
	return fmt.Errorf("guest %q has not come to %s in time; Pacemaker may still move it: type crm_mon -1, and to "+
		"take the request back, type %s", r.Name, r.node, clearLine)
}

// restarted is the error of a guest that was stopped and started on its node, by libvirt's word there and by the
// agent's record; nil of one that moved live.
func (r *relocation) restarted(ctx context.Context) error {
	t := verdict.Trace{Node: r.from, Nodes: r.where}
	if r.record != nil {
		t.Records = append(t.Records, *r.record)
	}
	t.There, _ = outcome.StatusOn(context.WithoutCancel(ctx), r.open, r.call.run, r.Guest,
		r.where[0]) // else the record tells
	fate, why := verdict.Became(t)
	if fate == hbplugin.Unknown {
		r.printf("how guest %s came to %s is not known: %s", r.Name, r.where[0], why)
	}
	if fate != hbplugin.Restarts {
		return nil
	}
	err := errRestarted
	if r.record != nil && r.record.Rung.Saves() {
		err = errSaved
	}
	if why == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, why)
}

// ask puts a question about the guest and the node to Pacemaker, or a request.
func (r *relocation) ask(ctx context.Context, what func(ctx context.Context, resource, node string) error) error {
	return managers.Request(ctx, func(ctx context.Context) error { return what(ctx, r.Claim.Resource, r.node) })
}

// notMoved withdraws a request that Pacemaker does not follow, and says why, as far as its forecast does.
func (r *relocation) notMoved(ctx context.Context, clearLine string) error {
	taken := "; the move constraint is removed"
	if err := r.ask(ctx, r.client.ClearMove); err != nil {
		taken = fmt.Sprintf("; the request could not be taken back (%s): type %s", verdict.OneLine(err), clearLine)
	}
	why := ": to see its scores, type crm_simulate --live-check --show-scores"
	said, err := r.managersForecast(ctx, r.manager)
	for _, v := range said {
		if err == nil && v.Resource == r.Claim.Resource && v.Fate == hbplugin.Stops {
			why = ": " + v.Why
		}
	}
	return fmt.Errorf("pacemaker does not move %q to %s%s%s", r.Claim.Resource, r.node, why, taken)
}

// takeBack withdraws the request. A migration that Pacemaker has begun is not
// aborted: it would take that for a failure, and restart the guest.
func (r *relocation) takeBack(ctx context.Context, clearLine string) error {
	if err := r.ask(context.WithoutCancel(ctx), r.client.ClearMove); err != nil {
		return interrupted(", and the request could not be taken back: %w: type %s", err, clearLine)
	}
	return interrupted(": the move constraint is removed; a migration that Pacemaker has begun continues: " +
		"to see where the guest is, type crm_mon -1")
}
