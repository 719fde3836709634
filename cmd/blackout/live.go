package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// liveLine rewrites one line of a terminal.
type liveLine struct {
	w     io.Writer
	width int // of what stands there
}

func newLiveLine(w io.Writer) *liveLine { return &liveLine{w: w} }

// show replaces the line by the state of all targets.
func (l *liveLine) show(state []blackout.Progress) {
	parts := make([]string, 0, len(state))
	for _, p := range state {
		parts = append(parts, describe(p))
	}
	text := strings.Join(parts, " | ")
	fmt.Fprintf(l.w, "\r%-*s", l.width, text)
	l.width = len(text)
}

// end leaves the line, if there is one.
func (l *liveLine) end() {
	if l.width > 0 {
		fmt.Fprintln(l.w)
	}
}

func describe(p blackout.Progress) string {
	text := fmt.Sprintf("%s %d/%d worst %s", p.Target, p.Answered, p.Sent, rounded(p.Blackout))
	if p.Silent > 0 {
		text += " SILENT " + rounded(p.Silent)
	}
	return text
}

func rounded(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
