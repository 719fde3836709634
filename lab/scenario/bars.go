package scenario

import "time"

// Bar is a time in which no process of a node could write to a guest's disk: the node hung, or its access was revoked.
type Bar struct {
	Node     string
	From, To time.Time // To is zero while it lasts
}

// MaxWriting is the largest number of copies of one guest that executed at the same instant, not before since, on nodes
// that could write.
func MaxWriting(guest string, copies []Copy, events []Event, bars []Bar, since time.Time) (most int) {
	var spans []span
	for _, c := range copies {
		if c.Guest == guest {
			spans = append(spans, without(executing(c, events), c.Node, bars)...)
		}
	}
	for _, s := range spans {
		at, n := later(s.from, since), 0
		for _, o := range spans {
			if !o.from.After(at) && o.to.After(at) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// without are the parts of the spans of a copy on the node in which no bar lay.
func without(spans []span, node string, bars []Bar) []span {
	for _, b := range bars {
		if b.Node != node {
			continue
		}
		if b.To.IsZero() {
			b.To = forever
		}
		var rest []span
		for _, s := range spans {
			before, after := s, s
			if before.to.After(b.From) {
				before.to = b.From
			}
			if after.from.Before(b.To) {
				after.from = b.To
			}
			for _, part := range []span{before, after} {
				if part.from.Before(part.to) {
					rest = append(rest, part)
				}
			}
		}
		spans = rest
	}
	return spans
}
