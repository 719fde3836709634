package migrate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

func TestRestFor(t *testing.T) {
	for name, c := range map[string]struct{ rest, ran, left, want time.Duration }{
		"just now":         {time.Second, 0, time.Minute, time.Second},
		"a while ago":      {time.Second, 300 * time.Millisecond, time.Minute, 700 * time.Millisecond},
		"long ago":         {time.Second, 2 * time.Second, time.Minute, 0},
		"time is short":    {time.Second, 0, 1999 * time.Millisecond, 0},
		"time is over":     {time.Second, 0, -time.Second, 0},
		"nobody wants one": {0, 0, time.Minute, 0},
	} {
		if got := restFor(c.rest, c.ran, c.left); got != c.want {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
}

// A guest that has just come to run is left alone, unless somebody waits for the end of its move.
func TestMoveRests(t *testing.T) {
	for name, rest := range map[string]time.Duration{"it rests": RestTime, "others wait": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.req.Rest, p.req.Others = RestTime, func() bool { return rest == 0 }
				verifying := time.Time{}
				p.req.Progress = func(pr Progress) {
					if pr.Phase == "verifying" {
						verifying = time.Now()
					}
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil {
					t.Fatal(err)
				}
				resume, _ := qmp.Timeline{Phases: rec.Phases}.Find(qmp.Target, qmp.PhaseResume)
				if got := verifying.Sub(resume.Received); got < rest || got > rest+10*time.Millisecond {
					t.Errorf("verified %v after RESUME", got)
				}
			})
		})
	}
}

// The first passes of a guest are bounded, unless others wait for the end of its move.
func TestPaceAmongOthers(t *testing.T) {
	for name, c := range map[string]struct {
		others bool
		want   uint64
	}{
		"alone":        {false, paceLeast},
		"among others": {true, 0},
	} {
		m := newMover(Request{SourceURI: "qemu:///system", Others: func() bool { return c.others }}, Deps{})
		m.known.Load = libvirt.Load{Memory: 64 << 20}
		if got := m.pace(); got != c.want {
			t.Errorf("%s: %d MiB/s, not %d", name, got, c.want)
		}
	}
}
