package libvirt

import (
	"errors"
	"strings"
	"testing"
)

func TestDriverOf(t *testing.T) {
	for _, c := range []struct {
		uri, name, hypervisor, daemon string
		job                           bool
	}{
		{"qemu:///system", "qemu", "QEMU", "virtqemud", true},
		{"qemu+tcp://node2/system", "qemu", "QEMU", "virtqemud", true},
		{"xen:///system", "xen", "Xen", "virtxend", false},
		{"xen+ssh://root@node2/", "xen", "Xen", "virtxend", false},
		{"test:///default", "test", "test", "libvirtd", true},
		{"", "", "", "libvirtd", true},
	} {
		d := DriverOf(c.uri)
		if d.Name != c.name || d.Hypervisor != c.hypervisor || d.Daemon != c.daemon || d.JobControl != c.job ||
			d.TracksProcess != c.job || d.SaveImages != c.job {
			t.Errorf("%q: %+v", c.uri, d)
		}
	}
}

func TestUnsupported(t *testing.T) {
	err := DriverOf("xen:///system").Lacks(CanPostCopy)
	var u *Unsupported
	if !errors.Is(err, ErrUnsupported) || errors.Is(err, ErrNoDomain) || !errors.As(err, &u) || u.What != CanPostCopy {
		t.Fatalf("error %#v", err)
	}
	if want := "libvirt's driver for Xen cannot let a guest go on"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	if err := DriverOf("qemu:///system").Lacks(CanPostCopy); err != nil {
		t.Errorf("QEMU: %v", err)
	}
}

// What libxl asks for beside a guest's memory: see libxl_get_required_shadow_memory.
func TestOverhead(t *testing.T) {
	if got := DriverOf("xen:///system").Overhead(128<<20, 2); got != 2<<20+1<<20+2<<20 {
		t.Errorf("128 MiB and 2 processors: %d", got)
	}
	if got := DriverOf("qemu:///system").Overhead(128<<20, 2); got != 0 {
		t.Errorf("QEMU: %d", got)
	}
}
