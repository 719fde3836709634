package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/mirror"
)

// whole has a replica that is whole, and a guest that has written since.
func whole(t *testing.T) *world {
	w := newWorld(t)
	if _, err := w.round(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.write("vda", cluster, 'z')
	return w
}

func (w *world) handOver(ctx context.Context) error {
	_, err := w.source.HandOver(ctx, Request{Guest: "guest", UUID: uuid, Node: "node1", Peer: &Peer{Stream: &stream{world: w}}})
	return err
}

// below wants the replica's disks to be those below the overlays.
func (w *world) below() {
	w.t.Helper()
	for target := range w.disks {
		if w.over[target] == nil || !bytes.Equal(w.over[target], w.copies[target]) {
			w.t.Errorf("the replica of disk %s is not what is below the overlay", target)
		}
	}
}

func (w *world) own() mirror.Manifest {
	w.t.Helper()
	m, err := w.source.Store.Load(uuid)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// stays wants a guest that has stayed to go on from its disks, and its next round to be a delta, unless it mayBeFull.
func (w *world) stays(mayBeFull bool) {
	w.t.Helper()
	for range 2 {
		if err := w.source.Fold(w.t.Context(), "guest", uuid); err != nil {
			w.t.Fatal(err)
		}
	}
	if m := w.own(); m.Overlay || m.Folding || !m.Handed.IsZero() || len(w.over) > 0 {
		w.t.Errorf("%+v, overlays %v", m, w.over)
	}
	for target := range w.disks {
		if _, err := os.Stat(w.path(target) + mirror.OverlaySuffix); err == nil {
			w.t.Error("an overlay is there")
		}
	}
	w.write("vdb", 0, 'y')
	r, err := w.round(w.t.Context(), nil)
	if err != nil || r.Parts[0].Full && !mayBeFull {
		w.t.Fatalf("the next round: %+v, %v", r, err)
	}
	w.equal()
}

func TestHandOver(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		w := whole(t)
		w.leaves = leaves
		w.arrow = func(name string) (before, after error) {
			if name == "put aside" || name == "abort" { // what it writes last before, and after the ordinary round
				w.write("vda", 7*cluster, name[0])
			}
			return nil, nil
		}
		if err := w.handOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.arrow = nil
		w.below()
		m := w.own()
		if !m.Overlay || m.Handed.IsZero() || m.Generation != 2 || m.Last != 3 || w.taken == nil || w.taken.Base != m.Point ||
			w.taken.Point.Generation != 3 {
			t.Errorf("%+v, %+v", m, w.taken)
		}
		w.write("vda", 2*cluster, 'o')
		w.moves = true
		if err := w.source.Fold(t.Context(), "guest", uuid); err == nil || w.own().Handed.IsZero() {
			t.Errorf("folded while it moves: %v", err)
		}
		w.moves = false
		_, err := w.source.Close(t.Context(), Request{Guest: "guest", UUID: uuid, Peer: &Peer{Stream: &stream{world: w}}})
		if err == nil || !strings.Contains(err.Error(), "do not have all that it wrote") || w.replica.Closed {
			t.Errorf("closed with an overlay: %v", err)
		}
		w.stays(false)
	}
}

// A whole copy would not be shorter.
func TestHandOverRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*world)
		want  string
	}{
		"no replica":          {func(w *world) { w.replica = nil }, "is not whole"},
		"half of one":         {func(w *world) { w.replica.Disks[1].Whole = mirror.Point{} }, "is not whole"},
		"another epoch":       {func(w *world) { w.replica.Epoch-- }, "sent whole"},
		"a bitmap is missing": {func(w *world) { w.broken["vmferry-3-1"] = true; delete(w.known, "vmferry-3-1") }, "sent whole"},
		"another disk":        {func(w *world) { w.replica.Disks[1].Path += "x" }, "sent whole"},
	} {
		w := whole(t)
		c.spoil(w)
		if err := w.handOver(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if m := w.own(); m.Overlay || len(w.over) > 0 || w.taken != nil || w.job != nil {
			t.Errorf("%s: left %+v", name, m)
		}
	}
}

// Whatever fails at an arrow: the guest stays, goes on from its disks, and is mirrored by deltas. It is handed only where
// the replica is what is below the overlays.
func TestHandOverEveryArrow(t *testing.T) {
	var all []string
	w := whole(t)
	w.arrow = func(name string) (before, after error) { all = append(all, name); return nil, nil }
	if err := w.handOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, "put aside") || !slices.Contains(all, "send wire.Take") {
		t.Fatalf("%q", all)
	}
	for i, name := range all {
		for _, how := range []string{"fails", "answer lost", "context ends"} {
			t.Run(fmt.Sprintf("%d %s: %s", i, name, how), func(t *testing.T) {
				w := whole(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				why, n := errors.New("enough"), 0
				w.arrow = func(string) (before, after error) {
					if n++; n-1 != i {
						return nil, nil
					}
					switch how {
					case "fails":
						return why, nil
					case "context ends":
						cancel(why)
					}
					return nil, why
				}
				err := w.handOver(ctx)
				w.arrow, w.job = nil, nil
				if m := w.own(); !m.Handed.IsZero() {
					w.below()
				} else if err == nil {
					t.Error("handed over, which is not noted")
				}
				// The last delta has no bitmap of its own: until the replica is told which round's goes on, it has none.
				w.stays(w.replica.Disks[0].At.Generation == 3)
			})
		}
	}
}

// The same for what ends an overlay.
func TestFoldEveryArrow(t *testing.T) {
	for i := range 40 {
		for _, lost := range []bool{false, true} {
			w := whole(t)
			if err := w.handOver(t.Context()); err != nil {
				t.Fatal(err)
			}
			n, why := 0, errors.New("enough")
			w.arrow = func(string) (before, after error) {
				if n++; n-1 != i {
					return nil, nil
				}
				if lost {
					return nil, why
				}
				return why, nil
			}
			err := w.source.Fold(t.Context(), "guest", uuid)
			if w.arrow = nil; err == nil && n <= i {
				return // there are no more
			}
			if m := w.own(); err != nil && !m.Overlay {
				t.Errorf("arrow %d: %v, and %+v", i, err, m)
			}
			w.stays(false)
		}
	}
	t.Error("it has no end")
}
