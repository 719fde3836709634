package htmlpage

// Table is the part "table".
type Table struct {
	Class string // "numbers" where all columns but the first are to the right
	Head  []string
	Rows  []Row
}

// Row is one row of a table.
type Row struct {
	Class string
	Cells []Cell
}

// Cell is one cell of a row; Span is how many columns it takes, 0 for one.
type Cell struct {
	Text, Class string
	Span        int
}

// Add adds a row of plain cells.
func (t *Table) Add(texts ...string) {
	cells := make([]Cell, len(texts))
	for i, text := range texts {
		cells[i].Text = text
	}
	t.Rows = append(t.Rows, Row{Cells: cells})
}

// Dots is the part "dots": values over what they were measured on, in order. Each
// class of dots has a style of its own in the layout.
type Dots struct {
	Label string // for those who do not see it
	Count int    // what was measured on
	List  []Dot
}

// Dot is one value, measured on number At.
type Dot struct {
	At           int
	Value        float64
	Class, Title string
}

// The size of a plot in the page's pixels.
const (
	width  = 900
	height = 260
	margin = 40
)

// Width is the width in pixels.
func (Dots) Width() int { return width }

// Height is the height in pixels.
func (Dots) Height() int { return height }

// Margin is what is left free at the left, for the scale.
func (Dots) Margin() int { return margin }

// X is where number at of Count is.
func (d Dots) X(at int) float64 {
	return margin + (float64(at)+0.5)*(width-2*margin)/float64(d.Count)
}

// Y is where a value is, between 0 at the foot and the largest.
func (d Dots) Y(value float64) float64 {
	return height - margin/2 - value/d.top()*(height-margin)
}

// Scale is the values that have a line.
func (d Dots) Scale() []float64 {
	top := d.top()
	return []float64{0, 0.25 * top, 0.5 * top, 0.75 * top, top}
}

func (d Dots) top() float64 {
	top := 1.0
	for _, one := range d.List {
		top = max(top, one.Value)
	}
	return top
}
