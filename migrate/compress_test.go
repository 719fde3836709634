package migrate

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// TestCompress has a window of 80 s.
func TestCompress(t *testing.T) {
	const s = time.Second
	busy := State{Left: 70 * s, Used: gib, Link: 100 * mib, Needs: 45, Packs: true}
	with := func(change func(*State)) State { x := busy; change(&x); return x }
	for _, c := range []struct {
		name     string
		may      func(*Policy)
		state    State
		compress bool
		throttle int
	}{
		{"instead of a throttle", func(*Policy) {}, busy, true, 0},
		{"half of the bytes are no use: a throttle", func(*Policy) {}, with(func(x *State) { x.Packs = false }), false, 45},
		{"an easy guest", func(*Policy) {}, with(func(x *State) { x.Packs, x.Needs, x.Easy = false, 0, true }), false, 0},
		{"no compressor fills the link", func(*Policy) {}, with(func(x *State) { x.Link = 500 * mib }), false, 45},
		{"a guest that takes more than half of the window", func(*Policy) {}, with(func(x *State) { x.Packs, x.Easy, x.Needs, x.Used = false, true, 0, 4*gib }), true, 0},
		{"the same, and nothing is known of it: a throttle too", func(*Policy) {}, State{Left: 70 * s, Used: 4 * gib, Link: 100 * mib}, true, 20},
		{"no link is known", func(*Policy) {}, State{Left: 70 * s, Used: 4 * gib}, false, 20},
		{"post-copy", func(p *Policy) { p.PostCopy = true }, busy, false, 45},
		{"a driver that cannot", func(p *Policy) { p.Single = true }, busy, false, 45},
		{"not allowed", func(p *Policy) { p.Compress = false }, busy, false, 45},
		{"under way: too late", func(*Policy) {}, with(func(x *State) { x.Active = true }), false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPolicy(0, 0, 50*time.Millisecond, 80*s)
			p.Throttle, p.Compress = true, true
			c.may(&p)
			d := p.Decide(c.state)
			if d.Compress != c.compress || d.Throttle != c.throttle || (d.Connections > 0) != c.compress {
				t.Errorf("compress %v over %d connections, throttle %d; want %v, %d", d.Compress, d.Connections, d.Throttle, c.compress, c.throttle)
			}
		})
	}
}

// TestCompressedMove moves a guest that writes 80 MiB/s over a link of 100 MiB/s: that takes more than three
// minutes of pre-copy, and at twice the rate less than one.
func TestCompressedMove(t *testing.T) {
	for _, c := range []struct {
		name   string
		window time.Duration
		spoil  func(p *pair)
		calls  []bool // which of the migrations were to be compressed
		note   string
	}{
		{"there is time without", 10 * time.Minute, func(*pair) {}, []bool{false}, ""},
		{"nobody asked for several connections", 5 * time.Minute, func(p *pair) { p.req.Options.Parallel = false }, []bool{false}, ""},
		{"both can", 5 * time.Minute, func(*pair) {}, []bool{true}, ""},
		{"one of them cannot", 5 * time.Minute, func(p *pair) {
			carry := p.source.migrate
			p.source.migrate = func(ctx context.Context) error {
				if p.last().Compressed {
					return errLibvirt
				}
				return carry(ctx)
			}
		}, []bool{true, false}, "without post-copy, parallel connections, compression"},
		{"the operator compresses by another method", 5 * time.Minute, func(p *pair) { p.req.Options.Compressed, p.req.Options.Compression = true, "xbzrle" }, []bool{false}, ""},
		{"it goes through libvirt's own connection", 5 * time.Minute, func(p *pair) { p.req.Options.Tunnelled = true }, []bool{false}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.source.gauge = nil
				p.source.load = libvirt.Load{Memory: 4 << 30, Resident: 4 << 30, Dirty: libvirt.Dirty{Measured: true, Rate: 80 << 20}}
				p.known(Link{Bandwidth: 100 << 20})
				p.req.Options.Parallel = true
				c.spoil(p)
				ctx, cancel := context.WithTimeout(t.Context(), c.window)
				defer cancel()
				rec, err := Move(ctx, p.req, p.deps)
				if err != nil {
					t.Fatal(err)
				}
				var got []bool
				for _, params := range p.source.params {
					packed := params.Compression == "zstd"
					if packed && (!params.Parallel || !params.Compressed || params.AutoConverge) {
						t.Errorf("compressed with %+v", params)
					}
					got = append(got, packed)
				}
				if len(got) != len(c.calls) || got[0] != c.calls[0] || rec.Compressed != got[len(got)-1] {
					t.Errorf("migrations compressed %v, want %v; the record says %v", got, c.calls, rec.Compressed)
				}
				if rec.Predicted.Compressed != c.calls[0] {
					t.Errorf("predicted %+v", rec.Predicted)
				}
				if notes := strings.Join(rec.Notes, "; "); !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
			})
		})
	}
}

func TestPageRate(t *testing.T) {
	packed := mover{migration: migration{try: attempt{compress: true}}}
	for _, c := range []struct {
		name string
		job  libvirt.JobStats
		want uint64
	}{
		{"nothing was sent yet", libvirt.JobStats{Rate: 100}, 100},
		{"to a third", libvirt.JobStats{Rate: 100, Processed: 10, Pages: 30}, 300},
		{"pages of zeroes cost their headers", libvirt.JobStats{Rate: 100, Processed: 10, Pages: 1}, 100},
	} {
		if got := packed.pageRate(c.job); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := new(mover).pageRate(libvirt.JobStats{Rate: 100, Processed: 10, Pages: 30}); got != 100 {
		t.Errorf("not compressed: %d", got)
	}
}
