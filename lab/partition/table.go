package partition

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// expected is in words what has to come of a cut.
func (c Cut) expected(m *Matrix) string {
	switch {
	case c.Both:
		return "both nodes take their leases again, the guests are started"
	case c.Loser == None:
		return "no guest is touched"
	case c.Killed:
		return "the guest on " + m.node(c.Loser) + " is killed"
	case c.Hangs:
		return m.node(c.Loser) + " expires and loses its disks, its guest is started"
	case c.Cut:
		return m.node(c.Loser) + " kills its guest, expires and loses its disks, the guest is started"
	case c.Resets:
		return m.node(c.Loser) + " expires and its watchdog resets it, its guest is started"
	case c.Dies:
		return m.node(c.Loser) + " expires, its guest is started"
	case c.Reboots:
		return "the guest leaves " + m.node(c.Loser) + " live, which boots again"
	case c.Live:
		return m.node(c.Loser) + " surrenders, its guest is migrated live"
	}
	return m.node(c.Loser) + " surrenders, its guest is started"
}

// seen is in words what came of it.
func (m *Matrix) seen(c Cut, r *Result) string {
	if len(r.Failures) > 0 {
		return strings.Join(r.Failures, "; ")
	}
	return "as expected"
}

// WriteTable writes the results as text. Times are in seconds.
func WriteTable(w io.Writer, results []Result) error {
	fmt.Fprintln(w, "times in seconds; woken: how long the old copy lived on a node that woke up")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "cut\texpected\tseen\tsurrender\trecovery\tsilence\trejoin\twoken")
	for _, r := range results {
		silence := make([]string, len(r.SilenceS))
		for i, s := range r.SilenceS {
			silence[i] = fmt.Sprintf("%.2f", s)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Cut, r.Expected, r.Seen, seconds(r.DecidedS), seconds(r.RecoverS),
			strings.Join(silence, " "), seconds(r.RejoinS), seconds(r.WokenS))
	}
	return t.Flush()
}

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", s)
}
