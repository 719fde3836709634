package resource

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/roottest"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/ocf"
)

const (
	nobody   = 65534 // a user who has no rights
	qemuUser = 4711
)

var asRoot, must = roottest.Need, roottest.Must

// saveDir gives the world a directory to save to, of such a mode and owner, and QEMU a user.
func (w *world) saveDir(mode fs.FileMode, owner int) string {
	w.t.Helper()
	dir, qemu := filepath.Join(w.dir, "saves"), filepath.Join(w.dir, "qemu")
	for _, d := range []string{dir, qemu} {
		must(w.t, os.Mkdir(d, 0o700))
	}
	must(w.t, os.Chmod(dir, mode))
	if os.Geteuid() == 0 {
		must(w.t, errors.Join(os.Chown(dir, owner, 0), os.Chown(qemu, qemuUser, 0)))
	}
	w.agent.Params.Snapshot, w.agent.qemuDir = dir, qemu
	return dir
}

const anotherXML = "<domain><name>vm1</name><uuid>99999999-2222-3333-4444-555555555555</uuid></domain>"

// What another user puts in the place of a saved state is neither restored nor removed, and stops no start.
func TestPlantedSavedState(t *testing.T) {
	asRoot(t)
	theirs := func(t *testing.T, path string) {
		must(t, os.WriteFile(path, []byte(savedQEMU(guestXML)), 0o666))
		must(t, os.Chown(path, nobody, nobody))
	}
	for name, plant := range map[string]func(t *testing.T, path string){
		"a file": theirs,
		"a link to a file": func(t *testing.T, path string) {
			theirs(t, path+".x")
			must(t, os.Symlink(path+".x", path))
		},
		"a link to a file of root": func(t *testing.T, path string) {
			must(t, os.WriteFile(path+".x", []byte(savedQEMU(guestXML)), 0o600))
			must(t, os.Symlink(path+".x", path))
		},
		"a link to an endless file": func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) },
		"a FIFO":                    func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o666)) },
		"a directory":               func(t *testing.T, path string) { must(t, os.MkdirAll(filepath.Join(path, "x"), 0o777)) },
	} {
		for _, mode := range []fs.FileMode{0o777, 0o777 | fs.ModeSticky} {
			t.Run(name+" "+mode.String(), func(t *testing.T) {
				w := newWorld(t, "start")
				dir := w.saveDir(mode, 0)
				for _, suffix := range []string{"", ".restoring", ".stale"} {
					path := filepath.Join(dir, saveFile+suffix)
					plant(t, path)
					must(t, os.Lchown(path, nobody, nobody))
				}
				w.restore = func(context.Context, string, string) error { w.boot(); return nil }
				began := time.Now()
				for range 2 { // the second finds it running
					err, _ := w.run("start")
					checkExit(t, err, ocf.Success, "")
				}
				w.did("create")
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				kept, err := filepath.Glob(filepath.Join(dir, saveFile+".foreign-*"))
				if _, there := os.Lstat(filepath.Join(dir, saveFile)); err != nil || len(kept) != 1 || there == nil {
					t.Errorf("what was planted: %v, %v, %v", kept, there, err)
				}
			})
		}
	}
}

// A saved state is restored where nobody else can have written it, and it is the guest's.
func TestWhichSavedStateIsRestored(t *testing.T) {
	asRoot(t)
	disk := func(path string) string {
		return strings.Replace(guestXML, "</domain>",
			"<devices><disk type='file' device='disk'><source file='"+path+"'/><target dev='vda'/></disk></devices></domain>", 1)
	}
	fresh := "<domain><name>vm1</name></domain>"
	otherHardware := &libvirt.Error{Code: 67, Message: "Target domain disk count 1 does not match source 2"}
	for _, c := range []struct {
		name       string
		mode       fs.FileMode
		dir, file  int // owners
		config     string
		saved      string
		refuses    error // libvirt, our own XML
		xml        string
		calls      string
		want       ocf.ExitCode
		reason     string
		leavesFile bool
	}{
		{"root's", 0o700, 0, 0, guestXML, guestXML, nil, guestXML, "restore", ocf.Success, "", false},
		{"readable by all", 0o755, 0, 0, guestXML, guestXML, nil, guestXML, "restore", ocf.Success, "", false},
		{"in a directory like /tmp", 0o777 | fs.ModeSticky, 0, 0, guestXML, guestXML, nil, guestXML, "restore",
			ocf.Success, "", false},
		{"QEMU's user's", 0o700, qemuUser, qemuUser, guestXML, guestXML, nil, guestXML, "restore", ocf.Success, "", false},
		{"in a directory for all", 0o777, 0, 0, guestXML, guestXML, nil, "", "", ocf.Generic, "type chmod go-w ", true},
		{"in a stranger's directory", 0o700, nobody, 0, guestXML, guestXML, nil, "", "", ocf.Generic, "type chown root ", true},
		{"of another UUID", 0o700, 0, 0, guestXML, anotherXML, nil, "", "create", ocf.Success, "", false},
		{"of another UUID, for all", 0o777, 0, 0, guestXML, anotherXML, nil, "", "create", ocf.Success, "", false},
		{"of another name", 0o700, 0, 0, guestXML, strings.Replace(guestXML, "vm1", "vm2", 1), nil, "", "create",
			ocf.Success, "", false},
		{"of nothing", 0o700, 0, 0, guestXML, "<domain", nil, "", "create", ocf.Success, "", false},
		{"of a guest without UUID", 0o700, 0, 0, fresh, guestXML, nil, "<uuid>" + guestUUID + "</uuid>", "restore",
			ocf.Success, "", false},
		{"of other hardware", 0o700, 0, 0, guestXML, guestXML, otherHardware, "", "restore restore", ocf.Success, "", false},
		{"of other hardware, QEMU's user's", 0o700, qemuUser, qemuUser, guestXML, guestXML, otherHardware, guestXML,
			"restore", ocf.Generic, "does not match", true},
		{"of other disks", 0o700, 0, 0, disk("/a"), disk("/b"), nil, "", "restore", ocf.Success, "", false},
		{"of other disks, QEMU's user's", 0o700, qemuUser, qemuUser, disk("/a"), disk("/b"), nil, "", "", ocf.Generic,
			"had other disks", true},
		{"of other disks, QEMU's user's file", 0o700, 0, qemuUser, disk("/a"), disk("/b"), nil, "", "", ocf.Generic,
			"had other disks", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "start")
			dir := w.saveDir(c.mode, c.dir)
			w.write("vm1.xml", c.config)
			file := filepath.Join(dir, saveFile)
			must(t, os.WriteFile(file, []byte(savedQEMU(c.saved)), 0o600))
			must(t, os.Chown(file, c.file, 0))
			got := "none"
			w.restore = func(_ context.Context, path, xml string) error {
				if got = xml; xml != "" && c.refuses != nil {
					return c.refuses
				}
				w.boot()
				return nil
			}
			err, _ := w.run("start")
			checkExit(t, err, c.want, c.reason)
			if calls := strings.Join(w.calls, " "); calls != c.calls {
				t.Errorf("did %q, want %q", calls, c.calls)
			}
			if slices.Contains(w.calls, "restore") && (got == "") != (c.xml == "") || !strings.Contains(got, c.xml) &&
				got != "none" {
				t.Errorf("restored with %q, want %q", got, c.xml)
			}
			if _, err := os.Lstat(file); (err == nil) != c.leavesFile {
				t.Errorf("the file: %v", err)
			}
		})
	}
}

// libvirt writes a guest's memory wherever a link leads: not where another user can have put one.
func TestSaveIntoWhatIsPlanted(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name  string
		mode  fs.FileMode
		plant bool
		calls []string
		saved bool
	}{
		{"a safe directory", 0o700, false, []string{"save"}, true},
		{"a link in one like /tmp", 0o777 | fs.ModeSticky, true, []string{"save"}, true},
		{"one like /tmp", 0o777 | fs.ModeSticky, false, []string{"save"}, true},
		{"one for all", 0o777, false, []string{"shutdown"}, false},
		{"a link in one for all", 0o777, true, []string{"shutdown"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "stop")
				w.boot()
				dir := w.saveDir(c.mode, 0)
				file, victim := filepath.Join(dir, saveFile), w.write("victim", "precious")
				if c.plant {
					must(t, os.Symlink(victim, file))
					must(t, os.Lchown(file, nobody, nobody))
				}
				w.save = func(_ context.Context, path string) error {
					w.gone()
					return os.WriteFile(path, []byte(wholeState), 0o600)
				}
				err, _ := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				w.did(c.calls...)
				if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
					t.Errorf("the victim is %q, %v", got, err)
				}
				_, info, err := safefile.Look(file, safefile.Only())
				if saved := err == nil && info.Size() > 0; saved != c.saved {
					t.Errorf("saved: %v, %v", saved, err)
				}
			})
		})
	}
}

// Xen restores a guest only as the file describes it: that is right where root alone can have written it.
func TestWhichSavedStateOfXenIsRestored(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name  string
		owner int
		text  string
		calls []string
		want  ocf.ExitCode
	}{
		{"root's", 0, xenXML, []string{"restore"}, ocf.Success},
		{"QEMU's user's", qemuUser, xenXML, nil, ocf.Generic},
		{"another guest's", 0, strings.Replace(xenXML, "vm1", "vm2", 1), []string{"create"}, ocf.Success},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, "start")
				w.free = 1 << 30
				w.write("vm1.xml", xenXML)
				file := filepath.Join(w.saveDir(0o700, 0), saveFile)
				must(t, os.WriteFile(file, []byte(savedXen(c.text)), 0o600))
				must(t, os.Chown(file, c.owner, 0))
				w.restore = func(_ context.Context, _, xml string) error {
					if xml != "" {
						t.Errorf("restored with %q", xml)
					}
					w.boot()
					return nil
				}
				err, _ := w.run("start")
				checkExit(t, err, c.want, "")
				w.did(c.calls...)
			})
		})
	}
}

// Who may write to the config file is told of, and stops nothing.
func TestConfigThatOthersMayWrite(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name  string
		mode  fs.FileMode
		owner int
		words string
	}{
		{"root's", 0o644, 0, ""},
		{"for all", 0o666, 0, "type chmod go-w "},
		{"for a group", 0o664, 0, "type chmod go-w "},
		{"another user's", 0o600, nobody, "type chown -h root "},
	} {
		for _, action := range []string{"start", "validate-all"} {
			w := newWorld(t, action)
			must(t, os.Chown(w.agent.Params.Config, c.owner, 4711))
			must(t, os.Chmod(w.agent.Params.Config, c.mode))
			var said strings.Builder
			log := logrus.New()
			log.SetOutput(&said)
			w.agent.Log = log
			err, _ := w.run(action)
			checkExit(t, err, ocf.Success, "")
			if got := strings.Contains(said.String(), c.words); !got ||
				strings.Contains(said.String(), "as root, and") != (c.words != "") {
				t.Errorf("%s, %s: said %q", c.name, action, said.String())
			}
		}
	}
}

// A config file that is none costs a start neither time nor memory.
func TestConfigThatIsNoFile(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"a FIFO":       func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link":       func(path string) error { return os.Symlink("/dev/zero", path) },
		"a directory":  func(path string) error { return os.Mkdir(path, 0o700) },
		"a large file": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 10<<30)) },
	} {
		w := newWorld(t, "start")
		must(t, os.Remove(w.agent.Params.Config))
		must(t, plant(w.agent.Params.Config))
		began := time.Now()
		if err, _ := w.run("start"); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
		w.did()
	}
}

// What another user creates beside a disk's image is told of once, and stops no start.
func TestStartBesideWhatIsPlanted(t *testing.T) {
	asRoot(t)
	for name, plant := range map[string]func(path string) error{
		"an empty mark":             func(path string) error { return os.WriteFile(path, nil, 0o666) },
		"a FIFO":                    func(path string) error { return unix.Mkfifo(path, 0o666) },
		"a link to an endless file": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a link to root's":          func(path string) error { return os.Symlink("/etc/passwd", path) },
	} {
		for _, suffix := range []string{disks.NoteSuffix, disks.ArrivingSuffix} {
			w, image := newLocalWorld(t, "start")
			must(t, plant(image+suffix))
			must(t, os.Lchown(image+suffix, nobody, nobody))
			var said strings.Builder
			log := logrus.New()
			log.SetOutput(&said)
			w.agent.Log = log
			began := time.Now()
			err, _ := w.run("start")
			checkExit(t, err, ocf.Success, "")
			if n := strings.Count(said.String(), "ignored beside disk"); n != 1 || time.Since(began) > 10*time.Second {
				t.Errorf("%s%s: said it %d times, in %v: %s", name, suffix, n, time.Since(began), said.String())
			}
			if _, err := os.Lstat(image + suffix); err != nil {
				t.Errorf("%s%s: %v", name, suffix, err)
			}
		}
	}
}

// Nothing is saved that could not be restored.
func TestXenIsNotSavedWhereNothingIsRestored(t *testing.T) {
	asRoot(t)
	for owner, calls := range map[int]string{0: "save", qemuUser: "shutdown"} {
		synctest.Test(t, func(t *testing.T) {
			w := newXenWorld(t, "stop")
			w.write("vm1.xml", xenXML)
			w.boot()
			w.saveDir(0o700, owner)
			w.save = func(_ context.Context, path string) error {
				w.gone()
				return os.WriteFile(path, []byte(savedXen(xenXML)), 0o600)
			}
			err, _ := w.run("stop")
			checkExit(t, err, ocf.Success, "")
			w.did(calls)
		})
	}
}

// What the agent accepts is no problem to a check either: to follow its advice would take the directory from libvirt.
func TestExposedSavesOfTheGuestsOwnUser(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(t.TempDir(), "saves")
	config := filepath.Join(t.TempDir(), "vm1.xml")
	label := "<domain><name>vm1</name><seclabel type='static' model='dac'><label>+1234:+1234</label></seclabel></domain>"
	err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 1234, 1234), os.WriteFile(config, []byte(label), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if err := ExposedSaves(dir, "qemu:///system", config); err != nil {
		t.Error(err)
	}
	session := "qemu+unix:///session?socket=/run/user/1234/libvirt/libvirt-sock"
	if err := ExposedSaves(dir, session, config+".none"); err != nil {
		t.Error(err)
	}
	if err := ExposedSaves(dir, "qemu:///system", config+".none"); err == nil {
		t.Error("a stranger's directory")
	}
}

// Whose file counts as libvirt's changes with the config file's label, and differs between nodes: what a start has ignored no
// later one restores, as the guest's disks have gone on.
func TestIgnoredSavedStateStaysIgnored(t *testing.T) {
	asRoot(t)
	w := newWorld(t, "start")
	file := filepath.Join(w.saveDir(0o700, 0), saveFile)
	must(t, os.WriteFile(file, []byte(savedQEMU(guestXML)), 0o600))
	must(t, os.Chown(file, 1234, 0))
	w.restore = func(context.Context, string, string) error { w.boot(); return nil }
	label := "<seclabel type='static' model='dac'><label>+1234:+1234</label></seclabel></domain>"
	for _, config := range []string{guestXML, strings.Replace(guestXML, "</domain>", label, 1)} {
		w.gone()
		w.write("vm1.xml", config)
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
	}
	w.did("create", "create")
}
