package shutdown

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
)

func guests(names ...string) []hbplugin.Guest {
	var list []hbplugin.Guest
	for _, n := range names {
		list = append(list, hbplugin.Guest{Name: n})
	}
	return list
}

func stuckGuests(why string, names ...string) []hbplugin.Guest {
	list := guests(names...)
	for i := range list {
		list[i].Stuck = why
	}
	return list
}

// draining is a drain in full swing: the table changes one thing at a time.
func draining(change func(*Observed)) Observed {
	o := Observed{
		Announced: true, Heard: true, Looked: true, Stopping: No, Running: Yes, Standby: true, Ours: true, Tried: true,
		Guests: guests("g1", "g2"), Most: 3, Spent: 12 * time.Second, Window: 600 * time.Second,
	}
	if change != nil {
		change(&o)
	}
	return o
}

func TestDecide(t *testing.T) {
	hold := func(p Phase, act Act, look Look) Decision {
		return Decision{Phase: p, Hold: true, Act: act, Look: look}
	}
	release := Decision{Phase: Released}
	leave := Decision{Phase: Released, Exit: true}
	for _, tt := range []struct {
		name string
		o    Observed
		want Decision // Why and Warn are compared through the status line
		line string
	}{
		{
			name: "nothing is going on",
			o:    Observed{Window: time.Minute},
			want: hold(Watching, Leave, LookNone),
			line: "watching: waiting for a shutdown",
		}, {
			name: "announced, not looked yet",
			o:    Observed{Announced: true, Window: 600 * time.Second},
			want: hold(Draining, Leave, LookAll),
			line: "draining: looking for guests, 0 s of 600 s",
		}, {
			name: "standby is not set",
			o:    draining(func(o *Observed) { o.Standby, o.Ours, o.Tried = false, false, false }),
			want: hold(Draining, SetStandby, LookAll),
			line: "draining: putting the node into standby; 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "standby is not set, and nobody has said yet what it would do",
			o:    draining(func(o *Observed) { o.Standby, o.Ours, o.Tried, o.Predicting = false, false, false, true }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: asking what becomes of the guests; 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "in standby already: there is nothing to wait for",
			o:    draining(func(o *Observed) { o.Predicting = true }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "the window closes before anybody has said it",
			o:    draining(func(o *Observed) { o.Standby, o.Predicting, o.Spent = false, true, o.Window }),
			want: release,
			line: "released: the window has closed: 2 of 3 guests left (g1, g2)",
		}, {
			name: "standby set by an operator is used as it is",
			o:    draining(func(o *Observed) { o.Ours, o.Tried = false, false }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "standby was taken away in mid-drain",
			o:    draining(func(o *Observed) { o.Standby = false }),
			want: hold(Draining, SetStandby, LookAll),
			line: "draining: putting the node into standby; 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "guests left",
			o:    draining(nil),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "one of two is stuck: the other may still go",
			o: draining(func(o *Observed) {
				o.Guests = append(guests("g1"), stuckGuests("unmanaged", "g2")...)
			}),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2: unmanaged), 12 s of 600 s",
		}, {
			name: "what is left has lost its resource",
			o:    draining(func(o *Observed) { o.Guests = stuckGuests(deleted, "g1") }),
			want: release,
			line: "released: what is left will not move: g1: no longer a resource of the cluster",
		}, {
			name: "all are stuck",
			o:    draining(func(o *Observed) { o.Guests = stuckGuests("blocked", "g1", "g2") }),
			want: release,
			line: "released: what is left will not move: g1: blocked, g2: blocked",
		}, {
			name: "no guest left",
			o:    draining(func(o *Observed) { o.Guests = nil }),
			want: release,
			line: "released: no guest is left on this node",
		}, {
			name: "no guest here and no standby yet: ask first, or one may come",
			o:    draining(func(o *Observed) { o.Guests, o.Standby, o.Ours, o.Tried = nil, false, false, false }),
			want: hold(Draining, SetStandby, LookAll),
			line: "draining: putting the node into standby; no guest is here, 12 s of 600 s",
		}, {
			name: "no guest here and standby cannot be had: nothing to wait for",
			o:    draining(func(o *Observed) { o.Guests, o.Standby = nil, false }),
			want: release,
			line: "released: no guest is left on this node",
		}, {
			name: "no guest seen, but one witness is blind",
			o:    draining(func(o *Observed) { o.Guests, o.Blind = nil, "read /proc: eaten" }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: cannot tell which guests are here: read /proc: eaten, 12 s of 600 s",
		}, {
			name: "blind and standby not seen: no guest seen is not no guest",
			o:    draining(func(o *Observed) { o.Guests, o.Standby, o.Blind = nil, false, "read /proc: eaten" }),
			want: hold(Draining, SetStandby, LookAll),
			line: "draining: putting the node into standby; no guest is here, 12 s of 600 s",
		}, {
			name: "all stuck, but one witness is blind",
			o: draining(func(o *Observed) {
				o.Guests, o.Blind = stuckGuests("unmanaged", "g1"), "read /proc: eaten"
			}),
			want: hold(Draining, Leave, LookAll),
			line: "draining: cannot tell which guests are here: read /proc: eaten, 12 s of 600 s",
		}, {
			name: "the manager does not answer: nobody knows whose standby it is, so hands off",
			o:    draining(func(o *Observed) { o.Running, o.Standby, o.Blind = Unknown, false, "crm_mon: no answer" }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: cannot tell which guests are here: crm_mon: no answer, 12 s of 600 s",
		}, {
			name: "the manager does not run",
			o:    draining(func(o *Observed) { o.Running, o.Standby, o.Guests = No, false, nil }),
			want: release,
			line: "released: no cluster manager runs here to move guests",
		}, {
			name: "the manager does not run, and a guest does",
			o:    draining(func(o *Observed) { o.Running, o.Standby = No, false }),
			want: release,
			line: "released: no cluster manager runs here to move guests: 2 of 3 guests left (g1, g2)",
		}, {
			name: "the window closes",
			o:    draining(func(o *Observed) { o.Spent = o.Window }),
			want: release,
			line: "released: the window has closed: 2 of 3 guests left (g1, g2)",
		}, {
			name: "the window closes before anything answered",
			o:    Observed{Announced: true, Spent: time.Minute, Window: time.Minute},
			want: release,
			line: "released: the window has closed: nothing answered in time",
		}, {
			name: "the window closes on a blind look",
			o:    draining(func(o *Observed) { o.Spent, o.Running, o.Blind = o.Window, Unknown, "crm_mon: no answer" }),
			want: release,
			line: "released: the window has closed: cannot tell which guests are here: crm_mon: no answer",
		}, {
			name: "let go already: whatever is seen now, it is over",
			o:    draining(func(o *Observed) { o.Released = true }),
			want: release,
			line: "released: the shutdown continues",
		}, {
			name: "systemd stops the daemon after the drain",
			o:    draining(func(o *Observed) { o.Released, o.Asked = true, true }),
			want: leave,
			line: "released: the shutdown continues",
		}, {
			name: "systemd stops the daemon during the drain",
			o:    draining(func(o *Observed) { o.Asked = true }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "a shutdown that went round logind, before anyone but systemd was asked",
			o:    Observed{Asked: true, Heard: true, Stopping: Yes, Window: time.Minute},
			want: hold(Draining, Leave, LookAll),
			line: "draining: looking for guests, 0 s of 60 s",
		}, {
			name: "the last guest goes after systemd asked to stop",
			o:    draining(func(o *Observed) { o.Asked, o.Guests = true, nil }),
			want: leave,
			line: "released: no guest is left on this node",
		}, {
			name: "asked to stop out of the blue",
			o:    Observed{Asked: true, Window: time.Minute},
			want: hold(Stopping, Leave, LookSystem),
			line: "stopping: asking systemd whether the system is going down",
		}, {
			name: "an ordinary stop",
			o:    Observed{Asked: true, Heard: true, Stopping: No, Window: time.Minute},
			want: Decision{Phase: Stopping, Exit: true},
			line: "stopping: asked to stop",
		}, {
			name: "an ordinary stop, and systemd is mute",
			o:    Observed{Asked: true, Heard: true, Window: time.Minute},
			want: Decision{Phase: Stopping, Exit: true},
			line: "stopping: asked to stop; cannot tell whether the system is going down",
		}, {
			name: "a shutdown that went round logind",
			o:    draining(func(o *Observed) { o.Announced, o.Asked, o.Stopping = false, true, Yes }),
			want: hold(Draining, Leave, LookAll),
			line: "draining: 2 of 3 guests left (g1, g2), 12 s of 600 s",
		}, {
			name: "called off: systemd is asked before standby is cleared",
			o:    Observed{Ours: true, Window: time.Minute},
			want: hold(Undoing, Leave, LookAll),
			line: "undoing: no shutdown is announced: asking systemd before clearing standby",
		}, {
			name: "called off: systemd does not say",
			o:    Observed{Ours: true, Heard: true, Looked: true, Running: Yes, Standby: true, Window: time.Minute},
			want: hold(Undoing, Leave, LookAll),
			line: "undoing: no shutdown is announced: asking systemd before clearing standby",
		}, {
			name: "called off",
			o: Observed{Ours: true, Heard: true, Looked: true, Stopping: No, Running: Yes, Standby: true,
				Window: time.Minute},
			want: hold(Undoing, ClearStandby, LookAll),
			line: "undoing: no shutdown is going on: clearing the standby that was set for it",
		}, {
			name: "called off, with an operator's standby: it stays",
			o:    Observed{Looked: true, Stopping: No, Running: Yes, Standby: true, Window: time.Minute},
			want: hold(Watching, Leave, LookNone),
			line: "watching: waiting for a shutdown",
		}, {
			name: "the announcement was lost with logind, the shutdown was not",
			o: Observed{Ours: true, Heard: true, Looked: true, Stopping: Yes, Running: Yes, Standby: true,
				Window: time.Minute},
			want: hold(Undoing, Leave, LookAll),
			line: "undoing: the system is going down: standby stays",
		}, {
			name: "called off, and the manager has gone",
			o:    Observed{Ours: true, Heard: true, Looked: true, Stopping: No, Running: No, Window: time.Minute},
			want: hold(Undoing, Forget, LookAll),
			line: "undoing: the cluster manager has gone, and the standby with it",
		}, {
			name: "stopped while clearing: clear first",
			o: Observed{Ours: true, Asked: true, Heard: true, Looked: true, Stopping: No, Running: Yes,
				Window: time.Minute},
			want: hold(Undoing, ClearStandby, LookAll),
			line: "undoing: no shutdown is going on: clearing the standby that was set for it",
		}, {
			name: "stopped while clearing does not succeed: the next start clears",
			o:    Observed{Ours: true, Asked: true, Heard: true, Stopping: No, Spent: time.Minute, Window: time.Minute},
			want: Decision{Phase: Stopping, Exit: true},
			line: "stopping: asked to stop",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.o)
			if line := StatusLine(tt.o, got); line != tt.line {
				t.Errorf("status %q, want %q", line, tt.line)
			}
			got.Why, got.Warn = "", false
			if got != tt.want {
				t.Errorf("decided %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestDecideNeverReleasesBlind goes through every combination and holds Decide
// to its promise: inside the window, with a manager that may be running, the
// lock is given back only when a complete look saw nothing that could move.
func TestDecideNeverReleasesBlind(t *testing.T) {
	bools, answers := []bool{false, true}, []Answer{Unknown, No, Yes}
	lists := [][]hbplugin.Guest{nil, guests("g"), stuckGuests("unmanaged", "g")}
	for mask := range 32 {
		bit := func(n int) bool { return mask>>n&1 == 1 }
		for _, running := range answers {
			for _, list := range lists {
				for _, blind := range bools {
					o := Observed{
						Announced: true, Asked: bit(0), Looked: bit(1), Standby: bit(2), Ours: bit(3), Tried: bit(4),
						Running: running, Guests: list, Window: time.Minute,
					}
					if blind {
						o.Blind = "no answer"
					}
					sure := o.Looked && (running == No || running == Yes && !blind &&
						(len(list) == 0 || allStuck(list)))
					if d := Decide(o); !d.Hold && !sure {
						t.Errorf("%+v: released because %q", o, d.Why)
					}
				}
			}
		}
	}
}

func TestNamesAreCut(t *testing.T) {
	got := names(guests("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
	if want := "a, b, c, d, e, f, g, h, and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWindow(t *testing.T) {
	for _, tt := range []struct{ want, delayMax, window time.Duration }{
		{0, 10 * time.Minute, 10*time.Minute - Margin},
		{5 * time.Minute, 10 * time.Minute, 5 * time.Minute},
		{20 * time.Minute, 10 * time.Minute, 10*time.Minute - Margin},
		{0, 5 * time.Second, 3 * time.Second},
		{0, 3 * time.Second, 1500 * time.Millisecond},
		{0, 0, 0},
	} {
		if got := Window(tt.want, tt.delayMax); got != tt.window {
			t.Errorf("Window(%v, %v) = %v, want %v", tt.want, tt.delayMax, got, tt.window)
		}
	}
}

func TestAdvice(t *testing.T) {
	const head, tail = "logind lets a shutdown wait for ",
		" under [Login] in /etc/systemd/logind.conf.d/95-vmferry.conf" +
			" and type: systemctl restart systemd-logind"
	for _, tt := range []struct {
		want, delayMax time.Duration
		advice         string
	}{
		{0, 10 * time.Minute, ""},
		{0, time.Minute, ""},
		{0, 5 * time.Second, head + "5s only, and draining wants 1m0s: put InhibitDelayMaxSec=60" + tail},
		{10 * time.Minute, 10*time.Minute + Margin, ""},
		{10 * time.Minute, 10 * time.Minute, head +
			"10m0s only, and draining wants 10m2s: put InhibitDelayMaxSec=602" + tail},
		{1500 * time.Millisecond, time.Second, head + "1s only, and draining wants 3.5s: put InhibitDelayMaxSec=4" +
			tail},
	} {
		if got := Advice(tt.want, tt.delayMax); got != tt.advice {
			t.Errorf("Advice(%v, %v) = %q, want %q", tt.want, tt.delayMax, got, tt.advice)
		}
	}
}
