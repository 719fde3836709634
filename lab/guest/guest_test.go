package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest/disk"
)

func writeFile(t *testing.T, path, body string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// kernelTree is a small …/lib/modules/VERSION: virtio is built in, the rest is
// made of modules.
func kernelTree(t *testing.T) string {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "modules.builtin"), "kernel/virtio/virtio.ko\nkernel/virtio/virtio_ring.ko\n"+
		"kernel/virtio/virtio_pci_legacy_dev.ko\nkernel/virtio/virtio_pci_modern_dev.ko\nkernel/virtio/virtio-pci.ko\n")
	writeFile(t, filepath.Join(dir, "modules.dep"), "net/virtio_net.ko: net/net_failover.ko core/failover.ko\n"+
		"net/net_failover.ko: core/failover.ko\ncore/failover.ko:\nblock/virtio_blk.ko:\ninput/evdev.ko:\nacpi/button.ko:\nnet/xen-netfront.ko:\n")
	for _, p := range []string{"net/virtio_net", "net/net_failover", "core/failover", "block/virtio_blk", "input/evdev",
		"acpi/button", "net/xen-netfront"} {
		writeFile(t, filepath.Join(dir, p+".ko"), "module "+p)
	}
	return dir
}

func TestResolve(t *testing.T) {
	m, err := readModules(kernelTree(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		names []string
		want  []string
	}{
		{"what is needed comes first, once", []string{"virtio_net", "failover"},
			[]string{"core/failover.ko", "net/net_failover.ko", "net/virtio_net.ko"}},
		{"built in is left out", []string{"virtio", "virtio_pci", "evdev"}, []string{"input/evdev.ko"}},
		{"nothing", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := m.resolve(test.names, map[string]bool{})
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := m.resolve([]string{"floppy"}, map[string]bool{}); err == nil ||
		!strings.Contains(err.Error(), `no module "floppy"`) {
		t.Errorf("missing module: %v", err)
	}
}

func spec(t *testing.T) Spec {
	dir := t.TempDir()
	return Spec{
		KernelImage: writeFile(t, filepath.Join(dir, "vmlinuz"), string(bzImage([]byte("gzip stream")))),
		ModulesDir:  kernelTree(t),
		Init:        writeFile(t, filepath.Join(dir, "init"), "the init"),
		Blackout:    writeFile(t, filepath.Join(dir, "blackout"), "the reflector"),
		OutDir:      filepath.Join(dir, "out"),
	}
}

func TestBuild(t *testing.T) {
	s := spec(t)
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(filepath.Join(s.OutDir, "vmlinuz"))
	if want, _ := os.ReadFile(s.KernelImage); err != nil || !bytes.Equal(kernel, want) {
		t.Errorf("a kernel that cannot be unpacked was changed: %v", err)
	}
	initrd, err := os.ReadFile(filepath.Join(s.OutDir, "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"init\x00", "the init", "blackout\x00", "the reflector", "dev/console\x00", "dev/null\x00",
		"/modules/failover.ko\n/modules/net_failover.ko\n/modules/virtio_net.ko\n/modules/virtio_blk.ko\n",
		"/modules/evdev.ko\n/modules/button.ko\n", "module acpi/button", "sbin/poweroff\x00", "sbin/reboot\x00",
	} {
		if !bytes.Contains(initrd, []byte(want)) {
			t.Errorf("initrd has no %q", want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.OutDir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestBuildForXen: a guest has the modules of its machine and no others.
func TestBuildForXen(t *testing.T) {
	s := spec(t)
	s.Type = "xen"
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	initrd, err := os.ReadFile(filepath.Join(s.OutDir, "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(initrd, []byte("/modules/xen_netfront.ko\n")) || bytes.Contains(initrd, []byte("virtio")) {
		t.Error("the initrd is not that of a Xen guest")
	}
}

// smallTree is a small Debian with a program of this machine's as its game server, and as its database.
func smallTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	here, err := os.OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	take := func(from, to string) {
		body, err := os.ReadFile("/" + from)
		if err != nil {
			t.Skipf("this machine is no Debian of the right kind: %v", err)
		}
		writeFile(t, filepath.Join(tree, to), string(body))
	}
	for _, p := range slices.Concat(gameParts.programs, databaseParts.programs) {
		take("usr/bin/cp", p.from)
	}
	writeFile(t, filepath.Join(tree, gameMap), "the map")
	loader, needed, err := readELF(here, "usr/bin/cp")
	if err != nil {
		t.Fatal(err)
	}
	take(loader, loader)
	for len(needed) > 0 {
		name := "usr/" + libraries + "/" + needed[0]
		take(name, name)
		_, more, err := readELF(here, name)
		if err != nil {
			t.Fatal(err)
		}
		needed = append(needed[1:], more...)
	}
	return tree
}

// TestBuildMore: the guests with a game server and those with a database have initrds of their own, with all that the
// programs need.
func TestBuildMore(t *testing.T) {
	s := spec(t)
	s.GameTree = smallTree(t)
	s.DatabaseTree = s.GameTree
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	game := []string{"game/server\x00", "game/maps/dm1.map\x00", "the map"}
	database := []string{"database/server\x00", "database/client\x00"}
	both := []string{"lib64/ld-linux-x86-64.so.2\x00", "lib/x86_64-linux-gnu/libc.so.6\x00"}
	all := slices.Concat(game, database, both)
	for name, has := range map[string][]string{"initrd": nil, "initrd-game": slices.Concat(game, both),
		"initrd-database": slices.Concat(database, both)} {
		initrd, err := os.ReadFile(filepath.Join(s.OutDir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range all {
			if got := bytes.Contains(initrd, []byte(part)); got != slices.Contains(has, part) {
				t.Errorf("%s has %q: %v", name, part, got)
			}
		}
		if !bytes.Contains(initrd, []byte("the reflector")) {
			t.Errorf("%s has no reflector", name)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Spec)
		want  string
	}{
		{"no kernel", func(s *Spec) { s.KernelImage = "" }, "KernelImage is not set"},
		{"missing init", func(s *Spec) { s.Init += "x" }, "Init: stat"},
		{"no such type", func(s *Spec) { s.Type = "bhyve" }, `type "bhyve"`},
		{"no game", func(s *Spec) { s.GameTree = filepath.Dir(s.Init) }, gameServer},
		{"game that is not a program", func(s *Spec) {
			s.GameTree = filepath.Dir(s.Init)
			writeFile(t, filepath.Join(s.GameTree, gameServer), strings.Repeat("#!/bin/sh\n", 10))
		}, "bad magic number"},
		{"no database", func(s *Spec) { s.DatabaseTree = filepath.Dir(s.Init) }, "mariadbd"},
		{"no out", func(s *Spec) { s.OutDir = "" }, "OutDir is not set"},
		{"no kernel image", func(s *Spec) { s.KernelImage = s.Init }, "no x86 bzImage"},
		{"no modules", func(s *Spec) { s.ModulesDir = filepath.Dir(s.Init) }, "modules.builtin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := spec(t)
			out := s.OutDir
			test.spoil(&s)
			if err := Build(t.Context(), s); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was written: %v", err)
			}
		})
	}
}

// bzImage wraps a payload as the kernel's build does.
func bzImage(payload []byte) []byte {
	image := make([]byte, 1024, 1024+len(payload)+4)
	image[bzSetupSects] = 1
	copy(image[bzMagic:], "HdrS")
	binary.LittleEndian.PutUint16(image[bzVersion:], 0x20f)
	binary.LittleEndian.PutUint32(image[bzPayloadLength:], uint32(len(payload)+4))
	return append(append(image, payload...), 0, 0, 0, 0)
}

func TestPayload(t *testing.T) {
	zstd := append([]byte{0x28, 0xb5, 0x2f, 0xfd}, "kernel"...)
	good := bzImage(zstd)
	old := bytes.Clone(good)
	old[bzVersion] = 7
	for _, test := range []struct {
		name  string
		image []byte
		want  []byte
		err   string
	}{
		{"zstd", good, zstd, ""},
		{"gzip", bzImage([]byte("\x1f\x8b\x08 and more")), nil, "not packed with zstd"},
		{"old protocol", old, nil, "boot protocol too old"},
		{"cut off", good[:len(good)-1], nil, "bzImage is cut off"},
		{"no kernel", []byte("text"), nil, "no x86 bzImage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := payload(test.image)
			if !bytes.Equal(got, test.want) || (err == nil) != (test.err == "") ||
				(err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// note makes one ELF note.
func note(owner string, kind uint32, desc string) []byte {
	pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&3) }
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, pad(owner+"\x00")+pad(desc)...)
}

func TestHasNote(t *testing.T) {
	linux, pvh := note("Linux", pvhNote, "x"), note("Xen", pvhNote, "\x90\xf9\x33\x83")
	for _, test := range []struct {
		name  string
		notes []byte
		want  bool
	}{
		{"alone", pvh, true},
		{"after another", append(bytes.Clone(linux), pvh...), true},
		{"other owner", linux, false},
		{"other type", note("Xen", 5, "xen-3.0"), false},
		{"cut off", pvh[:len(pvh)-1], false},
		{"none", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hasNote(test.notes, "Xen", pvhNote); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzHasNote(f *testing.F) {
	f.Add(note("Xen", pvhNote, "1234"))
	f.Add(bytes.Repeat([]byte{0xff}, 24))
	f.Fuzz(func(t *testing.T, notes []byte) {
		if hasNote(notes, "Xen", pvhNote) && !bytes.Contains(notes, []byte("Xen")) {
			t.Error("found an owner that is not there")
		}
	})
}

// serve answers every connection with line, or, when line is empty, not at all.
func serve(t *testing.T, line string) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			if line != "" {
				c.Write([]byte(line))
				c.Close()
			}
		}
	}()
	return l.Addr().String()
}

func TestAsk(t *testing.T) {
	got, err := Ask(t.Context(), serve(t, `{"boot_id":"x","counter":3,"boots":2,"uptime_ms":7,"new":1}`+"\n"))
	if want := (Status{BootID: "x", Counter: 3, Boots: 2, UptimeMS: 7}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAskFails(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON": "hello\n", "cut off": `{"boot_id":"x"`, "endless": strings.Repeat("x", maxStatusLine+1),
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Ask(t.Context(), serve(t, line)); err == nil || s != (Status{}) {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

// TestAskEndsWithContext: a guest that accepts and then hangs holds nobody.
func TestAskEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, serve(t, "")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCreateDisk(t *testing.T) {
	var got []string
	broken := errors.New("no space left on device")
	run := func(_ context.Context, program string, args ...string) error {
		got = append([]string{program}, args...)
		return broken
	}
	if err := CreateDisk(t.Context(), run, "/shared/a b.qcow2"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if want := []string{"qemu-img", "create", "-q", "-f", "qcow2", "/shared/a b.qcow2", "16M"}; !slices.Equal(got,
		want) {
		t.Errorf("ran %q, want %q", got, want)
	}
	got = nil
	if err := CreateDisk(t.Context(), run, "-o"); err == nil || got != nil {
		t.Errorf("not a path: %v, ran %q", err, got)
	}
}

func TestReadDisk(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	file := filepath.Join(t.TempDir(), "guest.qcow2")
	run := func(ctx context.Context, program string, args ...string) error {
		return exec.CommandContext(ctx, program, args...).Run()
	}
	if err := CreateDisk(t.Context(), run, file); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDisk(file); !errors.Is(err, disk.ErrBlank) {
		t.Errorf("new disk: %v", err)
	}
	if _, err := ReadDisk(file + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing disk: %v", err)
	}
}
