package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// The destination decides, as the kernel notes it for sockets of either family.
func TestUnicast(t *testing.T) {
	four := func(source, to string) []byte {
		data := make([]byte, unix.SizeofInet4Pktinfo)
		copy(data[4:], netip.MustParseAddr(source).AsSlice())
		copy(data[8:], netip.MustParseAddr(to).AsSlice())
		return note(unix.IPPROTO_IP, unix.IP_PKTINFO, data)
	}
	six := func(to string) []byte {
		a := netip.MustParseAddr(to).As16()
		return note(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(a[:], 1, 0, 0, 0))
	}
	stamp := note(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, make([]byte, 16))
	for name, test := range map[string]struct {
		notes []byte
		want  bool
	}{
		"no notes":                            {nil, true},
		"to us":                               {four("192.0.2.1", "192.0.2.1"), true},
		"to all of the network":               {four("192.0.2.1", "192.0.2.255"), false},
		"to all":                              {four("192.0.2.1", "255.255.255.255"), false},
		"to a group":                          {four("192.0.2.1", "224.0.0.1"), false},
		"to us, before notes were requested":  {four("0.0.0.0", "192.0.2.1"), true},
		"to all, before notes were requested": {four("0.0.0.0", "255.255.255.255"), false},
		"to a group, before that":             {four("0.0.0.0", "239.1.2.3"), false},
		"to us over IPv6":                     {six("2001:db8::1"), true},
		"to a group over IPv6":                {six("ff02::1"), false},
		"noted twice, to us": {append(six("::ffff:192.0.2.1"), four("192.0.2.1", "192.0.2.1")...),
			true},
		"noted twice, to all": {append(six("::ffff:192.0.2.255"), four("192.0.2.1", "192.0.2.255")...),
			false},
		"behind another note": {append(stamp, four("192.0.2.1", "192.0.2.255")...), false},
		"cut short":           {four("192.0.2.1", "192.0.2.255")[:20], true},
		"a length of nothing": {make([]byte, 64), true},
	} {
		if got := unicast(test.notes); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func FuzzUnicast(f *testing.F) {
	f.Add(note(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo)))
	f.Add(note(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo)))
	f.Fuzz(func(t *testing.T, ctl []byte) {
		if !unicast(ctl) && len(ctl) < unix.CmsgLen(unix.SizeofInet4Pktinfo) {
			t.Errorf("%x names no destination", ctl)
		}
	})
}

// note is a control message of the kernel; see cmsg(3).
func note(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
