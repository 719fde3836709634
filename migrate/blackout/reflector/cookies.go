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

// cookieKeys makes the cookies of a reflector. A client that sends one back receives
// what is sent to its address: nobody else can make the reflector send there.
// Nothing is remembered of clients that were only given one. Each epoch has a key of
// its own, and its cookies are taken in the next one too.
type cookieKeys struct {
	macs  [2]hash.Hash // by epoch
	epoch uint64       // the newest
	life  time.Duration
	ends  time.Duration
	in    [len(socket.Address{}) + 8]byte
	sum   []byte
}

// newCookieKeys draws keys, each of which is used for a time.
func newCookieKeys(life time.Duration) *cookieKeys {
	k := &cookieKeys{epoch: 2, life: life, ends: life, sum: make([]byte, 0, sha256.Size)} // a cookie of epoch 0 is none
	k.macs = [2]hash.Hash{newMAC(), newMAC()}
	return k
}

func newMAC() hash.Hash {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it does not fail
	return hmac.New(sha256.New, key)
}

// rotate begins the epochs that are due.
func (k *cookieKeys) rotate(now time.Duration) {
	for turned := 0; now >= k.ends; turned++ {
		if turned == len(k.macs) { // no key of before is left
			k.ends = now + k.life
			return
		}
		k.epoch++
		k.macs[k.epoch%2] = newMAC()
		k.ends += k.life
	}
}

// cookie returns the cookie of a session at an address, with the key of the newest
// epoch or of the one before. It is not safe for concurrent use.
func (k *cookieKeys) cookie(epoch uint64, from socket.Address, id uint64) wire.Cookie {
	mac := k.macs[epoch%2]
	copy(k.in[:], from[:])
	binary.BigEndian.PutUint64(k.in[len(from):], id)
	mac.Reset()
	_, _ = mac.Write(k.in[:])
	k.sum = mac.Sum(k.sum[:0])
	return wire.Cookie{binary.BigEndian.Uint64(k.sum), binary.BigEndian.Uint64(k.sum[8:])}
}

// check returns the epoch of a cookie; not ok when it does not fit, or is expired.
func (k *cookieKeys) check(c wire.Cookie, from socket.Address, id uint64) (epoch uint64, ok bool) {
	for _, epoch := range [...]uint64{k.epoch, k.epoch - 1} {
		if k.cookie(epoch, from, id) == c {
			return epoch, true
		}
	}
	return 0, false
}
