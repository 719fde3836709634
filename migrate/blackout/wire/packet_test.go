package wire

import (
	"bytes"
	"testing"
	"time"
)

var samplePacket = Packet{Kind: Answer, Session: 7, Seq: 8, Sent: 9 * time.Millisecond, Instance: 10, Count: 11}

func encoded(p Packet) []byte {
	b := make([]byte, PacketSize)
	p.Put(b)
	return b
}

func TestPacketRoundTrip(t *testing.T) {
	got, err := Parse(encoded(samplePacket), Answer)
	if err != nil || got != samplePacket {
		t.Fatalf("parsePacket = %+v, %v; want %+v", got, err, samplePacket)
	}
}

func TestParsePacketRefuses(t *testing.T) {
	broken := func(change func(b []byte)) []byte {
		b := encoded(samplePacket)
		change(b)
		return b
	}
	tests := map[string][]byte{
		"nothing":       nil,
		"short":         encoded(samplePacket)[:PacketSize-1],
		"magic":         broken(func(b []byte) { b[0] = 'V' }),
		"version":       broken(func(b []byte) { b[4] = 1 }),
		"a probe":       broken(func(b []byte) { b[5] = Probe }),
		"kind":          broken(func(b []byte) { b[5] = 4 }),
		"reserved bits": broken(func(b []byte) { b[7] = 1 }),
		"sequence zero": broken(func(b []byte) { clear(b[16:24]) }),
	}
	for name, b := range tests {
		if _, err := Parse(b, Answer); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnswerInPlace(t *testing.T) {
	probe := Packet{Kind: Probe, Session: 1, Seq: 2, Sent: 3}
	b := encoded(probe)
	AnswerInPlace(b, 4, 5)
	want := Packet{Kind: Answer, Session: 1, Seq: 2, Sent: 3, Instance: 4, Count: 5}
	if got, err := Parse(b, Answer); err != nil || got != want {
		t.Errorf("answer = %+v, %v; want %+v", got, err, want)
	}
}

func TestChallengeInPlace(t *testing.T) {
	b := encoded(Packet{Kind: Probe, Session: 1, Seq: 2, Sent: 3})
	ChallengeInPlace(b, Cookie{4, 5})
	got, err := Parse(b, Challenge)
	if err != nil || got.Session != 1 || got.Seq != 2 || got.Sent != 3 || got.Cookie() != (Cookie{4, 5}) {
		t.Errorf("challenge = %+v, %v", got, err)
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(encoded(samplePacket))
	f.Add(encoded(Packet{Kind: Probe, Seq: 1}))
	f.Add([]byte("vmfB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []byte{Probe, Answer, Challenge} {
			p, err := Parse(b, kind)
			if err == nil && !bytes.Equal(encoded(p), b[:PacketSize]) {
				t.Errorf("%x is read as %+v, which is written differently", b, p)
			}
		}
	})
}
