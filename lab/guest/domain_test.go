package guest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func goodSpec() DomainSpec {
	return DomainSpec{
		Name: "web1", UUID: "766D6665-7272-4000-9000-000000000001", MAC: "52:54:00:76:6D:01",
		Bridge: "br0", IP: "10.77.0.101/24", MemoryMiB: 128, VCPUs: 1, Disk: "/shared/guests/web1.qcow2",
		Kernel: "/shared/boot/vmlinuz", Initrd: "/shared/boot/initrd", Type: "qemu",
	}
}

func TestDomainGolden(t *testing.T) {
	kvm := goodSpec()
	kvm.Type, kvm.Disk, kvm.Gateway, kvm.VCPUs = "kvm", "", "10.77.0.1", 2
	nbd := goodSpec()
	nbd.Disk = "nbd://storage:10809/web1"
	for name, spec := range map[string]DomainSpec{"qemu.xml": goodSpec(), "kvm-diskless.xml": kvm,
		"qemu-nbd.xml": nbd, "xen.xml": xenSpec()} {
		t.Run(name, func(t *testing.T) {
			got, err := Domain(spec)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name, got)
			if err := new(libvirtxml.Domain).Unmarshal(got); err != nil {
				t.Errorf("does not parse: %v", err)
			}
		})
	}
}

// checkGolden compares with a file in testdata.
func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update rewrites it):\n%s", golden, got)
	}
}

func xenSpec() DomainSpec {
	s := goodSpec()
	s.Type, s.Disk = "xen", ""
	return s
}

func TestXLConfig(t *testing.T) {
	got, err := XLConfig(xenSpec())
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "xen.cfg", got)
	quoted := xenSpec()
	quoted.Kernel = `/boot/a"b`
	for want, s := range map[string]DomainSpec{"only a guest of type xen": goodSpec(), "name is not": {},
		"a quotation mark": quoted} {
		if text, err := XLConfig(s); err == nil || !strings.Contains(err.Error(), want) || text != "" {
			t.Errorf("got %q, %v; want an error with %q", text, err, want)
		}
	}
}

func TestDomainRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*DomainSpec)
		want  string
	}{
		{"no name", func(s *DomainSpec) { s.Name = "" }, "name is not letters"},
		{"name with space", func(s *DomainSpec) { s.Name = "a init=/bin/sh" }, "name is not letters"},
		{"uuid", func(s *DomainSpec) { s.UUID = "1234" }, `UUID "1234"`},
		{"mac", func(s *DomainSpec) { s.MAC = "52:54" }, `MAC "52:54"`},
		{"multicast mac", func(s *DomainSpec) { s.MAC = "01:00:5e:00:00:01" }, "not a unicast"},
		{"bridge", func(s *DomainSpec) { s.Bridge = "a-bridge-with-a-long-name" }, "not an interface name"},
		{"ip without length", func(s *DomainSpec) { s.IP = "10.77.0.101" }, `IP "10.77.0.101"`},
		{"ipv6", func(s *DomainSpec) { s.IP = "fd00::1/64" }, `IP "fd00::1/64"`},
		{"gateway elsewhere", func(s *DomainSpec) { s.Gateway = "10.78.0.1" }, "not an address in 10.77.0.0/24"},
		{"memory", func(s *DomainSpec) { s.MemoryMiB = 32 }, "give it 96 or more"},
		{"memory of a game", func(s *DomainSpec) { s.Game, s.MemoryMiB = true, GameMemoryMiB-1 },
			"give it 160 or more"},
		{"busy with nothing", func(s *DomainSpec) { s.DirtyMiB = 1 }, "go together"},
		{"busy with too much", func(s *DomainSpec) { s.DirtyMiB, s.DirtySetMiB = 1, s.MemoryMiB },
			"too little to rewrite"},
		{"no processor", func(s *DomainSpec) { s.VCPUs = 0 }, "not 1 to 16"},
		{"type", func(s *DomainSpec) { s.Type = "bhyve" }, `type "bhyve" is neither qemu, kvm nor xen`},
		{"game on Xen", func(s *DomainSpec) { s.Type, s.Disk, s.Game, s.MemoryMiB = "xen", "", true, GameMemoryMiB },
			"no game server"},
		{"disk on Xen", func(s *DomainSpec) { s.Type = "xen" }, `a guest of type "xen" has no disk here`},
		{"memory of a database", func(s *DomainSpec) { s.Database = true }, "too little for a database"},
		{"a database on a disk with a ledger", func(s *DomainSpec) { s.Database, s.Ledger = true, true }, "nothing else"},
		{"a database without a disk", func(s *DomainSpec) { s.Disk, s.Database = "", true }, "a database needs a disk"},
		{"a ledger without a disk", func(s *DomainSpec) { s.Disk, s.Ledger = "", true }, "a ledger needs a disk"},
		{"relative disk", func(s *DomainSpec) { s.Disk = "web1.qcow2" }, "not an absolute path"},
		{"no kernel", func(s *DomainSpec) { s.Kernel = "" }, `kernel ""`},
		{"no initrd", func(s *DomainSpec) { s.Initrd = "" }, `initrd ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := goodSpec()
			test.spoil(&s)
			text, err := Domain(s)
			if err == nil || !strings.Contains(err.Error(), test.want) || text != "" {
				t.Errorf("got %q, %v; want an error with %q", text, err, test.want)
			}
		})
	}
}
