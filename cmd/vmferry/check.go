package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vmferry/vmferry/hbplugin/check"
)

// checkReport is what check prints.
type checkReport struct {
	Schema int             `json:"schema"`
	Node   string          `json:"node"`
	Able   bool            `json:"able"`               // no problem was found
	Not    []string        `json:"not_live,omitempty"` // the guests that a drain would not move live
	Checks []check.Finding `json:"checks"`
}

var errNotAble = errors.New("this node cannot be drained as it should: see the problems above")

// checkNode reports whether this node can be drained, and if not, what to type.
func checkNode(ctx context.Context, c *call, args []string) error {
	if _, done, err := c.begin(args); done {
		return err
	}
	o := &check.Observed{Inventory: c.survey(ctx), ConfigPath: c.configPath, StandbyBy: c.standbyBy(),
		Window: c.config.Window}
	check.Sources{
		Path: c.path, Open: c.open, Units: c.units, Run: c.run, DelayMax: c.delayMax,
	}.Observe(ctx, o)
	if from := c.guardSources(o.Managers); from.Configured() {
		guard := from.Observe(ctx)
		o.Guard = &guard
	}
	if o.Mirrors = c.mirrored(ctx, o); o.Mirrors != nil {
		o.Mirrors.Reach(ctx, c.run)
	}
	if len(o.Managers) > 0 {
		o.Predictions = c.predict(ctx, o.Inventory)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	r := checkReport{Schema: schema, Node: o.Node, Checks: check.Judge(o)}
	for _, p := range o.Predictions {
		if !p.Fate.KeepsRunning() {
			r.Not = append(r.Not, p.Guest.Name)
		}
	}
	r.Able = able(r.Checks)
	if err := c.result(r, r.table); err != nil {
		return err
	}
	if !r.Able {
		return errNotAble
	}
	return nil
}

// able reports whether no problem was found.
func able(found []check.Finding) bool {
	return !slices.ContainsFunc(found, func(f check.Finding) bool { return f.Grade == check.Problem })
}

// findingTable shows all, and then what to do about the problems, which are red on a terminal, and the warnings.
func findingTable(w io.Writer, found []check.Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tABOUT\t\tFOUND")
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Check, cmp.Or(f.About, "-"), f.Grade, f.Found)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range []check.Grade{check.Problem, check.Warning} {
		for _, f := range found {
			if f.Grade != g || g == check.Warning && f.Remedy == "" {
				continue
			}
			fmt.Fprintln(w)
			line := fmt.Sprintf("%s: %s: %s\n", f.Grade, strings.TrimSpace(f.Check+" "+f.About), f.Found)
			if g == check.Problem {
				red(w, line)
			} else {
				fmt.Fprint(w, line)
			}
			if f.Remedy != "" {
				fmt.Fprintf(w, "    %s\n", f.Remedy)
			}
		}
	}
	return nil
}

func (r checkReport) table(w io.Writer) error {
	if err := findingTable(w, r.Checks); err != nil {
		return err
	}
	switch {
	case !r.Able:
		return nil
	case len(r.Not) > 0:
		return say(w, "\nnode "+r.Node+" can be drained, but not live: "+strings.Join(r.Not, ", ")+"\n")
	}
	return say(w, "\nnode "+r.Node+" can be drained\n")
}
