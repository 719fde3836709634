package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/cmd/vmferry/report"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/migrate/relay"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/param"
)

// order is what an operator asked of migrate.
type order struct {
	guest     string
	nodes     []string // in the order in which they are tried
	node      string   // the one that is tried
	toURI     string
	transport string
	tls       bool
	bandwidth uint64
	budget    time.Duration
	deadline  time.Duration
	lifetime  time.Duration
	watch     []string
	disks     preflight.DiskMode
}

// migrateResult is what migrate prints.
type migrateResult struct {
	Schema int            `json:"schema"`
	Guest  string         `json:"guest"`
	From   string         `json:"from"` // this node
	To     string         `json:"to"`
	By     string         `json:"by"` // vmferry, or the cluster manager
	Moved  bool           `json:"moved"`
	Where  string         `json:"where"`            // where the guest runs, in words
	Record *record.Record `json:"record,omitempty"` // absent where another agent moved it
}

// migrateGuest moves one guest.
func migrateGuest(ctx context.Context, c *call, args []string) error {
	o, done, err := c.order(args)
	if done {
		return err
	}
	inv := c.survey(ctx)
	g, err := inv.Find(o.guest)
	if err != nil {
		return err
	}
	o.guest = g.Name
	switch who, err := inv.ManagerOf(g); {
	case err != nil:
		return err
	case slices.ContainsFunc(o.nodes, func(n string) bool { return strings.EqualFold(n, inv.Node) }):
		return misuse("migrate: %s is this node, on which the guest is", inv.Node)
	case who == config.Pacemaker && len(o.nodes) > 1:
		return misuse("migrate: Pacemaker has guest %q, and takes one node: name one NODE", g.Name)
	case who == config.Pacemaker:
		return c.throughPacemaker(ctx, inv, g, o)
	case who == config.Heartbeat:
		return fmt.Errorf("heartbeat has guest %q, and moves all guests of a node together: type vmferry drain", g.Name)
	}
	return c.byHand(ctx, inv, g, o)
}

func (c *call) order(args []string) (o order, done bool, err error) {
	c.flags.StringVar(&o.toURI, "to-uri", "", "")
	c.flags.StringVar(&o.transport, "transport", "", "")
	c.flags.BoolVar(&o.tls, "tls", false, "")
	c.flags.Uint64Var(&o.bandwidth, "bandwidth", 0, "")
	c.flags.DurationVar(&o.budget, "budget", 0, "")
	c.flags.DurationVar(&o.deadline, "deadline", 0, "")
	c.flags.DurationVar(&o.lifetime, "lifetime", time.Hour, "")
	watch := c.flags.String("watch", "", "")
	mode := c.flags.String("disks", string(preflight.DisksShared), "")
	rest, done, err := c.begin(args, "GUEST", "NODE")
	if done {
		return o, true, err
	}
	o.guest, o.nodes = rest[0], strings.Split(rest[1], ",")
	o.node = o.nodes[0]
	o.disks = preflight.DiskMode(*mode)
	if *watch != "" {
		o.watch = strings.Split(*watch, ",")
	}
	if err := o.check(); err != nil {
		return o, true, misuse("migrate: %w", err)
	}
	return o, false, nil
}

func (o order) check() error {
	switch {
	case o.budget < 0:
		return fmt.Errorf("--budget %s is below 0", o.budget)
	case o.deadline < 0:
		return fmt.Errorf("--deadline %s is below 0", o.deadline)
	case slices.ContainsFunc(o.nodes, func(n string) bool { return n == "" || strings.HasPrefix(n, "-") }):
		return fmt.Errorf("%q is not a valid NODE or NODE,NODE", strings.Join(o.nodes, ","))
	case o.toURI != "" && len(o.nodes) > 1:
		return errors.New("--to-uri is the libvirt of one node: name one NODE, or leave it out")
	case o.lifetime < time.Minute:
		return fmt.Errorf("--lifetime %s is too short: the least is 1m", o.lifetime)
	case !slices.Contains(preflight.DiskModes, o.disks):
		return fmt.Errorf("--disks %q is unknown: use shared, copy or auto", o.disks)
	case o.toURI != "" && !strings.Contains(o.toURI, "://"):
		return fmt.Errorf("--to-uri %q is not a URI: write it like qemu+tcp://%s/system", o.toURI, o.node)
	case o.toURI != "" && o.transport != "":
		return errors.New("--to-uri says the transport already: leave --transport out")
	case len(o.watch) > 0:
		if err := (blackout.Config{Targets: o.watch}).Validate(); err != nil {
			return fmt.Errorf("--watch: %w", err)
		}
	}
	return nil
}

// byHand moves a guest that no manager has, to the first of the nodes that takes it.
func (c *call) byHand(ctx context.Context, inv *inventory.Inventory, g *inventory.Guest, o order) error {
	targets, err := o.targets(g)
	if err != nil {
		return err
	}
	if o.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.deadline)
		defer cancel()
	}
	var rec record.Record
	for i, target := range targets {
		o.node = o.nodes[i]
		c.printf("moving guest %q to %s (%s)", g.Name, o.node, target)
		rec, err = c.move(ctx, g, target, o)
		if ctx.Err() != nil || i+1 == len(targets) || !migrate.MayTryNext(err) {
			break
		}
		c.printf("%s", verdict.OneLine(err))
	}
	r := migrateResult{Schema: schema, Guest: g.Name, From: inv.Node, To: o.node, By: "vmferry",
		Moved: rec.Outcome == record.Moved,
		Where: whereIs(rec, inv.Node, o.node), Record: &rec}
	if perr := c.result(r, r.table); perr != nil {
		return perr
	}
	return exitOf(ctx, err)
}

// targets are the libvirts of the nodes, in their order.
func (o order) targets(g *inventory.Guest) ([]string, error) {
	if o.toURI != "" {
		return []string{o.toURI}, nil
	}
	var uris []string
	for _, node := range o.nodes {
		to, err := param.Params{Hypervisor: g.URI, Transport: o.transport}.Route(node, "")
		if err != nil {
			return nil, misuse("migrate: %w: pass --to-uri URI", err)
		}
		uris = append(uris, to.URI)
	}
	return uris, nil
}

// move is one try, with what an operator sees of it.
func (c *call) move(ctx context.Context, g *inventory.Guest, target string, o order) (record.Record, error) {
	if lack := migrate.BudgetHeld(g.URI); lack != nil {
		c.printf("the blackout budget of %s cannot be held: %s", g.Name, verdict.OneLine(lack))
	}
	meter := c.meter()
	defer meter.end()
	moves := recorded.Moves{StateDir: c.stateDir, Log: logTo(meter), ByHand: true}
	deps := migrate.Deps{Open: c.open.Host, Slots: c.slots, Queue: c.queue}
	local.SetDeps(&deps, c.witness(g.URI))
	deps.Relay = func(guest, domainXML string) (migrate.Relay, error) { return relay.Open(guest, domainXML, moves.Log) }
	return moves.Move(ctx, migrate.Request{
		Guest: g.Name, UUID: g.UUID, SourceURI: g.URI, Target: o.node, TargetURI: target,
		Bandwidth: o.bandwidth, BlackoutBudget: o.budget, Disks: o.disks,
		Options: libvirt.MigrateOptions{TLS: o.tls}, Rest: migrate.RestTime,
		Progress: func(p migrate.Progress) { meter.show(time.Now(), p.Phase, g.Name+": "+describe(p)) },
	}, deps, o.watch)
}

// logTo takes warnings only: the rest is in the progress and in the record.
func logTo(w io.Writer) logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(w)
	log.SetLevel(logrus.WarnLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	return log
}

func whereIs(r record.Record, from, to string) string {
	switch r.Outcome {
	case record.Moved:
		return "on " + to
	case record.Stayed:
		return "on " + from
	}
	if r.Verified == (record.Verification{}) {
		return "cannot tell"
	}
	return fmt.Sprintf("cannot tell: %s says %q, %s says %q", from, r.Verified.Source, to, r.Verified.Target)
}

// exitOf gives a move's error its exit code.
func exitOf(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, migrate.ErrUnknown):
		return &failure{exitUnknown, err}
	case errors.Is(ctx.Err(), context.Canceled):
		return interrupted(": %w", err)
	}
	return err
}

func (r migrateResult) table(w io.Writer) error {
	fmt.Fprintf(w, "guest %s runs %s\n", r.Guest, strings.Replace(r.Where, "cannot tell", "unknown where", 1))
	if r.Record == nil || !r.Moved {
		return nil
	}
	rec := r.Record
	fmt.Fprintf(w, "moved in %.1f s", rec.DurationMS/1000)
	if rec.Encrypted {
		fmt.Fprint(w, ", encrypted")
	}
	if rec.PauseMS != nil {
		fmt.Fprintf(w, ", pause %.1f ms", *rec.PauseMS)
	}
	if rec.PauseMS != nil && rec.Predicted != nil {
		fmt.Fprintf(w, " (predicted %.1f ms)", rec.Predicted.PauseMS)
	}
	if b := report.Worst(*rec); b != nil {
		fmt.Fprintf(w, ", longest blackout %.1f ms (±%.1f) at %s", b.MS, b.ErrorMS, b.Target)
	}
	switch {
	case rec.BudgetMS <= 0:
	case rec.BudgetKept == nil:
		fmt.Fprintf(w, "; whether the budget of %.0f ms was kept is not known: use --watch", rec.BudgetMS)
	case *rec.BudgetKept:
		fmt.Fprintf(w, "; budget of %.0f ms kept", rec.BudgetMS)
	default:
		fmt.Fprintf(w, "; budget of %.0f ms broken", rec.BudgetMS)
	}
	_, err := fmt.Fprintln(w)
	return err
}
