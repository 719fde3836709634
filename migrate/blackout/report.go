package blackout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Schema is the version of the report's form. Fields may be added without a
// new version; a field that changes its meaning or goes away makes one.
const Schema = 1

// maxReport bounds what ReadReport reads: well above the largest report that
// a few dozen targets can make.
const maxReport = 256 << 20

// Report is what a run of Watch measured. All times of day are UTC and
// computed from the monotonic clock: Start plus elapsed time. All durations
// whose name ends in Ms are milliseconds with a fraction.
type Report struct {
	Schema     int       `json:"schema"`
	Tool       string    `json:"tool"`
	Version    string    `json:"version"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	IntervalMs float64   `json:"interval_ms"`
	// ThresholdMs is the least length of an outage that is listed.
	ThresholdMs float64 `json:"threshold_ms"`
	// Complete is false in a report that was written while the run went on.
	Complete bool `json:"complete"`
	// ClockStepMs is how far the wall clock moved against the monotonic clock
	// during the run: add it to End to compare with the time of day then.
	ClockStepMs float64  `json:"clock_step_ms"`
	Args        []string `json:"args"`
	Targets     []Target `json:"targets"`
}

// Target is what was measured at one target.
type Target struct {
	Target string `json:"target"` // as given: udp://HOST:PORT or tcp://HOST:PORT
	Proto  string `json:"proto"`  // udp or tcp

	// Sent = Answered + LostOut + LostBack + Unsettled.
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	// LostOut were not received by the reflector, LostBack were received and
	// their answer was lost.
	LostOut  uint64 `json:"lost_out"`
	LostBack uint64 `json:"lost_back"`
	// Unsettled were sent after the last answered one.
	Unsettled uint64 `json:"unsettled"`
	// SendErrors of Sent were not taken by this host's kernel: no route, no
	// connection, or a full send buffer.
	SendErrors uint64 `json:"send_errors"`
	// Skipped are slots in which watch itself was too late to send.
	Skipped uint64 `json:"skipped"`
	// Late of Answered were sent in an outage and held up rather than lost.
	Late       uint64 `json:"late"`
	Duplicates uint64 `json:"duplicates"`

	// FirstAnswerMs is the time from the start to the first answer; absent
	// when there was none.
	FirstAnswerMs *float64 `json:"first_answer_ms,omitempty"`

	// BlackoutMs is the longest outage, 0 when there was none that is longer
	// than its own error. The two instants are absent then.
	BlackoutMs    float64   `json:"blackout_ms"`
	BlackoutStart time.Time `json:"blackout_start,omitzero"`
	BlackoutEnd   time.Time `json:"blackout_end,omitzero"`
	// ErrorMs bounds the error of BlackoutMs: a true blackout is within
	// BlackoutMs ± ErrorMs. Without a blackout it is WorstErrorMs.
	ErrorMs float64 `json:"error_ms"`
	// WorstErrorMs is the widest time between two probes of the whole run: a
	// blackout that is shorter may have been missed altogether.
	WorstErrorMs float64 `json:"worst_error_ms"`
	// BelowErrorMs is the longest silence that was not reported because it was
	// no longer than its own error.
	BelowErrorMs float64 `json:"below_error_ms"`

	// Outages lists those of at least ThresholdMs, in order; OutagesOmitted
	// counts those that no longer found room.
	Outages        []Outage `json:"outages"`
	OutagesOmitted int      `json:"outages_omitted"`

	// Resets counts established TCP connections that broke, Reconnects those
	// that replaced an earlier one, Abandoned those that were given up while
	// stalled, because a newer one answered first.
	Resets     int `json:"resets"`
	Reconnects int `json:"reconnects"`
	Abandoned  int `json:"abandoned"`
	// Instances is how many reflector instances answered: more than one means
	// that the service was started again, or runs more than once.
	// InstanceChanges is how often consecutive answers came from another one.
	Instances       int `json:"instances"`
	InstanceChanges int `json:"instance_changes"`

	RTT    RTT    `json:"rtt_us"`
	Series Series `json:"series"`
}

// Outage is a silence of a target that is longer than its own error.
type Outage struct {
	Start   time.Time `json:"start"` // when the next answer was due
	End     time.Time `json:"end"`   // when an answer came, or the run's end
	Ms      float64   `json:"ms"`
	ErrorMs float64   `json:"error_ms"`
	// LostOut, LostBack and Late are of the probes sent during the outage.
	LostOut  uint64 `json:"lost_out"`
	LostBack uint64 `json:"lost_back"`
	Late     uint64 `json:"late"`
	// Resets, Reconnects and Abandoned happened during the outage: with none
	// of them, a TCP connection stalled and recovered by itself.
	Resets     int `json:"resets"`
	Reconnects int `json:"reconnects"`
	Abandoned  int `json:"abandoned"`
	// Open tells that no answer had come by the end.
	Open bool `json:"open"`
}

// RTT holds round trip times in microseconds, rounded up by at most 1.6 %.
// Late answers count with the time they took.
type RTT struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Series is the time line of a target: bucket i holds what happened from Start
// + i*BucketMs up to the next. The three slices have the same length.
type Series struct {
	Start    time.Time `json:"start"`
	BucketMs float64   `json:"bucket_ms"`
	Sent     []uint32  `json:"sent"`       // probes, by the time they were sent
	Answered []uint32  `json:"answered"`   // answers, by the time they arrived
	RTTMaxUs []uint32  `json:"rtt_max_us"` // worst round trip of those answers
}

// ReadReport reads one report and checks that its parts fit together: the
// schema is known, the series are of equal length, no number is negative or
// missing, and every outage ends after it starts. Unknown fields are ignored.
func ReadReport(r io.Reader) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return nil, fmt.Errorf("read blackout report: %w", err)
	}
	if len(data) > maxReport {
		return nil, fmt.Errorf("read blackout report: larger than %d bytes", maxReport)
	}
	var rep Report
	if err := json.Unmarshal(data, &rep); err != nil {
		return nil, fmt.Errorf("read blackout report: %w", err)
	}
	if err := rep.check(); err != nil {
		return nil, fmt.Errorf("read blackout report: %w", err)
	}
	return &rep, nil
}

// Write writes the report as one JSON object, ending in a newline.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write blackout report: %w", err)
	}
	return nil
}

func (r *Report) check() error {
	if r.Schema != Schema {
		return fmt.Errorf("schema %d is not known, only %d", r.Schema, Schema)
	}
	if !(r.IntervalMs > 0) {
		return fmt.Errorf("interval_ms %v is not above 0", r.IntervalMs)
	}
	for i := range r.Targets {
		if err := r.Targets[i].check(); err != nil {
			return fmt.Errorf("target %q: %w", r.Targets[i].Target, err)
		}
	}
	return nil
}

func (t *Target) check() error {
	s := &t.Series
	switch {
	case t.Proto != protoUDP && t.Proto != protoTCP:
		return fmt.Errorf("proto %q is neither udp nor tcp", t.Proto)
	case t.BlackoutMs < 0 || t.ErrorMs < 0 || t.WorstErrorMs < 0 || t.BelowErrorMs < 0:
		return errors.New("negative duration")
	case t.Answered > t.Sent:
		return fmt.Errorf("answered %d of %d sent", t.Answered, t.Sent)
	case len(s.Sent) != len(s.Answered) || len(s.Sent) != len(s.RTTMaxUs):
		return fmt.Errorf("series of %d, %d and %d buckets", len(s.Sent), len(s.Answered), len(s.RTTMaxUs))
	case len(s.Sent) > 0 && !(s.BucketMs > 0):
		return fmt.Errorf("bucket_ms %v is not above 0", s.BucketMs)
	}
	for i, o := range t.Outages {
		if o.Ms < 0 || o.ErrorMs < 0 || o.End.Before(o.Start) {
			return fmt.Errorf("outage %d ends before it starts", i+1)
		}
	}
	return nil
}

// target renders the state of a tracker at an instant as a part of a report.
func (k *tracker) target(name, proto string, start time.Time, now time.Duration) Target {
	out, back := k.loss.totals()
	t := Target{
		Target: name, Proto: proto,
		Sent: k.tries.last, Answered: k.answered, LostOut: out, LostBack: back,
		Unsettled: k.unsettled(), SendErrors: k.failed, Skipped: k.skipped,
		Late: k.late, Duplicates: k.duplicates,
		WorstErrorMs: ms(max(k.worst, k.interval)), BelowErrorMs: ms(k.below),
		Outages: make([]Outage, 0, len(k.outages)+1), OutagesOmitted: k.omitted,
		Resets: k.links.resets, Reconnects: k.links.reconnects, Abandoned: k.links.abandoned,
		Instances: k.loss.instances(), InstanceChanges: k.loss.changes,
		RTT:    RTT{P50: us(k.rtt.quantile(0.50)), P99: us(k.rtt.quantile(0.99)), Max: us(k.rtt.max)},
		Series: k.series.report(start),
	}
	if k.answered > 0 {
		first := ms(k.first)
		t.FirstAnswerMs = &first
	}
	for _, o := range k.outages {
		t.Outages = append(t.Outages, o.report(start))
	}
	longest := k.longest
	if o, ok := k.ongoing(now); ok {
		if o.length() >= k.threshold {
			t.Outages = append(t.Outages, o.report(start))
		}
		if o.length() > longest.length() {
			longest = o
		}
	}
	t.ErrorMs = t.WorstErrorMs
	if longest.length() > 0 {
		o := longest.report(start)
		t.BlackoutMs, t.BlackoutStart, t.BlackoutEnd, t.ErrorMs = o.Ms, o.Start, o.End, o.ErrorMs
	}
	return t
}

func (o outage) report(start time.Time) Outage {
	return Outage{
		Start: start.Add(o.start), End: start.Add(o.end), Ms: ms(o.length()), ErrorMs: ms(o.err),
		LostOut: uint64(max(o.out, 0)), LostBack: uint64(max(o.back, 0)), Late: uint64(o.late),
		Resets: o.links.resets, Reconnects: o.links.reconnects, Abandoned: o.links.abandoned,
		Open: o.open,
	}
}

func (s *series) report(start time.Time) Series {
	copied := func(b []uint32) []uint32 { return append(make([]uint32, 0, len(b)), b...) }
	return Series{
		Start: start, BucketMs: ms(s.width),
		Sent: copied(s.sent), Answered: copied(s.answered), RTTMaxUs: copied(s.rttMax),
	}
}

// ms returns d in milliseconds, rounded to a microsecond.
func ms(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// us returns d in microseconds, rounded to a tenth.
func us(d time.Duration) float64 { return math.Round(float64(d)/1e2) / 10 }
