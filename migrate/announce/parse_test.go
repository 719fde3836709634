package announce

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Kind is one of the forms in which an address is announced.
type Kind string

// The four forms.
const (
	KindRARP          Kind = "RARP"
	KindARPRequest    Kind = "ARP request"
	KindARPReply      Kind = "ARP reply"
	KindAdvertisement Kind = "neighbour advertisement"
)

// Notice is what a frame announces.
type Notice struct {
	Kind Kind
	MAC  MAC
	Addr netip.Addr // the zero Addr in RARP, which says none
	VLAN uint16     // 0 where the frame is not tagged
}

var (
	errShort = errors.New("the frame is too short")
	errOther = errors.New("the frame announces nothing")
)

// Parse reads an Ethernet frame without its checksum, such as a packet socket hands over. It
// takes those that [Frames] makes and their like of other senders, and gives an error for all
// else: broken ones, and ordinary traffic such as a request for somebody else's address.
func Parse(frame []byte) (Notice, error) {
	if len(frame) < etherHeader {
		return Notice{}, errShort
	}
	n := Notice{MAC: MAC(frame[6:12])}
	protocol, payload := binary.BigEndian.Uint16(frame[12:]), frame[etherHeader:]
	if protocol == etherVLAN {
		if len(payload) < tagSize {
			return Notice{}, errShort
		}
		n.VLAN = binary.BigEndian.Uint16(payload) & 0x0fff
		protocol, payload = binary.BigEndian.Uint16(payload[2:]), payload[tagSize:]
	}
	var err error
	switch protocol {
	case etherARP, etherRARP:
		err = n.parseARP(protocol, payload)
	case etherIPv6:
		err = n.parseAdvertisement(payload)
	default:
		err = errOther
	}
	if err != nil {
		return Notice{}, err
	}
	return n, nil
}

func (n *Notice) parseARP(protocol uint16, p []byte) error {
	if len(p) < arpSize {
		return errShort
	}
	sender, senderIP := MAC(p[8:14]), netip.AddrFrom4([4]byte(p[14:18]))
	target, targetIP := MAC(p[18:24]), netip.AddrFrom4([4]byte(p[24:28]))
	op := binary.BigEndian.Uint16(p[6:])
	switch {
	case !bytes.Equal(p[:6], []byte{0, 1, 0x08, 0x00, 6, 4}):
		return errOther
	case sender != n.MAC:
		return fmt.Errorf("ARP of %s in a frame of %s", sender, n.MAC)
	case protocol == etherRARP && op == rarpRequest && target == sender:
		n.Kind = KindRARP
		return nil
	case protocol != etherARP || senderIP != targetIP || senderIP.IsUnspecified():
		return errOther
	case op == arpRequest:
		n.Kind = KindARPRequest
	case op == arpReply && target == sender:
		n.Kind = KindARPReply
	default:
		return errOther
	}
	n.Addr = senderIP
	return nil
}

func (n *Notice) parseAdvertisement(ip []byte) error {
	if len(ip) < ipv6Header+naSize {
		return errShort
	}
	na := ip[ipv6Header:]
	size := int(binary.BigEndian.Uint16(ip[4:]))
	switch {
	case ip[0]>>4 != 6 || ip[6] != protoICMPv6 || na[0] != typeNA || na[1] != 0:
		return errOther
	case size != naSize || na[24] != optTarget || na[25] != 1 || na[4]&flagOverride == 0:
		return errOther // an answer, or one with more to say
	case ip[7] != hopLimit:
		return errors.New("the advertisement came over a router")
	case sum6(ip) != 0xffff:
		return errors.New("the advertisement's checksum is wrong")
	case MAC(na[26:32]) != n.MAC:
		return fmt.Errorf("advertisement of %s in a frame of %s", MAC(na[26:32]), n.MAC)
	}
	n.Kind, n.Addr = KindAdvertisement, netip.AddrFrom16([16]byte(na[8:24]))
	return nil
}
