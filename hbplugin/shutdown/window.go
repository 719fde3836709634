package shutdown

import (
	"fmt"
	"math"
	"time"
)

const (
	// Margin is what the window stays below logind's limit, so that the lock
	// is given back, and not overrun: one look, and a slow machine.
	Margin = 2 * time.Second
	// Enough is the limit below which a drain is hopeless: one guest of a few
	// gigabytes over a gigabit link takes about that long.
	Enough = time.Minute
)

// Window returns how long a drain may hold the shutdown: what is wanted (zero:
// as long as possible), and never more than logind's limit less Margin. Of a
// limit that leaves no room for the margin it is half.
func Window(want, delayMax time.Duration) time.Duration {
	most := max(delayMax-Margin, delayMax/2)
	if want <= 0 || want > most {
		return most
	}
	return want
}

// Advice says in one line what is wrong with logind's limit and what to type,
// or nothing when it suffices for the wanted window (zero: none is configured).
func Advice(want, delayMax time.Duration) string {
	need := want + Margin
	if want <= 0 {
		need = Enough
	}
	if delayMax >= need {
		return ""
	}
	return fmt.Sprintf("logind lets a shutdown wait for %s only, and draining wants %s: put "+
		"InhibitDelayMaxSec=%d under [Login] in /etc/systemd/logind.conf.d/95-vmferry.conf and type: "+
		"systemctl restart systemd-logind", delayMax, need, int(math.Ceil(need.Seconds())))
}
