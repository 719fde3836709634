package record

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// Schema is the version of Record's form. Names and meanings do not change within one.
const Schema = 1

// Outcome is where the guest runs after a move.
type Outcome string

// The outcomes.
const (
	Moved   Outcome = "moved"   // it runs at the target and not at the source
	Stayed  Outcome = "stayed"  // it is at the source and not moving
	Unknown Outcome = "unknown" // the evidence does not decide: look before doing anything

	// Of a guest that was not moved but taken off its node on a lower rung of its ladder. Move has
	// neither of them.
	Ended    Outcome = "ended"    // saved, shut down or destroyed at the source, to be brought back elsewhere
	Restored Outcome = "restored" // it runs again, at the target, from the state that was saved, or from a replica
)

// Record is the account of one move: one JSON line. Durations are in milliseconds;
// times are this node's clock. Values that could not be had are absent.
type Record struct {
	Schema     int       `json:"schema"`
	Guest      string    `json:"guest"`
	UUID       string    `json:"uuid,omitempty"`
	From       string    `json:"from"` // the source's URI
	To         string    `json:"to"`   // the target's node name
	TargetURI  string    `json:"target_uri"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	DurationMS float64   `json:"duration_ms"`

	Outcome  Outcome      `json:"outcome"`
	Verified Verification `json:"verified"`
	Notes    []string     `json:"notes,omitempty"` // what a reader should know, in order
	// Unsupported is what the hypervisor's driver cannot do of what keeps a budget or proves it.
	Unsupported []libvirt.Ability `json:"unsupported,omitempty"`
	Error       string            `json:"error,omitempty"`

	Steps      []Step      `json:"steps"`            // what was done, with the time of each
	Phases     []qmp.Phase `json:"phases,omitempty"` // what QEMU's events show
	Iterations int         `json:"iterations,omitempty"`

	PauseMS        *float64  `json:"pause_ms,omitempty"`     // source STOP to target RESUME
	HandOverMS     *float64  `json:"hand_over_ms,omitempty"` // the part of it after QEMU's "completed"
	PauseStampMS   *float64  `json:"pause_stamp_ms,omitempty"`
	PauseReceiptMS *float64  `json:"pause_receipt_ms,omitempty"`
	Clock          qmp.Clock `json:"clock,omitempty"`

	// Relayed is how many frames of TCP came in at the source during the pause and were forwarded to the target.
	Relayed int `json:"relayed,omitempty"`

	Blackouts  []Blackout `json:"blackouts,omitempty"`          // what a probe saw, by target
	BudgetMS   float64    `json:"blackout_budget_ms,omitempty"` // what the blackout was to stay within
	BudgetKept *bool      `json:"blackout_budget_kept,omitempty"`

	// LostMS is, of one that was started from a replica of its disks, in which time before the start its writes may be
	// lost at most; absent where nobody knows. Notes have it in words.
	LostMS *float64 `json:"lost_ms,omitempty"`

	Rung      ladder.Rung `json:"means,omitempty"`      // the rung that carried the guest
	Rungs     []RungTime  `json:"rungs,omitempty"`      // those that were tried, in order
	Predicted *Forecast   `json:"predicted,omitempty"`  // by what was known just before
	Used      uint64      `json:"used,omitempty"`       // bytes of its memory that the guest used, just before
	DirtyRate *uint64     `json:"dirty_rate,omitempty"` // bytes per second that it wrote, just before
	Rate      uint64      `json:"rate,omitempty"`       // highest seen, in bytes per second
	Cap       uint64      `json:"rate_cap,omitempty"`   // requested bound, in bytes per second
	// our own bound of the first passes, which may have been lifted since
	Pace uint64 `json:"rate_pace,omitempty"`
	// others were under way at its begin and at its end, and had a part of the link
	Shared bool `json:"shared,omitempty"`

	Disks   []CopiedDisk `json:"disks,omitempty"`    // those that went along
	DisksMS float64      `json:"disks_ms,omitempty"` // of the step "migrate", what their copying took before the memory

	Memory           uint64    `json:"memory,omitempty"`      // bytes the guest has
	Transferred      uint64    `json:"transferred,omitempty"` // bytes of it sent, repeats counted
	Compressed       bool      `json:"compressed,omitempty"`  // the memory, on its way
	Encrypted        bool      `json:"encrypted,omitempty"`   // memory and disks, on their way, by the hypervisor's TLS
	Pages            uint64    `json:"pages,omitempty"`       // bytes of memory that were compressed into Transferred
	Throttle         int       `json:"throttle,omitempty"`    // highest per cent that auto-converge took
	DowntimeLimitsMS []float64 `json:"downtime_limits_ms,omitempty"`

	// Compression is its method, as libvirt names it. Of XBZRLE's cache there is the size in bytes, the part of the
	// pages sent again that were in it, and the part of such a page that was sent.
	Compression string   `json:"compression,omitempty"`
	Cache       uint64   `json:"compression_xbzrle_cache,omitempty"`
	HitRate     *float64 `json:"compression_xbzrle_hit_rate,omitempty"`
	Delta       *float64 `json:"compression_xbzrle_delta,omitempty"`
}

// AddXBZRLE puts in what XBZRLE did so far.
func (r *Record) AddXBZRLE(s libvirt.XBZRLEStats) {
	if s.Pages+s.Misses == 0 {
		return
	}
	hits := float64(s.Pages) / float64(s.Pages+s.Misses)
	r.HitRate = &hits
	if s.Pages > 0 && s.Page > 0 {
		delta := min(float64(s.Bytes)/float64(s.Page)/float64(s.Pages), 1)
		r.Delta = &delta
	}
}

// Blackout is the longest time without an answer that a probe saw of one target.
type Blackout struct {
	Target  string  `json:"target"` // such as "udp://192.0.2.7:7"
	MS      float64 `json:"ms"`
	ErrorMS float64 `json:"error_ms"` // by how much the probe may be wrong
}

// Judge adds what a probe saw, and reports whether the budget was kept, as far as that is
// known: a blackout that was seen decides. Without one, a pause that is longer than the budget
// broke it, and a shorter one proves nothing, as clients may have waited for longer.
func (r *Record) Judge(seen []Blackout) {
	r.Blackouts = append(r.Blackouts, seen...)
	if r.BudgetMS <= 0 || r.Outcome != Moved {
		return
	}
	r.BudgetKept = nil
	long := slices.ContainsFunc(r.Blackouts, func(b Blackout) bool { return b.MS > r.BudgetMS })
	broken := r.PauseMS != nil && *r.PauseMS > r.BudgetMS
	if len(r.Blackouts) > 0 || broken {
		kept := !long && !broken
		r.BudgetKept = &kept
	}
}

// Verification is what the two ends said last, in words such as "running (migrated)",
// "absent" or "no answer: …".
type Verification struct {
	Source   string `json:"source,omitempty"`
	Target   string `json:"target,omitempty"`
	SameBoot *bool  `json:"same_boot,omitempty"` // no reset was seen; absent when events were not watched on both sides
}

// Step is one thing that Move did.
type Step struct {
	// slot, pre-flight, predict, make images, migrate, post-copy, abort, recover, resume, verify, settle disks
	Name  string    `json:"name"`
	Begin time.Time `json:"begin"`
	MS    float64   `json:"ms"`
}

// RungTime is the time that was spent on one rung of the guest's ladder.
type RungTime struct {
	Rung  ladder.Rung `json:"means"`
	MS    float64     `json:"ms"`
	Error string      `json:"error,omitempty"` // why it did not carry the guest
}

// NewRungTime is that of a rung which began then and ends now; why is nil where it carried the guest.
func NewRungTime(rung ladder.Rung, began time.Time, why error) RungTime {
	r := RungTime{Rung: rung, MS: Millis(time.Since(began))}
	if why != nil {
		r.Error = why.Error()
	}
	return r
}

// CopiedDisk is one disk that goes along with its guest.
type CopiedDisk struct {
	Target string `json:"target"` // as the guest's description names it, such as "vda"
	Path   string `json:"path"`   // of its image, on both nodes
	Bytes  uint64 `json:"bytes"`  // that the image took up before the move
}

// Forecast is how a move was expected to go, by what was known just before it. Its names are those of
// the record's measured values.
type Forecast struct {
	Rung       ladder.Rung `json:"means"`
	DurationMS float64     `json:"duration_ms"` // of the steps "migrate": see [Record.MigrateMS]
	PauseMS    float64     `json:"pause_ms"`
	LastCopyMS float64     `json:"last_copy_ms"` // the part of it that the link takes
	BlackoutMS float64     `json:"blackout_ms"`  // the pause, and what clients waited for beyond it at earlier moves
	Bytes      uint64      `json:"bytes"`
	Disks      uint64      `json:"disks,omitempty"` // bytes of disks that are copied before, in duration_ms
	Passes     int         `json:"passes"`
	Throttle   int         `json:"throttle,omitempty"`
	Kept       bool        `json:"kept"`      // within the budget
	Bandwidth  uint64      `json:"bandwidth"` // bytes per second on the wire
	Compressed bool        `json:"compressed,omitempty"`
	// Compression is its method, "zstd" or "xbzrle".
	Compression string `json:"compression,omitempty"`
	LastCopy    uint64 `json:"last_copy,omitempty"` // bytes of memory that are sent while the guest is stopped
}

// MigrateMS is how long the migration took, in milliseconds: all of them, where it was started again; 0 without one.
func (r *Record) MigrateMS() (ms float64) {
	for _, s := range r.Steps {
		if s.Name == "migrate" {
			ms += s.MS
		}
	}
	return ms
}

// Millis is d in milliseconds, to the microsecond.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func millisOf(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := Millis(*d)
	return &ms
}

// AddTimeline puts in what QEMU's events show.
func (r *Record) AddTimeline(t qmp.Timeline) {
	r.Phases, r.Clock = t.Phases, t.Clock
	r.Iterations = max(r.Iterations, t.Iterations)
	r.PauseMS, r.HandOverMS = millisOf(t.Pause), millisOf(t.HandOver)
	r.PauseStampMS, r.PauseReceiptMS = millisOf(t.StampPause), millisOf(t.ReceiptPause)
}
