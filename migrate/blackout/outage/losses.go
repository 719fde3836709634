package outage

// maxInstances bounds the memory for reflector instances; more of them than
// this in one run are counted but no longer distinguished.
const maxInstances = 64

// losses finds out which way probes were lost. It lives on two counts: how
// many probes watch sent up to the newest answered one, which it knows, and
// how many of them the reflector received, which is in every answer. What
// was sent and not received was lost on the way out; what was received and not
// answered was lost on the way back. Both are running counts, so that an
// outage of any length is accounted for by the first answer after it.
//
// An epoch is a stretch of answers from one reflector instance. When the
// instance changes, the counters of the old one are gone: probes between its
// last answer and the first of the new one that the new one did not receive
// are counted as lost out, because no living service can vouch for them.
type losses struct {
	current   uint64 // instance
	base      uint64 // newest sequence of the epochs before
	countBase uint64 // what the instance had counted before this epoch
	newest    uint64 // newest answered sequence
	count     uint64 // highest count seen in this epoch
	answered  uint64 // distinct answers in this epoch

	closedOut, closedBack uint64 // of the epochs before

	known   map[uint64]uint64 // the highest count of each instance; nil before the first
	changes int
}

// add takes one distinct answer.
func (l *losses) add(seq, instance, count uint64) {
	switch {
	case l.known == nil:
		l.known = make(map[uint64]uint64)
		l.open(instance)
	case seq <= l.base:
		l.lateAnswer()
		return
	case instance != l.current && seq > l.newest:
		l.changes++
		l.closeEpoch()
		l.open(instance)
	}
	l.answered++
	l.newest = max(l.newest, seq)
	if instance == l.current {
		l.count = max(l.count, count)
	}
}

// lateAnswer takes a late answer to a probe that a closed epoch counted as lost.
func (l *losses) lateAnswer() {
	if l.closedBack > 0 {
		l.closedBack--
	} else if l.closedOut > 0 {
		l.closedOut--
	}
}

func (l *losses) open(instance uint64) {
	l.current, l.base, l.answered = instance, l.newest, 0
	l.countBase = l.known[instance]
	l.count = l.countBase
	if len(l.known) < maxInstances {
		l.known[instance] = l.count
	}
}

func (l *losses) closeEpoch() {
	l.closedOut, l.closedBack = l.totals()
	if _, ok := l.known[l.current]; ok {
		l.known[l.current] = l.count
	}
}

// totals returns what was lost on the way out and on the way back, up to the
// newest answered probe. Their sum is always exactly the probes without an
// answer, whatever the reflector reported: a reflector that was rolled back or
// counts wrongly can only move losses from one direction to the other.
func (l *losses) totals() (out, back uint64) {
	span := l.newest - l.base
	if l.known == nil || span < l.answered {
		return l.closedOut, l.closedBack
	}
	unanswered := span - l.answered
	received := min(l.count-l.countBase, span)
	out = min(span-received, unanswered)
	return l.closedOut + out, l.closedBack + unanswered - out
}

// instances returns how many reflector instances have answered.
func (l *losses) instances() int { return len(l.known) }
