package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/lab/guest/cpio"
	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// Names of what Build leaves in its directory.
const (
	kernelName = "vmlinuz"
	initrdName = "initrd"
	gameName   = "initrd-game"

	databaseName = "initrd-database"
)

// Where lab/guest/init looks for the lists of modules.
const (
	earlyList = "modules/order"
	lateList  = "modules/late"
)

// Spec says from what to build the guests' kernel and initramfs. All fields but
// Type are paths, and required but for GameTree and DatabaseTree.
type Spec struct {
	Type        string // of the guests, see [DomainSpec]; empty is "qemu"
	KernelImage string // Debian's /boot/vmlinuz-VERSION
	ModulesDir  string // …/lib/modules/VERSION of the same kernel
	Init        string // lab/guest/init, built with CGO_ENABLED=0
	Blackout    string // cmd/blackout, built with CGO_ENABLED=0
	GameTree    string // root of a Debian with teeworlds-server; empty: no guest gets a game server
	// DatabaseTree is the root of a Debian with mariadbd and mariadb; empty: no guest gets a database.
	DatabaseTree string
	OutDir       string // created when it does not exist
}

// Build writes OutDir/vmlinuz, an unpacked ELF kernel where PVH allows it, and
// OutDir/initrd, an uncompressed cpio archive. With GameTree it writes
// OutDir/initrd-game too, which has the game server in addition, and with DatabaseTree
// OutDir/initrd-database. Each is replaced in one step, so that guests may be started from the old ones meanwhile. It runs xz and zstd
// (Debian's xz-utils and zstd). When ctx ends it stops and leaves what was there
// before.
func Build(ctx context.Context, s Spec) error {
	if err := s.check(); err != nil {
		return err
	}
	files := map[string][]byte{}
	initrd, err := s.initrd(ctx, nothing)
	if err != nil {
		return fmt.Errorf("build guest initrd: %w", err)
	}
	files[initrdName] = initrd
	if s.GameTree != "" {
		withGame := func(w *cpio.Writer) error { return gameParts.add(w, s.GameTree) }
		if files[gameName], err = s.initrd(ctx, withGame); err != nil {
			return fmt.Errorf("build guest initrd with a game server: %w", err)
		}
	}
	if s.DatabaseTree != "" {
		withDatabase := func(w *cpio.Writer) error { return databaseParts.add(w, s.DatabaseTree) }
		if files[databaseName], err = s.initrd(ctx, withDatabase); err != nil {
			return fmt.Errorf("build guest initrd with a database: %w", err)
		}
	}
	if files[kernelName], err = Kernel(ctx, s.KernelImage); err != nil {
		return fmt.Errorf("build guest kernel from %q: %w", s.KernelImage, err)
	}
	if err := os.MkdirAll(s.OutDir, 0o755); err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	for name, body := range files {
		if err := atomicfile.Bytes(filepath.Join(s.OutDir, name), body, 0o644); err != nil {
			return fmt.Errorf("build guest: %w", err)
		}
	}
	return nil
}

// nothing is what other guests have in addition.
func nothing(*cpio.Writer) error { return nil }

func (s Spec) check() error {
	if _, err := platformOf(s.kind()); err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	for _, f := range []struct{ field, path string }{
		{"KernelImage", s.KernelImage}, {"ModulesDir", s.ModulesDir},
		{"Init", s.Init}, {"Blackout", s.Blackout},
	} {
		if f.path == "" {
			return fmt.Errorf("build guest: %s is not set", f.field)
		}
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("build guest: %s: %w", f.field, err)
		}
	}
	if s.OutDir == "" {
		return errors.New("build guest: OutDir is not set")
	}
	return nil
}

// kind is the guests' type.
func (s Spec) kind() string {
	if s.Type == "" {
		return "qemu"
	}
	return s.Type
}

// initrd returns the archive that the kernel unpacks into its first root, with what more adds to it.
func (s Spec) initrd(ctx context.Context, more func(*cpio.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	w := cpio.NewWriter(&out)
	if err := AddSkeleton(w); err != nil {
		return nil, err
	}
	for _, f := range []struct{ name, from string }{{"init", s.Init}, {"blackout", s.Blackout}} {
		body, err := os.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		if err := w.Write(cpio.Entry{Name: f.name, Mode: cpio.ModeRegular | 0o755}, body); err != nil {
			return nil, err
		}
	}
	if err := addPowerCommands(w); err != nil {
		return nil, err
	}
	p, err := platformOf(s.kind())
	if err != nil {
		return nil, err
	}
	lists := []ModuleList{{earlyList, p.early}, {lateList, p.late}}
	if err := AddModules(ctx, w, s.ModulesDir, lists); err != nil {
		return nil, err
	}
	if err := errors.Join(more(w), w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// addPowerCommands adds what the kernel runs when a toolstack asks the guest
// to shut down or to reboot (orderly_poweroff in Linux' kernel/reboot.c).
func addPowerCommands(w *cpio.Writer) error {
	if err := w.Write(cpio.Entry{Name: "sbin", Mode: cpio.ModeDir | 0o755}, nil); err != nil {
		return err
	}
	for _, name := range []string{"sbin/poweroff", "sbin/reboot"} {
		if err := w.Write(cpio.Entry{Name: name, Mode: cpio.ModeLink | 0o777}, []byte("/init")); err != nil {
			return err
		}
	}
	return nil
}

// unpack runs "TOOL -dc" over packed.
func unpack(ctx context.Context, tool string, packed []byte) ([]byte, error) {
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, tool, "-dc")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(packed), &out, &problem
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("unpack: install Debian's package xz-utils or zstd: %w", err)
		}
		return nil, fmt.Errorf("unpack with %q: %w: %s", tool, err, strings.TrimSpace(problem.String()))
	}
	return out.Bytes(), nil
}
