package reflector

import (
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// datagram turns a probe at the start of b into its answer or into a challenge,
// in place, and reports whether either is to be sent.
func (r *Reflector) datagram(b []byte, from socket.Address, now time.Duration) bool {
	p, err := wire.Parse(b, wire.Probe)
	if err != nil {
		return false
	}
	r.sessions.mu.Lock()
	defer r.sessions.mu.Unlock()
	r.baker.turn(now)
	key := sender{p.Session, ownerAt(&from)}
	e := r.sessions.look(key)
	if e == nil && !r.sessions.room(key.owner, now) {
		r.turnAway(now, limitClients)
		return false
	}
	epoch, ok := r.vouched(e, p, from, now)
	if !ok {
		if !r.offers.take(now, time.Second/challengeRate, challengeSlack) {
			return false
		}
		wire.ChallengeInPlace(b, r.baker.bake(r.baker.epoch, from, p.Session))
		return true
	}
	if e == nil {
		e = r.sessions.find(key, now)
	}
	e.prove(from, proof{p.Cookie(), epoch})
	return r.answer(b, e, p, epoch, now)
}

// vouched tells the epoch of the cookie in p; not ok when it does not fit the
// sender's address, or when strangers have used up what may be spent on them.
func (r *Reflector) vouched(e *session, p wire.Packet, from socket.Address, now time.Duration) (epoch uint64, ok bool) {
	known := e != nil && e.from == from
	if known {
		if epoch, ok = e.proven(p.Cookie(), r.baker.epoch); ok {
			return epoch, true
		}
	}
	if p.Cookie() == (wire.Cookie{}) || !known && !r.checks.take(now, time.Second/challengeRate, challengeSlack) {
		return 0, false
	}
	return r.baker.check(p.Cookie(), from, p.Session)
}

// answer turns the probe in b into its answer, unless its client sends too fast. When
// its cookie is about to expire, one probe in a while becomes a challenge, and comes
// again with a new cookie: it is counted once, and those that follow it are answered.
func (r *Reflector) answer(b []byte, e *session, p wire.Packet, epoch uint64, now time.Duration) bool {
	e.touch(now)
	if !e.pace.take(now, r.gap, paceSlack) {
		return false
	}
	n := e.receive(p.Seq)
	if epoch < r.baker.epoch && e.renew.take(now, r.baker.life/renewals, 0) {
		wire.ChallengeInPlace(b, r.baker.bake(r.baker.epoch, e.from, p.Session))
	} else {
		wire.AnswerInPlace(b, r.instance, n)
	}
	return true
}
