package resource

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// validate checks what can be checked without libvirt: the parameters (by Run), the
// config file, and the files and programs that both name.
func (a *run) validate(ctx context.Context) error {
	err := timely.Do(ctx, func() error {
		err := checkEmulator(a.config.domain.Emulator, a.Params.Config, a.guest.Name)
		for _, check := range []func(param.Params) error{checkScripts, checkSaveDirs, checkOverlay, checkSync} {
			if err == nil {
				err = check(a.Params)
			}
		}
		return err
	})
	if errors.Is(err, timely.ErrNoStorage) {
		return ocf.Wrapf(ocf.Generic, err, "the files of guest %q cannot be checked", a.guest.Name)
	}
	if err != nil {
		return err
	}
	if name := a.guest.Name; name != strings.TrimSpace(name) {
		a.Log.Warnf("the guest's name %q begins or ends with a blank, which libvirt keeps: "+
			"write <name>%s</name> if it is not meant", name, strings.TrimSpace(name))
	}
	warnOfMemory(a.Params, a.Log)
	warnOfFirmware(ctx, a.config.domain.Text, a.Log)
	warnOfWriters(ctx, a.Params.File(), a.Log)
	if a.Params.SavesTo() != "" {
		a.warnOfSaves(ctx)
	}
	return nil
}

// warnOfWriters says who else than root may write the guest's config file. It refuses nothing: a cluster may have run
// that way for long.
func warnOfWriters(ctx context.Context, file string, log logrus.FieldLogger) {
	d, err := timely.GetBriefly(ctx, func() (safefile.Directory, error) {
		return safefile.SurveyFile(file, safefile.Only())
	})
	if err == nil && d.Access == safefile.Exposed { // a file that cannot be looked at is reported elsewhere
		log.Warnf("who writes to config file %q decides which programs libvirt runs as root, and %s: type %s",
			file, d.Why, d.Fix)
	}
}

// warnOfSaves says beforehand that a guest would not be saved.
func (a *run) warnOfSaves(ctx context.Context) {
	place, err := timely.GetBriefly(ctx, a.saver.survey)
	if err == nil {
		err = place.Exposed()
	}
	if err != nil {
		a.Log.WithError(err).Warnf("the guest is not saved to %q", a.Params.SavesTo())
	}
}

// warnOfMemory says what is done about memory in place of what the Xen agent does.
func warnOfMemory(p param.Params, log logrus.FieldLogger) {
	if p.MemManagement {
		log.Warn("allow_mem_management has no effect: remove it and reserved_Dom0_memory, give dom0 a fixed amount " +
			"of memory (dom0_mem=1G,max:1G on Xen's command line), and leave room for the guests that may come")
	}
}

func checkEmulator(emulator, config, guest string) error {
	if emulator == "" {
		return nil // libvirt chooses one
	}
	if !filepath.IsAbs(emulator) {
		return ocf.Errorf(ocf.Installed, "config file %q names the emulator %q without a path: give its full path",
			config, emulator)
	}
	info, err := os.Stat(emulator)
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return ocf.Errorf(ocf.Installed,
			"emulator %q of guest %q is not a program on this node: install QEMU or correct <emulator>",
			emulator, guest)
	}
	return nil
}

func checkScripts(p param.Params) error {
	for _, script := range p.Scripts {
		if lacks(script) {
			return ocf.Errorf(ocf.Installed, "monitor script %q is not a program on this node: "+
				"put it there and make it executable, or correct monitor_scripts", script)
		}
	}
	return nil
}

func checkSaveDirs(p param.Params) error {
	for _, d := range []struct{ param, path string }{{"snapshot", p.Snapshot}, {"save_dir", p.SaveDir}} {
		if d.path == "" {
			continue
		}
		if info, err := os.Stat(d.path); err != nil || !info.IsDir() {
			return ocf.Errorf(ocf.Installed,
				"%s=%q is not a directory on this node: create it, or mount it", d.param, d.path)
		}
	}
	return nil
}

func checkOverlay(p param.Params) error {
	o := p.Overlay
	if o.Backing == "" {
		return nil
	}
	info, err := os.Stat(o.Backing)
	switch {
	case err != nil || info.IsDir():
		return ocf.Errorf(ocf.Installed,
			"backingfile=%q is not an image on this node: put it there, or correct the parameter",
			o.Backing)
	case lacks("qemu-img"):
		return ocf.Errorf(ocf.Installed, "backingfile needs qemu-img, which is not on this node: install qemu-utils")
	case len(o.CopyIn) > 0 && lacks("virt-copy-in"):
		return ocf.Errorf(ocf.Installed,
			"copyindirs needs virt-copy-in, which is not on this node: install libguestfs-tools")
	}
	return nil
}

func checkSync(p param.Params) error {
	if p.SyncConfig && lacks("csync2") {
		return ocf.Errorf(ocf.Installed,
			"sync_config_on_stop needs csync2, which is not on this node: install and set it up")
	}
	return nil
}

// lacks reports whether PATH has no such program, or a full path leads to none.
func lacks(program string) bool {
	_, err := exec.LookPath(program)
	return err != nil
}

// LocalFirmware lists what a guest's firmware keeps on this node alone, by its libvirt XML. Of storage that gives no
// answer until ctx ends it lists nothing, since a local disk answers.
func LocalFirmware(ctx context.Context, text string) []domainxml.Firmware {
	return slices.DeleteFunc(domainxml.FirmwareOf(text), func(f domainxml.Firmware) bool {
		shared, err := timely.Get(ctx, func() (bool, error) { return f.IsShared(), nil })
		return shared || err != nil && !f.EndsWithGuest()
	})
}

// warnOfFirmware says what a failover to another node would lose.
func warnOfFirmware(ctx context.Context, text string, log logrus.FieldLogger) {
	ctx, cancel := timely.Within(ctx, timely.StorageTime)
	defer cancel()
	for _, f := range LocalFirmware(ctx, text) {
		log.Warnf("the guest's %s", f)
	}
}
