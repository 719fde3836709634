package nbd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// run runs a program of qemu-utils.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// serve exports an image until the client leaves.
func serve(t *testing.T, export Export, image string, args ...string) *Client {
	t.Helper()
	dir := t.TempDir()
	socket, pidFile := filepath.Join(dir, "socket"), filepath.Join(dir, "pid")
	run(t, "qemu-nbd", append(args, "--fork", "--pid-file="+pidFile, "--socket="+socket, "--format=qcow2", image)...)
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	server, err := unix.PidfdOpen(n, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), socket, export)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		// The server ends with its client: the image is whole only then.
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, -1)
		for err == unix.EINTR {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, -1)
		}
		_ = unix.Close(server)
	})
	return c
}

// TestQEMU writes through qemu-nbd, and reads back what it is asked by and which parts are dirty.
func TestQEMU(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "1234M")
	run(t, "qemu-img", "bitmap", "--add", image, "b")
	data := bytes.Repeat([]byte("vmferry!"), 300<<10/8)
	const size, at = uint64(1234 << 20), uint64(1100 << 20)
	t.Run("write", func(t *testing.T) {
		c := serve(t, Export{Context: "base:allocation"}, image)
		if c.Size() != size {
			t.Errorf("size %d", c.Size())
		}
		if got, err := c.Extents(t.Context(), 0, size); err != nil || !slices.Equal(got, []Extent{{0, size, Hole | Zero}}) {
			t.Errorf("empty: %v, %v", got, err)
		}
		for _, err := range []error{c.Write(t.Context(), data, at), c.Write(t.Context(), data, 0),
			c.WriteZeroes(t.Context(), 65536, 131072), c.Flush(t.Context())} {
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Extents(t.Context(), 0, size)
		left := map[uint64]uint64{0: 65536, 196608: 300<<10 - 196608, at: 300 << 10} // what must not read as zeroes
		for _, e := range got {
			for begin, length := range left {
				if e.Flags&Zero == 0 && e.Offset <= begin && begin+length <= e.Offset+e.Length {
					delete(left, begin)
				}
			}
			if e.Flags&Zero == 0 && e.Length > 320<<10 || e.Offset == 65536 && e.Flags&Zero == 0 {
				t.Errorf("it is no data: %v", e)
			}
		}
		if err != nil || len(left) > 0 {
			t.Errorf("written: %v, %v, without %v", got, err, left)
		}
	})
	t.Run("read", func(t *testing.T) {
		c := serve(t, Export{Context: "qemu:dirty-bitmap:b"}, image, "--read-only", "--bitmap=b")
		got, err := c.Extents(t.Context(), 0, size)
		want := []Extent{{0, 327680, Dirty}, {327680, at - 327680, 0}, {at, 327680, Dirty},
			{at + 327680, size - at - 327680, 0}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("dirty: %v, %v, want %v", got, err, want)
		}
		expect := slices.Concat(data[:65536], make([]byte, 131072), data[196608:], make([]byte, 8000))
		buf := bytes.Repeat([]byte("."), len(expect))
		if err := c.Read(t.Context(), buf, 0); err != nil || !bytes.Equal(buf, expect) {
			t.Errorf("read: %v", err)
		}
		if err := c.Read(t.Context(), buf[:len(data)], at); err != nil || !bytes.Equal(buf[:len(data)], data) {
			t.Errorf("read: %v", err)
		}
		if err := c.Write(t.Context(), data, 0); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("write to a read-only export: %v", err)
		}
		if err := c.Read(t.Context(), buf[:1], 7); err != nil || buf[0] != data[7] {
			t.Errorf("after that: %q, %v", buf[0], err)
		}
	})
	t.Run("no bitmap", func(t *testing.T) {
		dir := t.TempDir()
		socket := filepath.Join(dir, "socket")
		run(t, "qemu-nbd", "--fork", "--persistent", "--pid-file="+filepath.Join(dir, "pid"), "--socket="+socket,
			"--read-only", "--format=qcow2", image)
		t.Cleanup(func() {
			if pid, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil {
				if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
					_ = unix.Kill(n, unix.SIGKILL)
				}
			}
		})
		_, err := Dial(t.Context(), socket, Export{Context: "qemu:dirty-bitmap:other"})
		if err == nil || !strings.Contains(err.Error(), "does not have") {
			t.Errorf("a bitmap that is not there: %v", err)
		}
		_, err = Dial(t.Context(), socket, Export{Name: "other"})
		if err == nil || !strings.Contains(err.Error(), "refuses") {
			t.Errorf("an export that is not there: %v", err)
		}
	})
}
