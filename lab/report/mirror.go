package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// The names of scenarios of two nodes that share no disk, and mirror a guest's to each other.
const (
	// MirrorCrash is the scenario in which the node of the guest dies, and the other one starts it from the replica.
	MirrorCrash = "mirror-crash"
	// MirrorReturn is the scenario in which that node comes back, with disks that have newer writes.
	MirrorReturn = "mirror-return"
	// MirrorDrain is the scenario in which the node of the guest is put in standby.
	MirrorDrain = "mirror-drain"
)

// Mirror is what two nodes had of a guest's disks during all scenarios of a report.
type Mirror struct {
	Guest string   `json:"guest"`
	Nodes []string `json:"nodes"`
	// IntervalS and MaxLossS are the parameters of the resource, in seconds.
	IntervalS float64 `json:"interval_s"`
	MaxLossS  float64 `json:"max_loss_s"`
	// Holdings are in order of time, for each node.
	Holdings []Holding `json:"holdings"`
	// Rounds are those that came to be whole at a replica, in order of time.
	Rounds []Round `json:"rounds"`
}

// What a node may have.
const (
	HoldsTruth     = "truth"
	HoldsPromoting = "promoting" // its replica is being made the truth
	HoldsReplica   = "replica"
	HoldsUnwhole   = "not whole" // of a replica
	HoldsOld       = "old"       // a copy of an epoch that is over
	HoldsAside     = "put aside" // an image that was put aside, beside whatever else
	HoldsNoPower   = "off"       // the node is off, and has what it has
)

// Holding is what a node had for some time.
type Holding struct {
	Node  string    `json:"node"`
	What  string    `json:"what"`            // one of the words above
	Epoch uint64    `json:"epoch,omitempty"` // of a copy
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// Round is a round that came to be whole.
type Round struct {
	Node       string    `json:"node"` // of the replica
	Epoch      uint64    `json:"epoch"`
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`    // when it was seen to be whole
	Taken      time.Time `json:"taken"` // the replica has all that was written before that
}

// Ledger is what became of numbers that a client sent to a guest, which acknowledged each when it was on its disk.
type Ledger struct {
	Acked int `json:"acked"` // those that the client remembers
	Lost  int `json:"lost"`  // those of them that the guest does not have at the end
	// The rest is for a crash alone. LostS is how long before it the oldest that is lost was acknowledged, and ReplicaS how
	// old the replica was then.
	LostS    *float64 `json:"lost_s,omitempty"`
	ReplicaS *float64 `json:"replica_s,omitempty"`
	// SaidS is how much the agent has said to be lost at most: from the replica to the start.
	SaidS *float64 `json:"said_s,omitempty"`
	// Kept is how many of the lost ones are in the image that the node put aside which came back.
	Kept *int `json:"kept,omitempty"`
}

// loss says what a crash has lost; empty where there was none.
func (r *Report) loss() string {
	for _, s := range r.Scenarios {
		l := s.Ledger
		if s.Name != MirrorCrash || l == nil || l.SaidS == nil {
			continue
		}
		text := fmt.Sprintf("The crash lost %d of the last %d numbers that were acknowledged", l.Lost, l.Acked)
		if l.LostS != nil {
			text += fmt.Sprintf(", the oldest %s before it", seconds(*l.LostS))
		}
		text += fmt.Sprintf("; the agent said that %s at most are lost, from the replica to the start.", seconds(*l.SaidS))
		if l.Kept != nil && l.Lost > 0 {
			text += fmt.Sprintf(" %d of them are in the image that was put aside.", *l.Kept)
		}
		return text
	}
	return ""
}

// mirrors reports whether a scenario is of two nodes that share no disk.
func (s *Scenario) mirrors() bool {
	return slices.Contains([]string{MirrorCrash, MirrorReturn, MirrorDrain}, s.Name)
}

// The measures of the drawing of a mirror, in units that are pixels on a wide screen.
const (
	drawWidth  = 1184.0
	drawLeft   = 126.0 // for the nodes' names
	barHeight  = 24.0
	barRow     = 44.0 // of a node: its copy, and below it what was put aside
	markRow    = 14.0
	ageHeight  = 84.0
	textWidth  = 6.4 // of a letter
	mostLabels = 12  // on the axis
)

// mirrorFigure is a mirror as the page draws it.
type mirrorFigure struct {
	Mirror                 *Mirror
	Width, Height, Left    float64
	Top, AgeTop, AgeBottom float64
	Names                  []drawnText
	Bars                   []drawnBar
	Age                    string // the path of the replica's age
	AgeMost                drawnText
	Interval               float64 // where the line of the interval is
	Marks, Ticks           []drawnText
}

// drawnBar is a holding.
type drawnBar struct {
	X, Y, W, H float64
	Class      string
	Text, Full string // Text is Full as far as there is room
}

// drawnText is a text at a place, or a line with a text.
type drawnText struct {
	X, Y float64
	Text string
	End  bool // the place is where it ends
}

// classes are the holdings' in the page's style.
var classes = map[string]string{HoldsTruth: "truth", HoldsPromoting: "promoting", HoldsReplica: "replica",
	HoldsUnwhole: "unwhole", HoldsOld: "old", HoldsAside: "aside", HoldsNoPower: "off"}

// mirrorFigure is how the mirror is drawn; nil where the report has none.
func (r *Report) mirrorFigure() *mirrorFigure {
	m := r.Mirror
	if m == nil || len(m.Holdings) == 0 {
		return nil
	}
	from, to := m.extent()
	x := func(t time.Time) float64 {
		share := float64(t.Sub(from)) / float64(max(to.Sub(from), time.Millisecond))
		return math.Round((drawLeft+share*(drawWidth-drawLeft))*10) / 10
	}
	f := &mirrorFigure{Mirror: m, Width: drawWidth, Left: drawLeft}
	f.mark(r.Scenarios, x)
	for i, node := range m.Nodes {
		y := f.Top + barRow*float64(i)
		f.Names = append(f.Names, drawnText{Y: y + 16, Text: node})
		for _, h := range m.Holdings {
			if h.Node == node {
				f.Bars = append(f.Bars, h.drawn(x(h.From), x(h.To), y))
			}
		}
	}
	// What a node has is drawn first, and that it is off on top of it.
	slices.SortStableFunc(f.Bars, func(a, b drawnBar) int { return boolOrder(a.Class == "off", b.Class == "off") })
	f.AgeTop = f.Top + barRow*float64(len(m.Nodes)) + 10
	f.AgeBottom = f.AgeTop + ageHeight
	f.Height = f.AgeBottom + 22
	f.age(m, x)
	f.ticks(from, to, x)
	return f
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// extent is from the first holding to the last.
func (m *Mirror) extent() (from, to time.Time) {
	from, to = m.Holdings[0].From, m.Holdings[0].To
	for _, h := range m.Holdings {
		if h.From.Before(from) {
			from = h.From
		}
		if h.To.After(to) {
			to = h.To
		}
	}
	return from, to
}

// drawn is a holding as a bar from x0 to x1, in the row at y.
func (h Holding) drawn(x0, x1, y float64) drawnBar {
	b := drawnBar{X: x0, Y: y, W: math.Round(max(1, x1-x0)*10) / 10, H: barHeight, Class: classes[h.What], Full: h.What}
	switch {
	case h.What == HoldsAside:
		b.Y, b.H, b.Full = y+barHeight+2, 11, "put aside: DISK.vmferry-old"
	case h.Epoch > 0:
		b.Full = fmt.Sprintf("%s, epoch %d", h.What, h.Epoch)
	}
	for _, text := range []string{b.Full, h.What, fmt.Sprint(h.Epoch)} {
		if text != "0" && textWidth*float64(len(text))+8 < b.W && h.What != HoldsNoPower {
			b.Text = text
			break
		}
	}
	return b
}

// mark draws a line where each scenario begins, with its name; names that would touch are in rows of their own.
func (f *mirrorFigure) mark(all []Scenario, x func(time.Time) float64) {
	var ends []float64 // of the rows
	for i := range all {
		at, width := x(all[i].trigger()), textWidth*float64(len(all[i].Name))+10
		t := drawnText{X: at, Text: all[i].Name, End: at+width > drawWidth}
		left := at
		if t.End {
			left = at - width
		}
		row := slices.IndexFunc(ends, func(end float64) bool { return end <= left })
		if row < 0 {
			ends, row = append(ends, 0), len(ends)
		}
		ends[row] = left + width
		t.Y = markRow*float64(row) + 11
		f.Marks = append(f.Marks, t)
	}
	f.Top = markRow*float64(len(ends)) + 6
}

// agePiece is a time in which no round came: the age of the replica grows from At to To.
type agePiece struct {
	At, To time.Time
	Taken  time.Time
}

// ages are the pieces in which there was a replica that a guest could have been started from.
func (m *Mirror) ages() (pieces []agePiece) {
	for _, h := range m.Holdings {
		if h.What != HoldsReplica {
			continue
		}
		for i, r := range m.Rounds {
			if r.Node != h.Node || r.At.Before(h.From) || !r.At.Before(h.To) {
				continue
			}
			p := agePiece{At: r.At, To: h.To, Taken: r.Taken}
			for _, next := range m.Rounds[i+1:] {
				if next.Node == r.Node && next.At.Before(p.To) {
					p.To = next.At
					break
				}
			}
			pieces = append(pieces, p)
		}
	}
	return pieces
}

// age draws the age of the replica.
func (f *mirrorFigure) age(m *Mirror, x func(time.Time) float64) {
	most := m.IntervalS
	for _, p := range m.ages() {
		most = max(most, p.To.Sub(p.Taken).Seconds())
	}
	most = max(most, 0.001)
	y := func(age float64) float64 {
		return math.Round((f.AgeBottom-min(age/most, 1)*(ageHeight-6))*10) / 10
	}
	for _, p := range m.ages() {
		f.Age += fmt.Sprintf("M%g %gV%gL%g %gV%g", x(p.At), f.AgeBottom, y(p.At.Sub(p.Taken).Seconds()),
			x(p.To), y(p.To.Sub(p.Taken).Seconds()), f.AgeBottom)
	}
	f.AgeMost = drawnText{X: drawLeft - 4, Y: y(most) + 9, Text: seconds(most)}
	f.Interval = y(m.IntervalS)
}

// ticks draws the axis, in seconds since the beginning.
func (f *mirrorFigure) ticks(from, to time.Time, x func(time.Time) float64) {
	step := time.Second
	for _, s := range []int{1, 2, 5, 10, 20, 60, 120, 300, 600} {
		if step = time.Duration(s) * time.Second; to.Sub(from) < mostLabels*step {
			break
		}
	}
	if to.Sub(from) > 100*step {
		step = to.Sub(from)
	}
	for d := time.Duration(0); d <= to.Sub(from); d += step {
		at := x(from.Add(d))
		f.Ticks = append(f.Ticks, drawnText{X: at, Y: f.AgeBottom + 16, Text: fmt.Sprintf("%.0f s", d.Seconds()),
			End: at+30 > drawWidth})
	}
}
