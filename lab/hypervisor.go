package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/lab/image"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/xen"
)

// prerequisites is what a lab with one hypervisor needs before its supervisor can
// boot nodes.
type prerequisites struct {
	image image.Recipe
	needs []need
	// stock adds to the lab's folder what these nodes need beyond others; may be nil.
	stock func(ctx context.Context, l *Lab, tree string) error
}

// prerequisitesOf finds it by the hypervisor's name.
func prerequisitesOf(hypervisor string) (prerequisites, error) {
	switch hypervisor {
	case supervisor.QEMU:
		return prerequisites{image: image.Node()}, nil
	case supervisor.Xen:
		return prerequisites{
			image: xen.Image(),
			needs: []need{{"ssh", "openssh-client"}, {"ssh-keygen", "openssh-client"}, {"mke2fs", "e2fsprogs"}},
			stock: func(ctx context.Context, l *Lab, tree string) error {
				if err := l.stockBoot(); err != nil {
					return err
				}
				l.progress("domain 0's kernel and initramfs")
				return xen.Stock(ctx, tree, filepath.Join(filepath.Dir(l.Self), "dom0-init"), l.Dir)
			},
		}, nil
	}
	return prerequisites{}, fmt.Errorf("unknown hypervisor %q: use %s or %s", hypervisor, supervisor.QEMU, supervisor.Xen)
}

// stockBoot gives the nodes a copy of the guests' kernel and initramfs on a disk
// of their own, [scenario.OwnBoot]: an emulated machine takes ten seconds to read
// them from /shared, for every guest.
func (l *Lab) stockBoot() error {
	boot := filepath.Join(l.Dir, "product", scenario.OwnBoot)
	if err := os.MkdirAll(boot, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"vmlinuz", "initrd"} {
		if err := copyFile(filepath.Join(l.guestDir(), name), filepath.Join(boot, name), 0o644); err != nil {
			return err
		}
	}
	return nil
}
