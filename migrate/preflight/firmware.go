package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// firmwareFiles are the files of a guest's firmware that have to be on its host: the program, and the template of a new
// variable store.
func firmwareFiles(guest *libvirtxml.Domain) (paths []string) {
	if guest.OS == nil {
		return nil
	}
	if l := guest.OS.Loader; l != nil {
		paths = append(paths, l.Path)
	}
	paths = append(paths, guest.OS.Kernel, guest.OS.Initrd)
	return slices.DeleteFunc(paths, func(p string) bool { return !filepath.IsAbs(p) })
}

// emulatesTPM reports whether swtpm runs beside the guest.
func emulatesTPM(guest *libvirtxml.Domain) bool {
	return guest.Devices != nil && slices.ContainsFunc(guest.Devices.TPMs, func(t libvirtxml.DomainTPM) bool {
		return t.Backend != nil && t.Backend.Emulator != nil
	})
}

// hasSwtpm reads it from a host's domain capabilities. One that does not say is taken to have it.
func hasSwtpm(caps string) bool {
	doc := &libvirtxml.DomainCaps{}
	if doc.Unmarshal(caps) != nil || doc.Devices == nil || doc.Devices.TPM == nil {
		return true
	}
	tpm := doc.Devices.TPM
	if tpm.Supported == "no" {
		return false
	}
	for _, e := range tpm.Enums {
		if e.Name == "backendModel" {
			return slices.Contains(e.Values, "emulator")
		}
	}
	return true
}

// checkFirmware wants the files and programs of the guest's firmware at the target.
func checkFirmware(ctx context.Context, p *inspection) error {
	for _, path := range firmwareFiles(p.guest) {
		if err := p.refuse(checkFile(ctx, p, path)); err != nil {
			return err
		}
	}
	if emulatesTPM(p.guest) {
		return checkTPM(ctx, p)
	}
	return nil
}

// parents is how many directories above one that cannot be looked into may show that it does not exist.
const parents = 2

// lister is as much of [endpoint.Host] as it takes to look for a file.
type lister interface {
	Names(ctx context.Context, dir string) ([]string, error)
}

// shows reports whether a host shows a file.
func shows(ctx context.Context, host lister, path string, up int) libvirt.Visible {
	dir := filepath.Dir(path)
	names, err := host.Names(ctx, dir)
	switch {
	case err == nil && slices.Contains(names, filepath.Base(path)):
		return libvirt.VisibleYes
	case err == nil, up > 0 && dir != "/" && shows(ctx, host, dir, up-1) == libvirt.VisibleNo:
		return libvirt.VisibleNo
	}
	return libvirt.VisibleUnknown
}

// checkFile refuses a target that does not show a file which the source shows.
func checkFile(ctx context.Context, p *inspection, path string) error {
	there := shows(ctx, p.target.Host, path, parents)
	switch {
	case there == libvirt.VisibleYes:
		return nil
	case there == libvirt.VisibleUnknown || shows(ctx, p.source.Host, path, parents) != libvirt.VisibleYes:
		p.note(fmt.Sprintf("whether the target has %q, which the guest boots from, was not checked", path))
		return nil
	}
	return &Refusal{CheckFirmware, fmt.Sprintf("the target has no file %q, which the guest boots from", path),
		"install there the package that it is from, in the same version", nil}
}

// checkTPM refuses a target without swtpm, where the source's libvirt reports its own.
func checkTPM(ctx context.Context, p *inspection) error {
	ask := func(h endpoint.Host) (bool, error) {
		doc, err := h.DomainCapabilities(ctx, p.guest.Devices.Emulator, machineOf(p.guest))
		return err != nil || hasSwtpm(doc), err
	}
	there, err := ask(p.target.Host)
	if err != nil {
		p.note("whether the target can emulate a TPM was not checked: " + err.Error())
	}
	if here, _ := ask(p.source.Host); here && !there {
		return &Refusal{CheckFirmware, "the target cannot emulate the guest's TPM",
			"install swtpm and swtpm-tools there, and restart its libvirt daemon, which leaves guests alone", nil}
	}
	return nil
}
