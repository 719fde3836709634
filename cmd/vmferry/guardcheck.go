package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/hbplugin/check"
	"github.com/vmferry/vmferry/hbplugin/guard/setup"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var errGuardNotAble = errors.New("the guard cannot do what it should: see the problems above")

// guardBound is one of the longest times in JSON.
type guardBound struct {
	Name string `json:"name"`
	MS   int64  `json:"ms"`
	How  string `json:"how"`
}

// guardCheckReport is what guard check prints.
type guardCheckReport struct {
	Schema int             `json:"schema"`
	Node   string          `json:"node"`
	Able   bool            `json:"able"` // no problem was found
	Checks []check.Finding `json:"checks"`
}

// guardCheck reports whether the guard of this node can do what it promises, and if not, what to type.
func guardCheck(ctx context.Context, c *call, _ *guardFlags, _ []string) error {
	o := c.guardObserved(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	r := guardCheckReport{Schema: schema, Node: o.Node, Checks: check.Guard(o)}
	r.Able = able(r.Checks)
	if err := c.result(r, r.table); err != nil {
		return err
	}
	if !r.Able {
		return errGuardNotAble
	}
	return nil
}

func (r guardCheckReport) table(w io.Writer) error {
	if err := findingTable(w, r.Checks); err != nil || !r.Able {
		return err
	}
	return say(w, "\nthe guard of node "+r.Node+" can do what it should\n")
}

// guardTimesReport is what guard times prints.
type guardTimesReport struct {
	Schema    int              `json:"schema"`
	From      string           `json:"from"` // whose times these are
	Manager   string           `json:"manager"`
	Detection int64            `json:"detection_ms"`
	Times     map[string]int64 `json:"times_ms"`
	Bounds    []guardBound     `json:"bounds"`
}

// guardTimes shows what follows from the times, each with its arithmetic.
func guardTimes(ctx context.Context, c *call, o *guardFlags, _ []string) error {
	times, from, seen := c.timesOf(ctx, o)
	if err := times.Check(); err != nil {
		return misuse("guard times: %w", err)
	}
	m, name := setup.ManagerOf(seen, o.token, o.deadtime)
	watchdog := max(seen.Watchdog, o.watchdog)
	_, asked := c.given("revoke")
	r := guardTimesReport{Schema: schema, From: from, Manager: name, Detection: m.Detect.Milliseconds(),
		Times: map[string]int64{}}
	for flag, value := range durations(&times) {
		r.Times[flag] = value.Milliseconds()
	}
	for _, b := range setup.Explain(times, m, watchdog, asked || seen.Header == nil || len(seen.Settings.Revoke) > 0) {
		r.Bounds = append(r.Bounds, guardBound{Name: b.Name, MS: b.Time.Milliseconds(), How: b.How})
	}
	return c.result(r, r.table)
}

// timesOf are the times of this node's lease device, else the defaults, with those that flags give in their place.
func (c *call) timesOf(ctx context.Context, o *guardFlags) (times timing.Times, from string, seen setup.Observed) {
	seen = c.guardObserved(ctx)
	times, from = timing.Default, "the defaults, as no lease device is set up on this node"
	if seen.Header != nil {
		times, from = seen.Header.Times, seen.Settings.Device
	}
	for flag, value := range durations(&times) {
		if _, ok := c.given(flag); ok {
			*value = *durations(&o.times)[flag]
		}
	}
	return times, from, seen
}

func (r guardTimesReport) table(w io.Writer) error {
	fmt.Fprintf(w, "times: %s; cluster manager: %s\n\n", r.From, r.Manager)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AT MOST\tTIME\tWHICH IS")
	for _, b := range r.Bounds {
		fmt.Fprintf(t, "%s\t%s\t%s\n", b.Name, time.Duration(b.MS)*time.Millisecond, b.How)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return say(w, "\nThe second and third are from the fault to the success of the fence agent; the start of the guests follows.\n"+
		"The last one is the least that stonith-timeout must be.\n")
}
