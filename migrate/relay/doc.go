// Package relay keeps what of TCP reaches a guest's old node while the guest is stopped for its
// migration, and hands it on to the new one.
//
// Between the guest's STOP at the source and its RESUME at the target its clients continue sending, and the switches
// still send all of it to the source, where it is lost with the guest's tap. A client that continues sending afterwards
// learns of the gap by what follows it (SACK, RFC 2018). One that waits for the answer to a request has nothing to
// follow it with, nor has one whose window is full: its TCP waits for the retransmission timer, 200 ms at the least on
// Linux and doubled each time (RFC 6298, section 5.5), however short the pause was. With what was lost forwarded, the
// guest answers at once, and the wait is no longer than the pause.
//
// Measured between network namespaces, with requests over TCP one after the other (median of seven): with a pause of 25
// ms the longest wait was 206 ms without the relay and 37 ms with it; with a pause of 250 ms, 415 ms and 261 ms.
//
// Start with [Open], when a migration begins. Then the guest's events decide: [Relay.Buffer] at
// its STOP, [Relay.Forward] when the target has it, [Relay.Drop] when it continues here, and [Relay.Close] in the end.
//
// # How
//
//		Open ── Buffer ── Forward ──┐
//		                            ├── frames leave at that port
//		        the bridge learns ──┘
//		        the guest's new port
//
//	  - A packet socket for each card is bound to the guest's tap from Open on: the event of the STOP arrives here one
//	    to five milliseconds later, and what a client sends in between is lost as well. Until Buffer, what is older than
//	    a tenth of a second is dropped twenty times in a second; where more than 10,000 frames come in a second, nothing
//	    is kept until Buffer, so that a guest under load costs next to nothing.
//	  - Buffer has the time stamp of QEMU's event, and each frame has the kernel's. Older frames than that are not sent.
//	  - What is kept is in the socket's own receive buffer, which outlives the tap. It is bounded; when it is full,
//	    what comes later is lost, for TCP needs the oldest first.
//	  - Kept are segments of TCP alone that leave at the tap for the guest's own MAC. A datagram that is late is of no
//	    use to many (voice, time), who sends it again does so by a clock of its own, and a pause full of them would
//	    are in the guest's queue before all that is new.
//	  - A frame is kept with its virtio_net_hdr (PACKET_VNET_HDR), and sent with it: clients on the same host
//	    leave checksums to a card that there is not, and several segments of TCP may be one frame.
//	  - The frames leave when this node's own bridge has learned that the guest is behind another port, and at that
//	    port. What taught the bridge is the announcement from the target (package announce, and QEMU's own),
//	    so that the switches on its way have learned it too. Earlier, they would send the frames back to here.
//	  - A frame leaves with the port's MAC for its source. With the client's, switches would look for the client here.
//	    IP does not mind: a router changes it as well.
//
// # Non-guarantees
//
// Nothing is promised to arrive; all of it may be lost, come twice or out of order, as on any
// network. Nothing but TCP is forwarded, nor what is in a VLAN that the guest tags itself.
//
// Cards on a macvtap or on Open vSwitch have no relay. Nor has a guest whose switches learn its place by other
// means than its frames, if this node's bridge never learns of that: then nothing is sent, and Close says so.
package relay
