package migrate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Gauge measures a guest and changes nothing. *client.Conn is one.
type Gauge interface {
	// Load is what the guest would give a migration to carry.
	Load(ctx context.Context, guest string) (libvirt.Load, error)
	// StartDirtyRate begins a measurement, of which Load has the result once span is over.
	StartDirtyRate(ctx context.Context, guest string, span time.Duration) error
}

const (
	measureSpan = time.Second
	measureSlip = 100 * time.Millisecond // what QEMU may need beyond the span, and between two looks
	measureMost = 500 * time.Millisecond // bounds the question that begins a measurement

	// measureWindow is how much time there must be for a move to wait for its measurement, and
	// measureWorth how long its first pass must take: a shorter one tells as much as soon.
	measureWindow = 30 * time.Second
	measureWorth  = 5 * time.Second
	measureBytes  = gibibyte // the same of a link that is not known

	// measureFresh is how old a measurement may be that somebody else made.
	measureFresh = 10 * time.Minute

	gibibyte = 1 << 30

	// defaultSetUp is what libvirt takes around the copying, for a peer of which no other is known.
	defaultSetUp = 500 * time.Millisecond

	// deviceState is about what QEMU sends of a guest with a few virtio devices.
	deviceState = 512 << 10
)

// Measure finds out how large the guest is and how fast it writes, over span, which counts in
// whole seconds from 1 to 60. A hypervisor that cannot measure gives a load without a dirty rate
// and no error. When ctx ends first, its error is returned.
func Measure(ctx context.Context, h Gauge, guest string, span time.Duration) (libvirt.Load, error) {
	started := h.StartDirtyRate(ctx, guest, span) == nil
	wait := span
	for {
		if started {
			if err := sleep(ctx, wait); err != nil {
				return libvirt.Load{}, fmt.Errorf("measure guest %q: %w", guest, err)
			}
		}
		load, err := h.Load(ctx, guest)
		if err != nil {
			return libvirt.Load{}, fmt.Errorf("measure guest %q: %w", guest, err)
		}
		if !started {
			load.Dirty = libvirt.Dirty{} // of some other time
		}
		if !started || load.Dirty.Measured {
			return load, nil
		}
		wait = measureSlip
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LoadFor turns a guest's load, and what is remembered of the guest, into what package drain predicts from, for a move
// over the link that has to stay within the budget.
func LoadFor(load libvirt.Load, known Profile, link Link, budget time.Duration) drain.Load {
	// QEMU does not count the device state when it looks whether the rest is within the limit.
	device := seconds(deviceState, cmp.Or(link.Bandwidth, usualLink))
	l := drain.Load{
		Memory: used(load), DirtyRate: float64(load.Dirty.Rate), Device: deviceState,
		Limit: defaultFirst + device, Budget: budget, HandOver: link.handOver(),
	}
	if known.Touched > 0 {
		l.Memory = uint64(float64(l.Memory) * known.Touched)
	}
	l.DirtyRate, l.WorkingSet = known.writes(load.Dirty)
	l.WorkingSet = min(l.WorkingSet, l.Memory)
	return l
}

// writes is how fast the guest writes, and its working set, 0 where that is not known. What a move showed is finer than
// QEMU's samples; where they are far from it, the guest has changed since.
func (p Profile) writes(d libvirt.Dirty) (rate float64, set uint64) {
	const far = 1.5
	measured, learned := float64(d.Rate), float64(p.DirtyRate)
	set = p.WorkingSet
	if d.Measured && measured*measureSpan.Seconds() > far*float64(set) {
		set = 0 // so much is written in the span alone
	}
	if d.Measured && (learned == 0 || measured > learned*far || measured*far < learned) {
		return measured, set
	}
	return cmp.Or(learned, measured), set
}

// used is what the first pass sends: the process holds some memory of its own too.
func used(load libvirt.Load) uint64 {
	if load.Resident == 0 {
		return load.Memory
	}
	if load.Memory == 0 {
		return load.Resident
	}
	return min(load.Memory, load.Resident)
}

func (l Link) handOver() time.Duration {
	return cmp.Or(time.Duration(l.HandOverMS*float64(time.Millisecond)), defaultHandOver)
}

func (l Link) setUp() time.Duration {
	return cmp.Or(time.Duration(l.SetUpMS*float64(time.Millisecond)), defaultSetUp)
}

// Forecast is how a move was expected to go, by what was known just before it. Its names are those of
// the record's measured values.
type Forecast struct {
	Rung       ladder.Rung `json:"means"`
	DurationMS float64     `json:"duration_ms"` // of the steps "migrate": see Record.MigrateMS
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

// recallGuest takes over what earlier moves taught of the guest.
func (m *mover) recallGuest() {
	guests, err := ReadGuests(m.deps.Guests)
	if err != nil {
		m.log.WithError(err).Warn("what earlier moves taught of the guest is lost")
	}
	m.profile = guests[m.req.Guest].Of(m.uuid)
}

// beginMeasuring asks for the dirty rate before the move has its turn, so that the wait for that measures,
// unless it was measured not long ago. The connection is given back: a queue may be long, and
// libvirtd started again meanwhile.
func (m *mover) beginMeasuring(ctx context.Context) {
	if m.req.Adopt || !m.driver.JobControl {
		return // a guest that moves already cannot be measured
	}
	ctx, cancel := context.WithTimeout(ctx, measureMost)
	defer cancel()
	if m.source.connect(ctx, measureMost) != nil {
		return // the pre-flight will say so
	}
	defer m.source.close()
	load, err := m.source.host.Load(ctx, m.req.Guest)
	if err == nil {
		m.load = load
	}
	if err == nil && load.Dirty.Measured && time.Since(load.Dirty.Since).Abs() < measureFresh {
		m.measured = time.Now()
		return
	}
	m.load.Dirty = libvirt.Dirty{} // of some other time
	if err := m.source.host.StartDirtyRate(ctx, m.req.Guest, measureSpan); err != nil {
		m.log.WithError(err).Debug("the dirty rate cannot be measured")
		return
	}
	m.measured = time.Now().Add(measureSpan + measureSlip)
}

// predict puts into the record what is known of the guest, and how the move should go. It waits for the
// end of a measurement only where there is time for that, and it tells more than the first pass will.
func (m *mover) predict(ctx context.Context) {
	defer m.step("predict")()
	ctx, cancel := m.before(ctx)
	defer cancel()
	m.spareMemory(ctx)
	if !m.askLoad(ctx) {
		return
	}
	m.profile = m.profile.Of(m.uuid)
	wait := time.Until(m.measured)
	if !m.load.Dirty.Measured && wait > 0 && m.left() >= measureWindow && m.worthMeasuring() {
		_ = sleep(ctx, wait) // ends early with ctx alone, which the next step sees
		m.askLoad(ctx)
	}
	m.rec.Used = used(m.load)
	if m.load.Dirty.Measured {
		m.rec.DirtyRate = &m.load.Dirty.Rate
	}
	if m.queued.granted != nil && (m.load.Dirty.Measured || m.profile.Moves > 0) {
		m.queued.granted.Update(LoadFor(m.load, m.profile, m.link, m.budget()))
	}
	if f, ok := m.forecast(); ok {
		f.addDisks(m.carried, m.req.Bandwidth > 0)
		m.rec.Predicted = &f
	}
}

// spareMemory bounds the cache of XBZRLE by what the source can spare: a quarter of what it has free, as other guests may
// leave at the same time, and nothing where the guest's process is killed beyond a limit of its own.
func (m *mover) spareMemory(ctx context.Context) {
	if m.policy.Delta == 0 {
		return
	}
	if g := m.portable; g != nil && g.MemoryTune != nil && g.MemoryTune.HardLimit != nil {
		m.policy.Delta = 0
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	free, err := m.source.host.FreeMemory(ctx)
	if err != nil {
		m.log.WithError(err).Debug("what memory the source can spare is not known")
	}
	m.policy.Delta = min(m.policy.Delta, free/4) // 0 with an error
}

// forecast runs the rule on what is known. ok is false where that is too little.
func (m *mover) forecast() (_ Forecast, ok bool) {
	var promised State
	m.promise(&promised)
	o := m.outlook(promised)
	if o.rate == 0 || o.used == 0 {
		return Forecast{}, false
	}
	c := m.policy.foresee(o)
	last := seconds(uint64(float64(c.rest)*c.packed(o)), o.last)
	device := cmp.Or(time.Duration(median(m.profile.DevicesMS)*float64(time.Millisecond)), seconds(deviceState, o.last))
	handOver := cmp.Or(time.Duration(median(m.profile.HandOversMS)*float64(time.Millisecond)), m.link.handOver())
	pause := last + device + handOver
	return Forecast{
		Rung: c.means, DurationMS: millis(m.link.setUp() + c.took + pause + c.after), PauseMS: millis(pause),
		LastCopyMS: millis(last + device), LastCopy: c.rest, BlackoutMS: millis(pause) + m.link.RelearnMS,
		Bytes: c.bytes, Passes: c.passes, Throttle: c.throttle, Kept: c.ends && pause <= m.budget(),
		Bandwidth: min(cmp.Or(o.pace, o.rate), o.rate), Compressed: c.compression != "", Compression: c.compression,
	}, true
}

// outlook is what is known before the migration begins, with what is promised.
func (m *mover) outlook(promised State) outlook {
	load := LoadFor(m.load, m.profile, m.link, m.budget())
	o := outlook{
		used: load.Memory, dirty: uint64(load.DirtyRate), set: load.WorkingSet,
		pace: m.pace() << 20, rate: m.bandwidth(), reckoned: m.switchover(false) << 20, deltas: m.switchover(true) << 20,
		shrink: cmp.Or(m.profile.Shrink, usualShrink), delta: max(cmp.Or(m.profile.Delta, usualDelta), leastDelta),
		window: m.left(), restart: m.link.setUp(), promises: promised,
	}
	if o.pace >= o.rate {
		o.pace = 0
	}
	o.last = max(cmp.Or(m.link.LastCopy, m.link.Bandwidth), o.rate)
	if m.link.LastCopy == 0 && m.req.Bandwidth > 0 {
		o.last = max(o.last, usualLink) // the bound says nothing of the link
	}
	return o
}

// askLoad leaves out a dirty rate of some other time.
func (m *mover) askLoad(ctx context.Context) (ok bool) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	load, err := m.source.host.Load(ctx, m.req.Guest)
	if err != nil {
		m.log.WithError(err).Debug("the guest's load is not known")
		return false
	}
	if m.measured.IsZero() {
		load.Dirty = libvirt.Dirty{}
	}
	m.load = load
	return true
}

func (m *mover) worthMeasuring() bool {
	switch rate := m.bandwidth(); {
	case m.profile.DirtyRate > 0:
		return false // an earlier move has told
	case rate == 0:
		return used(m.load) >= measureBytes
	default:
		return seconds(used(m.load), rate) >= measureWorth
	}
}

// within is what a migration may put on the link, in bytes per second, when most, where not 0, bounds it; 0
// where neither is known.
func (l Link) within(most uint64) uint64 {
	if l.Bandwidth == 0 || most > 0 && most < l.Bandwidth {
		return most
	}
	return l.Bandwidth
}

func (m *mover) bandwidth() uint64 { return m.link.within(m.req.Bandwidth << 20) }

// promise is what the rule may reckon with before the begin. For the guest to be easy, half of the bandwidth
// is left for what a second's measurement did not see.
func (m *mover) promise(s *State) {
	rate := m.bandwidth()
	if rate == 0 || used(m.load) == 0 || !m.load.Dirty.Measured && m.profile.DirtyRate == 0 {
		return
	}
	ceiling := m.policy.ceiling()
	load := LoadFor(m.load, m.profile, m.link, ceiling+m.link.handOver())
	// What is remembered does not count where the guest writes more by now, see Profile.writes.
	s.Set = load.WorkingSet
	if s.Set == 0 { // no more than the first pass leaves
		first := seconds(used(m.load), rate)
		s.Set = min(used(m.load), uint64(float64(m.load.Dirty.Rate)*first.Seconds()))
	}
	s.Easy = drain.Predict(load, float64(rate)/2, ladder.Live).Kept
	if m.link.AtLeast && (m.req.Bandwidth == 0 || m.req.Bandwidth<<20/10*9 > m.link.Bandwidth) {
		return // the passes will tell whether the link carries enough
	}
	plain := drain.Predict(load, float64(rate), ladder.Live)
	stuck := plain.Need != nil
	// What it writes in a second is the least that a last copy would have, once passes take no less.
	least := uint64(load.DirtyRate)
	if load.WorkingSet > 0 {
		least = min(least, load.WorkingSet)
	}
	if stuck && seconds(least, rate) > m.policy.Long {
		s.Needs = plain.Need.Throttle
	}
	if stuck || m.policy.late(plain.Duration, m.left()) {
		// QEMU reckons with what is on the wire when it looks whether the rest is within the limit.
		load.Budget = ceiling/usualShrink + m.link.handOver()
		s.Packs = drain.Predict(load, float64(rate)*usualShrink, ladder.Live).Kept
	}
	s.DeltaPays = m.policy.deltaPays(m.outlook(*s))
}

// means are the rungs that this engine may take, from the gentlest on.
func (m *mover) means() []ladder.Rung {
	means := []ladder.Rung{ladder.Live}
	if !m.req.NoConverge {
		means = append(means, ladder.Converge)
	}
	if m.policy.PostCopy {
		means = append(means, ladder.PostCopy)
	}
	return means
}
