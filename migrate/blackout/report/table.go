package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
)

// tableOutages is how many outages of a target the table shows.
const tableOutages = 10

// timeOfDay is how the table shows instants: the date is in the heading.
const timeOfDay = "15:04:05.000"

// WriteTable writes the report for people: one line for each target, then the
// outages. Blackouts and errors are in milliseconds, round trips in
// microseconds, times of day in UTC.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	state := ""
	if !r.Complete {
		state = ", not complete"
	}
	fmt.Fprintf(t, "%s, %.3f s, every %s ms%s; blackouts in ms, round trips in µs\n\n",
		r.Start.Format(time.RFC3339), r.End.Sub(r.Start).Seconds(), short(r.IntervalMs), state)
	fmt.Fprintln(t, "TARGET\tSENT\tANSWERED\tLOST\tOUT\tBACK\tBLACKOUT\tERROR\tDARK\tAVAILABLE\t"+
		"RESETS\tRECONNECTS\tINSTANCES\tRTT P50\tP99\tMAX")
	for i := range r.Targets {
		r.Targets[i].row(t)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	for i := range r.Targets {
		r.Targets[i].acknowledged(t)
	}
	for i := range r.Targets {
		r.Targets[i].outages(t)
	}
	r.faults(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// faults is one line on when the prober itself could not measure.
func (r *Report) faults(w io.Writer) {
	if len(r.Faults) == 0 {
		return
	}
	sum := 0.0
	for _, f := range r.Faults {
		sum += f.Ms
	}
	last := r.Faults[len(r.Faults)-1]
	times := "once"
	if n := len(r.Faults) + r.FaultsOmitted; n > 1 {
		times = fmt.Sprintf("%d times", n)
	}
	fmt.Fprintf(w, "\nthe prober itself was late or asleep %s, for %s ms in all, last at %s\n",
		times, short(sum), last.Start.Format(timeOfDay))
}

func (t *Target) row(w io.Writer) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t±%s\t%s\t%.3f%%\t%s\t%s\t%s\t%s\t%s\t%s\n",
		t.Target, t.Sent, t.Answered, t.Lost, known(t.Directed, t.LostOut), known(t.Directed, t.LostBack),
		short(t.BlackoutMs), short(t.ErrorMs), short(t.DarkMs), 100*t.Availability,
		known(t.Proto == endpoint.TCP, uint64(t.Resets)), known(t.Proto == endpoint.TCP, uint64(t.Reconnects)),
		known(t.Directed, uint64(t.Instances)), t.trip(t.RTT.P50), t.trip(t.RTT.P99), t.trip(t.RTT.Max))
}

// acknowledged is one line on the kernel of a TCP target.
func (t *Target) acknowledged(w io.Writer) {
	if t.KernelBlackoutMs == nil {
		return
	}
	at := ""
	if !t.KernelBlackoutStart.IsZero() {
		at = ", from " + t.KernelBlackoutStart.Format(timeOfDay)
	}
	fmt.Fprintf(w, "\nlongest silence of the kernel of %s (TCP acknowledgements): %s ms ±%s%s\n",
		t.Target, short(*t.KernelBlackoutMs), short(t.KernelErrorMs), at)
}

// known prints a number, or a dash where this kind of target does not know it.
func known(is bool, n uint64) string {
	if !is {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

// trip prints a round trip, or a dash where there was none.
func (t *Target) trip(us float64) string {
	if t.RTT.N == 0 {
		return "-"
	}
	return short(us)
}

func (t *Target) outages(w io.Writer) {
	if len(t.Outages) == 0 {
		return
	}
	fmt.Fprintf(w, "\noutages of %s:\n", t.Target)
	fmt.Fprintln(w, "  START\tEND\tMS\tERROR\tLOST\tOUT\tBACK\tLATE\tHOW")
	for i, o := range t.Outages {
		if i == tableOutages {
			fmt.Fprintf(w, "  … and %d more\n", len(t.Outages)-i+t.OutagesOmitted)
			return
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t±%s\t%d\t%s\t%s\t%d\t%s\n", o.Start.Format(timeOfDay), o.End.Format(timeOfDay),
			short(o.Ms), short(o.ErrorMs), o.Lost, known(t.Directed, o.LostOut), known(t.Directed, o.LostBack),
			o.Late, o.How())
	}
}

// How is a word or two on what the outage was for the connection.
func (o Outage) How() string {
	switch {
	case o.Open:
		return "open"
	case o.Resets > 0:
		return "reset, reconnected"
	case o.Reconnects > 0:
		return "stalled, reconnected"
	case o.Late > 0:
		return "held up"
	}
	return "lost"
}

// short prints a number with at most one digit after the point.
func short(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}
