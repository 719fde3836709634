package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/node"
)

// The lab mounts its own view of the cgroup2 hierarchy, because a machine may
// have it elsewhere or (with cgroup v1) use it for little.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupName is the lab's own cgroup, below which each node has one: two labs
// in two folders share nothing.
func cgroupName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return node.CgroupPrefix + hex.EncodeToString(sum[:4])
}

// prepareNamespaces turns fresh namespaces into the lab's: own mounts that do
// not propagate, a /proc and /sys that show what is in here, and the bridge.
func prepareNamespaces(cfg Config) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the lab's mounts private: %w", err)
	}
	for _, m := range []struct{ kind, target string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"cgroup2", cgroupRoot},
		// systemd-nspawn leaves its locks and sockets here.
		{"tmpfs", "/run"},
	} {
		if err := unix.Mount("vmferry-lab", m.target, m.kind, unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("mount %s on %s for the lab: %w", m.kind, m.target, err)
		}
	}
	return makeBridge(cfg)
}

// bridgeMAC is the bridge's link-layer address, a locally administered one.
var bridgeMAC = net.HardwareAddr{0x02, 0x76, 0x6d, 0x66, 0x00, 0xfe}

func makeBridge(cfg Config) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback link: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set the loopback link up: %w", err)
	}
	// Without an address of its own the bridge has that of one of its ports, and another one when a node dies: what
	// the nodes reach here is silent then until they resolve it again.
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge, HardwareAddr: bridgeMAC}}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("make the lab's bridge: %w", err)
	}
	addresses := []netip.Addr{cfg.Network.Addr()}
	if cfg.Guard {
		addresses = append(addresses, guarded.Gateways...)
		for _, n := range cfg.Nodes {
			addresses = append(addresses, guarded.StorageAddress(n))
		}
	}
	for _, a := range addresses {
		address := &netlink.Addr{IPNet: &net.IPNet{
			IP: a.AsSlice(), Mask: net.CIDRMask(cfg.Network.Bits(), a.BitLen()),
		}}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add address %s to the lab's bridge: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set the lab's bridge up: %w", err)
	}
	return nil
}

// Clean removes what the end of a supervisor leaves behind: the lab's folder
// and its empty cgroups. It must be called when no supervisor runs on dir, and
// it is safe to call when there is nothing to remove.
func Clean(dir string) error {
	if err := removeCgroups(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the lab's folder: %w", err)
	}
	return nil
}

// removeCgroups mounts the hierarchy for a moment below dir, since the
// machine need not have it mounted anywhere.
func removeCgroups(dir string) (err error) {
	mount := filepath.Join(dir, "cgroup")
	if err := os.MkdirAll(mount, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("vmferry-lab", mount, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("list the lab's cgroups: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(mount, unix.MNT_DETACH)) }()
	var groups []string
	top := filepath.Join(mount, cgroupName(dir))
	err = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := len(groups) - 1; i >= 0; i-- {
		if err := unix.Rmdir(groups[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the lab's cgroup: %w", err)
		}
	}
	return nil
}
