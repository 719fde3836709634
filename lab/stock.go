package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/lab/fence"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/image"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// guestDir holds the kernel and initramfs of the lab's guests; the nodes see it
// as /shared/boot.
func (l *Lab) guestDir() string { return filepath.Join(supervisor.Shared(l.Dir), "boot") }

// stock fills the lab's folder with what the nodes will see: the product, the
// power switch's client, and the guests' kernel and initramfs.
func (l *Lab) stock(ctx context.Context, tree string) error {
	for _, dir := range []string{l.Dir, supervisor.Device(l.Dir), supervisor.Shared(l.Dir)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the lab's folder: %w", err)
		}
	}
	l.progress("installing vmferry on the nodes")
	product := filepath.Join(l.Dir, "product")
	if err := os.CopyFS(product, os.DirFS(l.Stage)); err != nil {
		return fmt.Errorf("copy what `make install` staged in %q: %w", l.Stage, err)
	}
	if err := os.MkdirAll(filepath.Join(product, "usr/sbin"), 0o755); err != nil {
		return err
	}
	if err := copyFile(l.Self, filepath.Join(product, "usr/sbin/fence_lab"), 0o755); err != nil {
		return err
	}
	if l.Shape == Guard {
		if err := os.Symlink("fence_lab", filepath.Join(product, "usr/sbin", fence.StorageName)); err != nil {
			return err
		}
	}
	l.progress("guest kernel and initramfs")
	kernel, modules, err := image.Kernel(tree)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.guestDir(), 0o755); err != nil {
		return err
	}
	spec := guest.Spec{
		Type: l.Hypervisor, KernelImage: kernel, ModulesDir: modules, OutDir: l.guestDir(),
		Init:     filepath.Join(filepath.Dir(l.Self), "guest-init"),
		Blackout: filepath.Join(l.Stage, "usr/bin/blackout"),
	}
	if image.HasGame(tree) {
		spec.GameTree = tree
	}
	if l.Shape == Mirror && image.HasDatabase(tree) {
		spec.DatabaseTree = tree
	}
	return guest.Build(ctx, spec)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
