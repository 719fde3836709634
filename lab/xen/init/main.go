package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is process 1 of a lab's domain 0, and of no use elsewhere")
		os.Exit(2)
	}
	err := run()
	fmt.Println("init: cannot boot:", err)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// root is where the new root is put together.
const root = "/state/root"

// mount is one file system.
type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

// early are needed to load modules and to see the disks, layers are the root's, and late belong
// into the finished root.
var (
	early = []mount{
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
	}
	layers = []mount{
		{"/dev/vda", "/image", "ext4", unix.MS_RDONLY | unix.MS_NOATIME, ""},
		{"/dev/vdb", "/product", "ext4", unix.MS_RDONLY | unix.MS_NOATIME, ""},
		{"/dev/vdc", "/state", "ext4", unix.MS_NOATIME, ""},
		{"overlay", root, "overlay", unix.MS_NOATIME,
			"lowerdir=/product:/image,upperdir=/state/upper,workdir=/state/work"},
	}
	late = []mount{
		// Nothing is cached: both machines see what the other one wrote.
		{"shared", root + "/shared", "9p", unix.MS_NOATIME, "trans=virtio,version=9p2000.L,cache=none,msize=262144"},
	}
)

// run returns only with what went wrong.
func run() error {
	if err := mountAll(early); err != nil {
		return err
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(order)) {
		if err := load(path); err != nil {
			return err
		}
	}
	if err := await("/dev/vdc", 30*time.Second); err != nil {
		return err
	}
	if err := mountAll(append(layers, late...)); err != nil {
		return err
	}
	// What the initramfs holds is not needed any more, and its memory is.
	if err := os.RemoveAll("/modules"); err != nil {
		return err
	}
	return enter()
}

func mountAll(list []mount) error {
	for _, m := range list {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %q on %q: %w", m.source, m.target, err)
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %q: %w", path, err)
	}
	return nil
}

// await waits for a device: the kernel finds them while this runs.
func await(path string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("there is no %q after %s: %w", path, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// enter makes the new root this process's, and systemd this process.
func enter() error {
	for _, m := range early {
		if err := unix.Mount(m.target, root+m.target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %q: %w", m.target, err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(root, "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make %q the root: %w", root, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	return fmt.Errorf("run systemd: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, os.Environ()))
}
