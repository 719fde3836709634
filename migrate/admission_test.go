package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/migrate/wait"
)

// fakeAdmission is a turn, and what was done with it.
type fakeAdmission struct {
	pair     *pair
	atOnce   int
	deadline time.Time
	giveUp   chan struct{}

	mu  sync.Mutex
	did []string
}

func (f *fakeAdmission) AtOnce() int             { return f.atOnce }
func (f *fakeAdmission) Deadline() time.Time     { return f.deadline }
func (f *fakeAdmission) GiveUp() <-chan struct{} { return f.giveUp }
func (f *fakeAdmission) Update(l predict.Load)   { f.note(fmt.Sprintf("dirties %v", l.DirtyRate)) }
func (f *fakeAdmission) Copied(pause time.Duration) {
	slot, _ := freeSlot(f.pair)
	f.note(fmt.Sprintf("copied, pause %v, slot free: %v", pause, slot != nil))
	slot.Release()
}
func (f *fakeAdmission) Release() { f.note("released") }

func (f *fakeAdmission) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, what)
}

// queued is a pair whose move asks a queue that takes a while.
func queued(t *testing.T, delay time.Duration, err error) (*pair, *fakeAdmission, *AdmissionRequest) {
	p := newPair(t)
	turn, wish := &fakeAdmission{pair: p, atOnce: 2, giveUp: make(chan struct{})}, &AdmissionRequest{}
	p.deps.Queue = func(ctx context.Context, w AdmissionRequest, waiting func()) (Admission, error) {
		*wish = w
		waiting()
		if load, ok := w.Measured(ctx); ok {
			wish.Load = load
		}
		if serr := wait.For(ctx, delay); serr != nil {
			return nil, serr
		}
		if err != nil {
			return nil, err
		}
		return turn, nil
	}
	return p, turn, wish
}

func hasNote(r record.Record, text string) bool {
	return text == "" || slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, text) })
}

func TestMoveInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, turn, wish := queued(t, 3*time.Second, nil)
		p.known(history.Link{Bandwidth: 100 << 20, SetUpMS: 700})
		p.Source.Guest.Memory, p.Source.Guest.Dirty, p.Source.GaugeErr = 1<<30, libvirt.Dirty{Measured: true, Rate: 5 << 20}, nil
		p.req.Bandwidth, p.req.UUID = 50, guestUUID
		var phases []string
		p.req.Progress = func(g Progress) { phases = append(phases, g.Phase) }
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || rec.Outcome != record.Moved {
			t.Fatalf("%q, %v", rec.Outcome, err)
		}
		if want := []string{"dirties 5.24288e+06", "copied, pause 15ms, slot free: true",
			"released"}; !slices.Equal(turn.did, want) {
			t.Errorf("did %q, want %q", turn.did, want)
		}
		if wish.Guest != "web" || wish.UUID != guestUUID || wish.Target != "node2" || wish.Rate != 100<<20 ||
			wish.Most != 50<<20 || wish.SetUp != 700*time.Millisecond ||
			wish.Load.Memory != 1<<30 || wish.Load.DirtyRate != 5<<20 ||
			wish.Load.Budget != convergence.DefaultBudget ||
			!slices.Equal(wish.Rungs, []ladder.Rung{ladder.Live, ladder.Converge}) {
			t.Errorf("asked for %+v", *wish)
		}
		if phases[0] != PhaseSlot || rec.Steps[0].Name != "slot" || rec.Steps[0].MS != 4100 ||
			!hasNote(rec, "waited 4.1s in the migration queue; 2 may") {
			t.Errorf("phases %q, first step %+v, notes %q", phases, rec.Steps[0], rec.Notes)
		}
	})
}

// Whatever is wrong with the queue, the move continues by the slots alone; it is refused only for lack of time.
func TestMoveWithoutItsTurn(t *testing.T) {
	late := &drain.TooLate{Guest: "web", Rung: ladder.Shutdown, Left: time.Minute, Why: "it is late"}
	for _, c := range []struct {
		name  string
		wait  time.Duration
		err   error
		adopt bool
		moved bool
		text  string // in the notes of a move, and in the error of none
	}{
		{"no daemon", 0, errors.New("connection refused"), false, true, ""},
		{"the daemon dies", 5 * time.Second, errors.New("EOF"), false, true,
			"lost after 5s, and the move continues without it: EOF"},
		{"too late", time.Second, fmt.Errorf("ask: %w", late), false, false,
			`pre-flight window: the migration queue refused it after 1s`},
		{"no time left", time.Hour, nil, false, false, "pre-flight window: timed out in the migration queue after 52.5s"},
		{"under way already", 0, late, true, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, turn, _ := queued(t, c.wait, c.err)
				p.req.Adopt = c.adopt
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				rec, err := Move(ctx, p.req, p.deps)
				if (err == nil) != c.moved || c.moved && !hasNote(rec, c.text) || !c.moved &&
					!strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, notes %q; want %q", err, rec.Notes, c.text)
				}
				if len(turn.did) > 0 {
					t.Errorf("with no turn it did %q", turn.did)
				}
				if slot, err := freeSlot(p); slot == nil || err != nil {
					t.Errorf("the slot is kept: %v", err)
				}
			})
		})
	}
}

func TestMoveThatLosesItsTurn(t *testing.T) {
	for _, c := range []struct {
		name string
		turn func(p *pair, turn *fakeAdmission)
		want error
	}{
		{"while it copies", func(_ *pair, turn *fakeAdmission) {
			time.AfterFunc(20*time.Second, func() { close(turn.giveUp) })
		}, ErrOutOfTime},
		{"while somebody without a turn has the link", func(p *pair, turn *fakeAdmission) {
			p.deps.Slots.Most = slot.MostAtOnce
			if slot, err := freeSlot(p); slot == nil || err != nil {
				panic(err)
			}
			time.AfterFunc(20*time.Second, func() { close(turn.giveUp) })
		}, errGaveUp},
		{"to the window", func(_ *pair,
			turn *fakeAdmission) {
			turn.deadline = time.Now().Add(22500 * time.Millisecond)
		}, ErrOutOfTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, turn, _ := queued(t, 0, nil)
				p.Source.Migrate = func(context.Context) error {
					p.Copy()
					<-p.Source.Aborted
					p.Cancelled()
					return errLibvirt
				}
				c.turn(p, turn)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				begin := time.Now()
				_, err := Move(ctx, p.req, p.deps)
				if took := time.Since(begin); !errors.Is(err, c.want) || took < 19*time.Second || took > 22*time.Second {
					t.Errorf("%v after %v", err, took)
				}
				if want := []string{"released"}; !slices.Equal(turn.did, want) {
					t.Errorf("did %q, want %q", turn.did, want)
				}
			})
		})
	}
}

// A move during which another was under way says so, as it had a part of the link.
func TestMoveBesideAnother(t *testing.T) {
	for _, beside := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, _, _ := queued(t, 0, nil)
			if beside {
				other := p.deps.Slots
				other.N, other.Most = 2, slot.MostAtOnce
				slot, err := other.Acquire(t.Context(), nil)
				if slot == nil || err != nil {
					t.Fatal(slot, err)
				}
				defer slot.Release() // held until then: a file that nobody refers to is closed, and unlocked
			}
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || rec.Shared != beside {
				t.Errorf("beside another: %v; the record says %v, %v", beside, rec.Shared, err)
			}
		})
	}
}

// freeSlot is a slot of the pair's node, when one is free.
func freeSlot(p *pair) (*slot.Slot, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return p.deps.Slots.Acquire(ctx, nil)
}
