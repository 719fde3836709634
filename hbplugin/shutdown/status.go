package shutdown

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
)

// advise warns, once for each limit, that logind will not wait long enough.
func (r *round) advise() {
	advice := Advice(r.o.Window, r.delayMax)
	if advice != "" && advice != r.advised {
		r.o.Log.Warn(advice)
	}
	r.advised = advice
}

// say tells systemd where things stand, and the journal whenever the reason
// changes or has stood for long.
func (r *round) say(d Decision) {
	if r.seen.Released {
		return // why it was let go has been said, and stays to be read
	}
	line := StatusLine(r.observed(), d)
	switch d.Phase {
	case Watching:
		line = r.withOutlook(r.watchingLine())
	case Draining:
		line += r.notLive()
	}
	if line != r.statusNow {
		r.o.Notify("STATUS=" + line)
		r.statusNow = line
	}
	again := d.Look != LookNone && r.now.Sub(r.saidAt) >= logAgain
	if text := string(d.Phase) + d.Why; text != r.said || again {
		r.said, r.saidAt = text, r.now
		log := r.o.Log.WithField("phase", string(d.Phase))
		if d.Warn {
			log.Warn(line)
		} else {
			log.Info(line)
		}
	}
}

func (r *round) watchingLine() string {
	switch {
	case r.lock == nil:
		return "watching: waiting for logind's shutdown delay lock"
	case r.advised != "":
		return "watching: a shutdown waits for too short a time: " + r.advised
	}
	return fmt.Sprintf("watching: a shutdown will wait up to %d s for guests to leave", int(r.window().Seconds()))
}

// notLive is the part of a draining status line that names the guests that will not move live.
func (r *round) notLive() string {
	var list []hbplugin.Guest
	for _, v := range r.record.said {
		if !v.Fate.KeepsRunning() && v.Fate != hbplugin.Unknown {
			list = append(list, hbplugin.Guest{Name: v.Resource})
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "; will not move live: " + names(list)
}

// withOutlook adds the outlook to a status line.
func (r *round) withOutlook(line string) string {
	return strings.TrimSuffix(line+"; "+r.outlook, "; ")
}
