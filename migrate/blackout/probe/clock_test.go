package probe

import (
	"testing"
	"time"
)

func TestArrival(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const now, sent = 10 * time.Second, 9990 * time.Millisecond
	tests := map[string]struct {
		age  time.Duration
		want time.Duration
		ok   bool
	}{
		"a moment ago":                {2 * time.Millisecond, now - 2*time.Millisecond, true},
		"just now":                    {0, now, true},
		"wall clock was set back":     {-time.Second, 0, false},
		"wall clock was set forward":  {time.Second, 0, false},
		"wall clock was set by hours": {5 * time.Hour, 0, false},
	}
	for name, tt := range tests {
		at, ok := arrival(wall.Add(-tt.age), wall, now, sent)
		if at != tt.want || ok != tt.ok {
			t.Errorf("%s: %s, %v; want %s, %v", name, at, ok, tt.want, tt.ok)
		}
	}
}
