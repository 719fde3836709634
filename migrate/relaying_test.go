package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// handOver is a relay that takes note of what it is told, and forwards one frame.
type handOver struct {
	mu     sync.Mutex
	calls  []string
	hangs  time.Duration // Close takes so long, whatever its context
	closes error         // what it returns
}

func (h *handOver) note(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.calls); n == 0 || h.calls[n-1] != call {
		h.calls = append(h.calls, call)
	}
}

func (h *handOver) told() []string { h.mu.Lock(); defer h.mu.Unlock(); return slices.Clone(h.calls) }

func (h *handOver) Buffer(time.Time) { h.note("hold") }
func (h *handOver) Forward()         { h.note("pass") }
func (h *handOver) Drop()            { h.note("drop") }

func (h *handOver) Close(context.Context) (int, error) {
	h.note("close")
	time.Sleep(h.hangs)
	return 1, h.closes
}

func TestRelay(t *testing.T) {
	handed := []string{"hold", "pass", "close"}
	for _, c := range []struct {
		name    string
		spoil   func(p *pair, h *handOver)
		want    []string
		relayed int
		outcome record.Outcome
	}{
		{"moved", nil, handed, 1, record.Moved},
		{"not all was forwarded", func(_ *pair, h *handOver) { h.closes = errors.New("the queue is full") }, handed, 1,
			record.Moved},
		{"the target is not heard", func(p *pair, _ *handOver) { p.Target.WatchErr = libvirt.ErrUnsupported }, handed,
			1, record.Moved},
		{"the source is not heard", func(p *pair, _ *handOver) { p.Source.WatchErr = libvirt.ErrUnsupported }, nil, 0,
			record.Moved},
		{"from another node", func(p *pair, _ *handOver) { p.req.Fetch = true }, nil, 0, record.Moved},
		{"it failed before the pause", func(p *pair, _ *handOver) {
			p.Source.Migrate = func(context.Context) error { p.Copy(); p.Cancelled(); return errLibvirt }
		}, []string{"drop", "close"}, 0, record.Stayed},
		{"it failed in the pause", func(p *pair, _ *handOver) {
			p.Source.Migrate = func(context.Context) error { p.Copy(); p.Halt(); p.Cancelled(); return errLibvirt }
		}, []string{"hold", "drop", "close"}, 0, record.Stayed},
		{"the target did not let it run", func(p *pair, _ *handOver) {
			p.Source.Migrate = func(context.Context) error {
				p.Copy()
				p.Halt()
				p.Migration("completed")
				p.Source.Emit("RESUME", "")
				p.Cancelled()
				return errLibvirt
			}
		}, []string{"hold", "pass", "drop", "close"}, 0, record.Stayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h := newPair(t), &handOver{}
				p.deps.Relay = func(guest, domainXML string) (Relay, error) {
					if guest != "web" || domainXML != guestDoc {
						t.Errorf("a relay for %q, which is %s", guest, domainXML)
					}
					return h, nil
				}
				if c.spoil != nil {
					c.spoil(p, h)
				}
				rec, _ := Move(t.Context(), p.req, p.deps)
				if rec.Outcome != c.outcome || c.outcome == record.Moved && rec.Relayed != c.relayed {
					t.Errorf("outcome %q, %d frames", rec.Outcome, rec.Relayed)
				}
				if got := h.told(); !slices.Equal(got, c.want) {
					t.Errorf("told the relay %q, want %q", got, c.want)
				}
			})
		})
	}
}

// An attempt that is begun again has a relay of its own.
func TestRelayOfEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var made []*handOver
		p.deps.Relay = func(string, string) (Relay, error) { made = append(made, &handOver{}); return made[len(made)-1], nil }
		p.req.PostCopy = true
		first := p.Source.Migrate
		p.Source.Migrate = func(ctx context.Context) error {
			if len(made) == 1 { // as a hypervisor that knows no post-copy
				return errLibvirt
			}
			return first(ctx)
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(made) != 2 {
			t.Fatalf("moved in %d attempts: %v", len(made), err)
		}
		got := fmt.Sprint(made[0].told(), made[1].told())
		if want := "[drop close] [hold pass close]"; got != want || rec.Relayed != 1 {
			t.Errorf("told the relays %s, want %s; %d frames", got, want, rec.Relayed)
		}
	})
}

// Whatever becomes of the relay, the guest moves, and not much later than without. One that comes too late is ended.
func TestRelayHindersNothing(t *testing.T) {
	const without = 2015 * time.Millisecond
	for _, c := range []struct {
		name  string
		make  time.Duration // how long that takes
		fails error
		hangs time.Duration
		late  time.Duration
		want  []string
	}{
		{name: "there is none", fails: errors.New("operation not permitted")},
		{name: "it is not made in time", make: time.Minute, late: relayTime, want: []string{"drop", "close"}},
		{name: "its end hangs", hangs: time.Minute, late: relayTime, want: []string{"hold", "pass", "close"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h := newPair(t), &handOver{hangs: c.hangs}
				p.deps.Relay = func(string, string) (Relay, error) { time.Sleep(c.make); return h, c.fails }
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || rec.Relayed != 0 {
					t.Errorf("forwarded %d frames, %v", rec.Relayed, err)
				}
				if took := rec.Ended.Sub(rec.Started); took != without+c.late {
					t.Errorf("took %v", took)
				}
				time.Sleep(time.Hour)
				if got := h.told(); !slices.Equal(got, c.want) {
					t.Errorf("told the relay %q, want %q", got, c.want)
				}
			})
		})
	}
}
