package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/announce"
)

// fakeProber counts what is asked of it.
type fakeProber struct {
	announce.Conn
	uri string
	to  *fakeLibvirts
}

type fakeLibvirts struct {
	mu     sync.Mutex
	asked  []string
	open   int
	refuse error
	fail   error
}

func (f *fakeLibvirts) dial(_ context.Context, uri string) (prober, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.open++
	return &fakeProber{uri: uri, to: f}, nil
}

func (p *fakeProber) Capabilities(context.Context) (string, error) {
	p.to.mu.Lock()
	defer p.to.mu.Unlock()
	p.to.asked = append(p.to.asked, p.uri)
	return "<capabilities/>", p.to.fail
}

func (p *fakeProber) Close() error { p.to.mu.Lock(); defer p.to.mu.Unlock(); p.to.open--; return nil }

// Each libvirt is asked once, when it is first reached, and not by who waits for the connection; one that gives no
// answer is asked again at the next connection.
func TestPrimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := test.NewNullLogger()
		f := &fakeLibvirts{refuse: errors.New("connection refused")}
		dial := primed(t.Context(), log, f.dial)
		if c, err := dial(t.Context(), "a"); err == nil || c != nil {
			t.Errorf("connected to %v, %v", c, err)
		}
		f.refuse = nil
		for _, step := range []struct {
			uri   string
			fails error
			want  []string
		}{
			{"a", nil, []string{"a"}},
			{"b", errors.New("no emulator"), []string{"a", "b"}},
			{"a", nil, []string{"a", "b"}},
			{"b", nil, []string{"a", "b", "b"}},
			{"b", nil, []string{"a", "b", "b"}},
		} {
			f.fail = step.fails
			c, err := dial(t.Context(), step.uri)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			synctest.Wait()
			if !slices.Equal(f.asked, step.want) || f.open != 0 {
				t.Errorf("asked %v, not %v; %d connections are open", f.asked, step.want, f.open)
			}
		}
	})
}
