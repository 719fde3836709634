package relay

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

// A frame as a packet socket with PACKET_VNET_HDR gives and takes it, in bytes: struct virtio_net_hdr of
// linux/virtio_net.h in the host's byte order, then the Ethernet header.
const (
	vnetHeader  = 10
	hdrLenAt    = 2 // how much of the frame is headers, where it is several segments
	csumStartAt = 6 // from where the checksum is to be filled in, where the flags want that
	needsCsum   = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM

	addresses   = 12 // the two MACs
	etherHeader = 14
	tagSize     = 4
	etherVLAN   = 0x8100

	// maxFrame is the largest that IP makes of its 64 KiB, with a tag; a frame above, of jumbograms, is not forwarded.
	maxFrame = vnetHeader + etherHeader + tagSize + 1<<16
)

var errShort = errors.New("a frame is too short")

// readdress makes a frame leave with another source, and in a VLAN where that is not 0. Before the frame itself, frame
// has tagSize unused bytes, into which its head moves to make room for the tag. It changes frame, and returns
// what of it is to be sent.
func readdress(frame []byte, source announce.MAC, vlan uint16) ([]byte, error) {
	if len(frame) < tagSize+vnetHeader+etherHeader {
		return nil, errShort
	}
	const macs = vnetHeader + addresses
	copy(frame[tagSize+vnetHeader+len(source):], source[:])
	if vlan == 0 {
		return frame[tagSize:], nil
	}
	copy(frame, frame[tagSize:tagSize+macs])
	binary.BigEndian.PutUint16(frame[macs:], etherVLAN)
	binary.BigEndian.PutUint16(frame[macs+2:], vlan)
	if frame[0]&needsCsum != 0 {
		shift(frame[csumStartAt:])
	}
	if binary.NativeEndian.Uint16(frame[hdrLenAt:]) > 0 {
		shift(frame[hdrLenAt:])
	}
	return frame, nil
}

// shift moves an offset behind the tag.
func shift(field []byte) {
	binary.NativeEndian.PutUint16(field, binary.NativeEndian.Uint16(field)+tagSize)
}
