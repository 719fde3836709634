package torture

import (
	"encoding/json"
	"errors"
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
	Next    int          `json:"next"`    // the number of the first fault that was not carried out
	Kinds   []Kind       `json:"kinds"`   // of which the faults are drawn
	Guests  int          `json:"guests"`
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
	TookS     float64   `json:"took_s"` // of all parts
	Parts     []Part    `json:"parts"`
	// RecoveriesS are all that RecoveryS is made of, in ascending order.
	RecoveriesS []float64 `json:"recoveries_s"`
}

// Part is what one lab did of a run. A run that was continued has several.
type Part struct {
	Commit string    `json:"commit"` // the revision that was tested
	First  int       `json:"first"`  // the number of its first fault
	Begun  time.Time `json:"begun"`
	TookS  float64   `json:"took_s"`
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

// begin adds a part, which is the first one or continues the report.
func (r *Report) begin(plan []Fault) {
	now := time.Now()
	if len(r.Parts) == 0 {
		r.Schema, r.ByKind, r.Begun = Schema, map[Kind]int{}, now
	}
	r.Next = plan[0].Number
	r.Parts = append(r.Parts, Part{Commit: r.Commit, First: r.Next, Begun: now})
	r.Planned = plan[len(plan)-1].Number - r.Parts[0].First + 1
}

// tick brings the time that it took up to date.
func (r *Report) tick() {
	last := &r.Parts[len(r.Parts)-1]
	last.TookS, r.TookS = seconds(time.Since(last.Begun)), 0
	for _, p := range r.Parts {
		r.TookS += p.TookS
	}
}

// count counts the faults of an episode, with why each was not carried out.
func (r *Report) count(faults []Fault, results []error) {
	for i, f := range faults {
		if err := results[i]; err != nil {
			r.Skipped = append(r.Skipped, Skip{f.Number, f.Kind, err.Error()})
			continue
		}
		r.Faults++
		r.ByKind[f.Kind]++
	}
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
	all := append(r.RecoveriesS, seconds(took))
	slices.Sort(all)
	at := func(share float64) float64 { return all[int(share*float64(len(all)-1)+0.5)] }
	r.RecoveriesS, r.RecoveryS = all, Recovery{P50: at(0.5), P99: at(0.99), Max: at(1), N: len(all)}
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
	whole.Kinds, whole.Parts = append([]Kind{}, r.Kinds...), append([]Part{}, r.Parts...)
	whole.RecoveriesS = append([]float64{}, r.RecoveriesS...)
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

// ReadReport reads a report that was written to the file path. The error wraps fs.ErrNotExist where there is none.
func ReadReport(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the report %s: %w", path, err)
	}
	return r, nil
}

// Continues is nil where a run with so many faults of these kinds may go on from the report: the faults before Next are
// those that it would have carried out itself.
func (r *Report) Continues(seed uint64, kinds []Kind, guests, faults int) error {
	switch {
	case r.Schema != Schema || r.Next < 1:
		return fmt.Errorf("its schema is %d, this is %d", r.Schema, Schema)
	case r.Seed != seed:
		return fmt.Errorf("its seed is %d, and not %d", r.Seed, seed)
	case !slices.Equal(r.Kinds, kinds):
		return errors.New("its faults are of other kinds")
	case r.Guests != guests:
		return fmt.Errorf("it has %d guests, and not %d", r.Guests, guests)
	case r.Next > faults:
		return fmt.Errorf("it has %d faults already", r.Next-1)
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
