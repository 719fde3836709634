package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/plaintext"
)

// meter shows how far something is: on a terminal in one line that is written
// again, elsewhere in a line whenever the phase changes and now and then between.
type meter struct {
	mu    sync.Mutex // guards what show and end write
	w     io.Writer
	lines io.Writer // for whole lines; it escapes what a terminal must not get
	tty   bool
	every time.Duration // between two lines of the same phase, where there is no terminal
	phase string
	said  time.Time
	drawn int // characters of the line that stands on the terminal
}

func (c *call) meter() *meter {
	if w := plaintext.Under(c.stderr); isTerminal(w) { // show escapes what it writes between two of its returns
		return &meter{w: w, lines: c.stderr, tty: true, every: c.lines}
	}
	return &meter{w: c.stderr, lines: c.stderr, every: c.lines}
}

// show tells the state at now, in any goroutine. phase is what makes it worth a line of its own.
func (m *meter) show(now time.Time, phase, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tty {
		text = clip(plaintext.Line(text), m.columns())
		fmt.Fprintf(m.w, "\r%s%s", text, strings.Repeat(" ", max(0, m.drawn-utf8.RuneCountInString(text))))
		m.drawn = utf8.RuneCountInString(text)
		return
	}
	if phase != m.phase || now.Sub(m.said) >= m.every {
		fmt.Fprintln(m.w, text)
		m.phase, m.said = phase, now
	}
}

// end leaves the line that was written again.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn > 0 {
		fmt.Fprintln(m.w)
		m.drawn = 0
	}
}

// Write implements io.Writer, for whole lines between two states.
func (m *meter) Write(p []byte) (int, error) {
	m.end()
	return m.lines.Write(p)
}

// columns is how many characters fit; the last column makes some terminals wrap.
func (m *meter) columns() int {
	if f, ok := m.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			return width - 1
		}
	}
	return 79
}

// red writes text in red where w is a terminal and nobody objects (no-color.org).
func red(w io.Writer, text string) {
	under := plaintext.Under(w)
	if !isTerminal(under) || os.Getenv("NO_COLOR") != "" {
		fmt.Fprint(w, text)
		return
	}
	text, newline := strings.CutSuffix(text, "\n")
	fmt.Fprint(under, "\x1b[31m")
	fmt.Fprint(w, text)
	fmt.Fprint(under, "\x1b[0m")
	if newline {
		fmt.Fprintln(w)
	}
}

func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n])
}

// isTerminal reports whether w is one, on which a line can be written again.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const barWidth = 20

// describe is a migration's progress in one line.
func describe(p migrate.Progress) string {
	if p.DiskTotal > 0 {
		return bar(p.Phase, p.DiskRemaining, p.DiskTotal, p.RateMiBs)
	}
	if p.Total == 0 && p.Elapsed > 0 {
		return fmt.Sprintf("%s for %d s", p.Phase, int(p.Elapsed.Seconds()))
	}
	if p.Total == 0 {
		return p.Phase
	}
	text := bar(p.Phase, p.Remaining, p.Total, p.RateMiBs) + fmt.Sprintf(", pass %d", p.Iteration)
	if p.DowntimeLimit > 0 {
		text += fmt.Sprintf(", limit %d ms", p.DowntimeLimit.Milliseconds())
	}
	if p.Throttle > 0 {
		text += fmt.Sprintf(", guest slowed by %d %%", p.Throttle)
	}
	return text
}

func bar(phase string, left, total uint64, rate float64) string {
	done := 1 - float64(min(left, total))/float64(total)
	full := int(done * barWidth)
	return fmt.Sprintf("%s [%s%s] %3.0f %%, %.0f MiB/s, %d MiB left",
		phase, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100, rate, left>>20)
}
