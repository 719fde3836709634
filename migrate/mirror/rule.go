package mirror

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Known is what is known of the guest's copies elsewhere.
type Known struct {
	Epoch uint64 // the highest epoch of a truth that another node has or had, as the cluster's store says; 0: none
	Node  string // that has it
	// Sure says that no other node can have a higher one: the cluster's own store of attributes was read with quorum, and
	// this node was in touch with another one in this boot, or the peer has answered.
	Sure  bool
	Doubt string // why that is not so, in a clause
	Boot  Boot   // this node's, now
	// Peer is the peer's manifest, where the peer has answered and has one.
	Peer *Manifest
}

// elsewhere is the highest epoch that another node has, and whether that is, or may be, a truth's.
func (k Known) elsewhere() (epoch uint64, node string, truth bool) {
	epoch, node, truth = k.Epoch, k.Node, k.Epoch > 0
	if p := k.Peer; p != nil && p.Epoch >= epoch {
		truth = p.Role != Replica || truth && p.Epoch == epoch
		epoch, node = p.Epoch, k.Node
	}
	return epoch, node, truth
}

// isMarkAlone reports whether nothing but the cluster's store says that the peer of the truth here has a higher epoch: a
// promotion there was cut short when that was told, and the peer answers that it has its replica still.
func (k Known) isMarkAlone(own Manifest) bool {
	p := k.Peer
	return p != nil && p.Role == Replica && !p.Ran && p.Epoch <= own.Epoch && strings.EqualFold(k.Node, own.Peer)
}

// Verdict is what a start may do.
type Verdict int

// The verdicts.
const (
	Refuse  Verdict = iota // nothing: the copy here is old, incomplete or too old
	Start                  // start from the disks here: they are the truth
	Promote                // make the replica here the truth, and start from it
)

// Decision is the answer to a start.
type Decision struct {
	Verdict Verdict
	Epoch   uint64        // what the truth's epoch has to be before the start
	Loss    time.Duration // of Promote: what was written in so long before now may be lost; 0: nothing is; or Unknown
	How     string        // of Loss: what it is by; may be empty
	Why     string        // of Refuse: why, in a clause
	// Accept says that the refusal is about what would be lost alone: an operator may accept that.
	Accept bool
}

// ByClock qualifies an age that is by the clock alone.
const ByClock = "by the clock of this node, which was started since"

// Lost is the loss in words, which follow on "lost".
func (d Decision) Lost() string {
	words := fmt.Sprintf("at most %.0f s", math.Ceil(d.Loss.Seconds()))
	if d.Loss < 0 {
		words = "writes of a time that is not known"
	}
	if d.How != "" {
		words += ", " + d.How
	}
	return words
}

// Judge decides whether a guest that is proven to run nowhere may be started here. own is this node's manifest, nil where
// there is none; most is how much may be lost at most, 0 for no bound; now is this node's clock. accept is an operator's
// word that what is lost is accepted.
func Judge(own *Manifest, k Known, most time.Duration, now time.Time, accept bool) Decision {
	epoch, node, truth := k.elsewhere()
	isNewer := own != nil && own.Role != Replica && (own.Epoch < epoch || truth && own.Epoch == epoch)
	mayAccept := k.Peer == nil || k.Peer.Role == Replica // nobody answers that has it
	switch {
	case !k.Sure:
		return Decision{Why: "whether another node has a newer copy is not known"}
	case own == nil && epoch == 0:
		return Decision{Verdict: Start, Epoch: 1}
	case own == nil:
		return Decision{Why: fmt.Sprintf("the current copy of its disks is on %s, and there is no replica here", node)}
	case own.Ran && accept:
		return Decision{Verdict: Start, Epoch: max(own.Epoch, epoch) + 1}
	case own.Ran:
		return Decision{Accept: true, Why: "the guest ran here last, as far as this node knows, and whether its disks here " +
			"are the current copy could not be found out then"}
	case own.Role == Truth && own.Epoch < epoch && k.isMarkAlone(*own), own.Role == Truth && accept && isNewer && mayAccept:
		return Decision{Verdict: Start, Epoch: epoch + 1}
	case isNewer && own.Epoch < epoch:
		return Decision{Accept: own.Role == Truth && mayAccept, Why: fmt.Sprintf(
			"the copy of its disks here is of epoch %d, and %s has epoch %d", own.Epoch, node, epoch)}
	case own.Role == Truth && !own.Handed.IsZero() && own.Epoch > k.Epoch && own.Epoch >= epoch:
		return judgeLoss(*own, k, epoch, most, now, accept) // the guest may have run at the peer since
	case isNewer:
		return Decision{Accept: own.Role == Truth && mayAccept, Why: fmt.Sprintf(
			"%s has a current copy of its disks too, both of epoch %d", node, epoch)}
	case own.Role == Truth && own.Closed:
		return Decision{Verdict: Start, Epoch: own.Epoch + 1} // so that the replica's word does not count any more
	case own.Role == Truth:
		return Decision{Verdict: Start, Epoch: own.Epoch}
	case own.Role == Promoting:
		return Decision{Verdict: Promote, Epoch: own.Epoch}
	case own.Taken().IsZero():
		return Decision{Why: "the replica here is not whole yet"}
	}
	return judgeLoss(*own, k, epoch, most, now, accept)
}

// HasArrived reports whether the disks of a guest that was on its way here are the truth: the peer has given it away.
func (k Known) HasArrived(own *Manifest) bool {
	return own != nil && own.Arriving && k.Peer != nil && k.Peer.Role == Replica && k.Peer.Epoch > own.Epoch
}

// judgeLoss is Judge for a whole replica, and for a truth whose guest may have moved; epoch is the highest elsewhere.
func judgeLoss(own Manifest, k Known, epoch uint64, most time.Duration, now time.Time, accept bool) Decision {
	d := Decision{Verdict: Promote, Epoch: max(own.Epoch, epoch) + 1}
	// That nothing was written since counts where the truth's epoch is known not to have risen with a start after that.
	if own.Closed && own.Epoch >= epoch && (k.Epoch == own.Epoch || k.Peer != nil && k.Peer.Closed) {
		_, last := own.Span()
		d.How = "closed at " + last.Taken.Format(time.RFC3339)
		return d
	}
	loss, isByClock := own.Age(now, k.Boot)
	if own.Role == Truth {
		if d.Verdict, loss, isByClock = Start, now.Sub(own.Handed), false; loss < 0 {
			loss = Unknown
		}
	}
	if d.Loss = loss; isByClock && loss >= 0 {
		d.How = ByClock
	}
	refuse := func(why string, args ...any) Decision {
		return Decision{Why: fmt.Sprintf(why, args...), Loss: d.Loss, How: d.How, Accept: true}
	}
	switch p := k.Peer; {
	case accept:
		return d
	case own.Epoch < epoch:
		return refuse("the replica here is of epoch %d, and another node has epoch %d", own.Epoch, epoch)
	case p != nil && p.Role != Replica && p.Epoch == own.Epoch:
		return refuse("%s is up, or is not proven to be off, and may have newer disks: lost would be %s", own.Peer,
			d.Lost())
	case p != nil && p.Arriving && own.Role == Replica:
		return refuse("the guest has moved to %s, which has newer disks", own.Peer)
	case loss < 0:
		return refuse("this node's clock is before the time of the last round, so that what would be lost is not known")
	case most > 0 && d.Loss > most:
		return refuse("lost would be %s, and mirror_max_loss is %s", d.Lost(), most)
	}
	return d
}

// Part is what a round sends of a disk.
type Part struct {
	Disk
	Full bool   // all of it
	Base Point  // else what was written since that point
	Why  string // of Full
}

// Next decides what the next round sends of the disks that are due: each whole or what was written since its last round.
// own is the truth's manifest, peer the replica's, nil where it has none; has reports whether the checkpoint of a point
// is there and its bitmap of the disk is usable.
func Next(own Manifest, peer *Manifest, due []Disk, has func(Point, Disk) bool) (round Point, parts []Part) {
	round = Point{Epoch: own.Epoch, Generation: own.Last + 1}
	if peer != nil && peer.Epoch == own.Epoch {
		round.Generation = max(round.Generation, peer.Generation+1)
	}
	for _, d := range due {
		p := Part{Disk: d}
		if p.Base, p.Why = base(own, peer, d); p.Why == "" && !has(p.Base, d) {
			p.Why = fmt.Sprintf("checkpoint %s is not there, or its bitmap is not usable", p.Base)
		}
		p.Full = p.Why != ""
		parts = append(parts, p)
	}
	return round, parts
}

// base is the round that a delta of a disk begins at, or why there can be none.
func base(own Manifest, peer *Manifest, d Disk) (base Point, why string) {
	switch {
	case peer == nil || peer.Role != Replica:
		return Point{}, "there is no replica yet"
	case peer.Epoch != own.Epoch:
		return Point{}, fmt.Sprintf("the replica is of epoch %d, and this is epoch %d", peer.Epoch, own.Epoch)
	}
	for _, r := range peer.Disks {
		switch {
		case r.Target != d.Target || r.Path != d.Path || r.At == (Point{}):
		case d.Size < r.Size:
			return Point{}, "the disk has become smaller"
		default:
			return r.At, ""
		}
	}
	return Point{}, "the replica does not have the disk yet"
}

// Accepts is why a replica refuses to receive from a source of that epoch, on that node; nil where it does not. own is its
// manifest, nil where there is none. A source that was taken over must not use the epochs up: there are no higher ones.
func Accepts(own *Manifest, from string, epoch uint64) error {
	most := uint64(maxNumber / 2)
	if own != nil {
		most = min(most, own.Epoch+epochStep)
	}
	switch {
	case epoch > most:
		return fmt.Errorf("epoch %d is no successor of what is here: the most is %d", epoch, most)
	case own == nil:
		return nil
	case own.Peer != "" && !strings.EqualFold(own.Peer, from):
		return fmt.Errorf("the copy of the guest's disks here is mirrored with %s: if %s is to take its place, and nobody "+
			"needs this copy, type vmferry mirror forget %s", own.Peer, from, own.UUID)
	case own.Role == Promoting || own.Role == Truth && own.Epoch >= epoch:
		return fmt.Errorf("this node has the current copy, of epoch %d", own.Epoch)
	case own.Epoch > epoch:
		return fmt.Errorf("the replica here is of epoch %d", own.Epoch)
	}
	return nil
}

// epochStep is how far an epoch may be ahead: of a guest that was started and moved so often beside a broken mirror.
const epochStep = 1000
