package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/cmd/vmferry/report"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
)

// statusReport is what status prints.
type statusReport struct {
	Schema  int           `json:"schema"`
	Node    string        `json:"node"`
	Manager string        `json:"manager,omitempty"` // empty: none runs
	Standby bool          `json:"standby"`
	Whose   string        `json:"standby_by,omitempty"` // vmferry drain, vmferryd, or somebody else
	Daemon  string        `json:"daemon"`               // what vmferryd says it does
	Guests  []statusGuest `json:"guests"`
	// Mirrors are the mirrored guests of this node, and the replicas that it has.
	Mirrors  []mirrord.Status `json:"mirrors,omitempty"`
	Problems []string         `json:"problems,omitempty"` // who gave no answer
}

type statusGuest struct {
	Guest    string `json:"guest"`
	UUID     string `json:"uuid,omitempty"`
	Resource string `json:"resource,omitempty"`
	Libvirt  string `json:"libvirt"`
	Process  string `json:"process"`
	Manager  string `json:"manager"`
	Last     *last  `json:"last_migration,omitempty"`
}

// last is the migration away from here that a guest was last in.
type last struct {
	Started    time.Time `json:"started"`
	To         string    `json:"to"`
	Outcome    string    `json:"outcome"`
	PauseMS    *float64  `json:"pause_ms,omitempty"`
	BlackoutMS *float64  `json:"blackout_ms,omitempty"`
}

var errNotAll = errors.New("not everything could be asked: type vmferry check")

// status shows the guests of this node. It fails when somebody gave no answer,
// after showing the rest.
func status(ctx context.Context, c *call, args []string) error {
	if _, done, err := c.begin(args); done {
		return err
	}
	inv := c.survey(ctx)
	s := statusReport{Schema: schema, Node: inv.Node, Guests: []statusGuest{}, Problems: inv.Problems}
	for _, m := range inv.Managers {
		s.Manager = strings.TrimPrefix(s.Manager+" and "+m.String(), " and ")
		s.Standby = s.Standby || m.Seen.Standby
	}
	if s.Standby {
		s.Whose = c.standbyBy()
	}
	s.Daemon = c.daemonSays(ctx)
	records, err := history.ReadRecords(c.records())
	if err != nil {
		s.Problems = append(s.Problems, verdict.OneLine(err))
	}
	for _, g := range inv.Guests {
		row := statusGuest{Guest: g.Name, UUID: g.UUID, Libvirt: inv.LibvirtState(g), Process: inv.ProcessState(g),
			Manager: g.ManagerState(), Last: lastOf(g, records)}
		if g.Claim != nil {
			row.Resource = g.Claim.Resource
		}
		s.Guests = append(s.Guests, row)
	}
	var problem error
	if s.Mirrors, problem = c.mirrors(ctx, time.Now()); problem != nil {
		s.Problems = append(s.Problems, verdict.OneLine(problem))
	}
	if err := c.result(s, s.table); err != nil {
		return err
	}
	if len(s.Problems) > 0 {
		return errNotAll
	}
	return nil
}

func (c *call) daemonSays(ctx context.Context) string {
	u, err := c.units.Unit(ctx, "vmferryd.service")
	switch {
	case err != nil:
		return "cannot tell: " + verdict.OneLine(err)
	case !u.Loaded:
		return "not installed"
	case u.Active && u.Status != "":
		return u.Status
	}
	return u.State
}

// lastOf is the record of how the guest left this node last, by UUID where both sides know it.
func lastOf(g *inventory.Guest, records []record.Record) *last {
	for i := len(records) - 1; i >= 0; i-- {
		r := records[i]
		if r.Outcome == record.Restored || r.Guest != g.Name || r.UUID != "" && g.UUID != "" &&
			!strings.EqualFold(r.UUID, g.UUID) {
			continue
		}
		l := &last{Started: r.Started, To: r.To, Outcome: string(r.Outcome), PauseMS: r.PauseMS}
		if b := report.Worst(r); b != nil {
			l.BlackoutMS = &b.MS
		}
		return l
	}
	return nil
}

// String is the migration in a few words.
func (l *last) String() string {
	if l == nil {
		return "-"
	}
	text := fmt.Sprintf("%s, to %s: %s", l.Started.Local().Format("2006-01-02 15:04"), cmp.Or(l.To, "any node"),
		l.Outcome)
	if l.PauseMS != nil {
		text += fmt.Sprintf(", pause %.0f ms", *l.PauseMS)
	}
	if l.BlackoutMS != nil {
		text += fmt.Sprintf(", blackout %.0f ms", *l.BlackoutMS)
	}
	return text
}

func (s statusReport) table(w io.Writer) error {
	manager := s.Manager
	switch {
	case manager == "":
		manager = "no cluster manager"
	case s.Standby:
		manager += ", in standby (requested by " + s.Whose + ")"
	}
	fmt.Fprintf(w, "node %s: %s\nvmferryd: %s\n", s.Node, manager, s.Daemon)
	if len(s.Guests) == 0 {
		fmt.Fprintln(w, "no guest is here")
	} else {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "GUEST\tRESOURCE\tLIBVIRT\tPROCESS\tMANAGER\tLAST MIGRATION")
		for _, g := range s.Guests {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Guest, cmp.Or(g.Resource, "-"), g.Libvirt, g.Process,
				g.Manager, g.Last)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, m := range s.Mirrors {
		fmt.Fprintf(w, "mirror of %s (%s, other node %s): %s old, %s\n", m.Guest, m.Role, m.Peer, age(m), m.State())
	}
	for _, p := range s.Problems {
		fmt.Fprintln(w, "problem:", p)
	}
	return nil
}

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
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05",
		"2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misuse("report: --since %q is not a time: write it as 24h, 7d, 2026-11-20 or "+
		"2026-11-20T18:30:00Z", text)
}

// writePage puts the page into place whole.
func writePage(path string, r *report.Report) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return misuse("report: --html %s exists and is not a regular file", path)
	}
	err := atomicfile.File(path, func(f *os.File) error { return errors.Join(f.Chmod(0o644), r.WriteHTML(f)) })
	if err != nil {
		return fmt.Errorf("write the page %q: %w", path, err)
	}
	return nil
}
