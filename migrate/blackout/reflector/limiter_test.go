package reflector

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p limiter
	taken := 0
	for i := range 10000 { // 10 s, one each millisecond, where 100 a second may pass and 50 be saved up
		if p.take(time.Duration(i)*time.Millisecond, 10*time.Millisecond, 500*time.Millisecond) {
			taken++
		}
	}
	if taken < 1048 || taken > 1052 {
		t.Errorf("%d of 10000 taken, want 1000 and 50", taken)
	}
}
