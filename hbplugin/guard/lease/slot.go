package lease

import (
	"fmt"
	"time"
)

// State is what a node says of its lease.
type State uint8

// The states. A node that surrendered runs no guest, and no write of a guest of its is under way.
const (
	Surrendered State = iota
	Held
	Moving // it surrenders: it moves its guests away or kills them
)

// String is the state in a word.
func (s State) String() string {
	switch s {
	case Surrendered:
		return "surrendered"
	case Held:
		return "held"
	case Moving:
		return "moving"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// LongestWatchdog is the longest timeout of a watchdog that a slot may declare.
const LongestWatchdog = time.Hour

// Instance identifies the machine and its boot: two machines that run as one node have different ones.
type Instance [16]byte

// Slot is what a node publishes with each renewal. The zero value is a node that never held a lease: it has
// surrendered in generation 0.
type Slot struct {
	Node       int
	Instance   Instance
	Generation uint64 // one more each time that the node takes its lease again
	Counter    uint64 // one more with each write
	State      State
	Reached    int           // addresses of the ping list that answer, smoothed
	Guests     int           // guests that run here
	Watchdog   time.Duration // its hardware watchdog fires after this; 0: none
}

// Newer reports whether s was written after o, by the same rule on every node: a late write of an older renewal is not.
func (s Slot) Newer(o Slot) bool {
	if s.Generation != o.Generation {
		return s.Generation > o.Generation
	}
	return s.Counter > o.Counter
}

// Encode writes s over block, which has BlockSize bytes.
func (s Slot) Encode(block []byte) {
	e := begin(block, slotKind)
	e.u8(uint8(s.Node))
	e.bytes(s.Instance[:])
	e.u64(s.Generation)
	e.u64(s.Counter)
	e.u8(uint8(s.State))
	e.u32(uint32(s.Reached))
	e.u32(uint32(s.Guests))
	e.u64(uint64(s.Watchdog))
	e.end(block)
}

// DecodeSlot is the slot of node in block.
func DecodeSlot(block []byte, node int) (Slot, error) {
	d, err := open(block, slotKind)
	if err != nil {
		return Slot{}, err
	}
	s := Slot{
		Node: int(d.u8()), Instance: Instance(d.bytes(16)), Generation: d.u64(), Counter: d.u64(), State: State(d.u8()),
		Reached: int(d.u32()), Guests: int(d.u32()), Watchdog: time.Duration(d.u64()),
	}
	switch {
	case d.bad || s.State > Moving || s.Watchdog < 0 || s.Watchdog > LongestWatchdog:
		return Slot{}, ErrForeign
	case s.Node != node:
		return Slot{}, fmt.Errorf("the slot of node %d says that it is of node %d", node, s.Node)
	}
	return s, nil
}
