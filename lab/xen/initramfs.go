package xen

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/cpio"
	"github.com/vmferry/vmferry/lab/image"
	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// modules are what domain 0 needs to find its root, and modulesFile where lab/xen/init
// looks for the order in which to load them.
//
// ext4 asks for crc32c by the name of the cipher, which is no dependency of a module.
var modules = []string{"crc32c_generic", "virtio_blk", "ext4", "overlay", "9p", "9pnet_virtio", "virtio_net"}

const modulesFile = "modules/order"

// Stock makes what domain 0 boots from before it has its root, a kernel and an
// initramfs, in the lab's folder dir, from what [Image] built at tree. init is
// lab/xen/init, built with CGO_ENABLED=0. Neither is packed: unpacking is what an
// emulated processor is slowest at.
func Stock(ctx context.Context, tree, init, dir string) error {
	kernel, modulesDir, err := image.Kernel(tree)
	if err != nil {
		return err
	}
	plain, err := guest.Kernel(ctx, kernel)
	if err != nil {
		return fmt.Errorf("unpack domain 0's kernel: %w", err)
	}
	body, err := os.ReadFile(init)
	if err != nil {
		return fmt.Errorf("read domain 0's first process: %w", err)
	}
	archive, err := pack(ctx, modulesDir, body)
	if err != nil {
		return fmt.Errorf("make domain 0's initramfs: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(kernelFile(dir)), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Bytes(kernelFile(dir), plain, 0o644); err != nil {
		return err
	}
	return atomicfile.Bytes(initramfs(dir), archive, 0o644)
}

func pack(ctx context.Context, modulesDir string, init []byte) ([]byte, error) {
	var out bytes.Buffer
	w := cpio.NewWriter(&out)
	if err := guest.AddSkeleton(w); err != nil {
		return nil, err
	}
	if err := w.Write(cpio.Entry{Name: "init", Mode: cpio.ModeRegular | 0o755}, init); err != nil {
		return nil, err
	}
	if err := guest.AddModules(ctx, w, modulesDir,
		[]guest.ModuleList{{File: modulesFile, Modules: modules}}); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
