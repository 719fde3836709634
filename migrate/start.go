package migrate

import (
	"cmp"
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// paceLeast and paceTime bound what a first pass puts on the wire where nobody requested a bound: a guest is
	// copied in paceTime at the quickest, and never slower than paceLeast for that. QEMU fills the buffers of the
	// connection faster than the target empties them, and what is in them when the guest is stopped
	// is part of the pause: of a small guest that is over before the flood has ended.
	paceLeast = 128 // MiB/s
	paceTime  = time.Second
)

// firstAttempt is how the rule wants the migration started.
func (m *mover) firstAttempt() attempt {
	d := m.policy.Decide(m.state(libvirt.JobStats{}))
	return attempt{throttle: d.Throttle, postCopy: m.policy.PostCopy, connections: d.Connections, compress: d.Compress,
		cache: d.XBZRLECache, switchover: m.switchover(d.XBZRLECache > 0), pace: m.pace()}
}

// pace is the bound of the first passes in MiB/s, 0 for none: the binding has the bound hold for a post-copy too, and
// only one that was requested is lifted at the switch.
func (m *mover) pace() uint64 {
	if !m.driver.JobControl || m.req.Bandwidth > 0 || m.policy.PostCopy || !m.disks.Empty() || m.known.Used() == 0 ||
		m.hurries() {
		return 0
	}
	return max(paceLeast, uint64(float64(m.known.Used()>>20)/paceTime.Seconds()))
}

// switchover is what the last copy may reckon with where the passes are bounded to less than the link carries:
// QEMU lifts the bound for it, and does not know how much that helps. Half of the link is left for others. XBZRLE does
// not fill the link, and QEMU would take what it sends for all that the link carries.
func (m *mover) switchover(deltas bool) uint64 {
	if !m.driver.JobControl {
		return 0
	}
	if deltas {
		return max(cmp.Or(m.known.Link.Bandwidth, m.rec.Rate)>>21, m.known.Rate()>>20)
	}
	if half := m.known.Link.Bandwidth >> 21; m.req.Bandwidth > 0 && half > m.req.Bandwidth {
		return half
	}
	return 0
}

// admissionRequest is what is known of the guest by now. Its dirty rate is being measured: until that is done the
// guest is taken to be idle.
func (m *mover) admissionRequest() AdmissionRequest {
	return AdmissionRequest{
		Guest: m.req.Guest, UUID: m.uuid, Target: m.req.Target,
		Load: m.known.LoadWithin(m.budget()), Measured: m.awaitLoad,
		Rate: float64(m.known.Link.Bandwidth), Most: float64(m.req.Bandwidth << 20), SetUp: m.known.Link.SetUp(),
		Rungs: rungsOf(m.policy), Deadline: m.abortAt,
	}
}

// awaitLoad is an AdmissionRequest's Measured. It has a connection of its own, and writes nothing of m's.
func (m *mover) awaitLoad(ctx context.Context) (predict.Load, bool) {
	if m.known.Load.Dirty.Measured || m.known.Ready.IsZero() || wait.For(ctx, time.Until(m.known.Ready)) != nil {
		return predict.Load{}, false
	}
	own := separate(&m.source)
	defer own.Close()
	if own.Connect(ctx, lookTime) != nil {
		return predict.Load{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	known := m.known
	err := known.Refresh(ctx, own.Host, m.req.Guest)
	return known.LoadWithin(known.Budget), err == nil && known.Load.Dirty.Measured
}
