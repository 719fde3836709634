package announce

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	guest  = MAC{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}
	guest4 = netip.MustParseAddr("192.0.2.7")
	guest6 = netip.MustParseAddr("2001:db8::7")
)

// golden are frames written out by hand after the RFCs.
var golden = []struct {
	notice Notice
	frame  []byte
	hex    string
}{
	{Notice{Kind: KindRARP, MAC: guest}, RARP(guest), `
		ffffffffffff 525400123456 8035
		0001 0800 06 04 0003 525400123456 00000000 525400123456 00000000
		000000000000000000000000000000000000`},
	{Notice{Kind: KindARPRequest, MAC: guest, Addr: guest4}, ARPRequest(guest, guest4), `
		ffffffffffff 525400123456 0806
		0001 0800 06 04 0001 525400123456 c0000207 000000000000 c0000207
		000000000000000000000000000000000000`},
	{Notice{Kind: KindARPReply, MAC: guest, Addr: guest4}, ARPReply(guest, guest4), `
		ffffffffffff 525400123456 0806
		0001 0800 06 04 0002 525400123456 c0000207 525400123456 c0000207
		000000000000000000000000000000000000`},
	// The checksum: 2*(2001+0db8+0007) + ff02+0001 + 0020+003a + 8800 + 2000 + 0201+5254+0012+3456,
	// folded, and its complement.
	{Notice{Kind: KindAdvertisement, MAC: guest, Addr: guest6}, Advertisement(guest, guest6), `
		333300000001 525400123456 86dd
		60000000 0020 3a ff 20010db8000000000000000000000007 ff020000000000000000000000000001
		88 00 7463 20000000 20010db8000000000000000000000007 02 01 525400123456`},
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesAreGolden(t *testing.T) {
	for _, g := range golden {
		want := unhex(t, g.hex)
		if !bytes.Equal(g.frame, want) {
			t.Errorf("%s:\n got %x\nwant %x", g.notice.Kind, g.frame, want)
		}
		if n, err := Parse(want); err != nil || n != g.notice {
			t.Errorf("%s is read as %+v, %v", g.notice.Kind, n, err)
		}
		n, err := Parse(tagged(want, 42))
		if tagged := g.notice; err != nil || n.VLAN != 42 || n.Addr != tagged.Addr || n.Kind != tagged.Kind {
			t.Errorf("%s in a VLAN is read as %+v, %v", g.notice.Kind, n, err)
		}
	}
}

func TestFramesOfACard(t *testing.T) {
	var kinds []Kind
	for _, f := range Frames(guest, []netip.Addr{guest4, guest6}) {
		n, err := Parse(f)
		if err != nil || n.MAC != guest || len(f) < minFrame {
			t.Fatalf("%x: %+v, %v", f, n, err)
		}
		kinds = append(kinds, n.Kind)
	}
	if want := []Kind{KindRARP, KindARPRequest, KindARPReply, KindAdvertisement}; !slices.Equal(kinds, want) {
		t.Errorf("sent %v, want %v", kinds, want)
	}
}

func TestTagged(t *testing.T) {
	plain := RARP(guest)
	if got := tagged(plain, 0); &got[0] != &plain[0] {
		t.Error("a frame without a VLAN was copied")
	}
	got := tagged(plain, 100)
	want := slices.Concat(plain[:12], []byte{0x81, 0x00, 0, 100}, plain[12:])
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// Each change makes a frame something else than an announcement.
func TestParseRefuses(t *testing.T) {
	arp, na := ARPReply(guest, guest4), Advertisement(guest, guest6)
	for name, c := range map[string]struct {
		frame []byte
		at    int
		to    byte
	}{
		"another protocol":                    {arp, 13, 0x00},
		"another hardware type":               {arp, 15, 6},
		"another sender than the frame's":     {arp, 22, 0x54},
		"an answer to somebody":               {arp, 41, 8},
		"a reply for another card":            {arp, 32, 0x54},
		"an operation that is none":           {arp, 21, 9},
		"RARP's operation in ARP":             {arp, 21, 3},
		"no IPv6":                             {na, 14, 0x40},
		"not ICMPv6":                          {na, 20, 17},
		"from beyond a router":                {na, 21, 64},
		"a solicitation":                      {na, 54, 135},
		"a broken checksum":                   {na, 57, 0},
		"no override":                         {na, 58, 0},
		"another option":                      {na, 78, 1},
		"another length":                      {na, 19, 24},
		"another card in the advertisement":   {na, 85, 0x57},
		"a source address that is not summed": {na, 37, 8},
	} {
		t.Run(name, func(t *testing.T) {
			frame := slices.Clone(c.frame)
			frame[c.at] = c.to
			if n, err := Parse(frame); err == nil {
				t.Errorf("taken for %+v", n)
			}
		})
	}
	for _, whole := range [][]byte{arp[:42], na, tagged(na, 7)} {
		for size := range whole {
			if n, err := Parse(whole[:size]); err == nil {
				t.Fatalf("%d bytes of %d are taken for %+v", size, len(whole), n)
			}
		}
	}
}

// What is read can be written again, and is read as the same.
func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(g.frame)
		f.Add(tagged(g.frame, 4094))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		n, err := Parse(frame)
		if err != nil {
			return
		}
		var again []byte
		switch n.Kind {
		case KindRARP:
			again = RARP(n.MAC)
		case KindARPRequest:
			again = ARPRequest(n.MAC, n.Addr)
		case KindARPReply:
			again = ARPReply(n.MAC, n.Addr)
		case KindAdvertisement:
			again = Advertisement(n.MAC, n.Addr)
		}
		if m, err := Parse(tagged(again, n.VLAN)); err != nil || m != n {
			t.Errorf("%+v becomes %+v, %v", n, m, err)
		}
	})
}
