package bridgetest

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Space is the namespace of a test, which it fails where the kernel refuses something.
type Space struct {
	*testing.T
	// Sys is where its sysfs is mounted.
	Sys string
}

// New locks the goroutine to a thread that lives in a new namespace, and that ends with the test. Without root the test
// is skipped, except in continuous integration, which must have it.
func New(t *testing.T) Space {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	s := Space{T: t, Sys: t.TempDir()}
	s.Must(unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS))
	s.Must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	s.Must(unix.Mount("sysfs", s.Sys, "sysfs", 0, ""))
	t.Cleanup(func() { s.Must(unix.Unmount(s.Sys, unix.MNT_DETACH)) }) // else the directory cannot be removed
	return s
}

// Must fails the test for an error.
func (s Space) Must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// Link is the device of that name.
func (s Space) Link(name string) netlink.Link {
	s.Helper()
	l, err := netlink.LinkByName(name)
	s.Must(err)
	return l
}

// Index is the kernel's number of a device.
func (s Space) Index(name string) int { s.Helper(); return s.Link(name).Attrs().Index }

// Pair makes two devices that are each other's wire. Both are down.
func (s Space) Pair(one, other string) {
	s.Helper()
	s.Must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: one}, PeerName: other}))
}

// Up switches devices on.
func (s Space) Up(names ...string) {
	s.Helper()
	for _, name := range names {
		s.Must(netlink.LinkSetUp(s.Link(name)))
	}
}

// Bridge makes one that is up, and waits until its ports, which must be up, forward.
func (s Space) Bridge(name string, ports ...string) {
	s.Helper()
	s.Must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	s.Up(name)
	for _, p := range ports {
		s.Must(netlink.LinkSetMaster(s.Link(p), s.Link(name)))
	}
	s.Eventually("the ports of "+name+" forward", func() bool {
		return !slices.ContainsFunc(ports, func(p string) bool {
			state, _ := os.ReadFile(filepath.Join(s.Sys, "class/net", p, "brport/state"))
			return string(state) != "3\n" // BR_STATE_FORWARDING of linux/if_bridge.h
		})
	})
}

// Eventually waits for what the kernel does in its own time, for 5 s at the most.
func (s Space) Eventually(what string, done func() bool) {
	s.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 2500 {
		if done() {
			return
		}
		<-tick.C
	}
	s.Fatalf("it never came about that %s", what)
}

// Behind is the port at which a bridge has learned a MAC, "" for none.
func (s Space) Behind(bridge string, mac [6]byte) string {
	s.Helper()
	entries, err := netlink.NeighList(0, unix.AF_BRIDGE)
	s.Must(err)
	for _, e := range entries {
		if e.MasterIndex == s.Index(bridge) && slices.Equal(e.HardwareAddr, mac[:]) && e.State&unix.NUD_PERMANENT == 0 {
			l, err := netlink.LinkByIndex(e.LinkIndex)
			s.Must(err)
			return l.Attrs().Name
		}
	}
	return ""
}
