package cib

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"90", 90 * time.Second, true}, {"90s", 90 * time.Second, true}, {"2min", 2 * time.Minute, true},
		{"1500ms", 1500 * time.Millisecond, true}, {"1h", time.Hour, true}, {"20 sec", 20 * time.Second, true},
		{"", 0, false}, {"soon", 0, false}, {"PT2M", 0, false}, {"3 days", 0, false},
	} {
		got, ok := Span(test.text)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%q: %v, %v", test.text, got, ok)
		}
	}
}
