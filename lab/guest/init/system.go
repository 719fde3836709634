package main

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lists of modules in the initramfs, written by package guest: those needed to
// answer, and those needed to switch the guest off.
const (
	earlyModules = "/modules/order"
	lateModules  = "/modules/late"
)

func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
	} {
		err := syscall.Mount(m.kind, m.at, m.kind, syscall.MS_NOSUID|syscall.MS_NOEXEC, "")
		if err != nil {
			return errors.New("mount " + m.at + ": " + err.Error())
		}
	}
	return nil
}

// loadModules loads the modules that the list names, one path a line, in its
// order.
func loadModules(list string) error {
	lines, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for _, path := range strings.Fields(string(lines)) {
		if err := loadModule(path); err != nil {
			return errors.New("load " + path + ": " + err.Error())
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
