package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/breakdown"
	"github.com/vmferry/vmferry/migrate/blackout/compare"
	"github.com/vmferry/vmferry/migrate/blackout/view"
)

// show prints a report that was written before, and writes its other forms.
func show(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("show", flag.ContinueOnError)
	var out files
	fs.StringVar(&out.html, "html", "", "")
	fs.StringVar(&out.csv, "csv", "", "")
	paths, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(paths) != 1 {
		return misuse("show: want one report: blackout show RUN.json")
	}
	r, err := blackout.ReadFile(paths[0])
	if err != nil {
		return misuse("%w", err)
	}
	if err := errors.Join(out.check(), out.write(r, nil)); err != nil {
		return err
	}
	return r.WriteTable(stdout)
}

// compareRuns compares the reports of two sets of runs.
func compareRuns(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "")
	var second []string
	split := slices.Index(args, "--")
	if split >= 0 {
		args, second = args[:split], args[split+1:]
	}
	first, err := parse(fs, args)
	if err != nil {
		return err
	}
	if split < 0 && len(first) == 2 {
		first, second = first[:1], first[1:]
	}
	if len(first) == 0 || len(second) == 0 {
		return misuse("compare: want two reports, or two sets of reports: " +
			"blackout compare A1.json A2.json -- B1.json B2.json")
	}
	a, err := readReports(first)
	if err != nil {
		return err
	}
	b, err := readReports(second)
	if err != nil {
		return err
	}
	lines, err := compare.Runs(a, b)
	if err != nil {
		return misuse("compare: %w", err)
	}
	if *asJSON {
		return writeJSON(stdout, lines)
	}
	return compare.WriteTable(stdout, lines)
}

func readReports(paths []string) ([]*blackout.Report, error) {
	var all []*blackout.Report
	for _, path := range paths {
		r, err := blackout.ReadFile(path)
		if err != nil {
			return nil, misuse("%w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// join splits the blackouts of a run by the events of a migration.
func join(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("join", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "")
	shift := fs.Duration("shift", 0, "")
	var out files
	fs.StringVar(&out.html, "html", "", "")
	paths, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(paths) != 2 {
		return misuse("join: want a report and events: blackout join RUN.json EVENTS.json")
	}
	r, err := blackout.ReadFile(paths[0])
	if err != nil {
		return misuse("%w", err)
	}
	f, err := os.Open(paths[1])
	if err != nil {
		return misuse("%w", err)
	}
	defer f.Close()
	events, err := breakdown.ReadEvents(f, *shift)
	if err != nil {
		return misuse("%s: %w", paths[1], err)
	}
	parts, err := breakdown.Split(r, events)
	if err != nil {
		return misuse("%s: %w", paths[1], err)
	}
	if err := errors.Join(out.check(), out.write(r, marks(events))); err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(stdout, parts)
	}
	return breakdown.WriteTable(stdout, parts)
}

func marks(events []breakdown.Event) []view.Mark {
	var all []view.Mark
	for _, e := range events {
		all = append(all, view.Mark{At: e.Time, Text: e.Node + " " + e.Name})
	}
	return all
}

// writeJSON writes what a table would show.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
