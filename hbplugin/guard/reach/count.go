package reach

import "math/bits"

const (
	window = 8 // the last rounds that count
	enough = 5 // of them have to be answered
)

// Count is the history of one address: whether it answered in each of the last rounds. The zero value has no round.
type Count struct {
	rounds uint8 // the newest is the lowest bit
	known  int
}

// Add takes the result of a round.
func (c *Count) Add(answered bool) {
	c.rounds <<= 1
	if answered {
		c.rounds |= 1
	}
	c.known = min(c.known+1, window)
}

// Reached reports whether the address is reached: it answered in five of the last eight rounds, or, before there were
// eight, in more than half.
func (c Count) Reached() bool {
	answered := bits.OnesCount8(c.rounds)
	if c.known < window {
		return 2*answered > c.known
	}
	return answered >= enough
}
