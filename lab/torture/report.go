package torture

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// Schema is the version of report.json.
const Schema = 1

// Report is what torture leaves behind.
type Report struct {
	Schema  int          `json:"schema"` // Schema
	Commit  string       `json:"commit"` // the revision that was tested
	Seed    uint64       `json:"seed"`
	Faults  int          `json:"faults"`  // that were carried out
	Planned int          `json:"planned"` // more than Faults + Skipped: it was interrupted
	ByKind  map[Kind]int `json:"by_kind"` // those that were carried out
	Skipped []Skip       `json:"skipped"`

	DoubleRuns       int `json:"double_runs"`
	AckedLost        int `json:"acked_lost"`
	GuestsLost       int `json:"guests_lost"` // not back within the bound and two minutes more, or at the end
	BystandersKilled int `json:"bystanders_killed"`
	OverBound        int `json:"over_bound"` // back, and later than the bound
	NodesLost        int `json:"nodes_lost"` // not a member again, by itself
	DisksDamaged     int `json:"disks_damaged"`

	BoundsS   BoundsS   `json:"bounds_s"`
	RecoveryS Recovery  `json:"recovery_s"`
	Failures  []Failure `json:"failures"`
	Begun     time.Time `json:"begun"`
	TookS     float64   `json:"took_s"`
	recovered []time.Duration
}

// Recovery is how long it took from a fault to the answers of all guests, in seconds. Faults after which no guest was
// silent are not in it.
type Recovery struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	N   int     `json:"n"`
}

// BoundsS are the [Limits], in seconds.
type BoundsS struct {
	Crash   float64 `json:"crash"`
	Split   float64 `json:"split"`
	Boot    float64 `json:"boot"`
	Blip    float64 `json:"blip"`
	Restart float64 `json:"restart"`
	Return  float64 `json:"return"`
}

func (l Limits) seconds() BoundsS {
	return BoundsS{seconds(l.Guard.Crash), seconds(l.Guard.Split), seconds(l.Boot), seconds(l.Blip), seconds(l.Restart),
		seconds(l.Return)}
}

// Skip is a fault that was not carried out.
type Skip struct {
	Fault int    `json:"fault"`
	Kind  Kind   `json:"kind"`
	Why   string `json:"why"`
}

// Failure is something that must not happen, with what is needed to see it again.
type Failure struct {
	Fault    int       `json:"fault"` // the first of its episode; 0: at the end of all
	Faults   []string  `json:"faults"`
	What     string    `json:"what"`
	Guest    string    `json:"guest,omitempty"`
	Node     string    `json:"node,omitempty"`
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended"`
	Evidence string    `json:"evidence"`
	Log      string    `json:"log,omitempty"` // a file beside the report
	Replay   string    `json:"replay"`        // a command
}

// add counts a failure.
func (r *Report) add(f Failure) {
	r.Failures = append(r.Failures, f)
	counts := map[string]*int{DoubleRun: &r.DoubleRuns, AckedLost: &r.AckedLost, GuestLost: &r.GuestsLost,
		Killed: &r.BystandersKilled, OverBound: &r.OverBound, NodeLost: &r.NodesLost, DiskDamaged: &r.DisksDamaged}
	*counts[f.What]++
}

// recover adds a recovery; 0 is none.
func (r *Report) recover(took time.Duration) {
	if took <= 0 {
		return
	}
	r.recovered = append(r.recovered, took)
	slices.Sort(r.recovered)
	at := func(share float64) float64 {
		return seconds(r.recovered[int(share*float64(len(r.recovered)-1)+0.5)])
	}
	r.RecoveryS = Recovery{P50: at(0.5), P99: at(0.99), Max: at(1), N: len(r.recovered)}
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond)) / float64(time.Second)
}

// Err is an error that counts what is wrong; nil where all is well and all was carried out.
func (r *Report) Err() error {
	if len(r.Failures) == 0 {
		return nil
	}
	counts := map[string]int{}
	for _, f := range r.Failures {
		counts[f.What]++
	}
	var text []string
	for what, n := range counts {
		text = append(text, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(text)
	return fmt.Errorf("after %d faults: %s", r.Faults, strings.Join(text, ", "))
}

// WriteJSON writes the report to the file path, whole or not at all, and makes its folder.
func (r *Report) WriteJSON(path string) error {
	whole := *r
	if whole.ByKind == nil {
		whole.ByKind = map[Kind]int{}
	}
	whole.Failures, whole.Skipped = append([]Failure{}, r.Failures...), append([]Skip{}, r.Skipped...)
	text, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := atomicfile.Bytes(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// WriteText prints the counts, and every failure with the command that repeats it.
func (r *Report) WriteText(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d faults, seed %d, %d skipped\n", r.Faults, r.Planned, r.Seed, len(r.Skipped))
	fmt.Fprintf(&b, "double runs %d, acknowledged numbers lost %d, guests lost %d, bystanders killed %d, over bound %d, "+
		"nodes lost %d, disks damaged %d\n", r.DoubleRuns, r.AckedLost, r.GuestsLost, r.BystandersKilled, r.OverBound,
		r.NodesLost, r.DisksDamaged)
	fmt.Fprintf(&b, "recoveries %d: p50 %.1f s, p99 %.1f s, max %.1f s\n", r.RecoveryS.N, r.RecoveryS.P50,
		r.RecoveryS.P99,
		r.RecoveryS.Max)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%s: %s%s: %s\n  after %s\n  again: %s\n", f.What, f.Guest, f.Node, f.Evidence,
			strings.Join(f.Faults, "; "), f.Replay)
	}
	_, err := io.WriteString(to, b.String())
	return err
}
