package blackout

import (
	"bytes"
	"testing"
	"time"
)

var samplePacket = packet{kind: kindAnswer, session: 7, seq: 8, sent: 9 * time.Millisecond, instance: 10, count: 11}

func encoded(p packet) []byte {
	b := make([]byte, PacketSize)
	p.put(b)
	return b
}

func TestPacketRoundTrip(t *testing.T) {
	got, err := parsePacket(encoded(samplePacket), kindAnswer)
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
		"a probe":       broken(func(b []byte) { b[5] = kindProbe }),
		"kind":          broken(func(b []byte) { b[5] = 4 }),
		"reserved bits": broken(func(b []byte) { b[7] = 1 }),
		"sequence zero": broken(func(b []byte) { clear(b[16:24]) }),
	}
	for name, b := range tests {
		if _, err := parsePacket(b, kindAnswer); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnswerInPlace(t *testing.T) {
	probe := packet{kind: kindProbe, session: 1, seq: 2, sent: 3}
	b := encoded(probe)
	answerInPlace(b, 4, 5)
	want := packet{kind: kindAnswer, session: 1, seq: 2, sent: 3, instance: 4, count: 5}
	if got, err := parsePacket(b, kindAnswer); err != nil || got != want {
		t.Errorf("answer = %+v, %v; want %+v", got, err, want)
	}
}

func TestChallengeInPlace(t *testing.T) {
	b := encoded(packet{kind: kindProbe, session: 1, seq: 2, sent: 3})
	challengeInPlace(b, cookie{4, 5})
	got, err := parsePacket(b, kindChallenge)
	if err != nil || got.session != 1 || got.seq != 2 || got.sent != 3 || got.cookie() != (cookie{4, 5}) {
		t.Errorf("challenge = %+v, %v", got, err)
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(encoded(samplePacket))
	f.Add(encoded(packet{kind: kindProbe, seq: 1}))
	f.Add([]byte("vmfB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []byte{kindProbe, kindAnswer, kindChallenge} {
			p, err := parsePacket(b, kind)
			if err == nil && !bytes.Equal(encoded(p), b[:PacketSize]) {
				t.Errorf("%x is read as %+v, which is written differently", b, p)
			}
		}
	})
}
