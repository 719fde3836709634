package xen

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// managementBridge joins the machines' lab0.
const managementBridge = "vmferry1"

// makeLinks makes the bridge of the links lab0, and for each machine both of its
// links at this end. A machine's card takes hold of its link when it boots and
// closes it when it ends.
func (h Host) makeLinks() error {
	lab := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: managementBridge}}
	if err := netlink.LinkAdd(lab); err != nil {
		return fmt.Errorf("make the bridge %q: %w", managementBridge, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{
		IP: management.Addr().AsSlice(), Mask: net.CIDRMask(management.Bits(), management.Addr().BitLen()),
	}}
	if err := netlink.AddrAdd(lab, address); err != nil {
		return fmt.Errorf("give the bridge %q its address: %w", managementBridge, err)
	}
	if err := netlink.LinkSetUp(lab); err != nil {
		return fmt.Errorf("raise the bridge %q: %w", managementBridge, err)
	}
	clients, err := netlink.LinkByName(h.Bridge)
	if err != nil {
		return fmt.Errorf("find the bridge %q: %w", h.Bridge, err)
	}
	for _, spec := range h.Nodes {
		for name, bridge := range map[string]netlink.Link{hostTap(spec): clients, labTap(spec): lab} {
			if err := makeTap(name, bridge); err != nil {
				return fmt.Errorf("make the link %q of node %q: %w", name, spec.Name, err)
			}
		}
	}
	return nil
}

func makeTap(name string, bridge netlink.Link) error {
	tap := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name},
		Mode:      netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
	}
	if err := netlink.LinkAdd(tap); err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(tap, bridge); err != nil {
		return err
	}
	return netlink.LinkSetUp(tap)
}
