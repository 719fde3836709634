package migrate

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

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
		{"nobody asked for several connections", 5 * time.Minute, func(p *pair) { p.req.Options.Parallel = false },
			[]bool{false}, ""},
		{"both can", 5 * time.Minute, func(*pair) {}, []bool{true}, ""},
		{"one of them cannot", 5 * time.Minute, func(p *pair) {
			carry := p.Source.Migrate
			p.Source.Migrate = func(ctx context.Context) error {
				if p.last().Compressed {
					return errLibvirt
				}
				return carry(ctx)
			}
		}, []bool{true, false}, "without post-copy, parallel connections, compression"},
		{"the operator compresses by another method", 5 * time.Minute,
			func(p *pair) { p.req.Options.Compressed, p.req.Options.Compression = true, "xbzrle" }, []bool{false}, ""},
		{"it goes through libvirt's own connection", 5 * time.Minute, func(p *pair) { p.req.Options.Tunnelled = true },
			[]bool{false}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.GaugeErr = nil
				p.Source.Guest = libvirt.Load{Memory: 4 << 30, Resident: 4 << 30,
					Dirty: libvirt.Dirty{Measured: true, Rate: 80 << 20}}
				p.known(history.Link{Bandwidth: 100 << 20})
				p.req.Options.Parallel = true
				c.spoil(p)
				ctx, cancel := context.WithTimeout(t.Context(), c.window)
				defer cancel()
				rec, err := Move(ctx, p.req, p.deps)
				if err != nil {
					t.Fatal(err)
				}
				var got []bool
				for _, params := range p.Source.Params {
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
