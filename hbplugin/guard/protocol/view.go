package protocol

import (
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// View is what a guard knows of another node.
type View struct {
	Node    int
	Slot    lease.Slot
	Seen    bool          // Slot was read once
	Renewed time.Duration // how long ago a renewal was seen
	Wrote   time.Duration // how long ago it was last seen to write its slot, by a read or by what it says over the link
	Member  bool
	Expired bool
	Gone    bool   // its guests are proven gone: it has surrendered, or its lease has expired and nothing of it can write
	Foreign string // why this node's device is not the one that it has; empty: nothing says so
	Mine    string // the claim against it; empty: none is open, as of Theirs
	Theirs  string // its claim against this node
}

// text is a claim in a message.
func (g *Guard) text(c lease.Claim) string {
	return fmt.Sprintf("claim %d of node %s (%d nodes, %d addresses reached, %d guests)",
		c.Split, g.policy.name(c.From), c.Members, c.Reached, c.Guests)
}

func (g *Guard) openText(c lease.Claim) string {
	if !c.Open() {
		return ""
	}
	return g.text(c)
}

// Views are the other nodes, as they are seen at now.
func (g *Guard) Views(now time.Duration) (all []View) {
	for _, p := range g.peers {
		all = append(all, View{Node: p.id, Slot: p.slot, Seen: p.seen, Renewed: now - p.changed,
			Wrote: now - max(p.wrote, p.told.at), Member: p.member,
			Expired: g.expired(p), Gone: p.isGone() && g.notShared(p) == "", Foreign: g.notShared(p),
			Mine: g.openText(p.mine), Theirs: g.openText(p.theirs)})
	}
	return all
}

// Own is this node's slot, as it was handed out last.
func (g *Guard) Own() lease.Slot { return g.slot }
