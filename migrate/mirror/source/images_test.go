package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/mirror"
)

// A raw image may look like another format, with a backing file of the host's: the guest has written it.
func TestHintNamesFormat(t *testing.T) {
	for driver, format := range map[string]string{"<driver name='qemu' type='raw'/>": "raw", "": "raw", "<driver type='vmdk'/>": "vmdk"} {
		_, _, err := Disks(`<domain><devices><disk type='file' device='disk'>` + driver + `<source file='/img/a'/>` +
			`<target dev='vda'/></disk></devices></domain>`)
		if err == nil || !strings.Contains(err.Error(), "qemu-img convert -f "+format+" -O qcow2 /img/a") {
			t.Errorf("%q: %v", driver, err)
		}
	}
}

// An image that leads to other files is not opened as root: QEMU's user can write its header.
func TestImageLeadsElsewhere(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"backing": {"-b", secret, "-F", "raw"}, "data": {"-o", "data_file=" + filepath.Join(dir, "d.raw") + ",data_file_raw=on"},
	} {
		image := filepath.Join(dir, name)
		args = append(append([]string{"create", "-q", "-f", "qcow2"}, args...), image, "1M")
		if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if _, _, err := Size(image); err == nil {
			t.Errorf("%s: an image with a %s file counts as one of its own", name, name)
		}
	}
}

// The directories of NVRAM and TPM belong to QEMU's and swtpm's users: a link of theirs is not followed, and a FIFO does
// not block.
func TestStateIsLink(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{os.Mkdir(at("real"), 0o700), os.WriteFile(at("real/vm_VARS.fd"), []byte("nvram"), 0o600),
		os.Symlink("vm_VARS.fd", at("real/link")), os.Symlink("real", at("linked")), unix.Mkfifo(at("real/fifo"), 0o600),
		os.WriteFile(at("real/large"), make([]byte, maxState+1), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"real/vm_VARS.fd": "", "real/gone": "", "gone/vm_VARS.fd": "", "real/link": "symbolic",
		"linked/vm_VARS.fd": "not a directory", "real/fifo": "not a regular file", "real/large": "too large"} {
		r := &round{states: []mirror.State{{Path: at(name)}}}
		if err := r.readStates(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		} else if has := name == "real/vm_VARS.fd"; len(r.states) > 0 != has || has && string(r.states[0].Content) != "nvram" {
			t.Errorf("%s: the round sends %+v", name, r.states)
		}
	}
}
