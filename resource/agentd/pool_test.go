package agentd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/observe"
)

const uri = "qemu:///system"

// fakeLibvirt is a daemon that can be stopped, restarted, and hang on one guest.
type fakeLibvirt struct {
	mu      sync.Mutex
	life    int                      // a connection of another life is broken
	down    bool                     // nobody listens
	hang    chan struct{}            // not nil: no answer before it is closed
	guests  map[string]chan struct{} // the same for single guests
	dials   int
	calls   int // under way
	busiest int
	closed  int
}

func (f *fakeLibvirt) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// counts are what was seen so far.
func (f *fakeLibvirt) counts() (dials, busiest, closed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials, f.busiest, f.closed
}

func (f *fakeLibvirt) enter(guest string) (wait []chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.busiest = max(f.busiest, f.calls)
	return []chan struct{}{f.hang, f.guests[guest]}
}

// answer waits as long as the daemon hangs.
func (f *fakeLibvirt) answer(guest string) {
	for _, c := range f.enter(guest) {
		if c != nil {
			<-c
		}
	}
	f.set(func() { f.calls-- })
}

func (f *fakeLibvirt) dial(_ context.Context, uri string) (observe.Hypervisor, error) {
	f.set(func() { f.dials++ })
	f.answer("")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, &libvirt.Error{Op: "connect", URI: uri, Message: "Connection refused", Kind: libvirt.ErrConnect}
	}
	return &fakeConn{f: f, life: f.life}, nil
}

type fakeConn struct {
	observe.Hypervisor // nothing but what is below is called
	f                  *fakeLibvirt
	life               int
}

func (c *fakeConn) Status(_ context.Context, name string) (libvirt.Status, error) {
	c.f.answer(name)
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.down || c.life != c.f.life {
		return libvirt.Status{}, &libvirt.Error{Op: "status", Message: "End of file", Kind: libvirt.ErrConnect}
	}
	if name == "none" {
		return libvirt.Status{}, &libvirt.Error{Op: "status", Message: "Domain not found", Kind: libvirt.ErrNoDomain}
	}
	return libvirt.Status{State: libvirt.Running, Reason: "booted"}, nil
}

func (c *fakeConn) Info(context.Context, string) (libvirt.Info, error) {
	return libvirt.Info{}, errors.New("not asked")
}
func (c *fakeConn) Close() error { c.f.set(func() { c.f.closed++ }); return nil }

func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func newPool(f *fakeLibvirt) *Pool { return &Pool{Dial: f.dial, Log: quiet()} }

// status is what a monitor asks, with its usual time.
func status(p *Pool, uri, guest string) (libvirt.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := p.Open(ctx, uri)
	if err != nil {
		return libvirt.Status{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Status(ctx, guest)
}

// at asks, and says how long it took by the bubble's clock.
func at(p *Pool, uri, guest string) (time.Duration, error) {
	began := time.Now()
	_, err := status(p, uri, guest)
	return time.Since(began), err
}

func TestOneConnectionForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibvirt{}
		p := newPool(f)
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				if s, err := status(p, uri, fmt.Sprint(i)); err != nil || s.State != libvirt.Running {
					t.Errorf("%+v, %v", s, err)
				}
			})
		}
		group.Wait()
		if _, err := status(p, uri, "none"); !errors.Is(err, libvirt.ErrNoDomain) {
			t.Errorf("an unknown guest: %v", err)
		}
		p.Close()
		if dials, busiest, closed := f.counts(); dials != 1 || busiest > maxCalls || closed != 1 {
			t.Errorf("%d connections were made, %d closed, want 1; %d calls at once", dials, closed, busiest)
		}
	})
}

func TestRestartIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibvirt{}
		p := newPool(f)
		for life := range 3 {
			f.set(func() { f.life = life })
			if took, err := at(p, uri, "vm1"); err != nil || took > 0 {
				t.Errorf("life %d: %v after %v", life, err, took)
			}
		}
		if dials, _, closed := f.counts(); dials != 3 || closed != 2 {
			t.Errorf("%d connections made, %d closed", dials, closed)
		}
		f.set(func() { f.down = true })
		for range 2 {
			if took, err := at(p, uri, "vm1"); !errors.Is(err, libvirt.ErrConnect) || took > 0 {
				t.Errorf("a dead daemon: %v after %v", err, took)
			}
		}
		f.set(func() { f.down = false })
		if _, err := status(p, uri, "vm1"); err != nil {
			t.Errorf("after its return: %v", err)
		}
	})
}

// While libvirt hangs, on a connection that is open or to a new one, nobody waits
// long, and what hangs stays few.
func TestHangIsBounded(t *testing.T) {
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprintf("open %t", open), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeLibvirt{}
				p := newPool(f)
				if open {
					if _, err := status(p, uri, "vm1"); err != nil {
						t.Fatal(err)
					}
				}
				hang := make(chan struct{})
				f.set(func() { f.hang = hang })
				atOnce := 0
				for i := range 100 {
					took, err := at(p, uri, fmt.Sprint("vm", i))
					if !errors.Is(err, libvirt.ErrConnect) || took > longestCall {
						t.Fatalf("guest %d: %v after %v", i, err, took)
					}
					if took == 0 {
						atOnce++
					}
				}
				if _, busiest, _ := f.counts(); atOnce < 100-maxCalls || busiest > maxCalls {
					t.Errorf("%d of 100 failed at once, %d calls hang", atOnce, busiest)
				}
				close(hang)
				synctest.Wait()
				for i := range 100 {
					if took, err := at(p, uri, fmt.Sprint("vm", i)); err != nil || took > 0 {
						t.Fatalf("afterwards: guest %d: %v after %v", i, err, took)
					}
				}
				if dials, _, _ := f.counts(); dials != 1 {
					t.Errorf("%d connections were made, want 1", dials)
				}
			})
		})
	}
}

// Of many that ask a hanging libvirt at once, the first few wait, and one at a time tries again.
func TestHangWithMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibvirt{hang: make(chan struct{})}
		p := newPool(f)
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				if took, err := at(p, uri, fmt.Sprint(i)); err == nil || took > longestCall {
					t.Errorf("guest %d: %v after %v", i, err, took)
				}
			})
		}
		group.Wait()
		close(f.hang)
		synctest.Wait()
		if _, err := status(p, uri, "vm1"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// A guest that libvirt hangs on costs the others one short look by their processes at most.
func TestOneGuestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibvirt{guests: map[string]chan struct{}{"bad": make(chan struct{})}}
		p := newPool(f)
		for i := range 50 {
			took, err := at(p, uri, "bad")
			if err == nil || i > 0 && took > 0 {
				t.Fatalf("look %d at the guest that hangs: %v after %v", i, err, took)
			}
			if took, err := at(p, uri, "good"); err != nil || took > 0 {
				t.Fatalf("look %d at the other: %v after %v", i, err, took)
			}
		}
		close(f.guests["bad"])
		synctest.Wait()
		if _, err := status(p, uri, "bad"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestLibvirtsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := &fakeLibvirt{hang: make(chan struct{})}, &fakeLibvirt{}
		p := newPool(nil)
		p.Dial = func(ctx context.Context, u string) (observe.Hypervisor, error) {
			if u == uri {
				return bad.dial(ctx, u)
			}
			return good.dial(ctx, u)
		}
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { _, _ = at(p, uri, "vm1") })
			group.Go(func() {
				if took, err := at(p, "qemu+unix:///system", "vm1"); err != nil || took > 0 {
					t.Errorf("the other libvirt: %v after %v", err, took)
				}
			})
		}
		group.Wait()
		close(bad.hang)
	})
}

// That a caller went away says nothing about libvirt.
func TestCallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLibvirt{guests: map[string]chan struct{}{"slow": make(chan struct{})}}
		p := newPool(f)
		ctx, cancel := context.WithCancel(context.Background())
		conn, err := p.Open(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		go func() { time.Sleep(time.Second); cancel() }()
		if _, err := conn.Status(ctx, "slow"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if p.lines[uri].suspect {
			t.Error("libvirt is taken for blocked")
		}
		close(f.guests["slow"])
	})
}

func TestTooManyLibvirts(t *testing.T) {
	p := newPool(&fakeLibvirt{})
	for i := range maxURIs + 2 {
		_, err := status(p, fmt.Sprintf("qemu+unix:///system?socket=/%d", i), "vm1")
		if (err != nil) != (i >= maxURIs) {
			t.Errorf("libvirt %d: %v", i, err)
		}
	}
}
