package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/shellword"
)

// devices is where sysfs(5) has block devices by their numbers.
const devices = "/sys/dev/block"

// deepest is how many devices on top of each other are looked at.
const deepest = 8

// onBufferedLoop is the error of a device that is, or is on, a loop device without direct I/O: a read past the page
// cache of the loop device comes from that of its file, which has not seen what another node has written.
func onBufferedLoop(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeDevice == 0 {
		return nil
	}
	number := fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	loop, err := bufferedLoop(filepath.Join(devices, number), deepest)
	if err != nil {
		return fmt.Errorf("tell whether %s is on a loop device: %w", path, err)
	}
	if loop != "" {
		return fmt.Errorf("%s: %s reads its file through the page cache, which is old where another node has written: type %s",
			path, loop, shellword.Line("losetup", "--direct-io=on", loop))
	}
	return nil
}

// bufferedLoop is the first loop device without direct I/O among the device that sysfs has at dir, the one of which
// that is a partition, and those below it. It is empty where there is none.
func bufferedLoop(dir string, deep int) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", ifThere(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	direct, err := os.ReadFile(filepath.Join(dir, "loop", "dio"))
	if err == nil && strings.TrimSpace(string(direct)) == "0" {
		return "/dev/" + filepath.Base(dir), nil
	}
	below, listErr := os.ReadDir(filepath.Join(dir, "slaves"))
	if err := errors.Join(ifThere(err), ifThere(listErr)); err != nil || deep == 0 {
		return "", err
	}
	for _, b := range below {
		if loop, err := bufferedLoop(filepath.Join(dir, "slaves", b.Name()), deep-1); loop != "" || err != nil {
			return loop, err
		}
	}
	return "", nil
}

// ifThere is err but for one of a file that is not there: no other device has that of a loop device, and not every one
// is on others.
func ifThere(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
