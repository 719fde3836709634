package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
)

// How far a prediction may be from what was measured, as the larger of the two over the smaller.
const (
	durationFactor = 1.5
	pauseFactor    = 2
)

// teaching is how many moves of a guest are not counted: each node learns from its own.
const teaching = 2

// foreseen is one guest whose moves are predicted.
type foreseen struct {
	kind   scenario.Kind
	params []string
	window time.Duration
}

// foreseeable are an idle guest, one that converges, and one that writes more than the link carries.
var foreseeable = []foreseen{
	{scenario.Kind{Name: "calm", First: 71, MemoryMiB: 128}, nil, moveTime},
	{scenario.Kind{Name: "busy", First: 72, MemoryMiB: 128, DirtyMiB: busyRate, DirtySetMiB: workingSet},
		[]string{fmt.Sprintf("migration_speed=%d", linkCap)}, moveTime},
	{scenario.Kind{Name: "hopeless", First: 73, MemoryMiB: 128, DirtyMiB: hopelessRate, DirtySetMiB: workingSet},
		[]string{fmt.Sprintf("migration_speed=%d", linkCap)}, hopelessTime},
}

// prediction compares what vmferry's records predict with what they measured, with no peer.
func prediction(ctx context.Context, s *Stage) ([]Result, error) {
	var all []errorFactors
	var notes []string
	for _, f := range foreseeable {
		seen, err := s.foresee(ctx, f)
		if err != nil {
			return nil, err
		}
		all, notes = append(all, seen...), append(notes, f.kind.Name+": "+factorSummary(seen))
	}
	return accuracies(all, notes), nil
}

// accuracies are the bench's results.
func accuracies(all []errorFactors, notes []string) []Result {
	share := func(name string, most float64, of func(errorFactors) float64) Result {
		r := compare(name, "%", "", []float64{within(all, most, of)}, nil)
		r.N = len(all)
		r.Notes = []string{fmt.Sprintf("moves predicted within a factor of %v; the first %d of each guest teach and do not count",
			most, teaching)}
		return r
	}
	results := []Result{
		share("prediction-duration", durationFactor, durationOf),
		share("prediction-pause", pauseFactor, pausedOf),
	}
	results[0].Notes = append(append(results[0].Notes, notes...), "all: "+factorSummary(all))
	return results
}

func durationOf(a errorFactors) float64 { return a.duration }
func pausedOf(a errorFactors) float64   { return a.pause }

// factorSummary says how far moves were from their predictions: max(predicted / measured, measured / predicted).
func factorSummary(seen []errorFactors) string {
	spread := func(of func(errorFactors) float64) string {
		var factors []float64
		for _, a := range seen {
			factors = append(factors, of(a))
		}
		slices.Sort(factors)
		return fmt.Sprintf("p50 %.2f, p90 %.2f", nearest(factors, 50), nearest(factors, 90))
	}
	return fmt.Sprintf("the factor of the duration %s; of the pause %s; n %d",
		spread(durationOf), spread(pausedOf), len(seen))
}

// nearest is a percentile of sorted values, by nearest rank; 0 of none.
func nearest(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

// foresee moves one guest there and back.
func (s *Stage) foresee(ctx context.Context, f foreseen) ([]errorFactors, error) {
	guests, err := f.kind.Make(ctx, s.Cluster, s.Shared, 1)
	if err != nil {
		return nil, err
	}
	m, err := s.mover(guests[0], f.params...)
	if err != nil {
		return nil, err
	}
	m.window = f.window
	var seen []errorFactors
	err = m.run(ctx, func(ctx context.Context) error {
		for round := -teaching; round < s.N; round++ {
			s.Progress(fmt.Sprintf("prediction: %s, round %d of %d", f.kind.Name, round+1, s.N))
			from := m.nodes()[m.at]
			one, err := m.move(ctx, sides[0])
			if err != nil {
				return err
			}
			if one.Ended != endedLive {
				return fmt.Errorf("guest %q: the move %s", m.guest.Name, one.Ended)
			}
			a, err := s.judged(ctx, from, m.guest.Name)
			switch {
			case err != nil && round < 0: // as nothing is known of the link
				s.Progress(err.Error())
			case err != nil:
				return err
			default:
				s.Progress(a.String())
			}
			if round >= 0 {
				seen = append(seen, a)
			}
		}
		return nil
	})
	return seen, err
}

// judged reads the record of the last move, on the node where it began.
func (s *Stage) judged(ctx context.Context, node, guest string) (errorFactors, error) {
	text, err := s.Cluster.Run(ctx, node, "tail", "--lines=1", "/var/lib/vmferry/"+history.RecordsFile)
	if err != nil {
		return errorFactors{}, err
	}
	var r record.Record
	if err := json.Unmarshal([]byte(strings.TrimSpace(text)), &r); err != nil {
		return errorFactors{}, fmt.Errorf("read the record of guest %q on %q: %w", guest, node, err)
	}
	if r.Guest != guest {
		return errorFactors{}, fmt.Errorf("the last record on %q is of guest %q, not of %q", node, r.Guest, guest)
	}
	return accuracyOf(r)
}

// errorFactors is how far one move's prediction was from what was measured: 1 is exact.
type errorFactors struct {
	duration, pause float64
	text            string
}

// String has both values of both.
func (a errorFactors) String() string { return a.text }

// accuracyOf compares a record's two sides.
func accuracyOf(r record.Record) (errorFactors, error) {
	took := r.MigrateMS()
	if r.Predicted == nil || r.PauseMS == nil || took == 0 {
		return errorFactors{}, errors.New("the record of guest " + r.Guest +
			" has no prediction, or nothing to compare it with")
	}
	p := r.Predicted
	return errorFactors{factor(p.DurationMS, took), factor(p.PauseMS, *r.PauseMS),
		fmt.Sprintf("predicted %.0f ms by %s, pause %.1f ms; measured %.0f ms by %s, pause %.1f ms",
			p.DurationMS, p.Rung, p.PauseMS, took, r.Rung, *r.PauseMS)}, nil
}

// factor is the larger over the smaller.
func factor(a, b float64) float64 {
	if a <= 0 || b <= 0 {
		return 1000
	}
	return max(a/b, b/a)
}

// within is how many per cent of the moves have a factor of most or less.
func within(all []errorFactors, most float64, of func(errorFactors) float64) float64 {
	n := 0
	for _, a := range all {
		if of(a) <= most {
			n++
		}
	}
	return 100 * float64(n) / float64(max(len(all), 1))
}
