package migrate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// TestXBZRLE has a window of 80 s.
func TestXBZRLE(t *testing.T) {
	const s = time.Second
	begin := State{Left: 70 * s, Used: gib, Link: 100 * mib, Set: 200 * mib, DeltaPays: true, Needs: 45}
	busy := State{Iteration: 4, Left: 60 * s, Sent: gib, Used: gib, Remaining: 150 * mib, Rate: 100 * mib, DirtyRate: 300 * mib,
		Best: 2 * s, Stale: 2, Stagnant: 6 * s, Link: 100 * mib, Set: 200 * mib}
	with := func(x State, change func(*State)) State { change(&x); return x }
	as := func(*Policy) {}
	for _, c := range []struct {
		name     string
		may      func(*Policy)
		state    State
		cache    uint64 // MiB
		throttle int
	}{
		{"begin, predicted not to converge: before a throttle", as, begin, 512, 0},
		{"begin, a small set: QEMU's own size", as, with(begin, func(x *State) { x.Set = mib }), 64, 0},
		{"begin, a set of just half a cache", as, with(begin, func(x *State) { x.Set = 256 * mib }), 512, 0},
		{"begin, a byte more", as, with(begin, func(x *State) { x.Set = 256*mib + 1 }), 1024, 0},
		{"begin, a set that no cache holds", as, with(begin, func(x *State) { x.Set = gib }), 0, 45},
		{"begin, no set is known", as, with(begin, func(x *State) { x.Set = 0 }), 0, 45},
		{"begin, predicted to converge", as, with(begin, func(x *State) { x.DeltaPays, x.Needs, x.Easy = false, 0, true }), 0, 0},
		{"begin, what it sent was no smaller the last time", as, with(begin, func(x *State) { x.Delta = 0.7 }), 0, 45},
		{"begin, it was a tenth", as, with(begin, func(x *State) { x.Delta = 0.1 }), 512, 0},
		{"begin, one thread does not fill the link", as, with(begin, func(x *State) { x.Link = 500 * mib }), 0, 45},
		{"begin, zstd is enough", func(p *Policy) { p.Compress, p.Single = true, false }, with(begin, func(x *State) { x.Packs = true }), 0, 0},
		{"begin, zstd is not", func(p *Policy) { p.Compress, p.Single = true, false }, begin, 512, 0},
		{"begin, not allowed", func(p *Policy) { p.Delta = 0 }, begin, 0, 45},
		{"begin, the source has just enough memory", func(p *Policy) { p.Delta = 512 * mib }, begin, 512, 0},
		{"begin, the source has less memory", func(p *Policy) { p.Delta = 512*mib - 1 }, begin, 0, 45},
		{"begin, post-copy takes no deltas", func(p *Policy) { p.PostCopy = true }, begin, 0, 45},
		{"begin, no link is known: one connection", func(p *Policy) { p.Single = false }, with(begin, func(x *State) { x.Link = 0 }), 512, 0},

		{"passes do not come below the limit: begin again", as, busy, 512, 0},
		{"no throttle allowed: the same", func(p *Policy) { p.Throttle = false }, busy, 512, 0},
		{"a pause of up to 2 s would do: the same", as, with(busy, func(x *State) { x.Best = s }), 512, 0},
		{"they do come below it", as, with(busy, func(x *State) { x.Best = 300 * time.Millisecond }), 0, 0},
		{"they became shorter a moment ago", as, with(busy, func(x *State) { x.Stagnant = s }), 0, 0},
		{"no link is known, and one thread does not fill it", as, with(busy, func(x *State) { x.Link, x.Rate = 0, 500*mib }), 0, 20},
		{"the link carries more than was known", as, with(busy, func(x *State) { x.Rate = 500 * mib }), 0, 20},
		{"no time to begin again", as, with(busy, func(x *State) { x.Left = 30 * s }), 0, 0},
		{"begun with a throttle: it has its time", as, with(busy, func(x *State) { x.Throttled, x.Percent = true, 20 }), 0, 20},
		{"begun with it, and that is not enough: a throttle too", as, with(busy, func(x *State) { x.Deltas, x.Best = true, 3*s }), 512, 20},
		{"begun with it, and it converges", as, with(busy, func(x *State) { x.Deltas, x.Stale = true, 0 }), 512, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPolicy(0, 0, 50*time.Millisecond, 80*s)
			p.Throttle, p.Delta, p.Single = true, mostCache, true
			c.may(&p)
			d := p.Decide(c.state)
			if d.Cache != c.cache*mib || d.Throttle != c.throttle || d.Cache > 0 && d.Connections > 0 {
				t.Errorf("%+v, want a cache of %d MiB and a throttle of %d", d, c.cache, c.throttle)
			}
		})
	}
}

// The guest that earlier moves have shown to write one set again and again leaves with XBZRLE at once, and what it sent is
// remembered.
func TestXBZRLEFromTheBegin(t *testing.T) {
	known := Profile{UUID: guestUUID, WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 2}
	for _, c := range []struct {
		name  string
		spoil func(*pair, *Profile)
		cache uint64 // MiB
		how   string // on record
	}{
		{"as remembered", func(*pair, *Profile) {}, 256, "xbzrle"},
		{"another guest of its name", func(_ *pair, p *Profile) { p.UUID = "99999999-2222-3333-4444-555555555555" }, 0, ""},
		{"it hardly wrote", func(_ *pair, p *Profile) { p.DirtyRate = mib }, 0, ""},
		{"the source is short of memory", func(p *pair, _ *Profile) { p.source.free = 512 * mib }, 0, ""},
		{"its process has a limit", func(p *pair, _ *Profile) {
			p.source.xml = strings.Replace(p.source.xml, "<memory ", "<memtune><hard_limit>700000</hard_limit></memtune><memory ", 1)
		}, 0, ""},
		{"several connections were requested", func(p *pair, _ *Profile) { p.req.Options.Parallel = true }, 0, ""},
		{"the operator has a method of his own", func(p *pair, _ *Profile) { p.req.Options.Compressed = true }, 0, "xbzrle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, profile := newPair(t), known
				p.known(Link{Bandwidth: 100 << 20})
				p.source.load = libvirt.Load{Memory: 600 << 20}
				p.target.xbzrle = libvirt.XBZRLEStats{Pages: 75, Misses: 25, Bytes: 75 * 1024, Page: 4096}
				c.spoil(p, &profile)
				p.remembered(profile)
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || len(p.source.params) != 1 {
					t.Fatalf("%v after %d attempts", err, len(p.source.params))
				}
				if got := p.last().XBZRLECache; got != c.cache*mib || rec.Cache != got || rec.Compression != c.how {
					t.Errorf("cache %d, and on record %d with %q; want %d MiB", got, rec.Cache, rec.Compression, c.cache)
				}
				if rec.HitRate == nil || *rec.HitRate != 0.75 {
					t.Errorf("hit rate %v, as libvirt tells at the end", rec.HitRate)
				}
				if rec.Predicted == nil || rec.Predicted.Compressed != (c.cache > 0) {
					t.Errorf("predicted %+v, and done with %q", rec.Predicted, rec.Compression)
				}
			})
		})
	}
}

// A hypervisor that refuses XBZRLE gets what XBZRLE was to spare the guest.
func TestXBZRLERefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.known(Link{Bandwidth: 100 << 20})
		p.source.load = libvirt.Load{Memory: 600 << 20}
		p.remembered(Profile{UUID: guestUUID, WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 2})
		p.source.migrate = func(context.Context) error {
			if p.last().XBZRLECache > 0 {
				return errors.New("migration parameter 'bandwidth.avail.switchover' not supported")
			}
			p.copy()
			p.switchover()
			return nil
		}
		_, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(p.source.params) != 2 || !p.last().AutoConverge || p.last().Switchover > 0 {
			t.Errorf("%v after %+v", err, p.source.params)
		}
	})
}

// Where nothing is known of the link, what the passes have shown of it counts: XBZRLE does not fill it.
func TestXBZRLEOverUnknownLink(t *testing.T) {
	m := newMover(Request{SourceURI: sourceURI}, Deps{})
	m.try.cache, m.rec.Rate = 64*mib, 100*mib
	rate := m.pageRate(libvirt.JobStats{Iteration: 3, Rate: mib})
	if got := m.switchover(true); got != 50 || rate != 100*mib {
		t.Errorf("the last copy reckons with %d MiB/s, the rule with %d", got, rate)
	}
}

// What is promised of a guest that wrote 300 MiB/s to 90 MiB when it was last moved.
func TestXBZRLEPromised(t *testing.T) {
	for _, c := range []struct {
		name     string
		link     Link
		bound    uint64 // MiB/s
		measured uint64 // MiB/s, 0 for none
		set      uint64 // MiB
		want     bool
	}{
		{"as remembered", Link{Bandwidth: 100 * mib}, 0, 0, 90, true},
		{"the link may carry more", Link{Bandwidth: 100 * mib, AtLeast: true}, 0, 0, 90, false},
		{"and a bound is above what it has shown", Link{Bandwidth: 100 * mib, AtLeast: true}, 200, 0, 90, false},
		{"the bound is what holds", Link{Bandwidth: 100 * mib, AtLeast: true}, 100, 0, 90, true},
		{"it writes to far more now", Link{Bandwidth: 100 * mib}, 0, 800, 600, false},
	} {
		m := newMover(Request{SourceURI: sourceURI, Bandwidth: c.bound}, Deps{})
		m.link, m.load = c.link, libvirt.Load{Memory: 600 * mib}
		m.load.Dirty = libvirt.Dirty{Measured: c.measured > 0, Rate: c.measured * mib}
		m.profile = Profile{WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 1}
		m.policy = newPolicy(0, 0, 50*time.Millisecond, 0)
		m.policy.Throttle, m.policy.Delta, m.policy.Single = true, mostCache, true
		s := State{Set: m.profile.WorkingSet}
		if m.promise(&s); s.DeltaPays != c.want || s.Set != c.set*mib {
			t.Errorf("%s: it pays: %v, with a set of %d MiB", c.name, s.DeltaPays, s.Set/mib)
		}
	}
}
