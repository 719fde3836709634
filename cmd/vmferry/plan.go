package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/plan"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

var errDoesNotFit = errors.New("not every guest leaves running within the window: see the plan")

// planDrain says how a drain of this node would go.
func planDrain(ctx context.Context, c *call, args []string) error {
	bandwidth := c.flags.Uint64("bandwidth", 0, "`MIB_PER_SECOND`")
	unmeasured := c.flags.Bool("no-measure", false, "")
	window := c.flags.Duration("window", 0, "`TIME`")
	rest, done, err := c.begin(args, "[NODE]")
	if done {
		return err
	}
	if *window < 0 {
		return misuse("plan: --window %s is below 0", *window)
	}
	inv := c.survey(ctx)
	if rest[0] != "" && !strings.EqualFold(rest[0], inv.Node) {
		return misuse("plan: this is node %q: on %s, type vmferry plan", inv.Node, rest[0])
	}
	if len(inv.Problems) > 0 {
		return fmt.Errorf("cannot tell which guests are here: %s: type vmferry check", strings.Join(inv.Problems, "; "))
	}
	o := plan.Observed{Node: inv.Node, Managed: len(inv.Managers) > 0, Window: *window}
	from := plan.Sources{Open: c.open, Records: c.records(), Links: c.links(), Guests: c.profiles()}
	if err := from.Route(ctx, &o, inv.Managers, *bandwidth<<20); err != nil {
		return err
	}
	o.Predictions = c.predict(ctx, inv)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if !*unmeasured {
		c.printf("measuring for a second how fast the guests write")
	}
	if err := from.Measure(ctx, &o, inv.Guests, !*unmeasured); err != nil {
		return err
	}
	if o.Window == 0 {
		limit, err := c.delayMax(ctx)
		if err != nil {
			return fmt.Errorf("%w: pass --window TIME", err)
		}
		o.Window = shutdown.Window(c.config.Window, limit)
	}
	r, err := plan.Make(o)
	if err != nil {
		return err
	}
	r.Schema, r.Measured = schema, !*unmeasured
	if err := c.result(r, func(w io.Writer) error { return planTable(w, r) }); err != nil {
		return err
	}
	if err := inventory.NotLive(o.Predictions); err != nil {
		return err
	}
	if !r.Fits {
		return errDoesNotFit
	}
	return nil
}

func planTable(w io.Writer, r plan.Report) error {
	if len(r.Steps) == 0 {
		return say(w, "no guest is on node "+r.Node+"\n")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "START\tGUEST\tTO\tMETHOD\tSECONDS\tSENDS\tBLACKOUT\tBUDGET")
	for _, s := range r.Steps {
		fmt.Fprintln(t, strings.Join(planCells(s), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Steps {
		fmt.Fprintln(w, s.Guest+": "+verdict.Words(s.Verdict))
		if s.Verdict.Remedy != "" {
			fmt.Fprintln(w, "    "+s.Verdict.Remedy)
		}
		if s.Why != "" && s.Verdict.Fate.KeepsRunning() {
			fmt.Fprintf(w, "%s: %s\n", s.Guest, s.Why)
		}
		if s.Unsupported != "" && s.Rung.IsLive() {
			fmt.Fprintf(w, "%s: the blackout budget cannot be held: %s\n", s.Guest, s.Unsupported)
		}
	}
	fmt.Fprintf(w, "\nempty after %.1f s of %.0f s; the link alone needs %.1f s\n", r.Makespan, r.Window, r.Bound)
	if !r.Measured {
		fmt.Fprintln(w, "a guest that was never migrated counts as idle, as no dirty rate was measured: "+
			"leave --no-measure out")
	}
	return nil
}

// planCells is one guest's row.
func planCells(s plan.Step) []string {
	times := []string{fmt.Sprintf("+%.1f s", s.Start), s.Guest, planTarget(s), string(s.Rung),
		fmt.Sprintf("%.1f", s.End-s.Start)}
	switch {
	case s.Rung == "":
		how := "stays"
		if s.Verdict.Fate != hbplugin.Stays {
			how = string(hbplugin.Unknown)
		}
		return []string{"-", s.Guest, planTarget(s), how, "-", "-", "-", "-"}
	case s.Rung.IsLive():
		budget := "kept"
		switch {
		case s.Unsupported != "":
			budget = "not held"
		case !s.Kept:
			budget = "broken"
		}
		if !s.Verdict.Fate.KeepsRunning() {
			times[3] = "by hand"
		}
		if s.Encrypted {
			times[3] += ", TLS"
		}
		return append(times, fmt.Sprintf("%d MiB", s.Bytes>>20), fmt.Sprintf("%.0f ms", s.Blackout), budget)
	case s.Rung.Saves():
		return append(times, "-", "until it is restored", "broken")
	}
	if s.Verdict.Fate == hbplugin.Stops {
		return append(times, "-", "until it has a place", "broken")
	}
	return append(times, "-", "until it has booted", "broken")
}

// planTarget is where the guest goes.
func planTarget(s plan.Step) string {
	switch s.Verdict.Fate {
	case hbplugin.Stops:
		return "nowhere"
	case hbplugin.Stays, hbplugin.Unknown:
		return cmp.Or(s.To, "-")
	}
	return cmp.Or(s.To, "any")
}
