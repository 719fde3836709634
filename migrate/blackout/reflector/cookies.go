package reflector

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

const (
	// keyLife is for how long cookies are made with one key; they are taken for as
	// long again.
	keyLife = 10 * time.Minute
	// renewals is how many attempts there are in that time to give a client a new
	// cookie while the one that it has is still taken: one each second.
	renewals = 600
)

// baker makes the cookies of a reflector. A client that sends one back receives
// what is sent to its address: nobody else can make the reflector send there.
// Nothing is remembered of clients that were only given one. Each epoch has a key of
// its own, and its cookies are taken in the next one too.
type baker struct {
	macs  [2]hash.Hash // by epoch
	epoch uint64       // the newest
	life  time.Duration
	ends  time.Duration
	in    [len(socket.Address{}) + 8]byte
	sum   []byte
}

// newBaker returns a baker with keys of its own, each of which is used for a time.
func newBaker(life time.Duration) *baker {
	b := &baker{epoch: 2, life: life, ends: life, sum: make([]byte, 0, sha256.Size)} // a proof of epoch 0 is none
	b.macs = [2]hash.Hash{newMAC(), newMAC()}
	return b
}

func newMAC() hash.Hash {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it does not fail
	return hmac.New(sha256.New, key)
}

// turn begins the epochs that are due.
func (b *baker) turn(now time.Duration) {
	for turned := 0; now >= b.ends; turned++ {
		if turned == len(b.macs) { // no key of before is left
			b.ends = now + b.life
			return
		}
		b.epoch++
		b.macs[b.epoch%2] = newMAC()
		b.ends += b.life
	}
}

// bake returns the cookie of a session at an address, with the key of the newest
// epoch or of the one before. It is not safe for concurrent use.
func (b *baker) bake(epoch uint64, from socket.Address, id uint64) wire.Cookie {
	mac := b.macs[epoch%2]
	copy(b.in[:], from[:])
	binary.BigEndian.PutUint64(b.in[len(from):], id)
	mac.Reset()
	_, _ = mac.Write(b.in[:])
	b.sum = mac.Sum(b.sum[:0])
	return wire.Cookie{binary.BigEndian.Uint64(b.sum), binary.BigEndian.Uint64(b.sum[8:])}
}

// check tells the epoch of a cookie; not ok when it does not fit, or is expired.
func (b *baker) check(c wire.Cookie, from socket.Address, id uint64) (epoch uint64, ok bool) {
	for _, epoch := range [...]uint64{b.epoch, b.epoch - 1} {
		if b.bake(epoch, from, id) == c {
			return epoch, true
		}
	}
	return 0, false
}
