package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// Schema is the version of report.json.
const Schema = 1

// Report is what `make bench` leaves behind.
type Report struct {
	Schema      int                `json:"schema"` // Schema
	Commit      string             `json:"commit"` // the revision that was measured
	Environment report.Environment `json:"environment"`
	Results     []Result           `json:"results"`
}

// Result is one figure of both sides.
type Result struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"` // such as "ms"
	N        int     `json:"n"`    // samples of our side
	Ours     Summary `json:"ours"`
	Peer     Summary `json:"peer"`
	PeerName string  `json:"peer_name"` // empty where nobody is beside it
	// RatioP50 is ours.p50 / peer.p50: smaller is better. It is nil where the peer's is 0.
	RatioP50 *float64 `json:"ratio_p50"`
	// OursEnded and PeerEnded count how moves ended, where the result is of moves: those that
	// did not end well are in no summary of a time or a blackout.
	OursEnded Endings `json:"ours_ended,omitempty"`
	PeerEnded Endings `json:"peer_ended,omitempty"`
	// Classes are parts of the samples, of ours and of all peers, where a result is of
	// things as different as outages of 5 ms and of 10 s.
	Classes []Class `json:"classes,omitempty"`
	// Notes say in a line each what a reader should know.
	Notes []string `json:"notes,omitempty"`
}

// Class is what one tool showed in one part of a result's samples.
type Class struct {
	Name string  `json:"name"` // such as "5ms"
	Tool string  `json:"tool"` // "blackout", or the name of a peer
	N    int     `json:"n"`
	P50  float64 `json:"p50"` // in the result's unit
	Max  float64 `json:"max"`
	// OffP50Ms and OffMaxMs are of |reported − true| in milliseconds, and Missed counts
	// what was not reported at all; all 0 where nothing has a length.
	OffP50Ms float64 `json:"off_p50_ms"`
	OffMaxMs float64 `json:"off_max_ms"`
	Missed   int     `json:"missed"`
}

func (c Class) rounded() Class {
	for _, v := range []*float64{&c.P50, &c.Max, &c.OffP50Ms, &c.OffMaxMs} {
		*v = round(*v)
	}
	return c
}

// Endings is how often something ended in which way, such as "live".
type Endings map[string]int

// String has the ways in alphabetic order.
func (e Endings) String() string {
	var words []string
	for _, way := range slices.Sorted(maps.Keys(e)) {
		words = append(words, fmt.Sprintf("%d %s", e[way], way))
	}
	return strings.Join(words, ", ")
}

// Summary is a side's samples, in the result's unit.
type Summary struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Summarize takes percentiles by nearest rank: each is a sample that was measured. Of no samples
// it is zero. Values are rounded to a microsecond, where they are milliseconds.
func Summarize(samples []float64) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := func(percent int) float64 {
		return round(sorted[(len(sorted)*percent+99)/100-1])
	}
	return Summary{N: len(sorted), P50: rank(50), P90: rank(90), P99: rank(99), Max: rank(100)}
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// compare makes a result of both sides' samples, in unit.
func compare(name, unit, peerName string, ours, peer []float64) Result {
	r := Result{Name: name, Unit: unit, N: len(ours), Ours: Summarize(ours), Peer: Summarize(peer), PeerName: peerName}
	if r.Peer.P50 > 0 && r.N > 0 {
		ratio := math.Round(r.Ours.P50/r.Peer.P50*10000) / 10000
		r.RatioP50 = &ratio
	}
	return r
}

// Add adds results, and puts all into the order of [Names].
func (r *Report) Add(results []Result) {
	names := Names()
	r.Results = append(r.Results, results...)
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		return slices.Index(names, a.Name) - slices.Index(names, b.Name)
	})
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read report %q: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("read report %q: its schema is %d, not %d", path, r.Schema, Schema)
	}
	return r, nil
}

// WriteJSON writes the report to path; the file is replaced as a whole.
func (r *Report) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := atomicfile.Bytes(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteTable writes the results for people: the figures, then what is to be said about them.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "result\tn\tvmferry p50\tp99\tmax\tpeer\tn\tp50\tp99\tmax\tratio\t")
	for _, x := range r.Results {
		fmt.Fprintf(t, "%s, %s\t%d\t%.2f\t%.2f\t%.2f\t%s\t\n",
			x.Name, x.Unit, x.Ours.N, x.Ours.P50, x.Ours.P99, x.Ours.Max, x.peerCells())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.writeDepths(w); err != nil {
		return err
	}
	if err := r.writeClasses(w); err != nil {
		return err
	}
	for i, x := range r.Results {
		if x.OursEnded != nil && (i == 0 || !x.endedAs(r.Results[i-1])) {
			if _, err := fmt.Fprintf(w, "%s: %s\n", x.Name, x.ended()); err != nil {
				return err
			}
		}
		for _, note := range x.Notes {
			if _, err := fmt.Fprintf(w, "%s: %s\n", x.Name, note); err != nil {
				return err
			}
		}
	}
	return nil
}

// ended is how the moves of each side ended.
func (r Result) ended() string {
	words := fmt.Sprintf("%s: %s", report.Ours, r.OursEnded)
	if r.PeerName != "" && r.PeerEnded != nil {
		words += fmt.Sprintf("; %s: %s", r.PeerName, r.PeerEnded)
	}
	return words
}

// endedAs reports whether two results are of the same moves, which one bench made: how they ended is said once.
func (r Result) endedAs(o Result) bool {
	return sameBench(r.Name, o.Name) && r.PeerName == o.PeerName &&
		maps.Equal(r.OursEnded, o.OursEnded) && maps.Equal(r.PeerEnded, o.PeerEnded)
}

// sameBench reports whether one bench gives both results.
func sameBench(a, b string) bool {
	return slices.ContainsFunc(Benches, func(x Bench) bool {
		return slices.Contains(x.Results, a) && slices.Contains(x.Results, b)
	})
}

// depths say which part of a guest a silence is of.
const depths = "Longest silences: kernel-gap of the guest's kernel; blackout, client-gap, request-gap of a light service in it; " +
	"game-gap of a real one."

// writeDepths writes what the depths are, where a result is at one.
func (r *Report) writeDepths(w io.Writer) error {
	if !slices.ContainsFunc(r.Results, func(x Result) bool {
		return strings.Contains(x.Name, "-gap-") || strings.Contains(x.Name, "-blackout")
	}) {
		return nil
	}
	_, err := fmt.Fprintln(w, depths)
	return err
}

// writeClasses writes the parts of the results that have them, the tools side by side.
func (r *Report) writeClasses(w io.Writer) error {
	for _, x := range r.Results {
		if len(x.Classes) == 0 {
			continue
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "\n%s, %s\ttool\tn\tp50\tmax\toff by, ms\tmax\tmissed\t\n", x.Name, x.Unit)
		for _, c := range byName(x.Classes) {
			fmt.Fprintf(t, "%s\t%s\t%d\t%.3f\t%.3f\t%.2f\t%.2f\t%d\t\n", c.Name, c.Tool, c.N, c.P50, c.Max, c.OffP50Ms,
				c.OffMaxMs, c.Missed)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// byName brings together what has the same name, in the order in which names first appear.
func byName(classes []Class) []Class {
	var sorted []Class
	for i, c := range classes {
		if slices.ContainsFunc(classes[:i], func(o Class) bool { return o.Name == c.Name }) {
			continue
		}
		for _, o := range classes[i:] {
			if o.Name == c.Name {
				sorted = append(sorted, o)
			}
		}
	}
	return sorted
}

func (r Result) peerCells() string {
	if r.Peer.N == 0 {
		return "-\t0\t-\t-\t-\t-"
	}
	ratio := "-"
	if r.RatioP50 != nil {
		ratio = fmt.Sprintf("%.3f", *r.RatioP50)
	}
	return fmt.Sprintf("%s\t%d\t%.2f\t%.2f\t%.2f\t%s", r.PeerName, r.Peer.N, r.Peer.P50, r.Peer.P99, r.Peer.Max, ratio)
}
