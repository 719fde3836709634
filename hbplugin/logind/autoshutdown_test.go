package logind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

func TestParseAutoShutdown(t *testing.T) {
	const save, down, off = "auto_shutdown_try_save", "auto_shutdown_try_shutdown", "auto_shutdown_poweroff"
	for _, tt := range []struct {
		name, text string
		settings   string
		transient  bool
	}{
		{"as shipped", "#" + save + " = \"persistent\"\n#" + down + " = \"all\"\n  # " + off + " = \"all\"\n", "",
			false},
		{"none", save + " = \"none\"\n" + down + "='none'\n" + off + " = \"\"\"none\"\"\"\n", "", false},
		{"persistent guests", save + " = \"persistent\"", save + " = persistent", false},
		{"all guests", down + "=\"all\"", down + " = all", true},
		{"transient guests", "\t" + off + "\t=\t'transient' # see the wiki\n", off + " = transient", true},
		{"several", save + " = \"persistent\"\n" + off + " = \"all\"\n", save + " = persistent," + off + " = all",
			true},
		{"behind a semicolon", "max_core = 0; " + off + " = \"all\"", off + " = all", true},
		{"behind a hash in a string", "spice_password = \"a#b\"; " + off + " = \"all\"", off + " = all", true},
		{"carriage returns", "max_core = 0\r" + off + " = \"all\"\r\n", off + " = all", true},
		{"how, and not whether", "auto_shutdown_wait = 30\nauto_shutdown_restore = 1\n", "", false},
		{"another name", "my_" + off + " = \"all\"\n" + off + "_later = \"all\"\n", "", false},
		{"no value", off + " = \n", off + " = ", true},
		{"a word of a later release", off + " = \"most\"", off + " = most", true},
		{"empty", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseAutoShutdown(tt.text)
			if s := strings.Join(got.Settings, ","); s != tt.settings || got.Transient != tt.transient ||
				got.On() != (s != "") {
				t.Errorf("%+v; want %q, transient %t", got, tt.settings, tt.transient)
			}
		})
	}
}

func FuzzParseAutoShutdown(f *testing.F) {
	f.Add("#x\nauto_shutdown_poweroff = \"all\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		a := parseAutoShutdown(text + "\nauto_shutdown_poweroff = \"all\"\n")
		if !a.On() || !a.Transient {
			t.Errorf("%q hides what follows it", text)
		}
	})
}

func TestReadAutoShutdown(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		make func(path string) error
		on   bool
		ok   bool
	}{
		"none": {func(string) error { return nil }, false, true},
		"set": {func(p string) error { return os.WriteFile(p, []byte("auto_shutdown_poweroff='all'"), 0o600) },
			true, true},
		"large": {func(p string) error { return os.WriteFile(p, make([]byte, confMost+1), 0o600) }, false, false},
		"dir":   {func(p string) error { return os.Mkdir(p, 0o755) }, false, false},
		"fifo":  {func(p string) error { return unix.Mkfifo(p, 0o600) }, false, false},
		"loop":  {func(p string) error { return os.Symlink(p, p) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			got, err := readAutoShutdown(path)
			if got.On() != tt.on || (err == nil) != tt.ok {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A libvirt that acts on its guests has a reason to hold the shutdown.
func TestProceedWaitsForLibvirt(t *testing.T) {
	all := "auto_shutdown_try_shutdown = \"all\"\n"
	xen := lockBut(func(i *logindtest.Inhibitor) { i.Who = "Libvirt Xen" })
	for _, tt := range []struct {
		name, file, text string
		holders          []logindtest.Inhibitor
		want             error // nil: it continues
	}{
		{"it acts", "qemu.conf", all, []logindtest.Inhibitor{libvirtQEMU}, context.DeadlineExceeded},
		{"it acts beside domain 0", "qemu.conf", all, []logindtest.Inhibitor{xen, libvirtQEMU},
			context.DeadlineExceeded},
		{"another driver would act and runs nothing", "qemu.conf", all, []logindtest.Inhibitor{xen}, nil},
		{"it does not", "qemu.conf", "auto_shutdown_try_shutdown = \"none\"\n", []logindtest.Inhibitor{libvirtQEMU},
			nil},
		{"a user's daemon always does", "qemu.conf", "",
			[]logindtest.Inhibitor{lockBut(func(i *logindtest.Inhibitor) { i.UID = 1000 })},
			context.DeadlineExceeded},
		{"a driver that is not known", "qemu.conf", "",
			[]logindtest.Inhibitor{lockBut(func(i *logindtest.Inhibitor) { i.Who = "Libvirt CH" })},
			context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startBus(t)
			b.Systemd("running", uint64(0))
			logind := b.Logind()
			logind.Set(true, 0)
			logind.Others(tt.holders...)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if tt.want != nil {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 2*othersAgain)
				defer cancel()
			}
			started, err := System{LibvirtDir: dir}.Proceed(ctx, "reboot")
			if !errors.Is(err, tt.want) || started != (tt.want == nil) {
				t.Errorf("started %t, %v", started, err)
			}
			var want []string
			if tt.want == nil {
				want = []string{"reboot.target replace-irreversibly"}
			}
			if !slices.Equal(b.Started(), want) {
				t.Errorf("started %q", b.Started())
			}
		})
	}
}

// What cannot be read may say that libvirt acts.
func TestProceedCannotTell(t *testing.T) {
	b := startBus(t)
	b.Systemd("running", uint64(0))
	logind := b.Logind()
	logind.Set(true, 0)
	logind.Others(libvirtQEMU)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "qemu.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if started, err := (System{LibvirtDir: dir}).Proceed(t.Context(), "reboot"); started || err == nil ||
		len(b.Started()) != 0 {
		t.Errorf("started %q: %t, %v", b.Started(), started, err)
	}
}
