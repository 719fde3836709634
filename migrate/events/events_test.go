package events

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// said keeps what a relay is told.
type said []string

func (s *said) Buffer(time.Time) { *s = append(*s, "hold") }
func (s *said) Forward()         { *s = append(*s, "pass") }
func (s *said) Drop()            { *s = append(*s, "drop") }

// add has one event in short: "<STOP" is the source's, ">active" a MIGRATION event of the target's.
func (l *Log) add(short string) {
	side, e := qmp.Source, libvirt.Event{Name: short[1:], Received: time.Now()}
	if short[0] == '>' {
		side = qmp.Target
	}
	switch e.Name {
	case "STOP", "RESUME", "RESET":
	case "pass":
		e.Name, e.Details = "MIGRATION_PASS", `{"pass":2}`
	default:
		e.Details, e.Name = fmt.Sprintf(`{"status":%q}`, e.Name), "MIGRATION"
	}
	l.Add(side, e)
}

func TestLog(t *testing.T) {
	for _, c := range []struct {
		name                                   string
		events                                 []string
		active, switching, completed, postCopy bool
		relay                                  []string
	}{
		{"nothing", nil, false, false, false, false, nil},
		{"copying", []string{"<setup", "<active", "<pass"}, true, false, false, false, nil},
		{"stopped", []string{"<active", "<STOP", "<device"}, true, true, false, false, []string{"hold"}},
		{"handed over", []string{"<active", "<STOP", "<device", "<completed"}, true, true, true, false, []string{"hold", "pass"}},
		{"failed while it was stopped", []string{"<active", "<STOP", "<failed"}, true, false, false, false,
			[]string{"hold", "drop"}},
		{"the target's status is not the source's", []string{">active", ">completed"}, false, false, false, false, nil},
		{"post-copy, not yet running", []string{"<active", "<STOP", "<postcopy-active"}, true, true, false, true,
			[]string{"hold"}},
		{"post-copy, running", []string{"<active", "<STOP", "<postcopy-active", ">RESUME"}, true, false, false, true,
			[]string{"hold", "pass"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, relay := NewLog(), &said{}
			l.SetRelay(relay)
			for _, e := range c.events {
				l.add(e)
			}
			if l.IsActive() != c.active || l.IsSwitching() != c.switching || l.IsCompleted() != c.completed ||
				l.InPostCopy() != c.postCopy {
				t.Errorf("active %t, switching %t, completed %t, post-copy %t", l.active, l.switching, l.completed, l.postCopy)
			}
			if !slices.Equal(*relay, c.relay) {
				t.Errorf("the relay was told %q, want %q", *relay, c.relay)
			}
			l.Reset()
			if l.IsActive() || l.IsSwitching() || l.IsCompleted() || l.InPostCopy() != c.postCopy {
				t.Error("after Reset a migration is under way, or its post-copy is forgotten")
			}
		})
	}
}

// Two passes that nobody took are one signal, and an event that cannot be parsed is none.
func TestSignals(t *testing.T) {
	l := NewLog()
	for _, e := range []string{"<setup", "<pass", "<pass"} {
		l.add(e)
	}
	l.Add(qmp.Source, libvirt.Event{Name: "MIGRATION_PASS", Details: "{"})
	if len(l.Memory()) != 1 || len(l.Pass()) != 1 || len(l.Timeline().Phases) == 0 {
		t.Errorf("%d and %d signals, %+v", len(l.Memory()), len(l.Pass()), l.Timeline())
	}
}

func TestAwaitResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ after, want time.Duration }{{-1, resumeGrace}, {0, 0},
			{100 * time.Millisecond, 100 * time.Millisecond}} {
			l, began := NewLog(), time.Now()
			l.add("<STOP")
			if c.after >= 0 {
				time.AfterFunc(c.after, func() { l.add(">RESUME") })
			}
			if c.after == 0 {
				synctest.Wait()
			}
			if l.AwaitResume(); time.Since(began) != c.want {
				t.Errorf("RESUME after %v: waited %v", c.after, time.Since(began))
			}
		}
		l := NewLog()
		l.JoinPostCopy()
		l.add("<STOP")
		l.add(">RESUME")
		l.AwaitResume() // a post-copy that runs already is not awaited
	})
}
