package xen

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/node"
)

// Host is a lab that has machines. All fields are needed.
type Host struct {
	Dir     string       // what this lab writes; the parts below are in it, or may be
	Image   string       // what [Image] built
	Product string       // a tree that is laid over the image
	Shared  string       // the folder that the machines see as /shared
	Bridge  string       // that the machines' host0 joins
	Network netip.Prefix // of the bridge
	Nodes   []node.Spec  // the machines
}

// pace is what the cluster managers need where a busy second of the processor
// can take ten: the emulator shares two processors with the guests' other node
// and with whoever measures them.
var pace = node.Pace{Token: 10 * time.Second, DCWait: 8 * time.Second, Silence: 20 * time.Second,
	InitWait: 60 * time.Second}

//go:embed all:files
var files embed.FS

// links are the units that a domain 0 has unlike a container: there is
// hardware to set up, and what Debian's Xen starts that the lab does not need.
var links = map[string]string{
	"etc/systemd/system/systemd-udev-trigger.service": "",
	"etc/systemd/system/xendomains.service":           "/dev/null",
	"etc/systemd/system/systemd-pstore.service":       "/dev/null",
	"etc/systemd/system/sshd-keygen.service":          "/dev/null",
	"etc/systemd/system/logd.service":                 "/dev/null",
	// Their caches are in the image; what is newer than them is only vmferry.
	"etc/systemd/system/ldconfig.service":                       "/dev/null",
	"etc/systemd/system/systemd-journal-catalog-update.service": "/dev/null",
	"etc/systemd/system/systemd-update-done.service":            "/dev/null",
}

// Folders and files of the lab, below Dir.
func (h Host) ssh() string                  { return filepath.Join(h.Dir, "ssh") }
func (h Host) state(name string) string     { return filepath.Join(h.Dir, "nodes", name) }
func (h Host) stateDisk(name string) string { return h.state(name) + ".ext4" }
func (h Host) productDisk() string          { return filepath.Join(h.Dir, "nodes", "product.ext4") }
func kernelFile(dir string) string          { return filepath.Join(dir, "nodes", "vmlinux") }
func initramfs(dir string) string           { return filepath.Join(dir, "nodes", "initramfs") }

// stateSize is the most that a machine may write.
const stateSize = "4G"

// Prepare makes what the machines boot from, and the links that they are on. It
// is called once in the life of a lab, in the lab's own mount and network
// namespaces, after [Stock]; when ctx ends it stops, and what is in Dir is of no use.
func (h Host) Prepare(ctx context.Context) error {
	key, err := makeKey(ctx, h.ssh())
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.Login(), []byte(clientConfig(h.Nodes, h.ssh())), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(masters, 0o700); err != nil {
		return err
	}
	for _, spec := range h.Nodes {
		if err := h.prepare(spec, key); err != nil {
			return err
		}
	}
	if err := h.makeDisks(ctx); err != nil {
		return err
	}
	if err := h.mountRoot(); err != nil {
		return err
	}
	return h.makeLinks()
}

// prepare makes what tells a node from the others, in the folder that will be
// its own disk.
func (h Host) prepare(spec node.Spec, key keyPair) error {
	tree, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	outfit := node.Outfit{
		Pace: pace, Files: tree, Links: links, Private: []string{"root/.ssh/id_ed25519"},
		Values: map[string]string{
			"Private": key.private, "Public": key.public, "Switch": Switch(),
			"Management": netip.PrefixFrom(managementOf(spec), management.Bits()).String(),
			"HostMAC":    hostMAC(spec), "LabMAC": labMAC(spec),
		},
	}
	return node.PrepareAs(outfit, spec, h.Nodes, h.Network.Bits(), node.Dirs{Image: h.Image, State: h.state(spec.Name)})
}

// makeDisks makes the layers that lie over the image.
func (h Host) makeDisks(ctx context.Context) error {
	if err := makeDisk(ctx, h.productDisk(), h.Product, "1G", "^has_journal"); err != nil {
		return err
	}
	for _, spec := range h.Nodes {
		if err := makeDisk(ctx, h.stateDisk(spec.Name), h.state(spec.Name), stateSize, "has_journal"); err != nil {
			return err
		}
		// It is on the disk now; what is left here would only mislead.
		if err := os.RemoveAll(h.state(spec.Name)); err != nil {
			return err
		}
	}
	return nil
}

// inside is where QEMU, whose root is the image, finds the lab's folder.
const inside = "/mnt"

// mountRoot turns the image into the root of QEMU: with devices and processes, and with the lab's
// folder.
func (h Host) mountRoot() error {
	for from, to := range map[string]string{"/dev": "dev", "/proc": "proc", h.Dir: inside} {
		to = filepath.Join(h.Image, to)
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %q to QEMU at %q: %w", from, to, err)
		}
	}
	return nil
}

// fromInside is a path in the lab's folder as QEMU sees it.
func (h Host) fromInside(path string) (string, error) {
	below, err := filepath.Rel(h.Dir, path)
	if err != nil || strings.HasPrefix(below, "..") {
		return "", errors.Join(fmt.Errorf("%q is not in the lab's folder %q", path, h.Dir), err)
	}
	return filepath.Join(inside, below), nil
}

// management is the network of the links lab0; the address is the lab's own.
var management = netip.MustParsePrefix("10.78.0.254/24")

// managementOf is a node's address on it.
func managementOf(spec node.Spec) netip.Addr {
	bytes := management.Addr().As4()
	bytes[3] = byte(spec.ID)
	return netip.AddrFrom4(bytes)
}

// Switch is where the power switch of a lab with machines is reached, as HOST:PORT.
func Switch() string { return netip.AddrPortFrom(management.Addr(), 7710).String() }

// A machine's addresses on its two links. The first four bytes are those of all of the lab's cards.
func hostMAC(spec node.Spec) string { return macOf(0x78, spec.ID) }
func labMAC(spec node.Spec) string  { return macOf(0x79, spec.ID) }

func macOf(kind, id int) string { return fmt.Sprintf("52:54:00:76:%02x:%02x", kind, id) }

// The names of the two links at the lab's end.
func hostTap(spec node.Spec) string { return "host" + strconv.Itoa(spec.ID) }
func labTap(spec node.Spec) string  { return "lab" + strconv.Itoa(spec.ID) }
