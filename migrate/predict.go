package migrate

import (
	"cmp"
	"context"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
)

// measureMost bounds the question that begins a measurement.
const measureMost = 500 * time.Millisecond

// recall reads what earlier moves taught of the link and of the guest.
func (m *mover) recall() {
	m.known = predict.Known{Budget: m.budget(), Bound: m.req.Bandwidth << 20}
	links, err := history.ReadLinks(m.deps.Links)
	if err != nil {
		m.log.WithError(err).Warn("what earlier moves taught of the link is lost")
	}
	guests, err := history.ReadGuests(m.deps.Guests)
	if err != nil {
		m.log.WithError(err).Warn("what earlier moves taught of the guest is lost")
	}
	m.known.Link, m.known.Guest = links[m.req.Target], guests[m.req.Guest].Of(m.uuid)
}

// beginMeasuring asks for the dirty rate before the move is admitted, so that the wait for that measures. The
// connection is given back: a queue may be long, and libvirtd started again meanwhile.
func (m *mover) beginMeasuring(ctx context.Context) {
	if m.req.Adopt || !m.driver.JobControl {
		return // a guest that moves already cannot be measured
	}
	ctx, cancel := context.WithTimeout(ctx, measureMost)
	defer cancel()
	if m.source.Connect(ctx, measureMost) != nil {
		return // the pre-flight will say so
	}
	defer m.source.Close()
	if err := m.known.Begin(ctx, m.source.Host, m.req.Guest); err != nil {
		m.log.WithError(err).Debug("the dirty rate cannot be measured")
	}
}

// predict puts into the record what is known of the guest, and how the move should go. It waits for the
// end of a measurement only where there is time for that, and it tells more than the first pass will.
func (m *mover) predict(ctx context.Context) {
	defer m.step("predict")()
	ctx, cancel := m.before(ctx)
	defer cancel()
	cache, err := xbzrleCache(ctx, m.source.Host, m.found.Guest, m.policy.XBZRLECache)
	if m.policy.XBZRLECache = cache; err != nil {
		m.log.WithError(err).Debug("the source's free memory is not known")
	}
	if !m.refreshLoad(ctx) {
		return
	}
	k := &m.known
	k.Guest = k.Guest.Of(m.uuid)
	if left := time.Until(k.Ready); left > 0 && k.WorthMeasuring(m.left()) {
		_ = wait.For(ctx, left) // ends early with ctx alone, which the next step sees
		m.refreshLoad(ctx)
	}
	m.rec.Used = k.Used()
	if k.Load.Dirty.Measured {
		m.rec.DirtyRate = &k.Load.Dirty.Rate
	}
	if m.queued.granted != nil && (k.Load.Dirty.Measured || k.Guest.Moves > 0) {
		m.queued.granted.Update(k.LoadWithin(k.Budget))
	}
	if f, ok := k.Forecast(m.planned()); ok {
		addDisks(&f, m.disks.Bytes(), m.disks.Cost(m.req.Bandwidth > 0))
		m.rec.Predicted = &f
	}
}

// addDisks adds the copying of disks, which comes before all else and takes nothing from the pause. cost is
// [diskcopy.Copy.Cost].
func addDisks(f *record.Forecast, bytes, cost uint64) {
	f.Disks = bytes
	f.DurationMS += record.Millis(convergence.TransferTime(cost, f.Bandwidth))
}

// xbzrleCache is the largest cache that XBZRLE may have, up to most: a quarter of the source's free memory, as other
// guests may leave at the same time, and nothing where the guest's process is killed beyond a limit of its own.
func xbzrleCache(ctx context.Context, source endpoint.Host, guest *libvirtxml.Domain, most uint64) (uint64, error) {
	if most == 0 || guest != nil && guest.MemoryTune != nil && guest.MemoryTune.HardLimit != nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	free, err := source.FreeMemory(ctx)
	return min(most, free/4), err // 0 with an error
}

func (m *mover) refreshLoad(ctx context.Context) (ok bool) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	err := m.known.Refresh(ctx, m.source.Host, m.req.Guest)
	if err != nil {
		m.log.WithError(err).Debug("the guest's load is not known")
	}
	return err == nil
}

// planned is how the engine will begin the migration.
func (m *mover) planned() predict.Plan {
	return predict.Plan{Policy: m.policy, Left: m.left(), Pace: m.pace() << 20,
		Switchover: m.switchover(false) << 20, SwitchoverXBZRLE: m.switchover(true) << 20}
}

// state is what the rule decides from; before the begin, of a job that is not there yet.
func (m *mover) state(s libvirt.JobStats) convergence.State {
	k := &m.known
	s.Rate = convergence.PageRate(s, m.try.cache > 0, m.try.compress, cmp.Or(k.Rate(), m.rec.Rate))
	out := convergence.State{
		Active: s.Active, Elapsed: s.Elapsed - m.disks.Took, Left: m.left(), Iteration: s.Iteration,
		Sent: s.Processed, Remaining: s.Remaining, Used: k.Used(), Rate: s.Rate, DirtyRate: s.DirtyRate,
		AutoConverge: m.try.throttle > 0 || m.found.Adopted, Throttle: s.Throttle, Switched: m.events.InPostCopy(),
		Link: k.Rate(), Disks: m.disks.Bytes(),
		WorkingSet: k.Guest.WorkingSet, XBZRLE: m.try.cache > 0, XBZRLERatio: k.Guest.Delta,
	}
	if !out.Begun() {
		k.Expect(m.planned(), &out)
	}
	m.trend.Observe(&out, s, m.policy.Window, time.Now())
	return out
}

// rungsOf are those that this engine may take, from the gentlest on.
func rungsOf(p convergence.Policy) []ladder.Rung {
	rungs := []ladder.Rung{ladder.Live}
	if p.AutoConverge {
		rungs = append(rungs, ladder.Converge)
	}
	if p.PostCopy {
		rungs = append(rungs, ladder.PostCopy)
	}
	return rungs
}
