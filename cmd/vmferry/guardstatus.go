package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/setup"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// inStatus is how many events status shows.
const inStatus = 5

// guardReport is what guard status prints.
type guardReport struct {
	control.StatusReport
	Well   bool            `json:"well"`   // the lease is held, and every slot is read
	Events []journal.Event `json:"events"` // the newest last
}

// guardStatus shows what the guard of this node knows; where it does not run, what the lease device says.
func guardStatus(ctx context.Context, c *call, _ *guardFlags, _ []string) error {
	r := guardReport{Events: c.guardEvents(inStatus)}
	status, reply, err := setup.Status(ctx, c.path(control.Socket))
	r.StatusReport, r.Well = status, err == nil && reply.OK
	if err == nil && !reply.OK {
		err = errors.New(reply.Why)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if r.StatusReport.Schema == 0 {
		var offline error
		switch r.StatusReport, offline = c.fromDevice(ctx); {
		case offline != nil && !c.guardSources(nil).Configured():
			return offline
		case offline != nil:
			return errors.Join(err, offline)
		}
	}
	if err := c.result(r, r.table); err != nil {
		return err
	}
	return err
}

// fromDevice is what the lease device says, without a guard.
func (c *call) fromDevice(ctx context.Context) (r control.StatusReport, err error) {
	s, err := settings.Load(c.path(settings.Path))
	if err != nil {
		return r, err
	}
	found, err := setup.Look(ctx, s.Device)
	if err != nil {
		return r, err
	}
	if found.Header == nil {
		return r, fmt.Errorf("%s is no lease device: type vmferry guard check", s.Device)
	}
	r = control.StatusReport{Schema: schema, Cluster: found.Header.Cluster, Node: cmp.Or(s.Node, c.config.Node),
		Phase: "no guard", Why: "this is what the lease device says"}
	for _, slot := range found.Slots {
		r.Nodes = append(r.Nodes, control.NodeReport{Name: found.Header.Nodes[slot.Node-1], State: slot.State.String(),
			Generation: slot.Generation, Reached: slot.Reached, Guests: slot.Guests,
			WatchdogMS: slot.Watchdog.Milliseconds()})
	}
	return r, nil
}

func (r guardReport) table(w io.Writer) error {
	fmt.Fprintf(w, "cluster %s, node %s: %s", r.Cluster, cmp.Or(r.Node, "-"), r.Phase)
	if r.AgeMS > 0 {
		fmt.Fprintf(w, ", renewed %d ms ago", r.AgeMS)
	}
	fmt.Fprintf(w, "\n%s\n", r.Why)
	if r.NoSecond {
		fmt.Fprintln(w, "the guard's second process does not run: no lease is taken")
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tLEASE\tGENERATION\tMEMBER\tREACHES\tGUESTS\tWATCHDOG\tRENEWED")
	for _, n := range r.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\n", n.Name, leaseWord(n), n.Generation, r.member(n), n.Reached,
			n.Guests, watchdogWord(n.WatchdogMS), r.renewed(n))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if n.Claim != "" {
			fmt.Fprintf(w, "against %s: %s\n", n.Name, n.Claim)
		}
		if n.Claimed != "" {
			fmt.Fprintf(w, "of %s: %s\n", n.Name, n.Claimed)
		}
	}
	if len(r.Events) == 0 {
		return say(w, "\nnothing is on record\n")
	}
	fmt.Fprintln(w)
	return eventTable(w, r.Events)
}

func leaseWord(n control.NodeReport) string {
	if n.Expired {
		return n.State + ", expired"
	}
	return n.State
}

func watchdogWord(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

// member and renewed say what a guard alone knows.
func (r guardReport) member(n control.NodeReport) string {
	switch {
	case r.offline():
		return "-"
	case n.Member:
		return "yes"
	}
	return "no"
}

func (r guardReport) renewed(n control.NodeReport) string {
	switch {
	case r.offline() || n.State == lease.Surrendered.String():
		return "-"
	case n.Name == r.Node:
		return fmt.Sprintf("%d ms ago", r.AgeMS)
	}
	return fmt.Sprintf("%d ms ago", n.SeenMS)
}

func (r guardReport) offline() bool { return r.Phase == "no guard" }

// guardLog shows what the guard of this node did.
func guardLog(_ context.Context, c *call, o *guardFlags, _ []string) error {
	if o.last < 1 {
		return misuse("guard log: -n %d: show 1 event or more", o.last)
	}
	events, err := journal.Read(c.guardJournal(), o.last)
	if err != nil {
		return err
	}
	r := struct {
		Schema int             `json:"schema"`
		Events []journal.Event `json:"events"`
	}{schema, append([]journal.Event{}, events...)}
	return c.result(r, func(w io.Writer) error {
		if len(events) == 0 {
			return say(w, "nothing is on record\n")
		}
		return eventTable(w, events)
	})
}

func eventTable(w io.Writer, events []journal.Event) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tEVENT\tNODE\tGENERATION\tGUESTS\tTOOK\tEVIDENCE")
	for _, e := range events {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.1f s\t%s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Kind,
			cmp.Or(e.Target, e.Node), e.Generation, e.Guests, float64(e.DurationMS)/1e3, e.Evidence)
	}
	return t.Flush()
}

// guardJournal is the file of what the guard of this node did.
func (c *call) guardJournal() string { return filepath.Join(c.stateDir, journal.File) }

// guardEvents are the newest events, none where they cannot be read.
func (c *call) guardEvents(n int) []journal.Event {
	events, err := journal.Read(c.guardJournal(), n)
	if err != nil {
		c.printf("%s", verdict.OneLine(err))
	}
	return append([]journal.Event{}, events...)
}
