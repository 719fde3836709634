package domainxml

import (
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/mirror"
)

// HostResources are what a domain XML uses of its host.
type HostResources struct {
	Networks, Pools []string // libvirt's
	Disks           []string // files and devices
}

// HostResourcesOf finds them, each once, in the <source> elements. Text that is no XML has none: libvirt will say so.
func HostResourcesOf(text string) HostResources {
	var n HostResources
	for e := range elements(text) {
		if e.Name.Local == "source" {
			n.add(e.Attr, strings.Contains("/"+e.path, "/disk/"))
		}
	}
	return n
}

func (n *HostResources) add(attrs []xml.Attr, inDisk bool) {
	for _, attr := range attrs {
		list := map[string]*[]string{"network": &n.Networks, "pool": &n.Pools}[attr.Name.Local]
		if inDisk && (attr.Name.Local == "file" || attr.Name.Local == "dev") {
			list = &n.Disks
		}
		if list != nil && attr.Value != "" && !slices.Contains(*list, attr.Value) {
			*list = append(*list, attr.Value)
		}
	}
}

// libvirt's places for what firmware keeps (its QEMU driver's swtpmStorageDir and nvramDir).
const (
	tpmDir   = "/var/lib/libvirt/swtpm"
	nvramDir = "/var/lib/libvirt/qemu/nvram"
)

// Firmware is what the firmware of a guest keeps in files of one node.
type Firmware struct {
	Device string // "vTPM" or "NVRAM"
	Path   string // the file or directory; empty where each start makes a new one
	Lost   string // what is lost when, as a clause
	Advice string // what keeps it, as an imperative clause
}

// FirmwareOf lists what of a guest's firmware does not follow it when it is started on another node, by its
// libvirt XML. A live migration takes all of it along. State on storage that the nodes share is listed too:
// see [Firmware.IsShared]. Text that is no domain XML has none.
//
// Source: libvirt's formatdomain page, "TPM device" and "BIOS bootloader".
func FirmwareOf(text string) []Firmware {
	d, err := Parse(text)
	guest := &libvirtxml.Domain{}
	if err != nil || guest.Unmarshal(d.Text) != nil {
		return nil
	}
	var all []Firmware
	if guest.Devices != nil {
		for _, tpm := range guest.Devices.TPMs {
			if tpm.Backend != nil && tpm.Backend.Emulator != nil {
				all = append(all, tpmState(tpm.Backend.Emulator, d.UUID))
			}
		}
	}
	if f, ok := nvramState(guest.OS, d.Name); ok {
		all = append(all, f)
	}
	return all
}

// tpmState is an emulated TPM's, which libvirt keeps by the guest's UUID.
func tpmState(tpm *libvirtxml.DomainTPMBackendEmulator, uuid string) Firmware {
	f := Firmware{Device: "vTPM", Path: path.Join(tpmDir, uuid),
		Lost: "a start on another node finds it empty, or as it was there last",
		Advice: "mount storage that all nodes share at " + tpmDir +
			" (live migration then needs swtpm 0.8, and the directory in shared_filesystems of /etc/libvirt/qemu.conf)"}
	switch s := tpm.Source; {
	case s != nil && s.Dir != nil:
		f.Path = s.Dir.Path
	case s != nil && s.File != nil:
		f.Path = s.File.Path
	case uuid == "":
		f.Path, f.Lost = "", "each start makes a new, empty one"
		f.Advice = "give the guest's file a <uuid>, as libvirt keeps the vTPM under it, and then " + f.Advice
	}
	switch {
	case tpm.PersistentState == "no":
		f.Lost = "each stop deletes it, as its <backend> has persistent_state='no'"
		f.Advice = "remove that attribute, and then " + f.Advice
	case f.Path != "" && !strings.HasPrefix(f.Path, tpmDir+"/"):
		f.Advice = "put " + f.Path + " on storage that all nodes share"
	}
	return f
}

// nvramState is that of UEFI's variables; ok is false for other firmware, and for what keeps none.
func nvramState(os *libvirtxml.DomainOS, name string) (f Firmware, ok bool) {
	if os == nil || os.Loader != nil && os.Loader.Stateless == "yes" {
		return Firmware{}, false
	}
	pflash := os.Loader != nil && os.Loader.Type == "pflash"
	if os.Firmware != "efi" && os.NVRam == nil && !pflash {
		return Firmware{}, false
	}
	f = Firmware{Device: "NVRAM", Path: path.Join(nvramDir, name+"_VARS.fd"),
		Lost:   "a start on another node has that node's copy, or a new one from the template",
		Advice: "set <nvram> in the guest's file to a path on storage that all nodes share"}
	if os.NVRam != nil {
		switch s := os.NVRam.Source; {
		case s != nil && s.File == nil: // a network block device, which no node has for itself
			return Firmware{}, false
		case s != nil:
			f.Path = s.File.File
		case strings.TrimSpace(os.NVRam.NVRam) != "":
			f.Path = strings.TrimSpace(os.NVRam.NVRam)
		}
	}
	return f, true
}

// String says what is lost and what to do, in one line.
func (f Firmware) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%s does not outlive the guest: %s; %s", f.Device, f.Lost, f.Advice)
	}
	return fmt.Sprintf("%s (%s) is kept on this node alone: %s; %s", f.Device, f.Path, f.Lost, f.Advice)
}

// EndsWithGuest reports whether nothing is left of it when the guest stops.
func (f Firmware) EndsWithGuest() bool { return f.Path == "" || strings.Contains(f.Lost, "each stop") }

// IsShared reports whether the state is on a file system of a kind that several nodes mount at once, as far as this
// node can see: the path itself, or the nearest directory above it that exists. Storage that gives no answer blocks it.
func (f Firmware) IsShared() bool {
	if f.EndsWithGuest() {
		return false
	}
	for at := path.Clean(f.Path); ; at = path.Dir(at) {
		kind, err := disks.SharedBy(at)
		if err == nil || at == "/" || at == "." {
			return kind != ""
		}
	}
}

// DiskFiles lists the images that a guest writes to, and no other, by the libvirt XML of a guest of QEMU's; without
// their sizes.
func DiskFiles(text string) (all []mirror.Disk) {
	devices := devicesOf(text)
	if devices == nil {
		return nil
	}
	for _, d := range devices.Disks {
		isDisk := (d.Device == "" || d.Device == "disk") && d.ReadOnly == nil && d.Shareable == nil
		if isDisk && d.Target != nil && d.Source != nil && d.Source.File != nil {
			all = append(all, mirror.Disk{Target: d.Target.Dev, Path: d.Source.File.File})
		}
	}
	return all
}
