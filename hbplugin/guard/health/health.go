package health

import "time"

// Attribute is the name of the node attribute. Pacemaker takes every one that begins with #health into account.
const Attribute = "#health-vmferry"

// Color is a value of the attribute, as Pacemaker knows it.
type Color string

// The colours.
const (
	Green  Color = "green"
	Yellow Color = "yellow" // it is well again, but has not been for long: it keeps its guests and should get none yet
	Red    Color = "red"    // another member is better off
)

const (
	// Window is how long a node has to be worse off, or well again: as long as the ping list is smoothed.
	Window = 8 * time.Second
	// Hold is how long a node that is well again stays yellow: each change of colour may move all guests.
	Hold = time.Minute
)

// Facts are what a node knows of itself and of the other members.
type Facts struct {
	Held    bool // it holds its lease; a node that does not runs no guests
	Reached int  // addresses of the ping list that it reaches
	Others  []Other
	Mute    bool // its slot was not written, or not read, for as long as a lease lasts, and the link renews the lease
}

// Other is another member of the cluster that holds its lease.
type Other struct {
	Reached int
	Writes  bool // it goes on to write its slot
}

// Worse reports whether some other member is better off. A member that cannot write its slot never is, and one that
// cannot read it neither: it writes that it reaches nothing, and does not say over the link that it writes. So of all
// members at least one is not red.
func (f Facts) Worse() bool {
	for _, o := range f.Others {
		if f.Held && o.Writes && (f.Mute || o.Reached > f.Reached) {
			return true
		}
	}
	return false
}

// Judge is the history of one node. The zero value is green.
type Judge struct {
	color Color
	worse bool
	since time.Duration // of worse
	begun bool
}

// Next is the colour at now, which must not go backwards.
func (j *Judge) Next(worse bool, now time.Duration) Color {
	if !j.begun {
		*j = Judge{color: Green, worse: worse, since: now, begun: true}
	}
	if worse != j.worse {
		j.worse, j.since = worse, now
	}
	lasts := now - j.since
	switch {
	case worse && lasts >= Window:
		j.color = Red
	case !worse && j.color == Red && lasts >= Window:
		j.color = Yellow
	case !worse && j.color == Yellow && lasts >= Window+Hold:
		j.color = Green
	}
	return j.color
}
