package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/vmferry/vmferry/lab/report"
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
	Unit     string  `json:"unit"` // "ms"
	N        int     `json:"n"`    // calls of each side
	Ours     Summary `json:"ours"`
	Peer     Summary `json:"peer"`
	PeerName string  `json:"peer_name"`
	// RatioP50 is ours.p50 / peer.p50: smaller is better. It is nil where the peer's is 0.
	RatioP50 *float64 `json:"ratio_p50"`
}

// Summary is a side's samples, in the result's unit.
type Summary struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
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
	return Summary{N: len(sorted), P50: rank(50), P99: rank(99), Max: rank(100)}
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// compare makes a result of both sides' samples, in milliseconds.
func compare(name string, ours, peer []float64) Result {
	r := Result{Name: name, Unit: "ms", N: len(ours), Ours: Summarize(ours), Peer: Summarize(peer), PeerName: report.Peer}
	if r.Peer.P50 > 0 {
		ratio := math.Round(r.Ours.P50/r.Peer.P50*10000) / 10000
		r.RatioP50 = &ratio
	}
	return r
}

// WriteJSON writes the report to path; the file is replaced as a whole.
func (r *Report) WriteJSON(path string) (err error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write report: %w", err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteTable writes the results for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "result\tcalls\tvmferry p50\tp99\tmax\t%s p50\tp99\tmax\tratio\t\n", report.Peer)
	for _, x := range r.Results {
		ratio := "-"
		if x.RatioP50 != nil {
			ratio = fmt.Sprintf("%.3f", *x.RatioP50)
		}
		fmt.Fprintf(t, "%s, %s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t\n",
			x.Name, x.Unit, x.N, x.Ours.P50, x.Ours.P99, x.Ours.Max, x.Peer.P50, x.Peer.P99, x.Peer.Max, ratio)
	}
	return t.Flush()
}
