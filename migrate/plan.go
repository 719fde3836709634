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

// planner decides how the migration is started, and predicts how it goes, from what is known of the guest and the link.
type planner struct {
	*job
	req     *Request
	copier  *copier
	known   predict.Known
	hurries func() bool // others waited for the end of this move when it was first asked

	policy convergence.Policy
	try    attempt // how the migration under way was started
	trend  convergence.Trend
}

// recall reads what earlier moves taught of the link and of the guest.
func (p *planner) recall() {
	p.known = predict.Known{Budget: p.req.budget(), Bound: p.req.Bandwidth << 20}
	links, err := history.ReadLinks(p.deps.Links)
	if err != nil {
		p.log.WithError(err).Warn("the history of the link cannot be read")
	}
	guests, err := history.ReadGuests(p.deps.Guests)
	if err != nil {
		p.log.WithError(err).Warn("the history of the guest cannot be read")
	}
	p.known.Link, p.known.Guest = links[p.req.Target], guests[p.req.Guest].Of(p.uuid)
}

// beginMeasuring asks for the dirty rate before the move is admitted, so that the wait for that measures. The
// connection is given back: a queue may be long, and libvirtd started again meanwhile.
func (p *planner) beginMeasuring(ctx context.Context) {
	if p.req.Adopt || !p.driver.JobControl {
		return // a guest that moves already cannot be measured
	}
	ctx, cancel := context.WithTimeout(ctx, measureMost)
	defer cancel()
	if p.source.Connect(ctx, measureMost) != nil {
		return // the pre-flight will say so
	}
	defer p.source.Close()
	if err := p.known.Begin(ctx, p.source.Host, p.req.Guest); err != nil {
		p.log.WithError(err).Debug("the dirty rate cannot be measured")
	}
}

// predict puts into the record what is known of the guest, and how the move should go. It waits for the
// end of a measurement only where there is time for that, and it shows more than the first pass will.
func (p *planner) predict(ctx context.Context, update func(predict.Load)) {
	defer p.step("predict")()
	ctx, cancel := p.before(ctx)
	defer cancel()
	cache, err := xbzrleCache(ctx, p.source.Host, p.found.Guest, p.policy.XBZRLECache)
	if p.policy.XBZRLECache = cache; err != nil {
		p.log.WithError(err).Debug("the source's free memory is not known")
	}
	if !p.refreshLoad(ctx) {
		return
	}
	k := &p.known
	k.Guest = k.Guest.Of(p.uuid)
	if left := time.Until(k.Ready); left > 0 && k.WorthMeasuring(p.left()) {
		_ = wait.For(ctx, left) // ends early with ctx alone, which the next step sees
		p.refreshLoad(ctx)
	}
	p.rec.Used = k.Used()
	if k.Load.Dirty.Measured {
		p.rec.DirtyRate = &k.Load.Dirty.Rate
	}
	if k.Load.Dirty.Measured || k.Guest.Moves > 0 {
		update(k.LoadWithin(k.Budget))
	}
	if f, ok := k.Forecast(p.planned()); ok {
		addDisks(&f, p.copier.Bytes(), p.copier.Cost(p.req.Bandwidth > 0))
		p.rec.Predicted = &f
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

func (p *planner) refreshLoad(ctx context.Context) (ok bool) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	err := p.known.Refresh(ctx, p.source.Host, p.req.Guest)
	if err != nil {
		p.log.WithError(err).Debug("the guest's load is not known")
	}
	return err == nil
}

// planned is how the engine will begin the migration.
func (p *planner) planned() predict.Plan {
	return predict.Plan{Policy: p.policy, Left: p.left(), Pace: p.pace() << 20,
		Switchover: p.switchover(false) << 20, SwitchoverXBZRLE: p.switchover(true) << 20}
}

// stateOf is what the rule decides from; before the begin, of a job that is not there yet.
func (p *planner) stateOf(s libvirt.JobStats) convergence.State {
	k := &p.known
	s.Rate = convergence.PageRate(s, p.try.cache > 0, p.try.compress, cmp.Or(k.Rate(), p.rec.Rate))
	out := convergence.State{
		Active: s.Active, Elapsed: s.Elapsed - p.copier.Took, Left: p.left(), Iteration: s.Iteration,
		Sent: s.Processed, Remaining: s.Remaining, Used: k.Used(), Rate: s.Rate, DirtyRate: s.DirtyRate,
		AutoConverge: p.try.throttle > 0 || p.found.Adopted, Throttle: s.Throttle, Switched: p.events.InPostCopy(),
		Link: k.Rate(), Disks: p.copier.Bytes(),
		WorkingSet: k.Guest.WorkingSet, XBZRLE: p.try.cache > 0, XBZRLERatio: k.Guest.Delta,
	}
	if !out.Begun() {
		k.Expect(p.planned(), &out)
	}
	p.trend.Observe(&out, s, p.policy.Window, time.Now())
	return out
}

const (
	// paceLeast and paceTime bound what a first pass puts on the wire where nobody requested a bound: a guest is
	// copied in paceTime at the quickest, and never slower than paceLeast for that. QEMU fills the buffers of the
	// connection faster than the target empties them, and what is in them when the guest is stopped
	// is part of the pause: of a small guest that is over before the flood has ended.
	paceLeast = 128 // MiB/s
	paceTime  = time.Second
)

// firstAttempt is how the rule wants the migration started.
func (p *planner) firstAttempt() attempt {
	d := p.policy.Decide(p.stateOf(libvirt.JobStats{}))
	return attempt{throttle: d.Throttle, postCopy: p.policy.PostCopy, connections: d.Connections, compress: d.Compress,
		cache: d.XBZRLECache, switchover: p.switchover(d.XBZRLECache > 0), pace: p.pace()}
}

// pace is the bound of the first passes in MiB/s, 0 for none: the binding has the bound hold for a post-copy too, and
// only one that was requested is lifted at the switch.
func (p *planner) pace() uint64 {
	if !p.driver.JobControl || p.req.Bandwidth > 0 || p.policy.PostCopy || !p.copier.Empty() || p.known.Used() == 0 ||
		p.hurries() {
		return 0
	}
	return max(paceLeast, uint64(float64(p.known.Used()>>20)/paceTime.Seconds()))
}

// switchover is what the last copy may reckon with where the passes are bounded to less than the link carries:
// QEMU lifts the bound for it, and does not know how much that helps. Half of the link is left for others. XBZRLE does
// not fill the link, and QEMU would take what it sends for all that the link carries.
func (p *planner) switchover(deltas bool) uint64 {
	if !p.driver.JobControl {
		return 0
	}
	if deltas {
		return max(cmp.Or(p.known.Link.Bandwidth, p.rec.Rate)>>21, p.known.Rate()>>20)
	}
	if half := p.known.Link.Bandwidth >> 21; p.req.Bandwidth > 0 && half > p.req.Bandwidth {
		return half
	}
	return 0
}

// setPolicy divides the time, and makes the policy of it and of what is known of the link.
func (p *planner) setPolicy(ctx context.Context) {
	var span time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		span = time.Until(deadline)
		*p.window = windowUntil(deadline)
	}
	r, o := p.req, p.req.Options
	policy := convergence.NewPolicy(convergence.Pause{Budget: r.BlackoutBudget, Longest: r.DowntimeLimit,
		HandOver: p.known.Link.HandOver()}, span)
	policy.Firm, policy.ForceAfter = r.Firm, r.PauseAfter
	policy.AutoConverge, policy.PostCopy = !r.NoConverge, r.PostCopy
	// With several connections QEMU 10.0 does not give a migration up while the link is cut, and answers nothing
	// meanwhile: only who asks for them gets them.
	policy.SingleConnection = !o.Parallel // which applyCapabilities took out where the driver has none
	policy.Compress = !o.Compressed && !o.Tunnelled && !o.ZeroCopy
	if policy.Compress && policy.SingleConnection && p.driver.JobControl {
		policy.XBZRLECache = convergence.MaxXBZRLECache
	}
	p.policy = policy
}

// admissionRequest is what is known of the guest by now. Its dirty rate is being measured: until that is done the
// guest is taken to be idle.
func (p *planner) admissionRequest() AdmissionRequest {
	return AdmissionRequest{
		Guest: p.req.Guest, UUID: p.uuid, Target: p.req.Target,
		Load: p.known.LoadWithin(p.req.budget()), Measured: p.awaitLoad,
		Rate: float64(p.known.Link.Bandwidth), Most: float64(p.req.Bandwidth << 20), SetUp: p.known.Link.SetUp(),
		Rungs:    ladder.Techniques{Throttle: p.policy.AutoConverge, PostCopy: p.policy.PostCopy}.Rungs(),
		Deadline: p.abortAt,
	}
}

// awaitLoad is an AdmissionRequest's Measured. It has a connection of its own, and writes nothing of p's.
func (p *planner) awaitLoad(ctx context.Context) (predict.Load, bool) {
	if p.known.Load.Dirty.Measured || p.known.Ready.IsZero() || wait.For(ctx, time.Until(p.known.Ready)) != nil {
		return predict.Load{}, false
	}
	own := separate(&p.source)
	defer own.Close()
	if own.Connect(ctx, endpoint.LookTime) != nil {
		return predict.Load{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	known := p.known
	err := known.Refresh(ctx, own.Host, p.req.Guest)
	return known.LoadWithin(known.Budget), err == nil && known.Load.Dirty.Measured
}
