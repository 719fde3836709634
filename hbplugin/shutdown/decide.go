package shutdown

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
)

// namesShown is how many guests a status line names; the rest are counted.
const namesShown = 8

// Answer is yes, no, or not known.
type Answer int

// What may be known of a question. The zero value is Unknown.
const (
	Unknown Answer = iota
	No
	Yes
)

// Observed is all that Decide looks at.
type Observed struct {
	Announced bool // logind has announced a shutdown that is not called off
	Asked     bool // the daemon was asked to stop (SIGTERM)
	Released  bool // the shutdown that is going on was let go already

	// Since Announced or Asked last changed:
	Heard      bool // systemd was asked about Stopping, with whatever result
	Looked     bool // a whole look was taken
	Predicting bool // it is being asked what will become of the guests: they are named before standby is set

	Stopping Answer // systemd says that the system is going down

	Running Answer           // the cluster manager runs on this node
	Standby bool             // the node is in standby, as the manager sees it
	Ours    bool             // vmferry has requested standby and not taken it back
	Tried   bool             // standby was requested in this drain, with whatever result
	Guests  []hbplugin.Guest // the guests on this node, by manager and by process
	Blind   string           // not empty: why Guests cannot be relied on to be all
	Most    int              // the most guests seen in this drain

	Spent  time.Duration // since the drain began
	Window time.Duration // what it may take
}

// Act is what is to be done about standby.
type Act int

// The acts. Forget drops the record of a standby that has gone with the
// manager that kept it.
const (
	Leave Act = iota
	SetStandby
	ClearStandby
	Forget
)

// Look is what has to be found out next.
type Look int

// How much to look at. LookSystem asks systemd alone, LookAll the manager and
// the processes too.
const (
	LookNone Look = iota
	LookSystem
	LookAll
)

// Phase is where the daemon stands; the diagram is in the package comment.
type Phase string

// The phases.
const (
	Watching Phase = "watching"
	Draining Phase = "draining"
	Released Phase = "released"
	Undoing  Phase = "undoing"
	Stopping Phase = "stopping"
)

// Decision is what is wanted.
type Decision struct {
	Phase Phase
	Hold  bool // keep the delay lock, and stay
	Exit  bool // end the daemon
	Act   Act
	Look  Look
	Why   string // in words, without the time
	Warn  bool   // the reason is one that somebody should look into
}

// Decide says what is wanted, given what was seen. It has no state: whatever
// must be remembered is in o.
func Decide(o Observed) Decision {
	switch {
	case o.Announced:
		return down(o)
	case o.Asked:
		return asked(o)
	case o.Ours:
		return undo(o)
	}
	return Decision{Phase: Watching, Hold: true, Why: "waiting for a shutdown"}
}

// asked decides after a SIGTERM that no announcement came before: an ordinary
// stop, or a shutdown that went round logind ("systemctl isolate", "start
// poweroff.target"). Where systemd does not answer it is taken for a stop of
// the daemon alone: the manager's own stop moves the guests in either case.
func asked(o Observed) Decision {
	switch {
	case o.Stopping == Yes:
		return down(o)
	case !o.Heard:
		return Decision{Phase: Stopping, Hold: true, Look: LookSystem,
			Why: "asking systemd whether the system is going down"}
	case o.Ours && o.Stopping == No && o.Spent < o.Window:
		return undo(o)
	case o.Stopping == Unknown:
		return Decision{Phase: Stopping, Exit: true, Warn: true,
			Why: "asked to stop; cannot tell whether the system is going down"}
	}
	return Decision{Phase: Stopping, Exit: true, Why: "asked to stop"}
}

// undo takes back the standby of a shutdown that was called off. It waits for
// certainty that the system is not going down after all: the announcement may
// only have been lost with logind.
func undo(o Observed) Decision {
	d := Decision{Phase: Undoing, Hold: true, Look: LookAll}
	switch {
	case o.Stopping == Yes:
		d.Why = "the system is going down: standby stays"
	case o.Stopping == Unknown:
		d.Why = "no shutdown is announced: asking systemd before clearing standby"
	case o.Running == No:
		d.Act, d.Why = Forget, "the cluster manager has gone, and the standby with it"
	default:
		d.Act, d.Why = ClearStandby, "no shutdown is going on: clearing the standby that was set for it"
	}
	return d
}

// down decides while the system is going down.
func down(o Observed) Decision {
	if o.Released {
		return Decision{Phase: Released, Exit: o.Asked, Why: "the shutdown continues"}
	}
	d := drain(o)
	if !d.Hold {
		d.Phase, d.Look, d.Exit = Released, LookNone, o.Asked
	}
	return d
}

func drain(o Observed) Decision {
	d := Decision{Phase: Draining, Look: LookAll}
	switch {
	case o.Spent >= o.Window:
		d.Warn, d.Why = true, "the window has closed: "+leftBehind(o)
	case !o.Looked:
		d.Hold, d.Why = true, "looking for guests"
	case o.Running == No:
		d.Warn, d.Why = len(o.Guests) > 0, "no cluster manager runs here to move guests"
		if len(o.Guests) > 0 || o.Blind != "" {
			d.Why += ": " + leftBehind(o)
		}
	case o.Running == Unknown:
		d.Hold, d.Warn, d.Why = true, true, "cannot tell which guests are here: "+o.Blind
	case !o.Standby && o.Predicting:
		d.Hold, d.Why = true, "asking what becomes of the guests; "+progress(o)
	case !o.Standby && !(o.Tried && len(o.Guests) == 0 && o.Blind == ""):
		d.Hold, d.Act, d.Why = true, SetStandby, "putting the node into standby; "+progress(o)
	case o.Blind != "":
		d.Hold, d.Warn, d.Why = true, true, "cannot tell which guests are here: "+o.Blind
	case len(o.Guests) == 0:
		d.Why = "no guest is left on this node"
	case allStuck(o.Guests):
		d.Warn, d.Why = true, "what is left will not move: "+names(o.Guests)
	default:
		d.Hold, d.Why = true, progress(o)
	}
	return d
}

func allStuck(guests []hbplugin.Guest) bool {
	return !slices.ContainsFunc(guests, func(g hbplugin.Guest) bool { return g.Stuck == "" })
}

func progress(o Observed) string {
	if len(o.Guests) == 0 {
		return "no guest is here"
	}
	return fmt.Sprintf("%d of %d guests left (%s)", len(o.Guests), max(o.Most, len(o.Guests)), names(o.Guests))
}

func leftBehind(o Observed) string {
	switch {
	case o.Blind != "":
		return "cannot tell which guests are here: " + o.Blind
	case !o.Looked:
		return "nothing answered in time"
	case len(o.Guests) == 0:
		return "no guest is here"
	}
	return progress(o)
}

// names lists guests for a status line, with the reason of those that will
// not move.
func names(guests []hbplugin.Guest) string {
	var list []string
	for _, g := range guests[:min(len(guests), namesShown)] {
		if g.Stuck != "" {
			list = append(list, g.Name+": "+g.Stuck)
			continue
		}
		list = append(list, g.Name)
	}
	if more := len(guests) - namesShown; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// StatusLine is what "systemctl status" shows: the phase, the reason, and
// while draining the time that has passed of the window.
func StatusLine(o Observed, d Decision) string {
	line := string(d.Phase) + ": " + d.Why
	if d.Phase == Draining {
		line += fmt.Sprintf(", %d s of %d s", int(o.Spent.Seconds()), int(o.Window.Seconds()))
	}
	return line
}

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
