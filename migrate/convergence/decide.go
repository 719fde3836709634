package convergence

import (
	"fmt"
	"time"
)

// Decision is what is wanted now. It does not remember: the engine never lowers a limit, and
// switches and gives up once.
type Decision struct {
	DowntimeLimit time.Duration
	Throttle      int    // initial per cent of auto-converge, 0 for none
	Connections   int    // parallel ones, 0 for one; of use before the begin alone
	Compress      bool   // by zstd, on Connections; of use before the begin alone
	XBZRLECache   uint64 // bytes, a power of two; 0 for no XBZRLE
	PostCopy      bool   // switch to post-copy now
	GiveUp        string // why the migration cannot succeed, empty while it may
}

// Compression is the method of it, as libvirt names it; empty for none.
func (d Decision) Compression() string {
	switch {
	case d.Compress:
		return "zstd"
	case d.XBZRLECache > 0:
		return "xbzrle"
	}
	return ""
}

// Decide is the rule. Passes that do not come below Max are met by the first of these that is allowed and of use:
//
//	XBZRLE         sends what changed of a page, and costs the guest nothing   begin.go
//	longer pause   up to HardMax                                               downtime.go
//	auto-converge  slows the guest down                                        begin.go
//	post-copy      after auto-converge has had its time                        decide.go
//
// QEMU takes XBZRLE, auto-converge, compression and parallel connections at the begin only: they are wanted then where
// a prediction says that they will be needed. Where passes show later that XBZRLE or auto-converge is needed, and there
// is time, the migration is started again with it.
//
// A guest that runs at the target already is beyond deciding.
func (p Policy) Decide(s State) Decision {
	d := Decision{DowntimeLimit: p.downtime(s)}
	if s.Switched {
		return d
	}
	d.GiveUp = p.giveUp(s)
	if d.GiveUp != "" {
		return d
	}
	d.XBZRLECache, d.Throttle = p.xbzrle(s), p.throttle(s)
	if d.XBZRLECache > 0 && !s.XBZRLE && !s.AutoConverge {
		d.Throttle = 0 // later, if that is not enough
	}
	d.PostCopy = p.switches(s) && (d.Throttle == 0 || s.AutoConverge)
	switch {
	case s.Begun() || p.PostCopy || p.SingleConnection || d.XBZRLECache > 0:
	case p.compresses(s):
		d.Connections, d.Compress = compressors, true
	case s.Link >= wideLink && s.Used >= manyBytes:
		d.Connections = connections
	}
	return d
}

const (
	convergeTime = 30 * time.Second // what a throttle gets to work without a window, before post-copy
	endless      = 5 * time.Minute  // what a migration without a window gets to converge
)

// switches reports whether post-copy is wanted: passes do not come below Max, and throttling, where that is allowed,
// has had half of the window or all that it can take; or it would soon be too late to get the rest across.
func (p Policy) switches(s State) bool {
	// The pages that the guest waits for come first, and each costs a round trip: half as much time again.
	rest := TransferTime(s.Remaining, s.Rate)*3/2 + 2*time.Second
	if !p.PostCopy || s.Iteration < 2 || s.Best <= p.Ceiling() || p.Window > 0 && s.Left <= rest {
		return false
	}
	if p.Window > 0 && s.Left <= 3*rest {
		return true // soon it is too late
	}
	early := s.Repeated < convergeTime
	if p.Window > 0 {
		early = s.Left > p.Window/2
	}
	return p.stuck(s) && (!p.AutoConverge || s.Throttle >= throttleMost || !early)
}

// giveUp says why the migration cannot succeed: what is left cannot be sent in the time that is left, even if the guest
// is paused; the link carries nothing; or, without a window, it does not converge.
func (p Policy) giveUp(s State) string {
	converges := p.PostCopy || p.ForceAfter > 0 && p.UpperBound == 0 || s.Best <= p.Ceiling() ||
		s.AutoConverge && s.Throttle < throttleMost && s.Repeated < 2*endless
	switch {
	case s.Iteration > 0 && s.Quiet >= p.Grace():
		return fmt.Sprintf("the link has carried nothing for %v", s.Quiet.Round(time.Second))
	case s.starved(p.Window) && s.Starved >= p.Grace():
		return fmt.Sprintf("%d MiB are left, and the link carries %.1f MiB/s: "+
			"they would not be sent in the %v that are left",
			s.Remaining>>20, float64(s.Rate)/(1<<20), s.Left.Round(time.Second))
	case p.Window == 0 && s.Repeated >= endless && p.raised(s) >= p.Ceiling() && !converges:
		return fmt.Sprintf("the guest writes so fast that the last copy takes %v, and the downtime limit is %v at most",
			s.Best.Round(time.Millisecond), p.Ceiling())
	}
	return ""
}
