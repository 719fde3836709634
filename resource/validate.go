package resource

import (
	"context"
	"os"
	"path/filepath"
)

// validate checks what can be checked without libvirt: the parameters (by Run), the
// config file, and the emulator that it names.
func (a *run) validate(context.Context) error {
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
