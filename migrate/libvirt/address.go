package libvirt

import "net/netip"

// AddressSource says who is asked for a guest's IP addresses (virDomainInterfaceAddressesSource).
type AddressSource int

// The sources, in libvirt's order.
const (
	FromLease AddressSource = iota // DHCP leases of libvirt's own networks on that host
	FromAgent                      // the QEMU guest agent, in the guest
	FromARP                        // what the host has in its ARP table
)

// CardAddresses are the addresses of one network card of a guest.
type CardAddresses struct {
	MAC   string // as the source writes it
	Addrs []netip.Addr
}

// Turn is a change in whether a domain runs on this host.
type Turn int

// The turns.
const (
	TurnArriving Turn = iota // a migration to here has begun; the guest does not run here yet
	TurnRunning              // it begins to run here: it was started or restored, or a migration to here ended
	TurnPaused               // its processors are stopped, also because the guest itself suspends
	TurnResumed              // they continue, also because the guest wakes; or it is the first word of a TurnRunning
	TurnHalted               // the domain is gone
)

// String is the turn in one word, for logs.
func (t Turn) String() string {
	return [...]string{"arriving", "running", "paused", "resumed", "halted"}[t]
}
