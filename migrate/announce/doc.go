// Package announce tells the network where a guest is, the moment it runs there.
//
// A guest keeps its MAC and IP addresses when it moves, but switches continue sending to the
// old place until they see a frame of the guest's from the new one. QEMU sends such frames by
// itself, as RARP, which carries no IP address; fabrics that route by IP address (EVPN and its
// like) ignore them. This package sends, from the guest's new node, in its name and with its
// addresses where they are known, RARP, gratuitous ARP and unsolicited neighbour
// advertisements, again and again for a few seconds, as each may get lost.
//
// Start with [Announcer]: Prepare finds a guest's network cards, their addresses and the
// devices on which to send, before the guest arrives; Announce sends. [Watcher] does
// both for all guests of a node, driven by libvirt's events. Nothing goes through QEMU's
// monitor, so that no domain is tainted.
//
// # Frames, and who uses which
//
//   - RARP (RFC 903, in QEMU's form): switches learn the source MAC from any frame, and this
//     one is ignored by all hosts. It is sent also when no address is known.
//   - ARP announcement, a request (RFC 5227, section 3): hosts that know the address update it
//     (RFC 826). Linux makes a new entry only with arp_accept=1.
//   - Gratuitous ARP reply: for hosts that use replies alone. Linux takes it as gratuitous, and past
//     its lock time of a second, only when the target hardware address is the sender's, which
//     it is here (arp_is_garp of net/ipv4/arp.c).
//   - Neighbour advertisement (RFC 4861, section 7.2.6) to all nodes, unsolicited, with the
//     override flag and the link-layer address: neighbours that know the address update it,
//     and routers may make an entry (RFC 9131). The router flag is not set, and a neighbour would
//     strike the sender off its default routers, which are known by link-local
//     addresses; so these are never announced.
//
// # Which addresses
//
// An announcement diverts traffic, and leaves on ports where no filter checks it. So the guest does not decide what is
// announced for it. What counts is what an administrator configured (the setting, the domain XML, the parameters of the
// card's filter), what libvirt's DHCP server gave, and what the host sees at the card's MAC on the card's own link;
// each VLAN is a link. The guest agent counts only with the setting [Agent]. Whatever the source, an address of the
// host or of the cluster's nodes, of a gateway, or one that the host sees at another MAC is left out, and so is what
// the card's filter does not allow. The MAC address is always that of the domain XML. What is left out is logged once.
//
// The first round leaves when the guest runs, from a plan that was made while it was on its way. Questions to libvirt
// and to the kernel that can wait come a second later.
//
// A guest is announced when it begins to run here, and not when it wakes, reboots or is resumed, which the guest can
// cause. With Xen a guest that reboots is a new domain, and is announced.
// A round has [RARP] for each outlet, and up to 512 frames with addresses; all guests of a node together have 10,000 of
// these in a second.
//
// # Where the frames leave
//
// On a bridge of Linux: at each port that forwards, but for the guest's own, tagged as that port
// is in the guest's VLAN. Sent on the bridge itself they would reach the guest too, and a
// guest that hears its own IPv6 address advertised while it is new takes it for a
// duplicate and drops it. Sent on the guest's tap they would reach nobody else. The bridge learns
// nothing from what a port sends, and so is told by netlink ([Host.Learn]); where that is not
// allowed, it learns from QEMU's own frames, and from the guest's. A macvtap hands the frames
// to its lower device as it does the guest's.
//
// # Non-guarantees
//
// Nothing is announced for a card on Open vSwitch, whose bridge would learn a wrong port from us, nor for
// one that this host only hands through (SR-IOV) or that is behind user-mode networking: there
// the switch or the guest itself must speak. In a VLAN that a guest tags itself it must, too.
// Addresses that a node cannot know (a guest that never spoke to it, without DHCP of libvirt's) are not announced
// unless they are configured.
//
// A machine on the guest's link can send ARP in the name of any MAC. It can make the host see an address that nobody
// uses at a guest's MAC, and the host then announces it there; a filter on the other ports, or configured addresses,
// prevent that. It can also make the host see a guest's address at another MAC, and then only the guest's MAC is
// announced.
package announce
