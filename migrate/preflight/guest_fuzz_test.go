package preflight

import (
	"slices"
	"testing"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// What a pre-flight reads out of a guest's description, whatever stands there.
func FuzzGuest(f *testing.F) {
	f.Add("<domain/>")
	f.Fuzz(func(t *testing.T, doc string) {
		guest := &libvirtxml.Domain{}
		if guest.Unmarshal(doc) != nil {
			if n := MemoryNeed(doc, libvirt.DriverOf("qemu:///system")); n != 0 {
				t.Errorf("what is no domain XML needs %d bytes", n)
			}
			return
		}
		for _, d := range hostDisks(guest) {
			if here := d.source != (libvirt.DiskSource{}); d.writable && !here || !here && len(d.below) == 0 {
				t.Errorf("disk %+v is of no host", d)
			}
		}
		seen := uplinks(guest)
		for i, u := range seen {
			if slices.Contains(seen[:i], u) || (u.network == "") == (u.device == "") {
				t.Errorf("uplink %+v of %+v", u, seen)
			}
		}
		for _, p := range firmwareFiles(guest) {
			if p[0] != '/' {
				t.Errorf("firmware in %q", p)
			}
		}
		_, _ = hugePages(guest)
		_, _, _, _ = machineOf(guest), processors(guest), emulatesTPM(guest), hasSwtpm(doc)
	})
}
