package domainxml

import (
	"strings"
	"testing"
)

func TestFirmwareOf(t *testing.T) {
	const id = "<name>win 1</name><uuid>" + guestUUID + "</uuid>"
	tpm := func(backend string) string { return "<devices><tpm model='tpm-crb'>" + backend + "</tpm></devices>" }
	for _, c := range []struct {
		name, inside string
		want         []string // a device, its path and words, with blanks between
	}{
		{"none", id, nil},
		{"SeaBIOS", id + "<os><type>hvm</type></os>", nil},
		{"vTPM", id + tpm("<backend type='emulator' version='2.0'/>"),
			[]string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|another node|swtpm 0.8"}},
		{"vTPM without UUID", "<name>a</name>" + tpm("<backend type='emulator'/>"),
			[]string{"vTPM||each start makes a new, empty one|<uuid>"}},
		{"vTPM that is to go", id + tpm("<backend type='emulator' persistent_state='no'/>"),
			[]string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|each stop deletes it|remove that attribute"}},
		{"vTPM of its own place", id + tpm("<backend type='emulator'><source type='dir' path='/s/tpm'/></backend>"),
			[]string{"vTPM|/s/tpm|another node|put /s/tpm on storage"}},
		{"the host's TPM", id + tpm("<backend type='passthrough'><device path='/dev/tpm0'/></backend>"), nil},
		{"UEFI", id + "<os firmware='efi'><type>hvm</type></os>",
			[]string{"NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"UEFI by its file", id + "<os><type>hvm</type><loader type='pflash'>/x.fd</loader></os>",
			[]string{"NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"UEFI with a path", id + "<os firmware='efi'><type>hvm</type><nvram template='/t'> /s/vars.fd </nvram></os>",
			[]string{"NVRAM|/s/vars.fd|another node|set <nvram>"}},
		{"UEFI with a file", id + "<os firmware='efi'><type>hvm</type><nvram type='file'><source file='/s/vars.fd'/></nvram></os>", []string{"NVRAM|/s/vars.fd|another node|set <nvram>"}},
		{"UEFI on the network", id + "<os firmware='efi'><type>hvm</type><nvram type='network'><source protocol='nbd' name='v'><host name='h'/></source></nvram></os>", nil},
		{"UEFI without variables", id + "<os firmware='efi'><type>hvm</type><loader stateless='yes'/></os>", nil},
		{"both", id + "<os firmware='efi'><type>hvm</type></os>" + tpm("<backend type='emulator'/>"),
			[]string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|another node|swtpm",
				"NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"nonsense", "<name>\n</name>", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := FirmwareOf("<?xml version='1.0' encoding='US-ASCII'?><domain type='kvm'>" + c.inside + "</domain>")
			if len(got) != len(c.want) {
				t.Fatalf("%d states: %v, want %q", len(got), got, c.want)
			}
			for i, f := range got {
				want := strings.Split(c.want[i], "|")
				if f.Device != want[0] || f.Path != want[1] || !strings.Contains(f.Lost, want[2]) ||
					!strings.Contains(f.Advice, want[3]) || !strings.Contains(f.String(), f.Path) {
					t.Errorf("%+v, want %q", f, want)
				}
			}
		})
	}
}

func TestFirmwareIsShared(t *testing.T) {
	for _, f := range []Firmware{{}, {Path: t.TempDir()}, {Path: t.TempDir() + "/not/there"}, {Path: "/proc/self/none"},
		{Path: "/x", Lost: "each stop deletes it"}} {
		if f.IsShared() {
			t.Errorf("%+v is shared", f)
		}
	}
}

func TestKeepTPM(t *testing.T) {
	const keep = " persistent_state='yes'"
	for in, want := range map[string]string{
		"<domain><devices><tpm><backend type='emulator'/></tpm></devices></domain>":                        "<domain><devices><tpm><backend" + keep + " type='emulator'/></tpm></devices></domain>",
		"<domain><devices><tpm><backend type='emulator' persistent_state='no'/></tpm></devices></domain>":  "",
		"<domain><devices><tpm><backend type='emulator' persistent_state='yes'/></tpm></devices></domain>": "",
		"<domain><devices><tpm><backend type='passthrough'/></tpm></devices></domain>":                     "",
		"<domain><devices><rng><backend type='emulator'/></rng></devices></domain>":                        "",
		"<domain><metadata><x:tpm xmlns:x='u'><backend type='emulator'/></x:tpm></metadata></domain>":      "",
		"<domain><devices><tpm>\n<!-- <backend -->\n<backend\n type=\"emulator\"><encryption secret='s'/></backend></tpm><tpm><backend type='emulator'/></tpm></devices></domain>": "<domain><devices><tpm>\n<!-- <backend -->\n<backend" +
			keep + "\n type=\"emulator\"><encryption secret='s'/></backend></tpm><tpm><backend" + keep +
			" type='emulator'/></tpm></devices></domain>",
		"no XML": "",
	} {
		if want == "" {
			want = in
		}
		if got := KeepTPM(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
