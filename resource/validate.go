package resource

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// validate checks what can be checked without libvirt: the parameters (by Run), the
// config file, and the files and programs that both name.
func (a *run) validate(ctx context.Context) error {
	for _, check := range []func(*run) error{(*run).checkEmulator, (*run).checkScripts, (*run).checkSaveDirs, (*run).checkOverlay, (*run).checkSync} {
		err := timely(ctx, func() error { return check(a) })
		if errors.Is(err, errNoStorage) {
			return because(Generic, err, "the files of guest %q cannot be checked", a.guest.Name)
		}
		if err != nil {
			return err
		}
	}
	if name := a.guest.Name; name != strings.TrimSpace(name) {
		a.Log.Warnf("the guest's name %q begins or ends with a blank, which libvirt keeps: "+
			"write <name>%s</name> if it is not meant", name, strings.TrimSpace(name))
	}
	a.warnOfMemory()
	a.warnOfFirmware(ctx)
	a.warnOfWriters(ctx)
	if a.Params.savesTo() != "" {
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
	if err == nil && d.Access == safefile.Exposed { // a file that cannot be looked at is told of elsewhere
		a.Log.Warnf("who writes to config file %q decides which programs libvirt runs as root, and %s: type %s", file, d.Why, d.Fix)
	}
}

// warnOfSaves says beforehand that a guest would not be saved.
func (a *run) warnOfSaves(ctx context.Context) {
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	place, err := timelyValue(ctx, a.saver.survey)
	if err == nil {
		err = place.Exposed()
	}
	if err != nil {
		a.Log.WithError(err).Warnf("the guest is not saved to %q", a.Params.savesTo())
	}
}

// warnOfMemory says what is done about memory in place of what the Xen agent does.
func (a *run) warnOfMemory() {
	if a.Params.MemManagement {
		a.Log.Warn("allow_mem_management is not done, and no guest's memory is changed: remove it and reserved_Dom0_memory, give dom0 a fixed amount " +
			"(dom0_mem=1G,max:1G on Xen's command line), and leave room for the guests that may come")
	}
}

func (a *run) checkEmulator() error {
	emulator := a.config.domain.Emulator
	if emulator == "" {
		return nil // libvirt chooses one
	}
	if !filepath.IsAbs(emulator) {
		return fail(Installed, "config file %q names the emulator %q without a path: give its full path", a.Params.Config, emulator)
	}
	info, err := os.Stat(emulator)
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return fail(Installed, "emulator %q of guest %q is no program on this node: install QEMU or correct <emulator>", emulator, a.guest.Name)
	}
	return nil
}

func (a *run) checkScripts() error {
	for _, script := range a.Params.Scripts {
		if _, err := exec.LookPath(script); err != nil {
			return fail(Installed, "monitor script %q is no program on this node: put it there and make it executable, or correct monitor_scripts", script)
		}
	}
	return nil
}

func (a *run) checkSaveDirs() error {
	for _, d := range []struct{ param, path string }{{"snapshot", a.Params.Snapshot}, {"save_dir", a.Params.SaveDir}} {
		if d.path == "" {
			continue
		}
		if info, err := os.Stat(d.path); err != nil || !info.IsDir() {
			return fail(Installed, "%s=%q is no directory on this node: create it, or mount it", d.param, d.path)
		}
	}
	return nil
}

func (a *run) checkOverlay() error {
	o := a.Params.Overlay
	if o.Backing == "" {
		return nil
	}
	if info, err := os.Stat(o.Backing); err != nil || info.IsDir() {
		return fail(Installed, "backingfile=%q is no image on this node: put it there, or correct the parameter", o.Backing)
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return fail(Installed, "backingfile needs qemu-img, which is not on this node: install qemu-utils")
	}
	if _, err := exec.LookPath("virt-copy-in"); err != nil && len(o.CopyIn) > 0 {
		return fail(Installed, "copyindirs needs virt-copy-in, which is not on this node: install libguestfs-tools")
	}
	return nil
}

func (a *run) checkSync() error {
	if !a.Params.SyncConfig {
		return nil
	}
	if _, err := exec.LookPath("csync2"); err != nil {
		return fail(Installed, "sync_config_on_stop needs csync2, which is not on this node: install and set it up")
	}
	return nil
}
