package wire

// Mode is what a kind of target sends on the wire. A probe is a packet, and an
// answer is one again: an Answer from a reflector, with its counters; a
// Probe from a service that only echoes, so that nothing is known of the
// direction of losses; a Challenge where the probe must be sent again.
type Mode interface {
	// Put encodes a probe into b, which has room for MaxProbe bytes, and
	// returns its length.
	Put(b []byte, p Packet) int
	// Classify decodes what the service sent. last is the newest probe. Anything
	// that does not answer a probe is ErrPacket.
	Classify(b []byte, last uint64) (Packet, error)
	// Shared reports whether answers name their session, so that many targets may
	// have one socket.
	Shared() bool
}

// MaxProbe is the length in bytes of the longest probe of any mode: a DNS
// question with a name of 255 bytes.
const MaxProbe = 320

// Echo speaks to our reflector, and to the echo service of RFC 862.
var Echo Mode = echo{}

type echo struct{}

func (echo) Shared() bool { return true }

func (echo) Put(b []byte, p Packet) int {
	p.Put(b)
	return PacketSize
}

func (echo) Classify(b []byte, _ uint64) (Packet, error) { return ParseAny(b) }
