package cib

import (
	"strconv"
	"strings"
	"time"
)

// Span reads the spans that Pacemaker writes: "90", "90s", "2min", "1500ms".
func Span(text string) (time.Duration, bool) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseUint(digits, 10, 32)
	unit, known := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second,
		"ms": time.Millisecond, "msec": time.Millisecond,
		"m": time.Minute, "min": time.Minute, "h": time.Hour,
		"hr": time.Hour}[strings.ToLower(strings.TrimSpace(text[len(digits):]))]
	return time.Duration(n) * unit, err == nil && known
}
