package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// none is what people see in place of a number that was not measured.
const none = "–"

// duration writes milliseconds for people: 1.2 ms, 112 ms, 20.4 s.
func duration(ms float64) string {
	if ms >= 9999.5 {
		return seconds(ms / 1000)
	}
	return millis(ms) + " ms"
}

// seconds writes seconds for people: 8.2 s.
func seconds(s float64) string { return fmt.Sprintf("%.1f s", s) }

// millis is a number of milliseconds without its unit.
func millis(ms float64) string {
	switch {
	case math.Abs(ms) >= 1e9: // no measurement, but it must fit its column
		return fmt.Sprintf("%.1e", ms)
	case ms >= 9.95 || ms == 0:
		return fmt.Sprintf("%.0f", ms)
	default:
		return fmt.Sprintf("%.1f", ms)
	}
}

// atLeast marks a lower bound.
func atLeast(text string, open bool) string {
	if open {
		return "≥ " + text
	}
	return text
}

// optional formats *v, or none for nil.
func optional[T any](v *T, format func(T) string) string {
	if v == nil {
		return none
	}
	return format(*v)
}

// bootWord reports whether the guest's kernel is the same boot.
func bootWord(kept bool) string {
	if kept {
		return "kept"
	}
	return "new"
}

// passWord is a scenario's verdict.
func passWord(passed bool) string {
	if passed {
		return "passed"
	}
	return "FAILED"
}

// copiesPhrase says how many copies of one guest ran at once.
func copiesPhrase(n int) string {
	if n == 1 {
		return "never more than 1 copy running"
	}
	return strconv.Itoa(n) + " copies running at once"
}

// plain makes a name from outside fit for a terminal's cell: what cannot be
// printed becomes "?", so that a name moves no cursor.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

// shorten cuts s to width characters, the last one an ellipsis.
func shorten(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return string(r[:max(width-1, 0)]) + "…"
}
