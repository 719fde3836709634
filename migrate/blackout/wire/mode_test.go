package wire

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestDNSMode(t *testing.T) {
	m := NewDNS("www.example.org", 28)
	b := make([]byte, MaxProbe)
	n := m.Put(b, Packet{Seq: 70000})
	const question = "\x03www\x07example\x03org\x00\x00\x1c\x00\x01"
	if string(b[dnsHeader:n]) != question || binary.BigEndian.Uint16(b[4:]) != 1 {
		t.Fatalf("query %q", b[:n])
	}
	b[2] |= 0x80
	for last, want := range map[uint64]uint64{70000: 70000, 70001: 70000, 70000 + 65535: 70000,
		70000 + 65536: 70000 + 65536, 69999: 4464, 0: 0} {
		if p, err := m.Classify(b[:n], last); p.Seq != want {
			t.Errorf("with %d sent: probe %d (%v), want %d", last, p.Seq, err, want)
		}
	}
	for code := range byte(16) {
		b[3] = code
		if _, err := m.Classify(b[:n], 70000); (err == nil) != (code == 0 || code == 3) {
			t.Errorf("response code %d: %v", code, err)
		}
	}
}

func TestEncodeNameRefuses(t *testing.T) {
	for _, name := range []string{"a..b", ".a", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if b, err := EncodeName(nil, name); err == nil {
			t.Errorf("%q is encoded as %x", name, b)
		}
	}
}

func FuzzClassify(f *testing.F) {
	icmp := ICMPv4
	b := make([]byte, MaxProbe)
	f.Add(b[:icmp.Put(b, Packet{Kind: Probe, Session: 1, Seq: 2})], uint64(2))
	f.Add(append([]byte{0x45}, b...), uint64(1))
	f.Add([]byte{0, 0, 0x80, 0, 0}, uint64(9))
	dns := NewDNS("a", 1)
	f.Fuzz(func(t *testing.T, b []byte, last uint64) {
		for _, m := range []Mode{Echo, icmp, ICMPv6, dns} {
			if p, err := m.Classify(b, last); err == nil && p.Seq == 0 {
				t.Errorf("%T reads %x as %+v", m, b, p)
			}
		}
	})
}

func TestICMPChecksum(t *testing.T) {
	b := make([]byte, MaxProbe)
	n := ICMPv4.Put(b, Packet{Kind: Probe, Session: 0x1234567, Seq: 77})
	if got := Checksum(b[:n]); got != 0 {
		t.Errorf("the sum over all is %#x, want 0", got)
	}
}

func TestChecksum(t *testing.T) {
	b := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1, 0xff, 0xff, 0xff, 0xff} // RFC 1071: the sum with it is zero
	sum := Checksum(b)
	b[2], b[3] = byte(sum>>8), byte(sum)
	if got := Checksum(b); got != 0 {
		t.Errorf("the checksum of a message with its checksum is %#x", got)
	}
}
