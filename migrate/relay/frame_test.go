package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

var portMAC = announce.MAC{0x02, 0, 0, 0, 0, 0x99}

// vnet is a virtio_net_hdr.
func vnet(flags, gso byte, hdrLen, gsoSize, csumStart, csumOffset uint16) []byte {
	h := []byte{flags, gso}
	for _, field := range []uint16{hdrLen, gsoSize, csumStart, csumOffset} {
		h = binary.NativeEndian.AppendUint16(h, field)
	}
	return h
}

func TestReaddress(t *testing.T) {
	payload := []byte("anything")
	frame := func(header []byte, source announce.MAC, tag ...byte) []byte {
		f := append(bytes.Clone(header), guestMAC[:]...)
		f = append(append(append(f, source[:]...), tag...), 0x08, 0x00)
		return append(f, payload...)
	}
	plain := vnet(0, unix.VIRTIO_NET_HDR_GSO_NONE, 0, 0, 0, 0)
	valid := vnet(unix.VIRTIO_NET_HDR_F_DATA_VALID, 0, 0, 0, 0, 0)
	partial := vnet(needsCsum, 0, 0, 0, 34, 16)
	segments := vnet(needsCsum, unix.VIRTIO_NET_HDR_GSO_TCPV4, 66, 1448, 34, 16)
	for _, c := range []struct {
		name         string
		header, want []byte
		vlan         uint16
	}{
		{"plain", plain, plain, 0},
		{"plain, tagged", plain, plain, 7},
		{"whose checksum was right, tagged", valid, valid, 4094},
		{"without its checksum", partial, partial, 0},
		{"without its checksum, tagged", partial, vnet(needsCsum, 0, 0, 0, 38, 16), 7},
		{"of several segments", segments, segments, 0},
		{"of several segments, tagged", segments, vnet(needsCsum, unix.VIRTIO_NET_HDR_GSO_TCPV4, 70, 1448, 38, 16), 7},
	} {
		in := append(make([]byte, tagSize), frame(c.header, clientMAC)...)
		var tag []byte
		if c.vlan > 0 {
			tag = []byte{0x81, 0, byte(c.vlan >> 8), byte(c.vlan)}
		}
		got, err := readdress(in, portMAC, c.vlan)
		if want := frame(c.want, portMAC, tag...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x", c.name, got, err, want)
		}
	}
}

// Whatever comes, the frame keeps its destination and what follows its header, and is no longer than before but for the tag.
func FuzzReaddress(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(make([]byte, vnetHeader+etherHeader-1), uint16(7))
	f.Add(append(vnet(needsCsum, 1, 66, 1448, 0xffff, 16), toGuest...), uint16(7))
	f.Fuzz(func(t *testing.T, in []byte, vlan uint16) {
		got, err := readdress(append(make([]byte, tagSize), in...), portMAC, vlan)
		if short := len(in) < vnetHeader+etherHeader; short != (err != nil) || short != errors.Is(err, errShort) {
			t.Fatalf("%d bytes: %v", len(in), err)
		}
		if err != nil {
			return
		}
		tag := 0
		if vlan > 0 {
			tag = tagSize
		}
		const source = vnetHeader + 6
		switch {
		case len(got) != len(in)+tag,
			!bytes.Equal(got[vnetHeader:source], in[vnetHeader:source]),
			!bytes.Equal(got[source:vnetHeader+addresses], portMAC[:]),
			!bytes.Equal(got[vnetHeader+addresses+tag:], in[vnetHeader+addresses:]):
			t.Errorf("%x became %x", in, got)
		}
	})
}
