package xen

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/lab/image"
)

// Version of Xen in Debian 13; package names carry it.
const version = "4.20"

// Where the image keeps what a machine boots from, besides Debian's own files.
const (
	hypervisorFile = "boot/xen"       // the hypervisor, unpacked
	diskFile       = "boot/root.ext4" // the tree itself as a file system
)

// diskSize is the most that the tree may grow to; the file is sparse.
const diskSize = "4G"

// useless are the drivers of hardware that no machine here has, which are half of the kernel's
// modules; the hook that makes an initramfs, as the lab brings its own; and libvirt's driver for QEMU,
// which would ask QEMU what it can do: that takes an emulated minute.
var useless = []string{
	"/usr/lib/modules/*/kernel/drivers/gpu/*", "/usr/lib/modules/*/kernel/drivers/media/*",
	"/usr/lib/modules/*/kernel/drivers/infiniband/*", "/usr/lib/modules/*/kernel/drivers/staging/*",
	"/usr/lib/modules/*/kernel/drivers/iio/*", "/usr/lib/modules/*/kernel/drivers/scsi/*",
	"/usr/lib/modules/*/kernel/drivers/net/wireless/*", "/usr/lib/modules/*/kernel/drivers/net/ethernet/*",
	"/usr/lib/modules/*/kernel/sound/*",
	"/etc/kernel/postinst.d/initramfs-tools",
	"/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
}

// Image is the recipe of the image that the machines boot: what every node has, Xen with libvirt's
// driver for it, and the QEMU that the machines themselves run in on this host.
func Image() image.Recipe {
	r := image.With(image.KindXen, "1",
		"linux-image-amd64", "xen-hypervisor-"+version+"-amd64", "xen-utils-"+version, "xen-utils-common",
		"xenstore-utils",
		"libvirt-daemon-driver-xen", "openssh-server", "openssh-client",
		"qemu-system-x86", "libxml2-utils",
	)
	r.Excluded = append(r.Excluded[:len(r.Excluded):len(r.Excluded)], useless...)
	r.Finish = finish
	return r
}

// finish adds to a tree what a machine boots from.
func finish(ctx context.Context, tree, tmp string, progress func(string)) error {
	if err := editFile(filepath.Join(tree, "usr/share/libvirt/cpu_map/x86_qemu64.xml"), withoutSEP); err != nil {
		return err
	}
	progress("unpacking the hypervisor")
	packed, err := os.ReadFile(filepath.Join(tree, "boot/xen-"+version+"-amd64.gz"))
	if err != nil {
		return err
	}
	plain, err := gunzip(packed)
	if err != nil {
		return fmt.Errorf("unpack the hypervisor: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tree, hypervisorFile), plain, 0o644); err != nil {
		return err
	}
	progress("making the root file system")
	disk := filepath.Join(tmp, filepath.Base(diskFile))
	// Without a journal: nobody ever writes to it.
	if err := makeDisk(ctx, disk, tree, diskSize, "^has_journal"); err != nil {
		return err
	}
	return os.Rename(disk, filepath.Join(tree, diskFile))
}

// withoutSEP takes the CPU feature sep out of libvirt's model qemu64. Xen hides that feature on an
// AMD processor, an emulated one lacks others, and libvirt's driver does not start when no model
// that it knows fits the host ("Cannot find suitable CPU model").
func withoutSEP(text string) (string, error) {
	var kept strings.Builder
	found := false
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "<feature name='sep'/>" {
			found = true
			continue
		}
		kept.WriteString(line)
	}
	if !found {
		return "", errors.New("libvirt's CPU model qemu64 has no feature sep to take out")
	}
	return kept.String(), nil
}

// editFile replaces a file of an image that is being made.
func editFile(path string, edit func(string) (string, error)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := edit(string(text))
	if err != nil {
		return fmt.Errorf("edit %q: %w", path, err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

func gunzip(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// makeDisk makes a sparse file with an ext4 file system that holds what the folder from holds. features
// is as mke2fs(8) has it.
func makeDisk(ctx context.Context, path, from, size, features string) error {
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-O", features, "-m", "0",
		"-E", "lazy_itable_init=1,root_owner=0:0", "-d", from, path, size)
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("make the file system %q from %q: %w: %s", path, from, err, bytes.TrimSpace(out))
	}
	return nil
}
