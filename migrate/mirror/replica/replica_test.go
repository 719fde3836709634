package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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

func disk(d mirror.Disk) string { return d.Path }

func TestRounds(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	m := b.is("full", 1, b.models)
	if !m.Taken().Equal(noon) || m.Peer != "north" || m.Disks[1].At != b.point || m.Disks[1].Size != 1<<20+512 {
		t.Errorf("the manifest is %+v", m)
	}
	for range 3 {
		b.good(false, b.change())
	}
	b.is("deltas", 4, b.models)
	// A disk grows, and the other is not due.
	b.models[0] = append(b.models[0], bytes.Repeat([]byte("x"), 1<<20)...)
	b.disks[0].Size = uint64(len(b.models[0]))
	b.round(false, nil)
	data := wire.Data{Offset: 3 << 20, Length: 1 << 20, Payload: b.models[0][3<<20:]}
	sum := sha256.New()
	data.AddTo(sum)
	last, err := b.serve(t.Context(), b.hello(), wire.Round{Next: b.point, Disks: b.disks,
		Parts: []wire.Part{{Base: b.bases[0]}}}, data, wire.Commit{Sums: [][]byte{sum.Sum(nil)}})
	if _, ok := last.(wire.Done); !ok || err != nil {
		t.Fatalf("%+v, %v", last, err)
	}
	if m := b.is("grown", 5, b.models); m.Disks[0].At != b.point || m.Disks[1].At == b.point {
		t.Errorf("%+v", m.Disks)
	}
	b.bases[0] = b.point
	// A new full round takes the place of the replica, and a disk that the guest does not have any more is forgotten.
	b.disks, b.models, b.bases = b.disks[:1], b.models[:1], b.bases[:1]
	b.good(true, b.whole())
	b.files("one disk", "vda.qcow2.vmferry-replica-1-6")
	m, err = b.Store.Load(uuid)
	b.ok(err)
	b.holds("one disk", mirror.Disk.Replica, m.Disks, b.models)
}

// arrows are the steps of a round, and whether it counts when the process ends there.
var arrows = map[string]bool{"begin": false, "data": false, "sync": false, "applying": true, "commit vda": true,
	"commit vdb": true, "at": true}

// Killed at each step, the replica has one round or the other, and goes on from there.
func TestKilled(t *testing.T) {
	for step, counts := range arrows {
		for _, full := range []bool{false, true} {
			if full && strings.HasPrefix(step, "commit") {
				continue
			}
			name := fmt.Sprintf("%s, full %t", step, full)
			t.Run(name, func(t *testing.T) {
				b := newBench(t)
				b.good(true, b.whole())
				before := clone(b.models)
				data := b.change()
				if full {
					data = b.whole()
				}
				b.killed(child{Kill: step}, b.encode(b.round(full, data)))
				b.ok(b.Recover(t.Context(), uuid))
				b.ok(b.Recover(t.Context(), uuid)) // changes nothing more
				if counts {
					b.is(name, 2, b.models)
					b.bases = []mirror.Point{b.point, b.point}
				} else {
					b.is(name, 1, before)
					copy(b.models[0], before[0])
					copy(b.models[1], before[1])
				}
				b.good(false, b.change())
				b.is("after that", 3, b.models)
				b.ok(b.Promote(t.Context(), uuid, 2, b.disks, time.Minute, tell))
				b.holds("promoted", disk, b.disks, b.models)
				b.files("promoted", "vda.qcow2", "vdb.qcow2")
			})
		}
	}
}

// The same where the context ends, and the process lives.
func TestCancelled(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	at := uint64(1)
	for step, counts := range arrows {
		before := clone(b.models)
		data := b.change()
		ctx, cancel := context.WithCancel(t.Context())
		b.step = func(s string) {
			if s == step {
				cancel()
			}
		}
		_, err := b.serve(ctx, b.round(false, data)...)
		b.step = nil
		if err == nil && !counts {
			t.Errorf("cancelled at %q: no error", step)
		}
		b.ok(b.Recover(t.Context(), uuid))
		if counts {
			at = b.point.Generation
			b.bases = []mirror.Point{b.point, b.point}
		} else {
			b.models = before
		}
		b.is("cancelled at "+step, at, b.models)
		cancel()
	}
}

// A stream that ends within a round leaves the replica as it was, and the source's next stream finds it.
func TestCut(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before, data := clone(b.models), b.change()
	raw := b.encode(b.round(false, data))
	hello := len(b.encode([]any{b.hello()}))
	for _, n := range []int{0, 1, hello - 1, hello, hello + 1, hello + 20, len(raw) / 3, len(raw) / 2, len(raw) - 300, len(raw) - 1} {
		last, err := b.serveRaw(t.Context(), bytes.NewReader(raw[:n]))
		if between := n == hello; (err == nil) != between || !between && !errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
			t.Errorf("cut at %d of %d: %+v, %v", n, len(raw), last, err)
		}
		b.is(fmt.Sprintf("cut at %d", n), 1, before)
	}
	if last, err := b.serveRaw(t.Context(), bytes.NewReader(raw)); err != nil {
		t.Errorf("whole: %+v, %v", last, err)
	}
	b.is("whole", 2, b.models)
}

// A first full round that was cut leaves nothing, and what one that was killed has left does not take up the room of the
// next one for ever.
func TestFirstRoundCut(t *testing.T) {
	b := newBench(t)
	raw := b.encode(b.round(true, b.whole()))
	_, _ = b.serveRaw(t.Context(), bytes.NewReader(raw[:len(raw)-300]))
	b.files("cut")
	b.killed(child{Kill: "data"}, raw)
	b.Room = func(dir string) (free, all uint64, err error) {
		if left, _ := filepath.Glob(filepath.Join(dir, "*"+mirror.ReplicaSuffix+"*")); len(left) > 0 {
			return 1 << 10, 1 << 24, nil // what they leave
		}
		return 1 << 24, 1 << 24, nil
	}
	b.good(true, b.whole())
}

// Room that goes meanwhile ends a round while that costs nothing: a commit that finds none would leave a replica that
// nothing can finish, nor promote.
func TestNoRoomToApply(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before, full := clone(b.models), false
	b.Room = func(string) (uint64, uint64, error) {
		if full {
			return 1<<40/20 - 1, 1 << 40, nil // less than the reserve
		}
		return 1 << 39, 1 << 40, nil
	}
	b.step = func(s string) { full = full || s == "data" }
	b.refused("no room to apply", "bytes of room", b.round(false, b.change())...)
	b.is("no room to apply", 1, before)
	full = false
	data := []wire.Data{}
	for range lookEvery/(3<<20) + 1 {
		data = append(data, wire.Data{Length: 3 << 20, Zero: true})
	}
	bad := b.round(false, data)
	bad[len(bad)-1] = wire.Close{} // it does not come to that
	b.refused("no room amid the data", "bytes of room", bad...)
	b.is("no room amid the data", 1, before)
}

// silent is a stream that stays open after its end.
type silent struct {
	io.Reader
	ctx context.Context
}

func (s silent) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		<-s.ctx.Done()
	}
	return n, err
}

func TestSilentSource(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before := clone(b.models)
	raw := b.encode(b.round(false, b.change()))
	b.Patience = time.Second
	last, err := b.serveRaw(t.Context(), silent{bytes.NewReader(raw[:len(raw)-1]), t.Context()})
	if why, ok := last.(wire.Refused); !ok || err == nil || !strings.Contains(why.Why, "nothing has come for 1s") {
		t.Errorf("%+v, %v", last, err)
	}
	b.is("silent", 1, before)
}

// Who works on the replica during a round wins.
func TestOvertaken(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before := clone(b.models)
	first := func(f func()) func(string) {
		return func(step string) {
			if step == "sync" && f != nil {
				f()
				f = nil
			}
		}
	}
	b.step = first(func() { b.ok(engine(b.dir).Recover(t.Context(), uuid)) })
	last, err := b.serve(t.Context(), b.round(false, b.change())...)
	if why, ok := last.(wire.Refused); !ok || err == nil || !strings.Contains(why.Why, "was removed") {
		t.Errorf("recovered: %+v, %v", last, err)
	}
	b.is("recovered", 1, before)
	b.step = first(func() { b.ok(engine(b.dir).Promote(t.Context(), uuid, 2, b.disks, 0, tell)) })
	last, err = b.serve(t.Context(), b.round(false, b.change())...)
	if why, ok := last.(wire.Refused); !ok || err == nil || !strings.Contains(why.Why, "has changed") {
		t.Errorf("promoted: %+v, %v", last, err)
	}
	b.holds("promoted", disk, b.disks, before)
	b.step = nil
	b.refused("the next", "current copy, of epoch 2", b.round(false, b.change())...)
	b.holds("promoted", disk, b.disks, before)
}

func TestVerify(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	data := b.change()
	sum := func(disk int, at, length int) wire.Data {
		s := sha256.Sum256(b.models[disk][at : at+length])
		return wire.Data{Disk: disk, Offset: uint64(at), Length: uint64(length), Sum: s[:]}
	}
	data = append(data, sum(0, 0, 3<<20), sum(1, 512, 1<<20))
	if d := b.good(false, data); len(d.Differences) > 0 {
		t.Errorf("they are the same: %+v", d)
	}
	bad := sum(1, 1024, 4096)
	bad.Sum[7]++
	d := b.good(false, append(b.change(), bad))
	if len(d.Differences) != 1 || d.Differences[0].Disk != 1 || d.Differences[0].Offset != 1024 || d.Differences[0].Length != 4096 {
		t.Errorf("one differs: %+v", d)
	}
	data = b.change()
	for range wire.MaxDifferences + 1 {
		data = append(data, bad)
	}
	if d := b.good(false, data); len(d.Differences) != wire.MaxDifferences {
		t.Errorf("%d differ", len(d.Differences))
	}
}

func TestClose(t *testing.T) {
	b := newBench(t)
	b.refused("nothing", "does not have all", b.hello(), wire.Close{Point: b.point})
	b.good(true, b.whole())
	b.refused("another point", "does not have all", b.hello(), wire.Close{Point: mirror.Point{Epoch: 1, Generation: 2}})
	last, err := b.serve(t.Context(), append(b.round(false, b.change()), wire.Close{Point: b.point})...)
	if d, ok := last.(wire.Done); !ok || err != nil || d.Point != b.point {
		t.Fatalf("%+v, %v", last, err)
	}
	if m := b.is("closed", 2, b.models); !m.Closed {
		t.Error("it is not closed")
	}
	// The guest starts again, in a new epoch.
	b.bases, b.point.Epoch = []mirror.Point{b.point, b.point}, 2
	last, err = b.serve(t.Context(), b.hello())
	if s, ok := last.(wire.State); !ok || err != nil || s.Manifest.Closed || s.Manifest.Epoch != 2 {
		t.Fatalf("%+v, %v", last, err)
	}
	if m := b.is("open", 2, b.models); m.Closed || m.Epoch != 2 {
		t.Errorf("it is closed: %+v", m)
	}
	b.good(false, b.change())
	b.is("a delta across the start", 3, b.models)
	b.point.Epoch = 1
	b.refused("the epoch before", "of epoch 2", b.hello())
}

// A node may ask for the manifest of any role, and changes nothing.
func TestAsk(t *testing.T) {
	b := newBench(t)
	ask := func(more ...any) *mirror.Manifest {
		h := b.hello()
		h.Epoch = 0
		last, err := b.serve(t.Context(), append([]any{h}, more...)...)
		s, ok := last.(wire.State)
		if err != nil || !ok {
			t.Fatalf("%+v, %v", last, err)
		}
		return s.Manifest
	}
	if m := ask(); m != nil {
		t.Errorf("nothing is there: %+v", m)
	}
	b.good(true, b.whole())
	b.killed(child{Kill: "applying"}, b.encode(b.round(false, b.change())))
	if m := ask(wire.Close{Point: b.point}); m == nil || m.Point != b.point || !m.Applying {
		t.Errorf("a replica: %+v", m)
	}
	b.ok(b.Recover(t.Context(), uuid))
	if m := b.is("asked", 2, b.models); m.Closed {
		t.Error("who asks has closed it")
	}
	b.ok(b.Promote(t.Context(), uuid, 2, b.disks, 0, tell))
	if m := ask(b.round(true, nil)[1]); m == nil || m.Role != mirror.Truth || m.Epoch != 2 {
		t.Errorf("a truth: %+v", m)
	}
}

func TestPromoteKilled(t *testing.T) {
	for _, step := range []string{"promoting", "old vda", "install vda", "old vdb", "install vdb", "states"} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			state := mirror.State{Path: filepath.Join(b.dir, "images", "web_VARS.fd"), Content: []byte("nvram")}
			older := b.image(b.disks[0].Path, 1<<20)
			b.ok(os.Chmod(b.disks[0].Path, 0o640))
			b.ok(os.Chown(b.disks[0].Path, 64055, -1))
			round := b.round(true, b.whole())
			c := round[len(round)-1].(wire.Commit)
			c.States = []mirror.State{state}
			round[len(round)-1] = c
			if last, err := b.serve(t.Context(), round...); err != nil {
				t.Fatalf("%+v, %v", last, err)
			}
			b.killed(child{Kill: step, Promote: b.disks}, nil)
			m, err := b.Store.Load(uuid)
			if d := mirror.Judge(&m, mirror.Known{Sure: true}, 0, noon, false); err != nil || d.Verdict != mirror.Promote || d.Epoch != 2 {
				t.Errorf("the rule says %+v of %+v, %v", d, m, err)
			}
			b.refused("a round", "current copy", b.round(true, b.whole())...)
			if err := b.Promote(t.Context(), uuid, 3, b.disks, 0, tell); err == nil {
				t.Error("promoted to two epochs")
			}
			for range 2 {
				b.ok(b.Promote(t.Context(), uuid, 2, b.disks, time.Hour, tell))
				b.holds("promoted", disk, b.disks, b.models)
				b.files("promoted", "vda.qcow2", "vda.qcow2.vmferry-old", "vdb.qcow2", "web_VARS.fd")
			}
			if old, err := os.ReadFile(b.disks[0].Path + mirror.OldSuffix); err != nil || !bytes.Equal(old, older) {
				t.Errorf("the old image: %d bytes, %v", len(old), err)
			}
			if raw, err := os.ReadFile(state.Path); err != nil || string(raw) != "nvram" {
				t.Errorf("the state: %q, %v", raw, err)
			}
			for path, mode := range map[string]os.FileMode{b.disks[0].Path: 0o640, b.disks[1].Path: 0o600, state.Path: 0o600} {
				if info, err := os.Stat(path); err != nil || info.Mode() != mode {
					t.Errorf("%q: %v, %v", path, info.Mode(), err)
				}
			}
			m, err = b.Store.Load(uuid)
			if err != nil || m.Role != mirror.Truth || m.Epoch != 2 || m.Lost != 60 || !m.LostAt.Equal(noon) || m.States != nil ||
				m.Generation != 0 || m.Disks[0] != b.disks[0] {
				t.Errorf("the manifest is %+v, %v", m, err)
			}
		})
	}
}

func TestPromoteRefuses(t *testing.T) {
	b := newBench(t)
	untold := func(context.Context) error { t.Error("the cluster was told"); return nil }
	promote := func(what, want string, epoch uint64, disks []mirror.Disk) {
		t.Helper()
		if err := b.Promote(t.Context(), uuid, epoch, disks, 0, untold); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	promote("nothing", "there is none", 2, b.disks)
	b.good(true, b.whole())
	promote("the same epoch", "of an epoch below 1", 1, b.disks)
	promote("no disks", "has no disk", 2, nil)
	promote("one disk more", "has no disk", 2, append(b.disks[:2:2], mirror.Disk{Target: "vdc", Path: "/x"}))
	promote("another disk", "has no disk", 2, []mirror.Disk{b.disks[0], {Target: "vdb", Path: "/etc/passwd"}})
	promote("exchanged", "has no disk", 2, []mirror.Disk{b.disks[0], {Target: "vdc", Path: b.disks[1].Path}})
	m := b.is("refused", 1, b.models)
	deaf := func(context.Context) error { return errors.New("not connected") }
	if err := b.Promote(t.Context(), uuid, 2, b.disks, 0, deaf); err == nil || !strings.Contains(err.Error(), "not connected") {
		t.Errorf("the cluster is not told: %v", err)
	}
	b.is("not told", 1, b.models)
	// A damaged image, that could not be checked in time.
	if !m.Disks[0].Checked || !m.Disks[1].Checked {
		t.Errorf("not checked: %+v", m.Disks)
	}
	m.Disks[0].Checked = false
	b.ok(b.Store.Save(m))
	f, err := os.OpenFile(m.Disks[0].Replica(), os.O_RDWR, 0)
	b.ok(err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 512), 0x30000) // the first L2 table or its data
	b.ok(errors.Join(err, f.Close()))
	if err := b.Promote(t.Context(), uuid, 2, b.disks, 0, tell); err == nil {
		_, check := run(t.Context(), "qemu-img", "check", b.disks[0].Path)
		t.Errorf("promoted a damaged image: %v", check)
	}
	b.ok(os.Remove(m.Disks[0].Replica()))
	b.ok(os.Symlink("/etc/passwd", m.Disks[0].Replica()))
	promote("a link", "not a regular file", 2, b.disks)
}

// A disk that was plugged in for a while does not keep the guest from its other disks, and is kept.
func TestPromoteMore(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	b.ok(b.Promote(t.Context(), uuid, 2, b.disks[:1], 0, tell))
	b.holds("promoted", disk, b.disks, b.models)
}

// A delta that is gone makes a disk that cannot be started, and that the next round sends whole.
func TestDeltaGone(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	b.killed(child{Kill: "commit vda"}, b.encode(b.round(false, b.change())))
	m, err := b.Store.Load(uuid)
	b.ok(err)
	b.ok(os.Remove(m.Disks[1].Delta(m.Point)))
	b.ok(b.Recover(t.Context(), uuid))
	m, err = b.Store.Load(uuid)
	if err != nil || !m.Taken().IsZero() || m.Disks[0].At != b.point || m.Disks[1].At != (mirror.Point{}) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := b.Promote(t.Context(), uuid, 2, b.disks, 0, tell); err == nil {
		t.Error("promoted half of the disks")
	}
	b.good(true, b.whole())
	b.is("whole again", 3, b.models)
}

// A replica's file that is gone, as with a new disk in the node, is no base of a delta. Below a file system that is not
// mounted it may be there.
func TestReplicaGone(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	images := filepath.Join(b.dir, "images")
	b.ok(os.Rename(images, images+"-away"))
	b.ok(os.Mkdir(images, 0o755))
	at := func() mirror.Point {
		last, err := b.serve(t.Context(), b.hello())
		if s, ok := last.(wire.State); err != nil || !ok || s.Manifest == nil {
			t.Fatalf("%+v, %v", last, err)
		}
		return last.(wire.State).Manifest.Disks[0].At
	}
	if got := at(); got != b.point {
		t.Errorf("not mounted: the replica has %s", got)
	}
	b.refused("not mounted", "vmferry mirror resync web", b.round(false, b.change())...)
	b.ok(os.Remove(images))
	b.ok(os.Rename(images+"-away", images))
	m, err := b.Store.Load(uuid)
	b.ok(err)
	b.ok(os.Remove(m.Disks[0].Replica()))
	if got := at(); got != (mirror.Point{}) {
		t.Errorf("the replica says that it has the disk at %s, and has no file", got)
	}
	if err := b.Promote(t.Context(), uuid, 2, b.disks, 0, tell); err == nil {
		t.Error("promoted half of the disks")
	}
	b.good(true, b.whole())
	b.is("whole again", b.point.Generation, b.models)
}

// A round that was cut short past its point of no return is finished without a start, or the source.
func TestFinish(t *testing.T) {
	b := newBench(t)
	b.ok(b.Finish(t.Context()))
	b.good(true, b.whole())
	b.killed(child{Kill: "commit vda"}, b.encode(b.round(false, b.change())))
	b.ok(b.Finish(t.Context()))
	b.is("finished", 2, b.models)
}

// What makes no sound image does not take the place of the replica.
func TestUnsound(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	b.Engine.Run = func(ctx context.Context, name string, args ...string) (string, error) {
		if args[0] == "check" {
			return "", errors.New("2 errors were found")
		}
		return run(ctx, name, args...)
	}
	b.refused("unsound", "2 errors", b.round(true, b.whole())...)
	b.is("unsound", 1, b.models)
}

// A file system that is not mounted loses nothing.
func TestImagesGone(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	b.killed(child{Kill: "applying"}, b.encode(b.round(false, b.change())))
	images := filepath.Join(b.dir, "images")
	b.ok(os.Rename(images, images+"-away"))
	b.ok(os.Mkdir(images, 0o755))
	if err := b.Recover(t.Context(), uuid); err == nil {
		t.Error("recovered nothing")
	}
	b.ok(os.Remove(images))
	b.ok(os.Rename(images+"-away", images))
	b.ok(b.Recover(t.Context(), uuid))
	b.is("mounted", 2, b.models)
}

func TestYield(t *testing.T) {
	b := newBench(t)
	old := mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1, Generation: 4}, Disks: b.disks}
	b.ok(b.Store.Save(old))
	for i, d := range b.disks {
		_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", d.Path, fmt.Sprint((i+1)<<20))
		b.ok(err)
	}
	was, err := os.ReadFile(b.disks[1].Path)
	b.ok(err)
	b.refused("the same epoch", "current copy, of epoch 1", b.hello())
	b.point.Epoch = 2
	// A guest that runs has its image locked.
	ctx, cancel := context.WithCancel(t.Context())
	guest := exec.CommandContext(ctx, "qemu-nbd", "--persistent", "--socket", filepath.Join(b.dir, "s"), "--format", "qcow2", b.disks[1].Path)
	b.ok(guest.Start())
	for _, err := os.Stat(filepath.Join(b.dir, "s")); err != nil; _, err = os.Stat(filepath.Join(b.dir, "s")) {
		b.ok(wait.For(t.Context(), 10*time.Millisecond))
	}
	b.refused("in use", "lock", b.hello())
	cancel()
	_ = guest.Wait()
	b.files("refused", "vda.qcow2", "vdb.qcow2")
	b.killed(child{Kill: "yield"}, b.encode([]any{b.hello()}))
	m, err := b.Store.Load(uuid)
	if d := mirror.Judge(&m, mirror.Known{Sure: true}, 0, noon, true); err != nil || d.Verdict != mirror.Refuse {
		t.Errorf("the rule says %+v of %+v, %v", d, m, err)
	}
	b.ok(b.Store.Save(old)) // as if it had not been killed
	last, err := b.serve(t.Context(), b.hello())
	if s, ok := last.(wire.State); !ok || err != nil || s.Manifest.Role != mirror.Replica || s.Manifest.Point != b.point {
		t.Fatalf("%+v, %v", last, err)
	}
	b.files("yielded", "vda.qcow2.vmferry-old", "vdb.qcow2.vmferry-old")
	if now, err := os.ReadFile(b.disks[1].Path + mirror.OldSuffix); err != nil || !bytes.Equal(now, was) {
		t.Errorf("the old image is not what it was: %v", err)
	}
	b.good(true, b.whole())
	b.ok(b.Promote(t.Context(), uuid, 3, b.disks, 0, tell))
	b.holds("promoted", disk, b.disks, b.models)
	b.files("promoted", "vda.qcow2", "vda.qcow2.vmferry-old", "vdb.qcow2", "vdb.qcow2.vmferry-old")
}

func TestFull(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before := clone(b.models)
	b.Room = func(string) (uint64, uint64, error) { return 2<<20 + 1000 - 1, 20000, nil }
	b.refused("no room for a delta, twice", "bytes of room", b.round(false, b.change())...)
	b.Room = func(string) (uint64, uint64, error) { return 1<<20 + 1000 - 1, 20000, nil }
	b.refused("no room for all", "bytes of room", b.round(true, b.whole())...)
	b.Room = func(string) (uint64, uint64, error) { return 0, 0, errors.New("no answer") }
	b.refused("no answer", "no answer", b.round(false, b.change())...)
	b.Room = Room
	b.Engine.Run = func(ctx context.Context, name string, args ...string) (string, error) {
		if name == "setpriv" {
			name, args = "prlimit", append([]string{"--fsize=200000", name}, args...)
		}
		return run(ctx, name, args...)
	}
	b.refused("full amid the data", "", b.round(false, b.change())...)
	b.Engine.Run = run
	b.is("full", 1, before)
	b.bases = []mirror.Point{{Epoch: 1, Generation: 1}, {Epoch: 1, Generation: 1}}
	b.models = before
	b.good(false, b.change())
	b.is("room again", b.point.Generation, b.models)
}

// A guest that is stopped here and started there, and back, closed each time, leaves no image that nobody needs, unless it
// was started by hand since.
func TestClosedSwitches(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	for i := range 3 {
		b.ok(b.Promote(t.Context(), uuid, b.point.Epoch+1, b.disks, 0, tell))
		m, err := b.Store.Load(uuid)
		b.ok(err)
		m.Closed = true // all that was written here, the other node has
		b.ok(b.Store.Save(m))
		var want []string
		if i == 2 {
			later := time.Now().Add(time.Hour)
			b.ok(os.Chtimes(b.disks[0].Path, later, later))
			want = []string{"vda.qcow2.vmferry-old"}
		}
		b.point = mirror.Point{Epoch: m.Epoch + 1}
		if last, err := b.serve(t.Context(), b.hello()); err != nil {
			t.Fatalf("epoch %d: %+v", b.point.Epoch, last)
		}
		b.files("yielded", want...)
		b.good(true, b.whole())
	}
}

// Crash and return, again and again: each time what may have writes of its own is kept, and said to be.
func TestCrashes(t *testing.T) {
	b := newBench(t)
	b.ok(os.WriteFile(b.disks[1].Path+mirror.OldSuffix, []byte("of a move"), 0o600))
	b.good(true, b.whole())
	for range 3 {
		b.ok(b.Promote(t.Context(), uuid, b.point.Epoch+1, b.disks, 0, tell))
		b.point = mirror.Point{Epoch: b.point.Epoch + 2}
		if last, err := b.serve(t.Context(), b.hello()); err != nil {
			t.Fatalf("epoch %d: %+v", b.point.Epoch, last)
		}
		b.good(true, b.whole())
	}
	// What is there at a promotion, too.
	_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", b.disks[1].Path, "1M")
	b.ok(err)
	newer, err := os.ReadFile(b.disks[1].Path)
	b.ok(err)
	b.ok(b.Promote(t.Context(), uuid, b.point.Epoch+1, b.disks, 0, tell))
	b.holds("promoted", disk, b.disks, b.models)
	want := []string{"vda.qcow2.vmferry-old", "vda.qcow2.vmferry-old-5", "vda.qcow2.vmferry-old-7", "vdb.qcow2.vmferry-old",
		"vdb.qcow2.vmferry-old-3", "vdb.qcow2.vmferry-old-5", "vdb.qcow2.vmferry-old-7", "vdb.qcow2.vmferry-old-8"}
	b.files("promoted", append(want[:8:8], "vda.qcow2", "vdb.qcow2")...)
	m, err := b.Store.Load(uuid)
	b.ok(err)
	for i, k := range m.Kept() {
		if filepath.Base(k.Path) != want[i] || k.Bytes == 0 || !strings.Contains(k.String(), "type rm "+k.Path) {
			t.Errorf("%s, want %s", k, want[i])
		}
	}
	for path, want := range map[string]string{"": "of a move", "-8": string(newer)} {
		if got, err := os.ReadFile(b.disks[1].Path + mirror.OldSuffix + path); err != nil || string(got) != want {
			t.Errorf("%q holds %.20q and so on, %v", path, got, err)
		}
	}
}

// A QEMU that crashes leaves bitmaps that nobody can use, and that are in the way of a resize. A start removes them.
func TestBrokenBitmaps(t *testing.T) {
	b := newBench(t)
	b.ok(b.Store.Save(mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1}, Disks: b.disks[:1]}))
	path := b.disks[0].Path
	img := func(args ...string) string {
		t.Helper()
		out, err := run(t.Context(), "qemu-img", args...)
		b.ok(err)
		return out
	}
	img("create", "-q", "-f", "qcow2", path, "1M")
	img("bitmap", "--add", path, "vmferry-1-1")
	img("bitmap", "--add", path, "an-operators")
	ctx, crash := context.WithCancel(t.Context())
	guest := exec.CommandContext(ctx, "qemu-nbd", "--persistent", "--socket", filepath.Join(b.dir, "s"), "--format", "qcow2", path)
	b.ok(guest.Start())
	for _, err := os.Stat(filepath.Join(b.dir, "s")); err != nil; _, err = os.Stat(filepath.Join(b.dir, "s")) {
		b.ok(wait.For(t.Context(), 10*time.Millisecond))
	}
	b.ok(b.Recover(t.Context(), uuid)) // it runs
	crash()
	_ = guest.Wait()
	img("bitmap", "--add", path, "vmferry-1-2")
	b.ok(b.Recover(t.Context(), uuid))
	if info := img("info", path); strings.Contains(info, "vmferry-1-1") || !strings.Contains(info, "vmferry-1-2") ||
		!strings.Contains(info, "an-operators") {
		t.Error(info)
	}
}

// What a hostile source, or one that is wrong, sends changes nothing.
func TestHostile(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	before := clone(b.models)
	b.ok(os.Mkdir(filepath.Join(b.dir, "open"), 0o700))
	b.ok(os.Chmod(filepath.Join(b.dir, "open"), 0o777))
	b.ok(os.Mkdir(filepath.Join(b.dir, "sticky"), 0o700))
	b.ok(os.Chmod(filepath.Join(b.dir, "sticky"), 0o777|os.ModeSticky))
	other := mirror.Manifest{Guest: "mail", UUID: strings.Replace(uuid, "6", "7", 1), Role: mirror.Replica, Point: mirror.Point{Epoch: 1},
		Disks: []mirror.Disk{{Target: "vda", Path: filepath.Join(b.dir, "images", "mail"), Size: 1 << 20, Whole: mirror.Point{Epoch: 1, Generation: 1}}}}
	b.ok(b.Store.Save(other))
	b.ok(os.WriteFile(other.Disks[0].Replica(), nil, 0o600))
	path := func(p string) func([]any) {
		return func(all []any) {
			w := all[1].(wire.Round)
			w.Disks = append([]mirror.Disk(nil), w.Disks...)
			w.Disks[0].Path = p
			w.Parts = []wire.Part{{Full: true}}
			all[1] = w
		}
	}
	roundWith := func(change func(*wire.Round)) func([]any) {
		return func(all []any) {
			w := all[1].(wire.Round)
			w.Disks, w.Parts = append([]mirror.Disk(nil), w.Disks...), append([]wire.Part(nil), w.Parts...)
			change(&w)
			all[1] = w
		}
	}
	helloWith := func(change func(*wire.Hello)) func([]any) {
		return func(all []any) {
			h := all[0].(wire.Hello)
			change(&h)
			all[0] = h
		}
	}
	dataWith := func(change func(*wire.Data)) func([]any) {
		return func(all []any) {
			d := all[2].(wire.Data)
			change(&d)
			all[2] = d
		}
	}
	state := func(p string) func([]any) {
		return func(all []any) {
			c := all[6].(wire.Commit)
			c.States = []mirror.State{{Path: p}}
			all[6] = c
		}
	}
	for name, tt := range map[string]struct {
		change func([]any)
		want   string
	}{
		"no hello":                  {func(all []any) { all[0] = wire.Close{} }, "greeting"},
		"another schema":            {helloWith(func(h *wire.Hello) { h.Schema++ }), "install the same vmferry"},
		"a UUID that is a path":     {helloWith(func(h *wire.Hello) { h.UUID = "../../etc/passwd" }), "no guest"},
		"a far epoch":               {helloWith(func(h *wire.Hello) { h.Epoch = 1 << 60 }), "no epoch"},
		"no directory":              {path(filepath.Join(b.dir, "none", "x")), "no such file"},
		"a file's directory":        {path(filepath.Join(b.disks[0].Path+".d", "x")), "no such file"},
		"up":                        {path(b.dir + "/images/../x"), "no path of an image"},
		"relative":                  {path("x"), "no path of an image"},
		"others may write there":    {path(filepath.Join(b.dir, "open", "x")), "chmod go-w"},
		"all may put files there":   {path(filepath.Join(b.dir, "sticky", "x")), "others may put"},
		"another guest's disk":      {path(other.Disks[0].Path), `of guest "mail"`},
		"another guest's replica":   {path(other.Disks[0].Replica()), "no path of an image"},
		"the manifest's directory":  {path(b.Store.Path(uuid)), ""}, // a file beside it, and no more
		"a large disk":              {roundWith(func(w *wire.Round) { w.Disks[0].Size = 1 << 60 }), "bytes"},
		"a disk without a size":     {roundWith(func(w *wire.Round) { w.Disks[0].Size = 0 }), "bytes"},
		"a smaller disk":            {roundWith(func(w *wire.Round) { w.Disks[0].Size -= 512 }), "no delta"},
		"another base":              {roundWith(func(w *wire.Round) { w.Parts[0].Base.Generation = 7 }), "no delta"},
		"no base":                   {roundWith(func(w *wire.Round) { w.Parts[1].Base = mirror.Point{} }), "no delta"},
		"a disk twice":              {roundWith(func(w *wire.Round) { w.Parts[1].Disk = 0 }), "no disk 0, or that twice"},
		"a disk that is not there":  {roundWith(func(w *wire.Round) { w.Parts[1].Disk = 2 }), "no disk 2"},
		"a disk below 0":            {roundWith(func(w *wire.Round) { w.Parts[1].Disk = -1 }), "no disk -1"},
		"a round again":             {roundWith(func(w *wire.Round) { w.Next.Generation = 1 }), "does not follow"},
		"another epoch's round":     {roundWith(func(w *wire.Round) { w.Next.Epoch++ }), "does not follow"},
		"far too much":              {roundWith(func(w *wire.Round) { w.Bytes = 1<<64 - 1 }), "bytes of room"},
		"a state anywhere":          {state("/etc/cron.d/x"), "no place"},
		"a state that is up":        {state("/var/lib/libvirt/swtpm/" + uuid + "/../x"), "no path"},
		"another guest's TPM":       {state("/var/lib/libvirt/swtpm/" + other.UUID + "/tpm2/tpm2-00.permall"), "no place"},
		"another guest's NVRAM":     {state("/var/lib/libvirt/qemu/nvram/mail_VARS.fd"), "no place"},
		"a state beside the disk":   {state(filepath.Join(b.dir, "images", "x.qcow2")), "no place"},
		"data of another disk":      {dataWith(func(d *wire.Data) { d.Disk = 2 }), "does not have disk 2"},
		"data of a disk below 0":    {dataWith(func(d *wire.Data) { d.Disk = -1 }), "does not have disk -1"},
		"data behind the end":       {dataWith(func(d *wire.Data) { d.Offset = 3 << 20 }), "outside"},
		"data across the end":       {dataWith(func(d *wire.Data) { d.Offset = 3<<20 - d.Length + 1 }), "outside"},
		"data at the highest place": {dataWith(func(d *wire.Data) { d.Offset = 1<<64 - 1 }), "outside"},
		"zeroes across the end":     {dataWith(func(d *wire.Data) { *d = wire.Data{Length: 1<<64 - 1, Zero: true} }), "outside"},
		"a sum behind the end":      {dataWith(func(d *wire.Data) { *d = wire.Data{Offset: 1 << 63, Length: 512, Sum: []byte("x")} }), "outside"},
		"nothing as data":           {dataWith(func(d *wire.Data) { *d = wire.Data{} }), "outside"},
		"a byte has changed":        {dataWith(func(d *wire.Data) { d.Payload = bytes.Clone(d.Payload); d.Payload[9]++ }), "not what was sent"},
		"at another place":          {dataWith(func(d *wire.Data) { d.Offset += 512 }), "not what was sent"},
		"a piece is missing":        {func(all []any) { all[2] = all[3] }, "not what was sent"},
		"another sum":               {func(all []any) { all[6].(wire.Commit).Sums[1][3]++ }, "not what was sent"},
		"a sum too few":             {func(all []any) { all[6] = wire.Commit{Sums: all[6].(wire.Commit).Sums[:1]} }, "not what was sent"},
		"no sums":                   {func(all []any) { all[6] = wire.Commit{} }, "not what was sent"},
		"a round within a round":    {func(all []any) { all[3] = all[1] }, "is not due"},
		"a commit before a round":   {func(all []any) { all[1] = all[6] }, "is not due"},
		"an answer":                 {func(all []any) { all[1] = wire.Ready{} }, "is not due"},
	} {
		data := b.change()
		all := b.round(false, data)
		tt.change(all)
		b.refused(name, tt.want, all...)
		b.models = clone(before)
	}
	m, err := b.Store.Load(uuid)
	b.ok(err)
	b.holds("as before", mirror.Disk.Replica, m.Disks, before)
	b.files("as before", "mail.vmferry-replica-1-1", "vda.qcow2.vmferry-replica-1-1", "vdb.qcow2.vmferry-replica-1-1")
	// A link in place of the file that a round makes.
	victim := filepath.Join(b.dir, "victim")
	b.ok(os.WriteFile(victim, []byte("as it was"), 0o600))
	all := b.round(false, b.change())
	b.Engine.Run = func(ctx context.Context, name string, args ...string) (string, error) { // what is left over was removed
		if args[0] == "create" {
			_ = os.Symlink(victim, m.Disks[1].Delta(b.point))
		}
		return run(ctx, name, args...)
	}
	if last, err := b.serve(t.Context(), all...); err == nil || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("a link: %+v, %v", last, err)
	}
	if raw, err := os.ReadFile(victim); err != nil || string(raw) != "as it was" {
		t.Errorf("the file behind the link: %d bytes, %v", len(raw), err)
	}
}
