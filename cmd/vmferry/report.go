package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/cmd/vmferry/report"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/history"
)

// printReport says how the migrations went that began on this node.
func printReport(ctx context.Context, c *call, args []string) error {
	when := c.flags.String("since", "", "")
	page := c.flags.String("html", "", "")
	if _, done, err := c.begin(args); done {
		return err
	}
	since, err := parseSince(*when, time.Now())
	if err != nil {
		return err
	}
	records, err := history.ReadRecords(c.records())
	if err != nil {
		return err
	}
	node, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this node: %w", err)
	}
	r := report.New(node, records, since)
	if *page != "" {
		if err := writePage(*page, r); err != nil {
			return err
		}
		c.printf("%s is written", *page)
	}
	if c.json {
		return r.WriteJSON(c.stdout)
	}
	return r.WriteTable(c.stdout)
}

// parseSince reads a span before now, a date or an instant.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misuse("report: --since %q is no time: write it as 24h, 7d, 2026-11-20 or 2026-11-20T18:30:00Z", text)
}

// writePage puts the page into place whole.
func writePage(path string, r *report.Report) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return misuse("report: --html %s is there and is no file", path)
	}
	err := atomicfile.File(path, func(f *os.File) error { return errors.Join(f.Chmod(0o644), r.WriteHTML(f)) })
	if err != nil {
		return fmt.Errorf("write the page %q: %w", path, err)
	}
	return nil
}
