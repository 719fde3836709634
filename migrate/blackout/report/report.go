package report

import (
	"math"
	"time"
)

// Schema is the version of the report's form. Fields may be added without a
// new version; a field that changes its meaning or goes away makes one.
const Schema = 1

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
	// Burst is how many probes were sent to a datagram target in an interval.
	Burst int `json:"burst"`
	// ThresholdMs is the least length of an outage that is listed.
	ThresholdMs float64 `json:"threshold_ms"`
	// MaxErrorMs is above which error a target is marked as Inexact.
	MaxErrorMs float64 `json:"max_error_ms"`
	// Complete is false in a report that was written while the run continued.
	Complete bool `json:"complete"`
	// ClockStepMs is how far the wall clock was moved during the run: add it to
	// End to compare with the time of day then.
	ClockStepMs float64 `json:"clock_step_ms"`
	// Faults are the times in which the prober itself could not measure, in
	// order; FaultsOmitted counts those that no longer found room.
	Faults        []Fault  `json:"faults"`
	FaultsOmitted int      `json:"faults_omitted"`
	Args          []string `json:"args"`
	Targets       []Target `json:"targets"`
}

// Fault is a time in which the prober itself could not measure. It is never
// part of an outage; it widens the error of one that it meets.
type Fault struct {
	Kind  string    `json:"kind"` // Late or Asleep
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Ms    float64   `json:"ms"`
}

// The kinds of faults.
const (
	Late   = "late"   // this process was not run: stopped, or a busy machine
	Asleep = "asleep" // this machine was suspended
)

// Target is what was measured at one target.
type Target struct {
	Target string `json:"target"` // as given, such as udp://HOST:PORT
	Proto  string `json:"proto"`  // its scheme

	// Sent = Answered + Lost + Unsettled.
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"`
	// Directed is true where a reflector answered, so that Lost = LostOut +
	// LostBack. Other services do not report what they received: both are 0 then.
	Directed bool `json:"directed"`
	// LostOut were not received by the reflector, LostBack were received and
	// their answer was lost.
	LostOut  uint64 `json:"lost_out"`
	LostBack uint64 `json:"lost_back"`
	// Unsettled were sent after the last answered one.
	Unsettled uint64 `json:"unsettled"`
	// SendErrors of Sent were not taken by this host's kernel: no route, no
	// connection, or a full send buffer.
	SendErrors uint64 `json:"send_errors"`
	// Refused of Sent were turned down: a connection refused, an HTTP error 5xx,
	// or no answer within the time for one exchange.
	Refused uint64 `json:"refused"`
	// Skipped are slots in which watch itself was too late to send.
	Skipped uint64 `json:"skipped"`
	// Late of Answered were sent in an outage and held up rather than lost.
	Late uint64 `json:"late"`
	// StalledBytes of a TCP target were those of the late probes.
	StalledBytes uint64 `json:"stalled_bytes"`
	Duplicates   uint64 `json:"duplicates"`

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

	// KernelBlackoutMs is the same of the kernel that a TCP target runs on: the longest time in which an
	// acknowledgement was due and none came, whatever its service did. It is absent where no acknowledgement was
	// seen, and for other targets. The two instants are absent when there was no such time that is longer than
	// KernelErrorMs. KernelBelowErrorMs is as BelowErrorMs.
	KernelBlackoutMs    *float64  `json:"kernel_blackout_ms,omitempty"`
	KernelBlackoutStart time.Time `json:"kernel_blackout_start,omitzero"`
	KernelBlackoutEnd   time.Time `json:"kernel_blackout_end,omitzero"`
	KernelErrorMs       float64   `json:"kernel_error_ms,omitempty"`
	KernelBelowErrorMs  float64   `json:"kernel_below_error_ms,omitempty"`

	// Inexact is true where ErrorMs or WorstErrorMs is above MaxErrorMs.
	Inexact bool `json:"inexact"`
	// DarkMs is the length of all outages of at least ThresholdMs together, and
	// DarkErrorMs the sum of their errors.
	DarkMs      float64 `json:"dark_ms"`
	DarkErrorMs float64 `json:"dark_error_ms"`
	// Availability is the share of the time since the first answer that was not
	// dark: 1 is all of it. A target that never answered has 0. AvailabilityError
	// bounds its error, as DarkErrorMs does that of DarkMs.
	Availability      float64 `json:"availability"`
	AvailabilityError float64 `json:"availability_error"`

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

	// RTT is of all answers. RTTBefore is of those before the blackout, and
	// RTTAfter of those to probes that were sent after it; both are empty when
	// there was none.
	RTT       RTT    `json:"rtt_us"`
	RTTBefore RTT    `json:"rtt_before_us"`
	RTTAfter  RTT    `json:"rtt_after_us"`
	Series    Series `json:"series"`
}

// Outage is a silence of a target that is longer than its own error.
type Outage struct {
	Start   time.Time `json:"start"` // when the next answer was due
	End     time.Time `json:"end"`   // when an answer came, or the run's end
	Ms      float64   `json:"ms"`
	ErrorMs float64   `json:"error_ms"`
	// Lost, LostOut, LostBack and Late are of the probes sent during the outage.
	Lost     uint64 `json:"lost"`
	LostOut  uint64 `json:"lost_out"`
	LostBack uint64 `json:"lost_back"`
	Late     uint64 `json:"late"`
	// Resets, Reconnects and Abandoned happened during the outage: with none
	// of them, a TCP connection stalled and recovered by itself.
	Resets     int `json:"resets"`
	Reconnects int `json:"reconnects"`
	Abandoned  int `json:"abandoned"`
	// Open is true where no answer had come by the end.
	Open bool `json:"open"`
}

// RTT holds percentiles of N round trip times in microseconds, to one part in a
// hundred. Late answers count with the time they took, at most an hour.
type RTT struct {
	N    uint64  `json:"n"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
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

// Millis returns d in milliseconds, rounded to a microsecond.
func Millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// Micros returns d in microseconds, rounded to a tenth.
func Micros(d time.Duration) float64 { return math.Round(float64(d)/1e2) / 10 }
