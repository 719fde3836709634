package blackout

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"
)

// The values that a zero field of Limits stands for.
const (
	DefaultClients     = 4096
	DefaultRate        = 200_000
	DefaultConnections = 256
)

const (
	maxClients = 1 << 20
	maxRate    = 10_000_000
	// challengeRate is how many cookies a reflector gives out in a second, to
	// addresses that may not have asked for one.
	challengeRate = 200_000
	// paceSlack is how much of a rate may be used at once.
	paceSlack = 100 * time.Millisecond
	// generationAge is for how long a silent client keeps its place when others
	// want it.
	generationAge = 30 * time.Second
)

// Limits says what a reflector does for its clients at most.
type Limits struct {
	// Clients is how many sessions it remembers; more are turned away as long
	// as these are in use.
	Clients int
	// Rate is how many probes of one session it answers in a second.
	Rate int
	// Connections is how many TCP connections it keeps; more are closed at once.
	Connections int
}

// Validate reports the first field that is out of its range.
func (l Limits) Validate() error {
	l = l.withDefaults()
	switch {
	case l.Clients < 1 || l.Clients > maxClients:
		return fmt.Errorf("limit of %d clients is not between 1 and %d", l.Clients, maxClients)
	case l.Rate < 1 || l.Rate > maxRate:
		return fmt.Errorf("rate of %d probes a second is not between 1 and %d", l.Rate, maxRate)
	case l.Connections < 1 || l.Connections > maxClients:
		return fmt.Errorf("limit of %d connections is not between 1 and %d", l.Connections, maxClients)
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	for _, v := range []struct {
		field *int
		value int
	}{{&l.Clients, DefaultClients}, {&l.Rate, DefaultRate}, {&l.Connections, DefaultConnections}} {
		if *v.field == 0 {
			*v.field = v.value
		}
	}
	return l
}

// baker makes the cookies of a reflector. A client that sends one back receives
// what is sent to its address: nobody else can make the reflector send there.
// Nothing is remembered of clients that were only given one.
type baker struct {
	mac hash.Hash
	in  [len(rawAddress{}) + 8]byte
	sum []byte
}

// newBaker returns a baker with a key of its own.
func newBaker() *baker {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it does not fail
	return &baker{mac: hmac.New(sha256.New, key), sum: make([]byte, 0, sha256.Size)}
}

// bake returns the cookie of a session at an address. It is not safe for
// concurrent use.
func (b *baker) bake(from rawAddress, id uint64) cookie {
	copy(b.in[:], from[:])
	binary.BigEndian.PutUint64(b.in[len(from):], id)
	b.mac.Reset()
	_, _ = b.mac.Write(b.in[:])
	b.sum = b.mac.Sum(b.sum[:0])
	return cookie{binary.BigEndian.Uint64(b.sum), binary.BigEndian.Uint64(b.sum[8:])}
}
