package device

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var header = lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}}

// file is a path in a directory on a file system with direct I/O: beside this test, where the temporary one has none.
func file(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "device-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "lease")
}

func made(t *testing.T) string {
	t.Helper()
	path := file(t)
	if err := Init(path, header); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInit(t *testing.T) {
	path := file(t)
	if s, err := Look(path); err != nil || !s.Missing || s.Foreign() {
		t.Errorf("before: %+v, %v", s, err)
	}
	if err := Init(path, header); err != nil {
		t.Fatal(err)
	}
	s, err := Look(path)
	if err != nil || s.Header == nil || s.Foreign() || len(s.Held) != 0 {
		t.Fatalf("after: %+v, %v", s, err)
	}
	if s.Header.Identity == [16]byte{} {
		t.Error("the device has no identity")
	}
	s.Header.Identity = [16]byte{}
	if !reflect.DeepEqual(*s.Header, header) {
		t.Errorf("header %+v", *s.Header)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 || info.Size() != lease.Size {
		t.Errorf("%v, %d bytes", info.Mode(), info.Size())
	}
}

func TestReadBack(t *testing.T) {
	path := made(t)
	writer, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	slot := lease.Slot{Node: 2, Generation: 3, Counter: 4, State: lease.Held, Guests: 5}
	claim := lease.Claim{From: 2, Target: 1, Split: 1, Guests: 5}
	if err := writer.WriteSlot(slot); err != nil {
		t.Fatal(err)
	}
	if err := writer.WriteClaim(claim); err != nil {
		t.Fatal(err)
	}
	reader, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if got, err := reader.Slot(2); err != nil || got != slot {
		t.Errorf("slot %+v, %v", got, err)
	}
	if got, err := reader.Slot(1); err != nil || got != (lease.Slot{Node: 1}) {
		t.Errorf("slot of a node that never ran: %+v, %v", got, err)
	}
	if got, err := reader.Claim(2, 1); err != nil || got != claim {
		t.Errorf("claim %+v, %v", got, err)
	}
	if got, err := reader.Claim(1, 2); err != nil || got.Open() {
		t.Errorf("claim that was never made: %+v, %v", got, err)
	}
	if err := reader.WriteSlot(slot); err == nil {
		t.Error("written without the right to")
	}
	if s, err := Look(path); err != nil || !reflect.DeepEqual(s.Held, []string{"beta"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, path string) error
		want string
	}{
		"too small": {func(_ *testing.T, p string) error { return os.WriteFile(p, make([]byte, 8192), 0o600) },
			"has 8192 bytes: a lease device has 1118208 or more"},
		"a directory": {func(_ *testing.T, p string) error { return os.Mkdir(p, 0o700) },
			"is a directory: name a file in it"},
		"a device of characters": {func(_ *testing.T, p string) error { return os.Symlink("/dev/null", p) },
			"is neither a block device nor a regular file"},
		"with holes": {func(_ *testing.T, p string) error {
			if err := os.WriteFile(p, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(p, lease.Size)
		}, "has holes"},
	} {
		path := file(t)
		if err := test.make(t, path); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path, false)
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestLookAtForeignData(t *testing.T) {
	path := file(t)
	data := make([]byte, lease.Size)
	for i := range data {
		data[i] = byte(i)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Look(path); err != nil || !s.Foreign() {
		t.Errorf("%+v, %v", s, err)
	}
	path = made(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 100); err != nil {
		t.Fatal(err)
	}
	if s, err := Look(path); err != nil || !s.Damaged || s.Foreign() {
		t.Errorf("a damaged header: %+v, %v", s, err)
	}
}

// A file system begins with an empty block for the boot loader: nothing but zeros everywhere is empty.
func TestLookAtAFileSystem(t *testing.T) {
	for name, test := range map[string]struct {
		at    int64
		empty bool
	}{
		"ext4's superblock":        {1024 + 56, false},
		"a volume group's label":   {512, false},
		"an array's superblock":    {4096, false},
		"btrfs's superblock":       {65536 + 64, false},
		"past the leases":          {lease.Size, true},
		"the last block of leases": {lease.Size - 1, false},
	} {
		path := file(t)
		data := make([]byte, lease.Size+1)
		data[test.at] = 0x53
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Look(path); err != nil || s.Empty != test.empty || s.Foreign() == test.empty {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	path := made(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, lease.BlockSize), 0); err != nil {
		t.Fatal(err)
	}
	if s, err := Look(path); err != nil || !s.Empty {
		t.Errorf("a lease device whose header is cleared: %+v, %v", s, err)
	}
}

func TestLookWhereNoFileIsMade(t *testing.T) {
	for path, want := range map[string]string{
		"/dev/no-such-disk":               "there is no device /dev/no-such-disk: type lsblk",
		filepath.Join(file(t), "no", "x"): "mount the file system that all nodes share there first",
	} {
		if _, err := Look(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// A lease in memory, or on a file system that waits for the fencing, is refused.
func TestNotOn(t *testing.T) {
	for kind, refused := range map[int64]bool{gfs2: true, ocfs2: true, unix.TMPFS_MAGIC: true, unix.RAMFS_MAGIC: true,
		unix.EXT4_SUPER_MAGIC: false, unix.NFS_SUPER_MAGIC: false} {
		if err := notOn(kind, "/srv/lease"); (err != nil) != refused {
			t.Errorf("%#x: %v", kind, err)
		}
	}
}

// Whether tmpfs has direct I/O or not: no lease is in the memory of a node.
func TestNotInMemory(t *testing.T) {
	fd, err := unix.MemfdCreate("lease", unix.MFD_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	memory := os.NewFile(uintptr(fd), "lease")
	defer memory.Close()
	if _, err := memory.Write(make([]byte, lease.Size)); err != nil {
		t.Fatal(err)
	}
	d, err := Open(fmt.Sprintf("/proc/self/fd/%d", fd), true)
	if err == nil {
		d.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "tmpfs") {
		t.Errorf("%v", err)
	}
}
