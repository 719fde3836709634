package device

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBufferedLoop is tried with trees as sysfs has them.
func TestBufferedLoop(t *testing.T) {
	sys := t.TempDir()
	for name, content := range map[string]string{
		"block/loop0/loop/dio": "0\n", "block/loop0/loop0p1/partition": "1\n",
		"block/loop1/loop/dio": "1\n", "block/loop1/loop1p1/partition": "1\n",
		"block/loop2/dev": "7:2\n", // no file is attached to it
		"block/sda/dev":   "8:0\n", "block/sda/sda1/partition": "1\n",
		"block/dm-0/dev": "252:0\n", "block/dm-1/dev": "252:1\n", "block/dm-2/dev": "252:2\n",
	} {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"7:0": "block/loop0", "block/dm-0/slaves/sda1": "block/sda/sda1", "block/dm-0/slaves/loop0p1": "block/loop0/loop0p1",
		"block/dm-1/slaves/dm-0": "block/dm-0", "block/dm-2/slaves/dm-2": "block/dm-2",
	} {
		path := filepath.Join(sys, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(sys, to), path); err != nil {
			t.Fatal(err)
		}
	}
	for device, want := range map[string]string{
		"7:0": "/dev/loop0", "block/loop0/loop0p1": "/dev/loop0", "block/loop1": "", "block/loop1/loop1p1": "",
		"block/loop2": "", "block/sda": "", "block/sda/sda1": "", "block/dm-0": "/dev/loop0", "block/dm-1": "/dev/loop0",
		"block/dm-2": "", "block/none": "",
	} {
		if got, err := bufferedLoop(filepath.Join(sys, device), deepest); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", device, got, err, want)
		}
	}
}
