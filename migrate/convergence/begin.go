package convergence

const (
	// ThrottleFirst is where QEMU's auto-converge begins by itself.
	ThrottleFirst = 20

	// wideLink is what one connection does not fill: one thread fills it, and memory is copied twice on
	// its way. Below manyBytes the further connections cost more than they bring.
	wideLink    = 1 << 30 // bytes per second
	manyBytes   = 4 << 30
	connections = 4

	// CompressLink is the fastest link that compressors fill, in bytes per second: each compresses 200 MiB of pages per
	// second (zstd at level 1, on one processor) to a half.
	CompressLink = 200 << 20
	compressors  = 2

	// UsualShrink is by how much memory is taken to shrink. It is not known before: guests' memory shrinks to between a
	// third and not at all.
	UsualShrink = 2

	// MaxXBZRLECache is the most memory of the source for a guest that leaves, and minXBZRLECache QEMU's own default.
	// The cache holds a page at the place that its address gives: twice the working set keeps most pages apart.
	MaxXBZRLECache = 1 << 30
	minXBZRLECache = 64 << 20

	// PoorXBZRLE is where XBZRLE sends so much of a page that it is no use.
	PoorXBZRLE = 0.5
)

// throttle is the per cent at which auto-converge begins, 0 for none. It is wanted where passes do not come below
// HardMax; before the begin, where that is predicted, and where nothing is predicted and there is no time to begin
// again.
func (p Policy) throttle(s State) int {
	percent := min(max(ThrottleFirst, s.ThrottleNeeded), throttleMost)
	switch {
	case !p.AutoConverge:
		return 0
	case s.AutoConverge:
		return max(percent, s.Throttle)
	case s.Begun():
		if p.stuck(s) && p.longer(s) == 0 && p.mayRestart(s) {
			return percent
		}
	case !s.Converges && (s.ThrottleNeeded > 0 && !(s.CompressionHelps && p.compresses(s)) || !p.mayRestart(s)):
		return percent
	}
	return 0
}

// compresses reports whether memory is compressed by zstd: over a link that compressors fill, where the guest then need
// not be throttled, or would take more than half of the time that is left without. It costs the host's processors,
// which is better for the guest than to lose its own.
func (p Policy) compresses(s State) bool {
	long := s.Link > 0 && p.Late(TransferTime(s.Used, s.Link), s.Left)
	return p.Compress && !p.SingleConnection && !p.PostCopy && s.Link <= CompressLink && (s.CompressionHelps || long)
}

// xbzrle is how large a cache XBZRLE gets in bytes, 0 where it is not wanted. One thread encodes all pages, so that
// it is no use on a link that this does not fill. The cache must hold all pages that are written again and again.
func (p Policy) xbzrle(s State) uint64 {
	size, link := cacheFor(s.WorkingSet), s.Link
	if !s.XBZRLE {
		link = max(link, s.Rate) // what is known of it may be none, or too little
	}
	fits := size > 0 && size <= p.XBZRLECache && !p.PostCopy && link <= CompressLink && s.XBZRLERatio < PoorXBZRLE
	switch {
	case !fits:
		return 0
	case s.XBZRLE:
		return size
	case s.Begun():
		if s.AutoConverge || !p.stuck(s) || !p.mayRestart(s) {
			return 0
		}
	case !s.XBZRLEHelps || s.CompressionHelps && p.compresses(s):
		return 0
	}
	return size
}

// cacheFor is the size of the cache for a working set in bytes, a power of two as QEMU wants; 0 where the set is not
// known or too large.
func cacheFor(set uint64) uint64 {
	if set == 0 || set > MaxXBZRLECache/2 {
		return 0
	}
	size := uint64(minXBZRLECache)
	for size < 2*set {
		size *= 2
	}
	return size
}
