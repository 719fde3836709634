package predict

import "time"

// throttle is QEMU's auto-converge (migration_trigger_throttle): the initial per cent after two periods of a second or
// more in which more than half as much was written as sent, and 10 more after every two others.
type throttle struct {
	initial int           // per cent, 0 for none
	percent int           // taken from the guest
	periods int           // in which it wrote more than half of what was sent
	began   time.Duration // of this period
	dirty   float64       // bytes written in it
	sent    float64       // bytes on the wire at its begin
}

// sync reports whether the guest is throttled more from now on.
func (t *throttle) sync(now time.Duration, wrote, sent float64) (more bool) {
	t.dirty += wrote
	if now-t.began < time.Second {
		return false
	}
	if t.initial > 0 && t.dirty > (sent-t.sent)/2 {
		t.periods++
		if more = t.periods%2 == 0; more {
			t.percent = min(max(t.percent+10, t.initial), 99)
		}
	}
	t.began, t.dirty, t.sent = now, 0, sent
	return more
}
