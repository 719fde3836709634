package migrate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The guest that earlier moves have shown to write one set again and again leaves with XBZRLE at once, and what it sent is
// remembered.
func TestXBZRLEFromTheBegin(t *testing.T) {
	known := history.Profile{UUID: guestUUID, WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 2}
	for _, c := range []struct {
		name  string
		spoil func(*pair, *history.Profile)
		cache uint64 // MiB
		how   string // on record
	}{
		{"as remembered", func(*pair, *history.Profile) {}, 256, "xbzrle"},
		{"another guest of its name", func(_ *pair,
			p *history.Profile) {
			p.UUID = "99999999-2222-3333-4444-555555555555"
		}, 0, ""},
		{"it hardly wrote", func(_ *pair, p *history.Profile) { p.DirtyRate = mib }, 0, ""},
		{"the source is short of memory", func(p *pair, _ *history.Profile) { p.Source.Free = 512 * mib }, 0, ""},
		{"its process has a limit", func(p *pair, _ *history.Profile) {
			p.Source.Doc = strings.Replace(p.Source.Doc, "<memory ",
				"<memtune><hard_limit>700000</hard_limit></memtune><memory ", 1)
		}, 0, ""},
		{"several connections were requested", func(p *pair, _ *history.Profile) { p.req.Options.Parallel = true }, 0, ""},
		{"the operator has a method of his own", func(p *pair, _ *history.Profile) { p.req.Options.Compressed = true },
			0, "xbzrle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, profile := newPair(t), known
				p.known(history.Link{Bandwidth: 100 << 20})
				p.Source.Guest = libvirt.Load{Memory: 600 << 20}
				p.Target.XBZRLE = libvirt.XBZRLEStats{Pages: 75, Misses: 25, Bytes: 75 * 1024, Page: 4096}
				c.spoil(p, &profile)
				p.remembered(profile)
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || len(p.Source.Params) != 1 {
					t.Fatalf("%v after %d attempts", err, len(p.Source.Params))
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
		p.known(history.Link{Bandwidth: 100 << 20})
		p.Source.Guest = libvirt.Load{Memory: 600 << 20}
		p.remembered(history.Profile{UUID: guestUUID, WorkingSet: 90 * mib, DirtyRate: 300 * mib, Touched: 1, Moves: 2})
		p.Source.Migrate = func(context.Context) error {
			if p.last().XBZRLECache > 0 {
				return errors.New("migration parameter 'bandwidth.avail.switchover' not supported")
			}
			p.Copy()
			p.Switchover()
			return nil
		}
		_, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(p.Source.Params) != 2 || !p.last().AutoConverge || p.last().Switchover > 0 {
			t.Errorf("%v after %+v", err, p.Source.Params)
		}
	})
}

// Where nothing is known of the link, what the passes have shown of it counts: XBZRLE does not fill it.
func TestXBZRLEOverUnknownLink(t *testing.T) {
	m := newMover(Request{SourceURI: sourceURI}, Deps{})
	m.try.cache, m.rec.Rate = 64*mib, 100*mib
	rate := m.stateOf(libvirt.JobStats{Iteration: 3, Rate: mib}).Rate
	if got := m.switchover(true); got != 50 || rate != 100*mib {
		t.Errorf("the last copy reckons with %d MiB/s, the rule with %d", got, rate)
	}
}
