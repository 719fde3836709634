package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
)

// maxReport bounds what Read reads: well above the largest report that
// a few dozen targets can make.
const maxReport = 256 << 20

// Read reads one report and checks that its parts fit together: the
// schema is known, the series are of equal length, no number is negative or
// missing, and every outage ends after it starts. Unknown fields are ignored.
func Read(r io.Reader) (*Report, error) {
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
	if err := rep.Check(); err != nil {
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

// Check finds parts of the report that do not fit together.
func (r *Report) Check() error {
	if r.Schema != Schema {
		return fmt.Errorf("unknown schema %d, want %d", r.Schema, Schema)
	}
	if !(r.IntervalMs > 0) {
		return fmt.Errorf("interval_ms must be above 0, got %v", r.IntervalMs)
	}
	for i := range r.Targets {
		if err := r.Targets[i].Check(); err != nil {
			return fmt.Errorf("target %q: %w", r.Targets[i].Target, err)
		}
	}
	return nil
}

// Check finds numbers of the target that do not fit together.
func (t *Target) Check() error {
	s := &t.Series
	switch {
	case !endpoint.Printable(t.Target):
		return errors.New("the name has unprintable characters")
	case !endpoint.Known(t.Proto):
		return fmt.Errorf("unknown proto %q", t.Proto)
	case t.BlackoutMs < 0 || t.ErrorMs < 0 || t.WorstErrorMs < 0 || t.BelowErrorMs < 0,
		t.DarkMs < 0 || t.DarkErrorMs < 0,
		t.KernelBlackoutMs != nil && *t.KernelBlackoutMs < 0, t.KernelErrorMs < 0, t.KernelBelowErrorMs < 0:
		return errors.New("negative duration")
	case t.Answered > t.Sent:
		return fmt.Errorf("answered %d of %d sent", t.Answered, t.Sent)
	case len(s.Sent) != len(s.Answered) || len(s.Sent) != len(s.RTTMaxUs):
		return fmt.Errorf("series of %d, %d and %d buckets", len(s.Sent), len(s.Answered), len(s.RTTMaxUs))
	case len(s.Sent) > 0 && !(s.BucketMs > 0):
		return fmt.Errorf("bucket_ms must be above 0, got %v", s.BucketMs)
	}
	for i, o := range t.Outages {
		if o.Ms < 0 || o.ErrorMs < 0 || o.End.Before(o.Start) {
			return fmt.Errorf("outage %d ends before it starts", i+1)
		}
	}
	return nil
}
