package xen

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMakeLinks works in a network namespace that ends with its thread.
func TestMakeLinks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes links: needs root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("makes links: ", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread goes, with what it was in
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		checkLinks(t)
	}()
	<-done
}

func checkLinks(t *testing.T) {
	clients := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "clients"}}
	if err := netlink.LinkAdd(clients); err != nil {
		t.Error(err)
		return
	}
	if err := (Host{Bridge: "nobody", Nodes: nodes}).makeLinks(); err == nil {
		t.Error("joined a bridge that is not there")
	}
	lab, err := netlink.LinkByName(managementBridge)
	if err != nil {
		t.Error(err)
		return
	}
	if err := netlink.LinkDel(lab); err != nil {
		t.Error(err)
	}
	if err := (Host{Bridge: "clients", Nodes: nodes}).makeLinks(); err != nil {
		t.Error(err)
		return
	}
	for name, bridge := range map[string]string{"host1": "clients", "host2": "clients", "lab1": managementBridge,
		"lab2": managementBridge} {
		tap, err := netlink.LinkByName(name)
		if err != nil {
			t.Error(err)
			continue
		}
		master, err := netlink.LinkByIndex(tap.Attrs().MasterIndex)
		if err != nil || master.Attrs().Name != bridge || tap.Attrs().RawFlags&unix.IFF_UP == 0 {
			t.Errorf("%s joined %v (%v), flags %#x", name, master, err, tap.Attrs().RawFlags)
		}
	}
}
