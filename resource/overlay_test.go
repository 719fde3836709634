package resource

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

func TestOverlayPath(t *testing.T) {
	for _, c := range []struct {
		config string
		disks  []string
		want   string
	}{
		{"/etc/vms/vm1.xml", nil, "/etc/vms/vm1.qcow2"},
		{"/etc/vms/vm1", nil, "/etc/vms/vm1.qcow2"},
		{"/etc/vms/vm1.lan.xml", nil, "/etc/vms/vm1.qcow2"},
		{"/etc/vms.d/vm1.xml", nil, "/etc/vms.qcow2"},
		{"/etc/vms.d/vm1.xml", []string{"/etc/vms.d/vm1.qcow2"}, "/etc/vms.d/vm1.qcow2"},
	} {
		if got := overlayPath(c.config, c.disks); got != c.want {
			t.Errorf("overlayPath(%q, %v) = %q, want %q", c.config, c.disks, got, c.want)
		}
	}
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		name      string
		there     string // the image's content, "" for none
		stateless bool
		copyIn    []string
		fails     string // a program's name
		want      ocf.ExitCode
		ran       string // programs and create
		left      string // the image's content
	}{
		{"none yet", "", false, nil, "", ocf.Success, "info create:new create", "made"},
		{"there", "old", false, nil, "", ocf.Success, "create", "old"},
		{"stateless", "old", true, nil, "", ocf.Success, "look info create:inplace create", "made"},
		{"stateless, none yet", "", true, nil, "", ocf.Success, "info create:new create", "made"},
		{"with files", "", false, []string{"/a", "/b"}, "", ocf.Success, "info create:new copy create", "made"},
		{"files cannot be copied", "", false, []string{"/a"}, "virt-copy-in", ocf.Generic, "info create:new copy", ""},
		{"files cannot be copied in place", "old", true, []string{"/a"}, "virt-copy-in", ocf.Generic,
			"look info create:inplace copy", ""},
		{"stateless, and a disk that is no overlay", "truth", true, nil, "", ocf.Generic, "look", "truth"},
		{"appears while it is made", "", false, []string{"mount"}, "", ocf.Generic, "info create:new copy", "truth"},
		{"no such backing file", "", false, nil, "qemu-img", ocf.Generic, "info", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "start")
			dir := filepath.Join(t.TempDir(), "vms") // the world's directory may have dots
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(dir, "vm1.qcow2")
			config := filepath.Join(dir, "vm1.xml")
			text := strings.Replace(guestXML, "</domain>",
				"<devices><disk><source file='"+image+"'/></disk></devices></domain>", 1)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.there != "" {
				if err := os.WriteFile(image, []byte(c.there), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.agent.Params.Config = config
			w.agent.Params.Overlay = param.Overlay{Backing: "/base.img", Stateless: c.stateless, CopyIn: c.copyIn}
			w.program = func(_ context.Context, line string) (string, error) {
				if c.fails != "" && strings.HasPrefix(line, c.fails) {
					return fails("cannot")
				}
				if strings.HasPrefix(line, "qemu-img create") {
					words := strings.Fields(line)
					return "", os.WriteFile(words[len(words)-1], []byte("made"), 0o600)
				}
				if words := strings.Fields(line); words[0] == "virt-copy-in" {
					at := filepath.Dir(words[3])
					if info, err := os.Stat(at); err != nil || at != dir && info.Mode().Perm() != 0o711 {
						t.Errorf("QEMU's user cannot reach the image: %v, %v", info, err)
					}
				}
				if strings.HasPrefix(line, "virt-copy-in") && slices.Contains(c.copyIn, "mount") {
					return "", os.WriteFile(image, []byte("truth"), 0o600)
				}
				if strings.HasSuffix(line, image) && c.there != "truth" {
					return `{"format":"qcow2","backing-filename":"/base.img"}`, nil
				}
				return `{"format":"raw"}`, nil
			}
			err, _ := w.run("start")
			checkExit(t, err, c.want, "")
			create := "qemu-img create -q -f qcow2 -F raw -b /base.img " + image
			names := strings.NewReplacer("qemu-img info --force-share --output=json /base.img", "info",
				"qemu-img info --force-share --output=json "+image, "look", create+".new", "create:new", create,
				"create:inplace",
				"virt-copy-in --format=qcow2 -a "+image+".new "+strings.Join(c.copyIn, " ")+" /", "copy",
				"virt-copy-in --format=qcow2 -a "+image+" "+strings.Join(c.copyIn, " ")+" /", "copy")
			own := regexp.MustCompile(`/\.vmferry-image-\d+(/\S+)`) // where a first image is made
			if ran := names.Replace(own.ReplaceAllString(strings.Join(w.calls, " "), "$1.new")); ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
			if left, _ := os.ReadFile(image); string(left) != c.left {
				t.Errorf("the image has %q, want %q", left, c.left)
			}
			if left, err := filepath.Glob(filepath.Join(dir, ".vmferry-image-*")); err != nil || len(left) > 0 {
				t.Errorf("left %q, %v", left, err)
			}
		})
	}
}

// qemu-img writes wherever a link leads: not where another user has put one.
func TestOverlayBesideAPlantedLink(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name, suffix string
		want         ocf.ExitCode
	}{{"at the name of a new one", ".new", ocf.Success}, {"at the image's name", "", ocf.Generic}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "start")
			dir := filepath.Join(t.TempDir(), "vms")
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chmod(dir, 0o777))
			victim, image := w.write("victim", "precious"), filepath.Join(dir, "vm1.qcow2")
			must(t, os.Symlink(victim, image+c.suffix))
			must(t, os.Lchown(image+c.suffix, nobody, nobody))
			w.agent.Params.Config = filepath.Join(dir, "vm1.xml")
			must(t, os.WriteFile(w.agent.Params.Config, []byte(guestXML), 0o600))
			w.agent.Params.Overlay = param.Overlay{Backing: "/base.img", Stateless: true}
			w.program = func(_ context.Context, line string) (string, error) {
				if words := strings.Fields(line); words[1] == "create" {
					return "", os.WriteFile(words[len(words)-1], []byte("made"), 0o600)
				}
				return `{"format":"qcow2","backing-filename":"/base.img"}`, nil
			}
			err, _ := w.run("start")
			checkExit(t, err, c.want, "")
			if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
				t.Errorf("the victim is %q, %v", got, err)
			}
		})
	}
}
