package lease

import "fmt"

// Claim is one node's claim to the guests of another. Its values are frozen when it is made: what a node measures
// later changes no claim, so that both nodes judge by the same numbers. The zero value claims nothing.
type Claim struct {
	From, Target     int
	Split            uint64 // numbers the claims of From against Target; 0: none was ever made
	Answers          uint64 // the Split of the target's claim that this one was compared to; 0: none yet
	FromGeneration   uint64
	TargetGeneration uint64
	Withdrawn        bool // the split is over, or From has surrendered
	Ordered          bool // the target is a member of the cluster, which wants it fenced all the same

	// From's manager works, and its side is half of all nodes, or more and the manager has requested the fencing
	Quorate bool

	// Of the nodes that From sees, with itself and without those that claim its guests:
	Members int // how many they are
	Reached int // addresses of the ping list that the best of them reaches
	Guests  int // guests that run on them
	First   int // the lowest number
}

// Open reports whether c claims something.
func (c Claim) Open() bool { return c.Split != 0 && !c.Withdrawn }

// Beats reports whether From stays and the node of o surrenders: what the whole cluster wants, a quorum, more nodes,
// more of the ping list reached, more guests, the lower number. It is strict: of two claims of different nodes exactly
// one beats the other.
func (c Claim) Beats(o Claim) bool {
	switch {
	case c.Ordered != o.Ordered:
		return c.Ordered
	case c.Quorate != o.Quorate:
		return c.Quorate
	case c.Members != o.Members:
		return c.Members > o.Members
	case c.Reached != o.Reached:
		return c.Reached > o.Reached
	case c.Guests != o.Guests:
		return c.Guests > o.Guests
	case c.First != o.First:
		return c.First < o.First
	}
	return c.From < o.From
}

// Bound reports whether c and o are claims of two nodes against each other, each of which names the other.
func (c Claim) Bound(o Claim) bool {
	return c.Open() && o.Open() && c.From == o.Target && c.Target == o.From && c.Answers == o.Split &&
		o.Answers == c.Split
}

// Encode writes c over block, which has BlockSize bytes.
func (c Claim) Encode(block []byte) {
	e := begin(block, claimKind)
	e.u8(uint8(c.From))
	e.u8(uint8(c.Target))
	e.u64(c.Split)
	e.u64(c.Answers)
	e.u64(c.FromGeneration)
	e.u64(c.TargetGeneration)
	e.bit(c.Withdrawn)
	e.bit(c.Ordered)
	e.bit(c.Quorate)
	e.u32(uint32(c.Members))
	e.u32(uint32(c.Reached))
	e.u32(uint32(c.Guests))
	e.u8(uint8(c.First))
	e.end(block)
}

// DecodeClaim is the claim of from against target in block. An empty block is the zero claim.
func DecodeClaim(block []byte, from, target int) (Claim, error) {
	d, err := open(block, claimKind)
	if err == ErrEmpty {
		return Claim{From: from, Target: target}, nil
	}
	if err != nil {
		return Claim{}, err
	}
	c := Claim{
		From: int(d.u8()), Target: int(d.u8()), Split: d.u64(), Answers: d.u64(), FromGeneration: d.u64(),
		TargetGeneration: d.u64(), Withdrawn: d.bit(), Ordered: d.bit(),
		Quorate: d.bit(), Members: int(d.u32()), Reached: int(d.u32()), Guests: int(d.u32()), First: int(d.u8()),
	}
	switch {
	case d.bad:
		return Claim{}, ErrForeign
	case c.From != from || c.Target != target:
		return Claim{}, fmt.Errorf("the claim of node %d against %d says that it is of %d against %d",
			from, target, c.From, c.Target)
	}
	return c, nil
}
