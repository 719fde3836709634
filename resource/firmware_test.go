package resource

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
)

func TestFirmwareState(t *testing.T) {
	const id = "<name>win 1</name><uuid>" + guestUUID + "</uuid>"
	tpm := func(backend string) string { return "<devices><tpm model='tpm-crb'>" + backend + "</tpm></devices>" }
	for _, c := range []struct {
		name, inside string
		want         []string // a device, its path and words, with blanks between
	}{
		{"none", id, nil},
		{"SeaBIOS", id + "<os><type>hvm</type></os>", nil},
		{"vTPM", id + tpm("<backend type='emulator' version='2.0'/>"), []string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|another node|swtpm 0.8"}},
		{"vTPM without UUID", "<name>a</name>" + tpm("<backend type='emulator'/>"), []string{"vTPM||each start makes a new, empty one|<uuid>"}},
		{"vTPM that is to go", id + tpm("<backend type='emulator' persistent_state='no'/>"), []string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|each stop deletes it|remove that attribute"}},
		{"vTPM of its own place", id + tpm("<backend type='emulator'><source type='dir' path='/s/tpm'/></backend>"), []string{"vTPM|/s/tpm|another node|put /s/tpm on storage"}},
		{"the host's TPM", id + tpm("<backend type='passthrough'><device path='/dev/tpm0'/></backend>"), nil},
		{"UEFI", id + "<os firmware='efi'><type>hvm</type></os>", []string{"NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"UEFI by its file", id + "<os><type>hvm</type><loader type='pflash'>/x.fd</loader></os>", []string{"NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"UEFI with a path", id + "<os firmware='efi'><type>hvm</type><nvram template='/t'> /s/vars.fd </nvram></os>", []string{"NVRAM|/s/vars.fd|another node|set <nvram>"}},
		{"UEFI with a file", id + "<os firmware='efi'><type>hvm</type><nvram type='file'><source file='/s/vars.fd'/></nvram></os>", []string{"NVRAM|/s/vars.fd|another node|set <nvram>"}},
		{"UEFI on the network", id + "<os firmware='efi'><type>hvm</type><nvram type='network'><source protocol='nbd' name='v'><host name='h'/></source></nvram></os>", nil},
		{"UEFI without variables", id + "<os firmware='efi'><type>hvm</type><loader stateless='yes'/></os>", nil},
		{"both", id + "<os firmware='efi'><type>hvm</type></os>" + tpm("<backend type='emulator'/>"),
			[]string{"vTPM|/var/lib/libvirt/swtpm/" + guestUUID + "|another node|swtpm", "NVRAM|/var/lib/libvirt/qemu/nvram/win 1_VARS.fd|another node|set <nvram>"}},
		{"nonsense", "<name>\n</name>", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := FirmwareState("<?xml version='1.0' encoding='US-ASCII'?><domain type='kvm'>" + c.inside + "</domain>")
			if len(got) != len(c.want) {
				t.Fatalf("%d states: %v, want %q", len(got), got, c.want)
			}
			for i, f := range got {
				want := strings.Split(c.want[i], "|")
				if f.Device != want[0] || f.Path != want[1] || !strings.Contains(f.Lost, want[2]) || !strings.Contains(f.Advice, want[3]) || !strings.Contains(f.String(), f.Path) {
					t.Errorf("%+v, want %q", f, want)
				}
			}
		})
	}
}

func TestFirmwareIsShared(t *testing.T) {
	for where, want := range map[string]bool{"": false, t.TempDir(): false, t.TempDir() + "/not/there": false, "/proc/self/none": false} {
		if got := (Firmware{Path: where}).IsShared(t.Context()); got != want {
			t.Errorf("%q is shared: %t", where, got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f := (Firmware{Path: "/x", Lost: "each stop deletes it"}); f.IsShared(ended) {
		t.Error("what each stop deletes counts as shared")
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
			keep + "\n type=\"emulator\"><encryption secret='s'/></backend></tpm><tpm><backend" + keep + " type='emulator'/></tpm></devices></domain>",
		"no XML": "",
	} {
		if want == "" {
			want = in
		}
		if got := keepTPM(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// A guest is started so that its TPM outlives its end, from a file that is left as it is.
func TestStartKeepsTheTPM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		text := strings.Replace(guestXML, "</domain>", "<devices><tpm model='tpm-crb'><backend type='emulator'/></tpm></devices></domain>", 1)
		w.write("vm1.xml", text)
		w.create = func(_ context.Context, got string) error {
			if !strings.Contains(got, "persistent_state='yes'") {
				t.Errorf("started from %q", got)
			}
			w.boot()
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, Success, "")
		w.gone()
		w.noted()
		nameless := strings.Replace(text, "<uuid>"+guestUUID+"</uuid>", "", 1)
		w.write("vm1.xml", nameless)
		w.create = func(_ context.Context, got string) error {
			if got != nameless {
				t.Errorf("started from %q, whose TPM nobody would find again", got)
			}
			w.boot()
			return nil
		}
		err, _ = w.run("start")
		checkExit(t, err, Success, "")
		text = nameless
		if after, err := os.ReadFile(w.agent.Params.Config); err != nil || string(after) != text {
			t.Errorf("the operator's file became %q, %v", after, err)
		}
	})
}
