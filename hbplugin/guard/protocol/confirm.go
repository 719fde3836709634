package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Confirm takes the administrator's word, given at since, that he has seen a node off. It is a proof for the generation
// of that node that is seen now, until the node writes or sends anything. With an error it is refused; with false it is
// too early: the lease has not expired, or no read since then shows that.
func (g *Guard) Confirm(id int, since, now time.Duration) (taken bool, err error) {
	p := g.peer(id)
	switch {
	case p == nil:
		return false, fmt.Errorf("node %s is not one of the others", g.policy.name(id))
	case p.member:
		return false, fmt.Errorf("node %s is a member of the cluster: it is not off", g.name(p))
	case p.seen && p.changed > since:
		return false, fmt.Errorf("node %s renews its lease: it is not off", g.name(p))
	case g.notShared(p) != "":
		return false, errors.New(g.notShared(p))
	case !p.seen || p.read <= since || now-p.read > g.times.Fresh() || !g.silent(p):
		return false, nil
	}
	p.sworn = true
	return true, nil
}

// advice is what to do about a node that is silent and of which nothing proves that it is gone.
func (g *Guard) advice(p *peer) string {
	if !p.seen || !g.silent(p) {
		return ""
	}
	return "; only if you see that it is off, type vmferry guard confirm " + g.name(p)
}
