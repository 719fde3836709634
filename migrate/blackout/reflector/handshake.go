package reflector

import (
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// handshake decides over UDP whose probes are answered: those of clients that have
// shown, with the cookie of a challenge, that they receive what is sent to their
// address. See package wire for what goes to and fro.
type handshake struct {
	keys           *cookieKeys
	offers, checks limiter // what strangers have used up
}

// proven returns the epoch of the cookie in p; not ok when it does not fit the
// sender's address, or when strangers have used up what may be spent on them. e is
// the session, nil where it is not known.
func (h *handshake) proven(e *session, p wire.Packet, from socket.Address, now time.Duration) (epoch uint64, ok bool) {
	known := e != nil && e.from == from
	if known {
		if epoch, ok = e.proven(p.Cookie(), h.keys.epoch); ok {
			return epoch, true
		}
	}
	if p.Cookie() == (wire.Cookie{}) || !known && !h.checks.take(now, time.Second/challengeRate, challengeSlack) {
		return 0, false
	}
	return h.keys.check(p.Cookie(), from, p.Session)
}

// challenge turns the probe p in b into a challenge, unless strangers have used up
// what may be spent on them.
func (h *handshake) challenge(b []byte, p wire.Packet, from socket.Address, now time.Duration) bool {
	if !h.offers.take(now, time.Second/challengeRate, challengeSlack) {
		return false
	}
	wire.ChallengeInPlace(b, h.keys.cookie(h.keys.epoch, from, p.Session))
	return true
}

// renew does so once in a while where the client's cookie, of an epoch, is about to
// expire. The probe comes again with a new cookie: it is counted once, and those that
// follow it are answered.
func (h *handshake) renew(b []byte, e *session, p wire.Packet, epoch uint64, now time.Duration) bool {
	if epoch >= h.keys.epoch || !e.renew.take(now, h.keys.life/renewals, 0) {
		return false
	}
	wire.ChallengeInPlace(b, h.keys.cookie(h.keys.epoch, e.from, p.Session))
	return true
}
