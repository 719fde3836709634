package replica

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

// guestWrites writes to an image, or to its overlay, as a guest does.
func (b *bench) guestWrites(image string, disk, at, n int, seed byte) {
	b.Helper()
	_, err := run(b.Context(), "qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P %d %d %d", seed, at, n), image)
	b.ok(err)
	for i := at; i < at+n; i++ {
		b.models[disk][i] = seed
	}
}

// truth makes the disks of a guest that has written to overlays since round 1, whose bitmap they have, and the manifest
// of one that is on its way.
func (b *bench) truth() mirror.Manifest {
	b.Helper()
	for i, d := range b.disks {
		raw := filepath.Join(b.dir, "raw")
		b.ok(os.WriteFile(raw, b.models[i], 0o600))
		for _, line := range [][]string{{"convert", "-f", "raw", "-O", "qcow2", raw, d.Path},
			{"bitmap", "--add", d.Path, "vmferry-1-1"}, {"bitmap", "--add", d.Path, "others"},
			{"create", "-q", "-f", "qcow2", "-b", d.Path, "-F", "qcow2", d.Overlay()}} {
			_, err := run(b.Context(), "qemu-img", line...)
			b.ok(err)
		}
		b.guestWrites(d.Overlay(), i, 65536*(i+1), 70000, 0x77)
	}
	m := mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Peer: "north", Disks: b.disks, Overlay: true,
		Point: mirror.Point{Epoch: 1, Generation: 1}, Last: 2, Handed: noon.Add(-2 * time.Second)}
	b.ok(b.Store.Save(m))
	return m
}

// used has QEMU's lock on an image until the function is called.
func (b *bench) used(image string) (end func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	socket := filepath.Join(b.dir, "s")
	guest := exec.CommandContext(ctx, "qemu-nbd", "--persistent", "--socket", socket, "--format", "qcow2", image)
	b.ok(guest.Start())
	for { // it listens before it opens the image
		if _, err := run(b.Context(), "qemu-img", "info", image); err != nil {
			break
		}
		b.ok(wait.For(b.Context(), 10*time.Millisecond))
	}
	return func() { cancel(); _ = guest.Wait(); _ = os.Remove(socket) }
}

// bitmaps fails unless the image has none of the mirror's.
func (b *bench) noBitmaps(image string) {
	b.Helper()
	out, err := run(b.Context(), "qemu-img", "info", "-f", "qcow2", image)
	b.ok(err)
	if strings.Contains(out, "vmferry-1-") || !strings.Contains(out, "others") {
		b.Errorf("%s", out)
	}
}

var (
	takeArrows = []string{"arriving", "rename vda", "offer vda", "rename vdb", "offer vdb"}
	backArrows = []string{"unlink vda", "back vda", "unlink vdb", "back vdb"}
	foldArrows = []string{"folded vda", "unlink vda", "bitmaps vda", "folded vdb", "unlink vdb", "bitmaps vdb"}
)

// ready is a replica of two rounds, and what a source says to have it taken.
func ready(t *testing.T) (*bench, []any) {
	b := newBench(t)
	b.good(true, b.whole())
	b.good(false, b.change())
	return b, []any{b.hello(), wire.Take{Point: b.point, Base: mirror.Point{Epoch: 1, Generation: 1}}}
}

func (b *bench) taken(take []any) {
	b.Helper()
	if last, err := b.serve(b.Context(), take...); err != nil || last.(wire.Done).Point != b.point {
		b.Fatalf("%+v, %v", last, err)
	}
}

// A guest that did not come, whenever that ended, leaves the replica that there was. Its next delta may begin at the
// earlier round.
func TestTakeKilled(t *testing.T) {
	for _, step := range append(takeArrows, backArrows...) {
		t.Run(step, func(t *testing.T) {
			b, take := ready(t)
			if strings.Contains(strings.Join(takeArrows, ","), step) {
				b.killed(child{Kill: step}, b.encode(take))
			} else {
				b.taken(take)
				b.killed(child{Kill: step, Do: "recover"}, nil)
			}
			b.ok(b.Recover(t.Context(), uuid))
			if m := b.is(step, 2, b.models); m.Arriving || m.Disks[1].At.Generation != 1 || !m.Taken().Equal(noon) {
				t.Errorf("%+v", m)
			}
			b.bases = []mirror.Point{{Epoch: 1, Generation: 1}, {Epoch: 1, Generation: 1}}
			b.good(false, b.change())
			b.is("after that", 3, b.models)
			b.ok(b.Promote(t.Context(), uuid, 2, b.disks, 0, tell))
			b.holds("promoted", disk, b.disks, b.models)
		})
	}
}

func TestTaken(t *testing.T) {
	b, take := ready(t)
	b.taken(take)
	m, err := b.Store.Load(uuid)
	if err != nil || !m.Arriving || m.Point != b.point {
		t.Errorf("%+v, %v", m, err)
	}
	b.files("taken", "vda.qcow2", "vda.qcow2.vmferry-overlay", "vdb.qcow2", "vdb.qcow2.vmferry-overlay")
	b.holds("taken", mirror.Disk.Overlay, b.disks, b.models)
	end := b.used(b.disks[1].Overlay())
	if err := b.Recover(t.Context(), uuid); err == nil || !strings.Contains(err.Error(), "a guest is arriving") {
		t.Errorf("in use: %v", err)
	}
	b.refused("a round", "a guest is arriving", b.round(false, nil)...)
	end()
	b.files("taken", "vda.qcow2", "vda.qcow2.vmferry-overlay", "vdb.qcow2", "vdb.qcow2.vmferry-overlay")
	// The source's next greeting finds no guest.
	b.point.Generation--
	_, err = b.serve(t.Context(), b.hello())
	b.ok(err)
	b.is("greeted", 2, b.models)
}

func TestTakeRefuses(t *testing.T) {
	b, take := ready(t)
	with := func(change func(*wire.Take)) []any {
		t := take[1].(wire.Take)
		change(&t)
		return []any{take[0], t}
	}
	b.refused("an earlier round", "does not have all", with(func(t *wire.Take) { t.Point.Generation-- })...)
	b.refused("another epoch", "does not have all", with(func(t *wire.Take) { t.Base.Epoch++ })...)
	for _, path := range []string{b.disks[1].Path, b.disks[1].Overlay()} {
		b.ok(os.Symlink("/etc/passwd", path))
		b.refused("a file in the way", "in the way", take...)
		b.ok(os.Remove(path))
	}
	b.is("refused", 2, b.models)
}

// What a guest wrote before it left is in the replica that it has left, whenever this is cut short.
func TestLeaveKilled(t *testing.T) {
	for _, step := range append([]string{"left", "rename vda", "rename vdb"}, foldArrows...) {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			b.truth()
			b.killed(child{Kill: step, Do: "leave"}, nil)
			b.ok(b.Recover(t.Context(), uuid))
			m, err := b.Store.Load(uuid)
			if err != nil || m.Role != mirror.Replica || m.Point != (mirror.Point{Epoch: 2}) || m.Overlay || !m.Handed.IsZero() ||
				!m.Taken().Equal(noon.Add(-2*time.Second)) {
				t.Fatalf("%+v, %v", m, err)
			}
			b.holds(step, mirror.Disk.Replica, m.Disks, b.models)
			b.noBitmaps(m.Disks[0].Replica())
			b.files(step, "vda.qcow2.vmferry-replica-1-1", "vdb.qcow2.vmferry-replica-1-1")
			b.ok(b.Leave(t.Context(), uuid)) // changes nothing more
			// The first round of the new truth is a delta.
			b.point, b.bases = mirror.Point{Epoch: 3}, []mirror.Point{{Epoch: 1, Generation: 1}, {Epoch: 1, Generation: 1}}
			b.good(false, b.change())
			b.holds("a delta", mirror.Disk.Replica, m.Disks, b.models)
		})
	}
}

// A guest that has ended here has all that it wrote in its disks before it starts, whenever this is cut short.
func TestFoldKilled(t *testing.T) {
	for _, step := range foldArrows {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			b.truth()
			b.killed(child{Kill: step, Do: "recover"}, nil)
			b.ok(b.Recover(t.Context(), uuid))
			m, err := b.Store.Load(uuid)
			if err != nil || m.Role != mirror.Truth || m.Overlay || m.Epoch != 1 || m.Handed.IsZero() {
				t.Fatalf("%+v, %v", m, err)
			}
			b.files(step, "vda.qcow2", "vdb.qcow2")
			b.noBitmaps(b.disks[1].Path)
			b.holds(step, disk, b.disks, b.models)
		})
	}
}

func TestFoldRefuses(t *testing.T) {
	b := newBench(t)
	m := b.truth()
	end := b.used(b.disks[0].Overlay())
	if err := b.Recover(t.Context(), uuid); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("a guest runs: %v", err)
	}
	end()
	b.holds("refused", mirror.Disk.Overlay, b.disks, b.models)
	m.Folding = true
	b.ok(b.Store.Save(m))
	if err := b.Recover(t.Context(), uuid); err == nil || !strings.Contains(err.Error(), "type rm "+b.disks[0].Overlay()) {
		t.Errorf("QEMU ended when it went on: %v", err)
	}
	for _, d := range b.disks {
		b.ok(os.Remove(d.Overlay()))
	}
	b.ok(b.Recover(t.Context(), uuid))
	if m, err := b.Store.Load(uuid); err != nil || m.Overlay || m.Folding {
		t.Errorf("%+v, %v", m, err)
	}
	// There is no overlay, and a guest runs from the disk: that it was noted is all that is left of the overlay.
	b.ok(b.Store.Save(m))
	end = b.used(b.disks[0].Path)
	if err := b.Recover(t.Context(), uuid); err == nil {
		t.Error("recovered what a guest uses")
	}
	end()
}

// The image below an overlay is the disk, whatever a guest that broke out has written to the header.
func TestFoldsIntoTheDiskAlone(t *testing.T) {
	b := newBench(t)
	b.truth()
	victim := filepath.Join(b.dir, "victim")
	_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", victim, "3M")
	b.ok(err)
	before, err := os.ReadFile(victim)
	b.ok(err)
	_, err = run(t.Context(), "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", victim, "-F", "qcow2", b.disks[0].Overlay())
	b.ok(err)
	b.ok(b.Recover(t.Context(), uuid))
	b.holds("folded", disk, b.disks, b.models)
	if after, err := os.ReadFile(victim); err != nil || !bytes.Equal(before, after) {
		t.Errorf("another image was written to: %v", err)
	}
}

// both are the two nodes of a guest that moves: its source, and its replica at the round below the overlays.
type both struct{ s, t *bench }

func newBoth(t *testing.T) (w both, take []any) {
	w.t, take = ready(t)
	w.s = newBench(t)
	w.s.models = clone(w.t.models)
	m := w.s.truth()
	m.Handed = time.Time{}
	w.s.ok(w.s.Store.Save(m))
	return w, take
}

func (b *bench) manifest() *mirror.Manifest {
	b.Helper()
	m, err := b.Store.Load(uuid)
	b.ok(err)
	return &m
}

// start does what the agent does for a start, with the peer's manifest or nil where the peer is dead, and reports
// whether it may be made.
func (b *bench) start(peer *mirror.Manifest) (lost time.Duration, ok bool) {
	b.Helper()
	own, k := b.manifest(), mirror.Known{Sure: true, Node: "peer", Peer: peer}
	judge := func() mirror.Decision { return mirror.Judge(own, k, time.Hour, noon.Add(time.Second), false) }
	d := judge()
	switch {
	case k.HasArrived(own):
		own.Role, own.Arriving, own.Overlay, own.Point = mirror.Truth, false, true, mirror.Point{Epoch: peer.Epoch + 1}
		b.ok(b.Store.Save(*own))
	case d.Verdict == mirror.Refuse && own.Arriving:
		return 0, false
	}
	b.ok(b.Recover(b.Context(), uuid))
	own = b.manifest()
	d = judge()
	if d.Verdict == mirror.Promote {
		b.ok(b.Promote(b.Context(), uuid, d.Epoch, b.disks, d.Loss, tell))
	}
	return d.Loss, d.Verdict != mirror.Refuse
}

// Whenever all ends, and whichever node is asked first, exactly one of the nodes starts the guest, with all that it
// wrote. Where one node is dead, the other starts it, or says what is lost.
func TestOneOfBothStarts(t *testing.T) {
	handed := func(w both) {
		m := w.s.manifest()
		m.Handed = noon
		w.s.ok(w.s.Store.Save(*m))
	}
	comes := func(w both) { // and writes there
		for i, d := range w.t.disks {
			w.t.models[i] = bytes.Clone(w.s.models[i])
			_, err := run(w.t.Context(), "qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P 119 %d 70000", 65536*(i+1)), d.Overlay())
			w.t.ok(err)
			w.t.guestWrites(d.Overlay(), i, 0, 65536, 0x55)
		}
	}
	leaves := func(w both) { w.s.ok(w.s.Leave(w.s.Context(), uuid)) }
	adopts := func(w both) {
		m := w.t.manifest()
		m.Role, m.Arriving, m.Overlay, m.Point = mirror.Truth, false, true, mirror.Point{Epoch: 2}
		w.t.ok(w.t.Store.Save(*m))
	}
	kill := func(step, do string) func(both) {
		return func(w both) { w.s.killed(child{Kill: step, Do: do}, nil) }
	}
	type steps []func(both)
	for name, c := range map[string]struct {
		take  string // where the replica is killed; "": it takes the guest; "no": it is not told to
		steps steps
		at    string        // s or t, where the guest starts with all that was written
		lost  time.Duration // which it may have lost
	}{
		"before the replica is told": {"no", nil, "s", 0},
		"taken in part":              {"arriving", nil, "s", 0},
		"renamed in part":            {"rename vda", nil, "s", 0},
		"offered in part":            {"offer vda", nil, "s", 0},
		"taken":                      {"", nil, "s", 0},
		"handed":                     {"", steps{handed}, "s", time.Second},
		"left at once":               {"", steps{handed, comes, kill("left", "leave")}, "t", 0},
		"left in part":               {"", steps{handed, comes, kill("rename vda", "leave")}, "t", 0},
		"left":                       {"", steps{handed, comes, leaves}, "t", 0},
		"come":                       {"", steps{handed, comes, adopts}, "t", 0},
		"come, and left":             {"", steps{handed, comes, adopts, leaves}, "t", 0},
	} {
		for _, first := range []string{"s", "t", "s alone", "t alone"} {
			if strings.HasSuffix(name, "in part") && strings.HasSuffix(first, "alone") {
				continue
			}
			what := name + ", " + first
			t.Run("", func(t *testing.T) { // the path of a socket is short
				w, take := newBoth(t)
				switch c.take {
				case "no":
				case "":
					w.t.taken(take)
				default:
					w.t.killed(child{Kill: c.take}, w.t.encode(take))
				}
				below := clone(w.t.models)
				for _, f := range c.steps {
					f(w)
				}
				nodes := map[string]*bench{"s": w.s, "t": w.t}
				if at, alone := strings.CutSuffix(first, " alone"); alone {
					b, has := nodes[at], at == c.at
					if at == "t" && b.manifest().Role == mirror.Replica { // nobody has told it that the guest ran there
						b.models, has = below, false
					}
					lost, ok := b.start(nil)
					if !ok || has && lost != c.lost || !has && lost == 0 && b.manifest().Epoch > 1 {
						t.Errorf("%s: %t, lost %s", what, ok, lost)
					}
					b.holds(what, disk, b.disks, b.models)
					return
				}
				started := ""
				for _, at := range []string{first, map[string]string{"s": "t", "t": "s"}[first]} {
					lost, ok := nodes[at].start(nodes[map[string]string{"s": "t", "t": "s"}[at]].manifest())
					if ok {
						started += at
						nodes[at].holds(what, disk, nodes[at].disks, nodes[at].models)
						if lost != c.lost {
							t.Errorf("%s: lost %s, want %s", what, lost, c.lost)
						}
						m := nodes[at].manifest() // as a start notes it
						m.Role, m.Epoch, m.Handed = mirror.Truth, m.Epoch+1, time.Time{}
						nodes[at].ok(nodes[at].Store.Save(*m))
					}
				}
				if started != c.at {
					t.Errorf("%s: started at %q, want %q", what, started, c.at)
				}
			})
		}
	}
}
