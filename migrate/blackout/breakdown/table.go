package breakdown

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes the parts for people, in milliseconds; a dash is for
// what the events do not show.
func WriteTable(w io.Writer, parts []Parts) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tMOVE\tBLACKOUT\tERROR\tBEFORE\tPAUSE\tHAND-OVER\tRELEARN\tUNHEARD")
	for _, p := range parts {
		open := ""
		if p.Open {
			open = " (open)"
		}
		fmt.Fprintf(t, "%s\t%s → %s\t%.1f%s\t±%.1f\t%.1f\t%.1f\t%s\t%.1f\t%s\n", p.Target, p.From, p.To,
			p.BlackoutMs, open, p.ErrorMs, p.BeforeMs, p.PauseMs, orDash(p.HandOverMs), p.RelearnMs, orDash(p.UnheardMs))
	}
	if len(parts) == 0 {
		fmt.Fprintln(t, "no target had an outage while a guest moved")
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func orDash(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *ms)
}
