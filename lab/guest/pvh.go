package guest

import (
	"errors"
	"fmt"
	"strings"
	"text/template"

	"libvirt.org/go/libvirtxml"
)

// pvh is a machine that Xen makes: no firmware, no emulated devices, a network
// card that dom0 serves. Its clock is Xen's, which a migration carries over.
// There is no disk: dom0 would have to serve one from storage that all nodes
// share, and the lab's is a folder.
func pvh() platform {
	return platform{early: []string{"xen_netfront"}, words: kernelWords("console=hvc0"), describe: pvhDomain}
}

// pvhDomain is the guest as libvirt's libxl driver knows it. The guest reads the
// processor's own time stamps: to emulate that instruction within an emulator
// fails for some processors.
func pvhDomain(s DomainSpec) *libvirtxml.Domain {
	return &libvirtxml.Domain{
		Type:   "xen",
		Name:   s.Name,
		UUID:   strings.ToLower(s.UUID),
		Memory: &libvirtxml.DomainMemory{Value: s.MemoryMiB, Unit: "MiB"},
		VCPU:   &libvirtxml.DomainVCPU{Placement: "static", Value: s.VCPUs},
		OS: &libvirtxml.DomainOS{
			Type:    &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "xenpvh", Type: "xenpvh"},
			Kernel:  s.Kernel,
			Initrd:  s.Initrd,
			Cmdline: s.CommandLine(),
		},
		Clock: &libvirtxml.DomainClock{Offset: "utc",
			Timer: []libvirtxml.DomainTimer{{Name: "tsc", Mode: "native"}}},
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		OnCrash:    "destroy",
		Devices: &libvirtxml.DomainDeviceList{
			Interfaces: []libvirtxml.DomainInterface{{
				MAC:    &libvirtxml.DomainInterfaceMAC{Address: strings.ToLower(s.MAC)},
				Source: &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: s.Bridge}},
			}},
			Consoles: []libvirtxml.DomainConsole{{
				Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
			}},
		},
	}
}

// xl is an xl.cfg(5). Its values need no quoting beyond that of check.
var xl = template.Must(template.New("xl").Parse(`name = "{{.Name}}"
uuid = "{{.UUID}}"
type = "pvh"
kernel = "{{.Kernel}}"
ramdisk = "{{.Initrd}}"
extra = "{{.CommandLine}}"
memory = {{.MemoryMiB}}
maxmem = {{.MemoryMiB}}
vcpus = {{.VCPUs}}
tsc_mode = "native"
vif = [ "mac={{.MAC}},bridge={{.Bridge}}" ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
`))

// XLConfig returns the very same guest as [Domain] does, for who runs it with xl
// and not with libvirt. Only a Xen guest has one.
func XLConfig(s DomainSpec) (string, error) {
	err := s.check()
	switch {
	case err != nil:
	case s.Type != "xen":
		err = errors.New("only a guest of type xen has a configuration for xl")
	case strings.ContainsAny(s.Kernel+s.Initrd, "\"\\"):
		err = errors.New("a path has a quotation mark or a backslash in it")
	}
	if err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	s.UUID, s.MAC = strings.ToLower(s.UUID), strings.ToLower(s.MAC)
	var text strings.Builder
	if err := xl.Execute(&text, s); err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	return text.String(), nil
}
