package blackout

// mode is what a kind of target says on the wire. A probe is a packet, and an
// answer is one again: of kindAnswer from a reflector, with its counters; of
// kindProbe from a service that only echoes, so that nothing is known of the
// direction of losses; of kindChallenge where the probe must be sent again.
type mode interface {
	// put encodes a probe into b, which has room for maxProbe bytes, and
	// returns its length.
	put(b []byte, p packet) int
	// classify tells what the service sent. last is the newest probe. Anything
	// that does not answer a probe is errPacket.
	classify(b []byte, last uint64) (packet, error)
	// shared tells that answers name their session, so that many targets may
	// have one socket.
	shared() bool
}

// maxProbe is the length in bytes of the longest probe of any mode: a DNS
// question with a name of 255 bytes.
const maxProbe = 320

// echoMode speaks to our reflector, and to the echo service of RFC 862.
type echoMode struct{}

func (echoMode) shared() bool { return true }

func (echoMode) put(b []byte, p packet) int {
	p.put(b)
	return PacketSize
}

func (echoMode) classify(b []byte, _ uint64) (packet, error) { return parseAny(b) }
