package logind

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// libvirtDir is where libvirt's system daemons have their configuration.
const libvirtDir = "/etc/libvirt"

// confMost bounds what is read of a configuration file; libvirt's own have about 50 KiB.
const confMost = 1 << 20

// driverConf is the configuration of the driver that holds a lock, by the lock's name (virInhibitorNew in
// qemu_driver.c, libxl_driver.c and lxc_driver.c).
var driverConf = map[string]string{"Libvirt QEMU": "qemu.conf", "Libvirt Xen": "libxl.conf", "Libvirt LXC": "lxc.conf"}

// AutoShutdown is what a libvirt daemon does with its guests when logind announces a shutdown
// (virDomainDriverAutoShutdown, libvirt 11.2): it saves them, shuts them down or ends them, at once, and holds its lock
// until that is done.
type AutoShutdown struct {
	File     string   // the configuration that says so
	Settings []string // as "auto_shutdown_poweroff = all"; none where the daemon leaves its guests alone
	// Transient reports whether a setting reaches guests that libvirt has no definition of, as vmferry's agent starts
	// them.
	Transient bool
}

// On reports whether the daemon acts on any guest.
func (a AutoShutdown) On() bool { return len(a.Settings) > 0 }

// QEMUAutoShutdown reads what libvirt's system daemon for QEMU does. The error says that it cannot be told.
func (s System) QEMUAutoShutdown() (AutoShutdown, error) {
	return readAutoShutdown(filepath.Join(cmp.Or(s.LibvirtDir, libvirtDir), "qemu.conf"))
}

// plainLibvirt is the name of the one lock of all drivers in older versions (virNetDaemonAddShutdownInhibition; 10.0
// has it). Their system daemons do nothing with guests at a shutdown.
const plainLibvirt = "Libvirt"

// idle reports whether a lock is a libvirt system daemon's that only waits for its guests to end. Never is one of a
// session daemon: it saves its user's guests at a shutdown, in all versions.
func (s System) idle(i inhibitor) (bool, error) {
	if i.Who == plainLibvirt && i.UID == 0 {
		return true, nil
	}
	file, ok := driverConf[i.Who]
	if !ok || i.UID != 0 {
		return false, nil
	}
	a, err := readAutoShutdown(filepath.Join(cmp.Or(s.LibvirtDir, libvirtDir), file))
	return err == nil && !a.On(), err
}

// readAutoShutdown reads one driver's configuration. Where there is no file the defaults hold, by which a system daemon
// does nothing (virQEMUDriverConfigNew).
func readAutoShutdown(path string) (AutoShutdown, error) {
	text, err := safefile.Read(path, confMost, safefile.Anyone)
	if errors.Is(err, fs.ErrNotExist) {
		return AutoShutdown{File: path}, nil
	}
	if err != nil {
		return AutoShutdown{}, fmt.Errorf("read what libvirt does at a shutdown: %w", err)
	}
	a := parseAutoShutdown(string(text))
	a.File = path
	return a, nil
}

// autoSetting is one of the settings that make the daemon act. The others, such as auto_shutdown_wait, only say how.
var autoSetting = regexp.MustCompile(`\b(auto_shutdown_(?:try_save|try_shutdown|poweroff))[ \t]*=[ \t]*(?:"""|["'])?([A-Za-z]*)`)

// parseAutoShutdown finds the settings in the text of a configuration (virConfParse). In doubt one counts as set, as it
// does behind another statement's comment: the shutdown then waits for libvirt, as it would without vmferryd.
func parseAutoShutdown(text string) AutoShutdown {
	var a AutoShutdown
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			continue
		}
		for _, m := range autoSetting.FindAllStringSubmatch(line, -1) {
			if m[2] == "none" {
				continue
			}
			a.Settings = append(a.Settings, m[1]+" = "+m[2])
			a.Transient = a.Transient || m[2] != "persistent"
		}
	}
	return a
}
