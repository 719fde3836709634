package replica

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
)

// The name of a disk has what a guest, or QEMU's user, has written: its format is not guessed.
func TestNoFormatGuessed(t *testing.T) {
	b := newBench(t)
	b.ok(b.Store.Save(mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1}, Disks: b.disks}))
	for _, d := range b.disks {
		b.image(d.Path, 1<<20)
	}
	b.Engine.Run = func(ctx context.Context, name string, args ...string) (string, error) {
		if name == "qemu-img" && args[0] != "create" && !slices.Contains(args, "-f") && args[0] != "commit" {
			t.Errorf("qemu-img guesses the format: %q", args)
		}
		return run(ctx, name, args...)
	}
	b.point.Epoch = 2
	if _, err := b.serve(t.Context(), b.hello()); err != nil {
		t.Fatal(err)
	}
	b.good(true, b.whole())
	b.ok(b.Promote(t.Context(), uuid, 3, b.disks, 0, tell))
}

// A truth that took its list of disks from a peer does not rename what is no image of a guest's.
func TestYieldNoImage(t *testing.T) {
	b := newBench(t)
	victim := filepath.Join(b.dir, "images", "passwd")
	b.ok(os.WriteFile(victim, []byte("root:x:0:0:root:/root:/bin/bash\n"), 0o644))
	b.ok(b.Store.Save(mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1}, Peer: "north",
		Disks: []mirror.Disk{{Target: "vda", Path: victim, Size: 1 << 20}}}))
	b.point.Epoch = 2
	_, err := b.serve(t.Context(), b.hello())
	if _, gone := os.Stat(victim); gone != nil {
		t.Errorf("it is renamed: %v, %v", gone, err)
	}
}

// A replica belongs to one other node: a third one, or a clone with the same UUID there, does not replace it.
func TestThirdNode(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	h := b.hello()
	h.Node = "west"
	b.refused("a third node's greeting", "north", h)
	round := b.round(true, b.whole())
	h.Epoch++
	round[0] = h
	w := round[1].(wire.Round)
	w.Next.Epoch++
	round[1] = w
	b.refused("a third node's round", "north", round...)
}

// A third node does not put aside the disks of a guest that is off.
func TestThirdNodeYield(t *testing.T) {
	b := newBench(t)
	b.ok(b.Store.Save(mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1}, Disks: b.disks,
		Peer: "north"}))
	for _, d := range b.disks {
		b.image(d.Path, 1<<20)
	}
	h := b.hello()
	h.Node, h.Epoch = "west", 2
	b.refused("a third node", "north", h)
	b.files("as before", "vda.qcow2", "vdb.qcow2")
}

// What a replica accepts as an epoch it can be promoted from.
func TestHighestEpoch(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	h := b.hello()
	h.Epoch = 1 << 50
	if _, err := b.serve(t.Context(), h); err != nil {
		return
	}
	m, err := b.Store.Load(uuid)
	b.ok(err)
	d := mirror.Judge(&m, mirror.Known{Sure: true}, 0, noon, false)
	b.ok(b.Promote(t.Context(), uuid, d.Epoch, b.disks, 0, tell))
}

// A replica's source writes no files of its choice: a guest's NVRAM and TPM have their places, and a directory that is a
// link is not followed.
func TestStatePlaces(t *testing.T) {
	m := mirror.Manifest{Guest: "web", UUID: uuid, Disks: []mirror.Disk{{Path: "/img/a"}}}
	for path, want := range map[string]bool{
		nvramDir + "web_VARS.fd": true, nvramDir + "web_VARS.qcow2": true, "/img/web_VARS.fd": true,
		"/var/lib/libvirt/swtpm/" + uuid + "/tpm2/tpm2-00.permall": true,
		nvramDir + "db_VARS.fd": false, nvramDir + "web.fd": false, "/etc/web_VARS.fd": false,
		"/var/lib/libvirt/swtpm/" + uuid + "/tpm2/job": false, "/var/lib/libvirt/swtpm/" + uuid + "/tpm2-00.permall": false,
	} {
		if isState(path, m) != want {
			t.Errorf("%q is a place: %t", path, !want)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "tpm2")); err != nil {
		t.Fatal(err)
	}
	if err := restore(mirror.State{Path: filepath.Join(dir, "tpm2", "tpm2-00.permall")}); err == nil {
		t.Error("a link was followed")
	}
	path := filepath.Join(dir, "new", "tpm2-00.permall")
	err := restore(mirror.State{Path: path, Content: []byte("x")})
	if info, serr := os.Stat(path); err != nil || serr != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, %v", info, err, serr)
	}
}

// A source that comes again after a cut does not wait for the process that serves its old stream.
func TestSecondStream(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	raw := b.encode(b.round(false, b.change()))
	reached, ctx := make(chan struct{}), t.Context()
	old, cancel := context.WithCancel(ctx)
	defer cancel()
	first := engine(b.dir)
	first.step = func(step string) {
		if step == "data" && reached != nil {
			close(reached)
			reached = nil
		}
	}
	reachedData := reached
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = first.Serve(old, silent{strings.NewReader(string(raw[:len(raw)-1])), old}, io.Discard)
	}()
	<-reachedData
	last, err := b.serve(ctx, b.round(false, b.change())...)
	if _, ok := last.(wire.Done); !ok || err != nil {
		t.Errorf("%+v, %v", last, err)
	}
	cancel()
	<-ended
}

// Where qemu-nbd does not end with its client, as where that has reached another one, the round fails in the end.
func TestServerStays(t *testing.T) {
	b := newBench(t)
	b.good(true, b.whole())
	b.Patience = 2 * time.Second
	b.Engine.Run = func(ctx context.Context, name string, args ...string) (string, error) {
		if name == "setpriv" {
			args = slices.Insert(slices.Clone(args), len(args)-1, "--persistent")
		}
		return run(ctx, name, args...)
	}
	limited, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	round := b.round(false, b.change())
	if last, err := b.serve(limited, round...); err == nil || !strings.Contains(err.Error(), "has not ended in 2s") {
		t.Errorf("%+v, %v", last, err)
	}
	if left, err := filepath.Glob(filepath.Join(b.Store.Dir, "*.sock")); len(left) > 0 || err != nil {
		t.Errorf("left %q, %v", left, err)
	}
}

// A replica is forgotten with its files; a truth's disks stay.
func TestForget(t *testing.T) {
	b := newBench(t)
	b.ok(b.Forget(t.Context(), uuid))
	b.good(true, b.whole())
	b.image(b.disks[0].Path, 1<<20)
	b.ok(b.Forget(t.Context(), uuid))
	b.files("forgotten", "vda.qcow2")
	if _, err := b.Store.Load(uuid); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	truth := mirror.Manifest{Guest: "web", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 1}, Disks: b.disks,
		Overlay: true}
	b.ok(b.Store.Save(truth))
	if err := b.Forget(t.Context(), uuid); err == nil {
		t.Error("what the guest wrote to its overlay is forgotten")
	}
	truth.Overlay = false
	b.ok(b.Store.Save(truth))
	b.ok(b.Forget(t.Context(), uuid))
	b.files("a truth", "vda.qcow2")
}
