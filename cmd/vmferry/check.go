package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vmferry/vmferry/hbplugin"
)

// grade is how a check came out.
type grade string

// The grades. A problem keeps the node from being drained, or puts a guest at
// risk when it is; a warning does not.
const (
	ok      grade = "ok"
	warning grade = "warning"
	problem grade = "problem"
)

// finding is one line of check's answer.
type finding struct {
	Check  string `json:"check"`            // what was looked at
	About  string `json:"about,omitempty"`  // which guest, node or service
	Grade  grade  `json:"grade"`            // ok, warning or problem
	Found  string `json:"found"`            // in words
	Remedy string `json:"remedy,omitempty"` // what to type, or to do
	// Verdict is what becomes of the guest that the check "guest" is about.
	Verdict *hbplugin.Verdict `json:"verdict,omitempty"`
}

// checkReport is what check prints.
type checkReport struct {
	Schema int       `json:"schema"`
	Node   string    `json:"node"`
	Able   bool      `json:"able"`               // no problem was found
	Not    []string  `json:"not_live,omitempty"` // the guests that a drain would not move live
	Checks []finding `json:"checks"`
}

// checks are in the order of the table: what all else stands on comes first.
var checks = []func(context.Context, *checker){
	checkLibvirt, checkManager, checkPeers, checkReach, checkFencing, checkDetection,
	checkResources, checkEncryption, checkGuests, checkFirmware, checkAutostart, checkStrays, checkDaemon, checkWindow, checkOrder,
}

// checker collects what the checks find.
type checker struct {
	*call
	inv      *inventory
	peers    []string // the other nodes that are up
	findings []finding
	notLive  []string // the guests that a drain would not move live
}

func (k *checker) add(check, about string, g grade, found, remedy string) {
	k.findings = append(k.findings, finding{Check: check, About: about, Grade: g, Found: found, Remedy: remedy})
}

var errNotAble = errors.New("this node cannot be drained as it should: see the problems above")

// check tells whether this node can be drained, and if not, what to type.
func check(ctx context.Context, c *call, args []string) error {
	if _, done, err := c.begin(args); done {
		return err
	}
	k := &checker{call: c, inv: c.survey(ctx)}
	for _, look := range checks {
		look(ctx, k)
	}
	if ctx.Err() != nil {
		return &failure{exitInterrupted, errors.New("interrupted: nothing was changed")}
	}
	r := checkReport{Schema: schema, Node: k.inv.node, Checks: k.findings, Not: k.notLive,
		Able: !slices.ContainsFunc(k.findings, func(f finding) bool { return f.Grade == problem })}
	if err := c.result(r, r.table); err != nil {
		return err
	}
	if !r.Able {
		return errNotAble
	}
	return nil
}

func (r checkReport) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tABOUT\t\tFOUND")
	for _, f := range r.Checks {
		about := f.About
		if about == "" {
			about = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Check, about, f.Grade, f.Found)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range []grade{problem, warning} {
		for _, f := range r.Checks {
			if f.Grade == g && f.Remedy != "" {
				fmt.Fprintf(w, "\n%s: %s: %s\n    %s\n", f.Grade, strings.TrimSpace(f.Check+" "+f.About), f.Found, f.Remedy)
			}
		}
	}
	switch {
	case !r.Able:
		return nil
	case len(r.Not) > 0:
		return say(w, "\nnode "+r.Node+" can be drained, but not live: "+strings.Join(r.Not, ", ")+"\n")
	}
	return say(w, "\nnode "+r.Node+" can be drained\n")
}
