package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
)

// mute is what comes of a question that nobody answers.
var mute = &libvirt.Error{Op: "connect", Message: "no answer in time", Kind: libvirt.ErrConnect, Cause: context.DeadlineExceeded}

// silent lets the target answer nothing any more.
func (p *pair) silent() { p.Target.Answer(mute); p.Target.Refuse(mute) }

// back lets it answer that it has no such guest.
func (p *pair) back() { p.Target.Answer(libvirt.ErrNoDomain); p.Target.Refuse(nil) }

// xen is a guest of Xen's whose migration another than libvirt can give up, and who sees whether it is paused.
type xen struct {
	*pair
	aborted chan struct{} // closed at the first abort
	fails   error         // why it cannot be aborted

	mu     sync.Mutex
	tries  int // to abort
	halted bool
	woken  bool
}

func (x *xen) halt() { x.mu.Lock(); defer x.mu.Unlock(); x.halted = true }

func newXen(t *testing.T) *xen {
	x := &xen{pair: xenPair(t), aborted: make(chan struct{})}
	x.deps.Abort = func(_ context.Context, guest, uuid string) error {
		if guest != "web" || uuid != guestUUID {
			t.Errorf("abort of %q, %q", guest, uuid)
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.tries++; x.tries == 1 && x.fails == nil {
			close(x.aborted)
		}
		return x.fails
	}
	x.deps.Halted = func(context.Context, string, string) (bool, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.halted, nil
	}
	x.deps.Wake = func(context.Context, string, string) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.halted, x.woken = false, true
		return nil
	}
	return x
}

// hangs copies until it is given up, and tells so after a while.
func (x *xen) hangs(ctx context.Context, after time.Duration) error {
	x.Source.SetJob(libvirt.JobStats{Active: true})
	select {
	case <-x.aborted:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := wait.For(ctx, after); err != nil {
		return err
	}
	x.Source.SetJob(libvirt.JobStats{})
	return errSend
}

// arrives is a copy that goes through after so long, whatever is said meanwhile.
func (x *xen) arrives(ctx context.Context, takes time.Duration) error {
	x.Source.SetJob(libvirt.JobStats{Active: true})
	if err := wait.For(ctx, takes); err != nil {
		return err
	}
	x.arrive()
	return nil
}

// TestSilentTarget lets the target of a migration fall silent that does not notice it by itself.
func TestSilentTarget(t *testing.T) {
	for _, c := range []struct {
		name    string
		migrate func(x *xen, ctx context.Context) error
		fails   error
		outcome record.Outcome
		why     error
		text    string
		woken   bool
		least   time.Duration
		most    time.Duration
	}{
		{"for 14 s", func(x *xen, ctx context.Context) error {
			time.AfterFunc(2*time.Second, x.silent)
			time.AfterFunc(16*time.Second, x.back)
			return x.arrives(ctx, 40*time.Second)
		}, nil, record.Moved, nil, "", false, 40 * time.Second, 41 * time.Second},
		{"for 14 s, twice", func(x *xen, ctx context.Context) error {
			for _, at := range []time.Duration{2, 20} {
				time.AfterFunc(at*time.Second, x.silent)
				time.AfterFunc((at+14)*time.Second, x.back)
			}
			return x.arrives(ctx, 40*time.Second)
		}, nil, record.Moved, nil, "", false, 40 * time.Second, 41 * time.Second},
		{"and so is the source's libvirt", func(x *xen, ctx context.Context) error {
			x.silent()
			x.Source.Answer(mute)
			time.AfterFunc(35*time.Second, func() { x.back(); x.Source.Answer(nil) })
			return x.arrives(ctx, 40*time.Second)
		}, nil, record.Moved, nil, "", false, 40 * time.Second, 41 * time.Second},
		{"its libvirtd is down", func(x *xen, ctx context.Context) error {
			refused := &libvirt.Error{Op: "connect", Code: 38,
				Message: "unable to connect to server at 'node2:16509': Connection refused", Kind: libvirt.ErrConnect}
			x.Target.Answer(refused)
			x.Target.Refuse(refused)
			time.AfterFunc(30*time.Second, x.back)
			return x.arrives(ctx, 40*time.Second)
		}, nil, record.Moved, nil, "", false, 40 * time.Second, 41 * time.Second},
		{"for good", func(x *xen, ctx context.Context) error { x.silent(); return x.hangs(ctx, 0) },
			nil, record.Stayed, ErrTargetSilent, "for 15s", false, 15 * time.Second, 20 * time.Second},
		{"for good, and libvirt asks it before it ends",
			func(x *xen, ctx context.Context) error { x.silent(); return x.hangs(ctx, 20*time.Second) },
			nil, record.Stayed, ErrTargetSilent, "was aborted", false, 35 * time.Second, 40 * time.Second},
		{"for good, and the call hangs", func(x *xen, ctx context.Context) error { x.silent(); return x.hangs(ctx, time.Hour) },
			nil, record.Unknown, ErrTargetSilent, "could not be aborted within 45s", false, 60 * time.Second, 75 * time.Second},
		{"for good, and the abort fails", func(x *xen, ctx context.Context) error { x.silent(); return x.hangs(ctx, time.Hour) },
			errors.New("no copy is under way"), record.Unknown, ErrTargetSilent, "could not be aborted within 45s",
			false, 60 * time.Second, 75 * time.Second},
		{"for 20 s, and the abort fails", func(x *xen, ctx context.Context) error {
			x.silent()
			time.AfterFunc(20*time.Second, x.back)
			return x.arrives(ctx, 30*time.Second)
		}, errors.New("no copy is under way"), record.Moved, nil, "", false, 30 * time.Second, 31 * time.Second},
		{"in the last copy", func(x *xen, ctx context.Context) error { x.halt(); x.silent(); return x.hangs(ctx, 0) },
			nil, record.Unknown, ErrTargetSilent, "not resumed", false, 16 * time.Second, 30 * time.Second},
		{"in the last copy, until it is asked", func(x *xen, ctx context.Context) error {
			x.halt()
			x.silent()
			err := x.hangs(ctx, 0)
			x.back()
			return err
		}, nil, record.Stayed, ErrTargetSilent, "", true, 16 * time.Second, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newXen(t)
				x.fails = c.fails
				x.Source.Migrate = func(ctx context.Context) error { return c.migrate(x, ctx) }
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				began := time.Now()
				rec, err := Move(ctx, x.req, x.deps)
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if rec.Outcome != c.outcome || (err == nil) != (c.outcome == record.Moved) || !errors.Is(err, c.why) ||
					!strings.Contains(rec.Error, c.text) {
					t.Errorf("outcome %q: %v", rec.Outcome, err)
				}
				if x.woken != c.woken || c.outcome == record.Moved && c.fails == nil && x.tries > 0 {
					t.Errorf("woken %t, aborted %d times", x.woken, x.tries)
				}
				x.untouched(t)
			})
		})
	}
}

// A target is watched only where it does any good.
func TestTargetIsNotWatched(t *testing.T) {
	for name, pairOf := range map[string]func(*testing.T) *pair{
		"a driver that notices":       newPair,
		"what nobody could give up":   xenPair,
		"what another is asked about": func(t *testing.T) *pair { p := newXen(t).pair; p.deps.Abort = nil; return p },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pairOf(t)
				opened := 0
				p.deps.Open = func(ctx context.Context, uri string) (endpoint.Host, error) {
					if uri == p.Target.URI {
						opened++
					}
					return p.Open(ctx, uri)
				}
				if _, err := Move(t.Context(), p.req, p.deps); err != nil || opened != 1 {
					t.Errorf("%d connections to the target: %v", opened, err)
				}
			})
		})
	}
}

func TestAnswered(t *testing.T) {
	said := func(text string) error {
		return &libvirt.Error{Op: "connect", Code: 38, Message: text, Kind: libvirt.ErrConnect}
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, true},
		{libvirt.ErrNoDomain, true},
		{said("unable to connect to server at 'node2:16509': Connection refused"), true},
		{said("Cannot recv data: ssh: connect to host node2 port 22: Connection refused: Connection reset by peer"), true},
		{said("End of file while reading data: Input/output error"), true},
		{said("authentication failed: no such user"), true},
		{said("unable to connect to server at 'node2:16509': No route to host"), false},
		{said("unable to connect to server at 'node2:16509': Connection timed out"), false},
		{said("Cannot recv data: ssh: connect to host node2 port 22: No route to host: Connection reset by peer"), false},
		{said("unable to connect to server at 'node2:16509': Network is unreachable"), false},
		{fmt.Errorf("dial: %w", syscall.EHOSTDOWN), false},
		{mute, false},
		{context.DeadlineExceeded, false},
	} {
		if got := answered(c.err); got != c.want {
			t.Errorf("%v: answered %t", c.err, got)
		}
	}
}

// TestGivenUpWithoutLibvirt gives up a migration that libvirt's driver cannot abort, for each of the reasons that are not
// the target's.
func TestGivenUpWithoutLibvirt(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(x *xen, cancel func())
		halted bool
		why    error
		most   time.Duration
	}{
		{"cancelled", func(_ *xen, cancel func()) { cancel() }, false, context.Canceled, 6 * time.Second},
		{"cancelled in the last copy", func(_ *xen, cancel func()) { cancel() }, true, context.Canceled, 8 * time.Second},
		{"the window is shortened", func(x *xen, _ func()) { x.shorten <- time.Now().Add(5 * time.Second) }, false,
			ErrOutOfTime, 10 * time.Second},
		{"the time is up", func(*xen, func()) {}, false, ErrOutOfTime, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newXen(t)
				x.shorten = make(chan time.Time, 1)
				x.req.Shorten = x.shorten
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				x.Source.Migrate = func(ctx context.Context) error {
					if c.halted {
						x.halt()
					}
					time.AfterFunc(5*time.Second, func() { c.spoil(x, cancel) })
					return x.hangs(ctx, 200*time.Millisecond)
				}
				began := time.Now()
				rec, err := Move(ctx, x.req, x.deps)
				if took := time.Since(began); rec.Outcome != record.Stayed || !errors.Is(err, c.why) || took > c.most ||
					!strings.Contains(rec.Error, "was aborted") {
					t.Errorf("outcome %q after %v: %v", rec.Outcome, took, err)
				}
				if x.woken != c.halted {
					t.Errorf("woken %t", x.woken)
				}
				x.untouched(t)
			})
		})
	}
}

// A guest that is paused for its last copy gets a moment to arrive.
func TestArrivesInTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newXen(t)
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		x.Source.Migrate = func(ctx context.Context) error {
			x.halt()
			return x.arrives(ctx, 36*time.Second-switchGrace/2)
		}
		rec, err := Move(ctx, x.req, x.deps)
		if err != nil || rec.Outcome != record.Moved || x.tries > 0 {
			t.Errorf("outcome %q, aborted %d times: %v", rec.Outcome, x.tries, err)
		}
	})
}

// A migration that another began is given up, too, but not in its last copy: what its libvirt says at its end is
// not heard here.
func TestGivenUpForAnother(t *testing.T) {
	for _, halted := range []bool{false, true} {
		t.Run(fmt.Sprintf("standing still %t", halted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newXen(t)
				x.req.Adopt, x.halted = true, halted
				x.Source.SetJob(libvirt.JobStats{Active: true})
				go func() {
					select {
					case <-x.aborted:
						x.Source.SetJob(libvirt.JobStats{})
					case <-t.Context().Done():
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
				defer cancel()
				rec, err := Move(ctx, x.req, x.deps)
				want := map[bool]record.Outcome{false: record.Stayed, true: record.Unknown}[halted]
				if rec.Outcome != want || !errors.Is(err, ErrOutOfTime) || (x.tries == 0) != halted || x.woken {
					t.Errorf("outcome %q, aborted %d times, woken %t: %v", rec.Outcome, x.tries, x.woken, err)
				}
			})
		})
	}
}
