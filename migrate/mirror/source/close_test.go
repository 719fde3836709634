package source

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/mirror"
)

// program runs one of qemu-utils or util-linux.
func program(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// TestClose closes the mirror of a guest that has ended, whose disks are real.
func TestClose(t *testing.T) {
	for _, name := range []string{"qemu-img", "qemu-io", "qemu-nbd", "setpriv"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	w := newWorld(t)
	w.source.dial, w.source.Run, w.source.Hypervisor = nil, program, nil
	base := mirror.Point{Epoch: 3, Generation: 8}
	own := mirror.Manifest{Guest: "guest", UUID: uuid, Role: mirror.Truth, Point: base, Last: 9, Peer: "node2"}
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := program(t.Context(), name, args...)
		if err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
		return out
	}
	for _, target := range []string{"vda", "vdb"} {
		own.Disks = append(own.Disks, mirror.Disk{Target: target, Path: w.path(target), Size: 1 << 20})
		run("qemu-img", "create", "-q", "-f", "qcow2", w.path(target), "1M")
		run("qemu-img", "bitmap", "--add", w.path(target), base.String())
		run("qemu-img", "bitmap", "--add", w.path(target), "vmferry-2-77") // left over
		w.copies[target] = make([]byte, 1<<20)
	}
	run("qemu-io", "-f", "qcow2", "-c", "write -P 0x61 65536 65536", w.path("vda"))
	if err := w.source.Store.Save(own); err != nil {
		t.Fatal(err)
	}
	replica := own
	replica.Schema, replica.Role, replica.Disks = mirror.Schema, mirror.Replica, nil
	for _, d := range own.Disks {
		d.At, d.Whole = base, base
		replica.Disks = append(replica.Disks, d)
	}
	w.replica = &replica
	end := func() (Result, error) {
		return w.source.Close(t.Context(), Request{Guest: "guest", UUID: uuid, Peer: &Peer{Stream: &stream{world: w}}})
	}
	r, err := end()
	if err != nil || r.Point != (mirror.Point{Epoch: 3, Generation: 10}) || r.Bytes != 65536 || !w.replica.Closed {
		t.Fatalf("%+v, %v, replica %+v", r, err, w.replica)
	}
	if want := bytes.Repeat([]byte("a"), 65536); !bytes.Equal(w.copies["vda"][65536:131072], want) {
		t.Error("the data did not come")
	}
	if m, err := w.source.Store.Load(uuid); err != nil || !m.Closed || m.Point != r.Point {
		t.Errorf("own manifest: %+v, %v", m, err)
	}
	info := run("qemu-img", "info", w.path("vda"))
	if !strings.Contains(info, "vmferry-3-10") || strings.Contains(info, "vmferry-3-8") || strings.Contains(info, "vmferry-2-77") {
		t.Errorf("the image's bitmaps: %s", info)
	}
	// As after a crash of QEMU, or where another program has removed it.
	run("qemu-img", "bitmap", "--remove", w.path("vdb"), "vmferry-3-10")
	w.replica.Closed = false
	if _, err := end(); err == nil || !strings.Contains(err.Error(), "vmferry-3-10") || w.replica.Closed {
		t.Errorf("without a bitmap: %v, closed %v", err, w.replica.Closed)
	}
}
