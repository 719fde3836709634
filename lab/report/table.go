package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// maxWidth is the width that no line of the table passes, in characters.
const maxWidth = 120

// gap is between two columns.
const gap = "  "

// column is one column of the guests' table.
type column struct {
	head, unit string
	right      bool
	// least is how narrow the column may become so that the table fits; 0 for a
	// column that keeps its width.
	least int
}

var columns = []column{
	{head: "scenario", least: 8},
	{head: "agent", least: 7},
	{head: "guest", least: 7},
	{head: "from → to", least: 9},
	{head: "how", least: 4},
	{head: "boot", unit: "id"},
	{head: "pause", unit: "ms", right: true},
	{head: "kernel ms", unit: "ICMP/TCP", right: true},
	{head: "UDP black-", unit: "out ms", right: true},
	{head: "lost", unit: "out/back", right: true},
	{head: "TCP black-", unit: "out ms", right: true},
	{head: "resets", right: true},
}

// WriteTable writes the report for a terminal: a row for each guest, a line for
// each run with its verdict and what failed, and a line for each scenario that
// compares the agents. No line is wider than 120 characters. Colours are used
// only when w is a terminal, and not with NO_COLOR set.
func (r *Report) WriteTable(w io.Writer) error {
	var b bytes.Buffer
	p := paint(colourful(w, os.Getenv))
	r.writeGuests(&b, p)
	fmt.Fprintln(&b)
	for i := range r.Scenarios {
		r.Scenarios[i].writeVerdict(&b, p)
	}
	fmt.Fprintln(&b)
	r.writeHeadlines(&b)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report's table: %w", err)
	}
	return nil
}

// colourful reports whether w is a terminal that wants colours.
func colourful(w io.Writer, env func(string) string) bool {
	f, ok := w.(*os.File)
	return ok && env("NO_COLOR") == "" && env("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// paint puts text in a colour (an SGR code), or leaves it alone when false.
type paint bool

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p paint) in(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// verdict colours a text by whether all is well.
func (p paint) verdict(ok bool, text string) string {
	if ok {
		return p.in(green, text)
	}
	return p.in(red, text)
}

// writeGuests writes the heads and one row for each guest, below a line with
// the cluster manager wherever that changes.
func (r *Report) writeGuests(b *bytes.Buffer, p paint) {
	var rows [][]string
	var of []*Scenario
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		for _, g := range s.Guests {
			rows, of = append(rows, g.cells(s)), append(of, s)
		}
	}
	widths := fit(columns, rows, maxWidth)
	heads, units := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		heads[i], units[i] = c.head, c.unit
	}
	for _, h := range [][]string{heads, units} {
		fmt.Fprintln(b, p.in(bold, line(columns, widths, h)))
	}
	fmt.Fprintln(b, p.in(dim, strings.Repeat("─", min(maxWidth, sum(widths)+len(gap)*(len(widths)-1)))))
	manager := ""
	for i, row := range rows {
		if m := of[i].Manager; m != manager {
			manager = m
			fmt.Fprintln(b, p.in(dim, shorten("on "+plain(m), maxWidth)))
		}
		text := line(columns, widths, row)
		if !of[i].Passed {
			text = p.in(red, text)
		}
		fmt.Fprintln(b, text)
	}
}

// cells are a guest's row, one text for each column.
func (g Guest) cells(s *Scenario) []string {
	udp, lost, tcp, resets := none, none, none, none
	if u := g.UDP; u != nil {
		udp = atLeast(millis(u.BlackoutMS), u.Open) + " ±" + millis(u.ErrorMS)
		lost = fmt.Sprintf("%d/%d", u.LostOut, u.LostBack)
	}
	if t := g.TCP; t != nil {
		tcp = atLeast(millis(t.BlackoutMS), t.Open)
		resets = strconv.FormatUint(t.Resets, 10)
	}
	out := []string{s.Name, s.Agent, g.Guest, g.route(), g.How, bootWord(g.BootIDKept),
		optional(g.PauseMS, millis), optional(g.Kernel, kernelCell), udp, lost, tcp, resets}
	for i := range out {
		out[i] = plain(out[i])
	}
	return out
}

// kernelCell is the two gaps of a guest's kernel.
func kernelCell(k Kernel) string {
	return atLeast(millis(k.ICMPMS), k.Open) + "/" + optional(k.TCPMS, millis)
}

// route is "from → to".
func (g Guest) route() string {
	to := g.To
	if to == "" {
		to = "nowhere"
	}
	return g.From + " → " + to
}

// fit is how wide each column must be for its cells, narrowed in the widest
// column that may be until the whole is no wider than limit.
func fit(cols []column, rows [][]string, limit int) []int {
	widths := make([]int, len(cols))
	for i, c := range cols {
		widths[i] = max(utf8.RuneCountInString(c.head), utf8.RuneCountInString(c.unit))
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for room := limit - len(gap)*(len(cols)-1); sum(widths) > room; {
		i := widest(cols, widths)
		if i < 0 {
			break
		}
		widths[i]--
	}
	return widths
}

// widest is the widest column that may still be narrowed, -1 when there is none.
func widest(cols []column, widths []int) int {
	best := -1
	for i, c := range cols {
		if c.least > 0 && widths[i] > c.least && (best < 0 || widths[i] > widths[best]) {
			best = i
		}
	}
	return best
}

func sum(v []int) int {
	n := 0
	for _, x := range v {
		n += x
	}
	return n
}

// line sets the cells of one row side by side, without blanks at its end.
func line(cols []column, widths []int, cells []string) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		text := shorten(cells[i], widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text)))
		if c.right {
			out[i] = pad + text
		} else {
			out[i] = text + pad
		}
	}
	return shorten(strings.TrimRight(strings.Join(out, gap), " "), maxWidth)
}

// writeVerdict writes a run's line, and below it why it did not pass.
func (s *Scenario) writeVerdict(b *bytes.Buffer, p paint) {
	drain := optional(s.DrainS, func(v float64) string { return "node empty after " + seconds(v) })
	if s.DrainS == nil {
		drain = "nothing drained"
	}
	name := fmt.Sprintf("%-17s  %-9s  %-13s", shorten(plain(s.Name), 17), shorten(plain(s.Manager), 9),
		shorten(plain(s.Agent), 13))
	fmt.Fprintf(b, "%s  %s  %s, %s\n", name, p.verdict(s.Passed, passWord(s.Passed)), drain,
		p.verdict(s.MaxRunningCopies <= 1, copiesPhrase(s.MaxRunningCopies)))
	for _, f := range s.Failures {
		for i, l := range wrap(plain(f), maxWidth-4) {
			lead := "  ✗ "
			if i > 0 {
				lead = "    "
			}
			fmt.Fprintln(b, p.in(red, lead+l))
		}
	}
}

// wrap breaks text into lines of at most width characters, between words where
// that is possible.
func wrap(text string, width int) []string {
	var out []string
	var cur []rune
	for _, word := range strings.Fields(text) {
		w := []rune(word)
		if len(cur) > 0 && len(cur)+1+len(w) > width {
			out, cur = append(out, string(cur)), nil
		}
		if len(cur) > 0 {
			cur = append(cur, ' ')
		}
		for cur = append(cur, w...); len(cur) > width; cur = cur[width:] {
			out = append(out, string(cur[:width]))
		}
	}
	if len(cur) > 0 {
		out = append(out, string(cur))
	}
	return out
}
