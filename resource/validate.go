package resource

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/domainxml"
)

// validate checks what can be checked without libvirt: the parameters (by Run), the
// config file, and the files and programs that both name.
func (a *run) validate(ctx context.Context) error {
	err := timely(ctx, func() error {
		err := checkEmulator(a.config.domain.Emulator, a.Params.Config, a.guest.Name)
		for _, check := range []func(Params) error{checkScripts, checkSaveDirs, checkBacking, checkPrograms} {
			if err == nil {
				err = check(a.Params)
			}
		}
		return err
	})
	if errors.Is(err, errNoStorage) {
		return because(Generic, err, "the files of guest %q cannot be checked", a.guest.Name)
	}
	if err != nil {
		return err
	}
	if name := a.guest.Name; name != strings.TrimSpace(name) {
		a.Log.Warnf("the guest's name %q begins or ends with a blank, which libvirt keeps: "+
			"write <name>%s</name> if it is not meant", name, strings.TrimSpace(name))
	}
	a.warnOfMemory()
	a.warnOfFirmware(ctx)
	a.warnOfWriters(ctx)
	if a.Params.SavesTo() != "" {
		a.warnOfSaves(ctx)
	}
	return nil
}

// warnOfWriters says who else than root may write the guest's config file. It refuses nothing: a cluster may have run
// that way for long.
func (a *run) warnOfWriters(ctx context.Context) {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	file := a.Params.File()
	d, err := timelyValue(ctx, func() (safefile.Directory, error) { return safefile.SurveyFile(file, safefile.Only()) })
	if err == nil && d.Access == safefile.Exposed { // a file that cannot be looked at is reported elsewhere
		a.Log.Warnf("who writes to config file %q decides which programs libvirt runs as root, and %s: type %s",
			file, d.Why, d.Fix)
	}
}

// warnOfSaves says beforehand that a guest would not be saved.
func (a *run) warnOfSaves(ctx context.Context) {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	place, err := timelyValue(ctx, a.survey)
	if err == nil {
		err = place.isExposed()
	}
	if err != nil {
		a.Log.WithError(err).Warnf("the guest is not saved to %q", a.Params.SavesTo())
	}
}

// warnOfMemory says what is done about memory in place of what the Xen agent does.
func (a *run) warnOfMemory() {
	if a.Params.MemManagement {
		a.Log.Warn("allow_mem_management has no effect: remove it and reserved_Dom0_memory, give dom0 a fixed amount of " +
			"memory (dom0_mem=1G,max:1G on Xen's command line), and leave room for the guests that may come")
	}
}

func checkEmulator(emulator, config, guest string) error {
	if emulator == "" {
		return nil // libvirt chooses one
	}
	if !filepath.IsAbs(emulator) {
		return fail(Installed, "config file %q names the emulator %q without a path: give its full path",
			config, emulator)
	}
	info, err := os.Stat(emulator)
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return fail(Installed, "emulator %q of guest %q is no program on this node: install QEMU or correct <emulator>",
			emulator, guest)
	}
	return nil
}

func checkScripts(p Params) error {
	for _, script := range p.Scripts {
		if _, err := exec.LookPath(script); err != nil {
			return fail(Installed, "monitor script %q is no program on this node: "+
				"put it there and make it executable, or correct monitor_scripts", script)
		}
	}
	return nil
}

func checkSaveDirs(p Params) error {
	for _, d := range []struct{ param, path string }{{"snapshot", p.Snapshot}, {"save_dir", p.SaveDir}} {
		if d.path == "" {
			continue
		}
		if info, err := os.Stat(d.path); err != nil || !info.IsDir() {
			return fail(Installed, "%s=%q is no directory on this node: create it, or mount it", d.param, d.path)
		}
	}
	return nil
}

func checkBacking(p Params) error {
	image := p.Overlay.Backing
	if image == "" {
		return nil
	}
	if info, err := os.Stat(image); err != nil || info.IsDir() {
		return fail(Installed, "backingfile=%q is no image on this node: put it there, or correct the parameter", image)
	}
	return nil
}

// checkPrograms looks for those that parameters need.
func checkPrograms(p Params) error {
	o := p.Overlay
	for _, c := range []struct {
		needed                  bool
		param, program, install string
	}{
		{o.Backing != "", "backingfile", "qemu-img", "install qemu-utils"},
		{o.Backing != "" && len(o.CopyIn) > 0, "copyindirs", "virt-copy-in", "install libguestfs-tools"},
		{p.SyncConfig, "sync_config_on_stop", "csync2", "install and set it up"},
	} {
		if !c.needed {
			continue
		}
		if _, err := exec.LookPath(c.program); err != nil {
			return fail(Installed, "%s needs %s, which is not on this node: %s", c.param, c.program, c.install)
		}
	}
	return nil
}

// warnOfFirmware says what a failover to another node would lose.
func (a *run) warnOfFirmware(ctx context.Context) {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	for _, f := range LocalFirmware(ctx, a.config.domain.Text) {
		a.Log.Warnf("the guest's %s", f)
	}
}

// LocalFirmware lists what a guest's firmware keeps on this node alone, by its libvirt XML. Of storage that gives no
// answer until ctx ends it lists nothing, since a local disk answers.
func LocalFirmware(ctx context.Context, text string) []domainxml.Firmware {
	return slices.DeleteFunc(domainxml.FirmwareOf(text), func(f domainxml.Firmware) bool {
		shared, err := timelyValue(ctx, func() (bool, error) { return f.IsShared(), nil })
		return shared || err != nil && !f.EndsWithGuest()
	})
}

// warnOfNewTPM says before a start that the guest gets an empty TPM.
func (a *run) warnOfNewTPM() {
	for _, f := range domainxml.FirmwareOf(a.config.domain.Text) {
		if f.Path == "" {
			a.Log.Warnf("the guest's %s", f)
		}
	}
}
