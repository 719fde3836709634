package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
)

// stripSeconds is how much of the past a strip shows, a character each second.
const stripSeconds = 60

// The characters of a strip: nothing dark, part of the second, most of it.
const (
	markLit  = '.'
	markPart = '+'
	markDark = '#'
)

// Live rewrites a block of lines in a terminal: one for each target, with a
// strip of the last minute and the outage that continues. It is not safe for
// concurrent use.
type Live struct {
	w     io.Writer
	size  func() (width, height int)
	lines int // of the block on the screen
	past  map[string]*past
}

// past is what a strip is made of.
type past struct {
	strip  []rune
	dark   time.Duration // at the last second
	second time.Time     // which that was
}

// NewLive returns a view that writes to w. size returns the room there is, in
// characters; it is asked before each time.
func NewLive(w io.Writer, size func() (width, height int)) *Live {
	return &Live{w: w, size: size, past: make(map[string]*past)}
}

// Show replaces the block by the state of all targets at a time. Where they do
// not all fit, those that are dark, and then those that were darkest, do.
func (l *Live) Show(now time.Time, state []outage.Progress) {
	for _, p := range state {
		l.remember(now, p)
	}
	width, height := l.size()
	shown := pick(state, max(height-2, 1))
	var b strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.lines)
	}
	for _, p := range shown {
		writeLine(&b, l.describe(p), width)
	}
	l.lines = len(shown)
	if more := len(state) - len(shown); more > 0 {
		writeLine(&b, fmt.Sprintf("and %d more targets", more), width)
		l.lines++
	}
	_, _ = io.WriteString(l.w, b.String()) // a terminal that is gone is no fault of the run's
}

// writeLine writes a line, and clears what was behind it.
func writeLine(b *strings.Builder, text string, width int) {
	line := []rune(text)
	if width > 0 && len(line) >= width {
		line = line[:width-1]
	}
	fmt.Fprintf(b, "\r%s\x1b[K\n", string(line))
}

// remember adds to the strip of a target what happened since the last second.
func (l *Live) remember(now time.Time, p outage.Progress) {
	h := l.past[p.Target]
	if h == nil {
		h = &past{second: now}
		l.past[p.Target] = h
	}
	passed := now.Sub(h.second)
	if passed < time.Second {
		return
	}
	mark := markLit
	switch dark := p.Dark - h.dark; {
	case p.Answered == 0 || dark >= passed/2:
		mark = markDark
	case dark > 0:
		mark = markPart
	}
	h.strip = append(h.strip, mark)
	h.strip = h.strip[max(len(h.strip)-stripSeconds, 0):]
	h.second, h.dark = now, p.Dark
}

// pick returns as many targets as fit, in the order that they were given.
func pick(state []outage.Progress, room int) []outage.Progress {
	if len(state) <= room {
		return state
	}
	worst := slices.SortedStableFunc(slices.Values(state), func(a, b outage.Progress) int {
		return cmp.Or(cmp.Compare(b.Silent, a.Silent), cmp.Compare(b.Dark, a.Dark))
	})
	shown := make(map[string]bool)
	for _, p := range worst[:room] {
		shown[p.Target] = true
	}
	return slices.DeleteFunc(slices.Clone(state), func(p outage.Progress) bool { return !shown[p.Target] })
}

func (l *Live) describe(p outage.Progress) string {
	h := l.past[p.Target]
	state := fmt.Sprintf("%d/%d lost %d rtt %s", p.Answered, p.Sent, p.Lost, rounded(p.RTT))
	if p.Silent > 0 {
		state = "SILENT " + rounded(p.Silent)
	}
	return fmt.Sprintf("%-28s |%*s| %s worst %s", p.Target, stripSeconds, string(h.strip), state, rounded(p.Blackout))
}

func rounded(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
