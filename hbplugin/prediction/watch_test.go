package prediction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
)

// oracle is a cluster manager that tells beforehand. The target is not asked, as no verdict names a node.
type oracle struct {
	mu      sync.Mutex
	view    hbplugin.View
	said    []hbplugin.Verdict
	claims  []hbplugin.Claim
	places  hbplugin.Places
	err     error
	asked   int
	hangs   bool
	began   chan struct{} // closed when a forecast begins that hangs; may be nil
	viewErr error
}

func (*oracle) String() string { return "oracle" }
func (o *oracle) View(context.Context) (hbplugin.View, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.view, o.viewErr
}
func (*oracle) Standby(context.Context) error                   { return errors.New("a forecast changes nothing") }
func (*oracle) Unstandby(context.Context) error                 { return errors.New("a forecast changes nothing") }
func (*oracle) Peers(context.Context) ([]elsewhere.Peer, error) { return nil, nil }
func (o *oracle) Claims(context.Context) ([]hbplugin.Claim, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.claims, o.err
}
func (o *oracle) Resources(ctx context.Context) ([]hbplugin.Claim, error) { return o.Claims(ctx) }
func (o *oracle) Places(context.Context) (hbplugin.Places, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.places, o.err
}
func (o *oracle) Forecast(ctx context.Context) ([]hbplugin.Verdict, error) {
	o.mu.Lock()
	hangs := o.hangs
	o.mu.Unlock()
	if hangs {
		if o.began != nil {
			close(o.began)
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return slices.Clone(o.said), o.err
}

func (o *oracle) set(change func(*oracle)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *oracle) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

// tellerOf asks these managers, on a node without notes or records.
func predictorOf(managers ...hbplugin.Cluster) *Predictor {
	all := func() []hbplugin.Cluster { return managers }
	return New(Sources{
		Managers: all,
		Notes:    func() ([]notes.Guest, error) { return nil, nil },
		Here:     func(context.Context) ([]string, error) { return nil, nil },
		Records:  func() ([]record.Record, error) { return nil, nil },
		Open:     func(context.Context, string) (endpoint.Host, error) { return nil, errors.New("no libvirt") },
	})
}

func allLive(names ...string) (out []hbplugin.Verdict) {
	for _, n := range names {
		out = append(out, hbplugin.Verdict{Resource: n, Fate: hbplugin.MovesLive})
	}
	return out
}

func restarts(name, why string) hbplugin.Verdict {
	return hbplugin.Verdict{Resource: name, Fate: hbplugin.Restarts, Why: why, Remedy: "type: mend " + name}
}

func untold(name, why string) hbplugin.Verdict {
	return hbplugin.Verdict{Resource: name, Fate: hbplugin.Unknown, Why: why}
}

func TestChanges(t *testing.T) {
	stops := hbplugin.Verdict{Resource: "db", Fate: hbplugin.Stops, Why: "banned"}
	for _, tt := range []struct {
		name        string
		before, now []hbplugin.Verdict
		news        string
		line        string
	}{
		{"all is well", nil, allLive("a", "b"), "", ""},
		{"one would be restarted", nil, append(allLive("a"), restarts("db", "banned")), "db",
			"1 of 2 guests would not move live: type journalctl -u vmferryd"},
		{"still", []hbplugin.Verdict{restarts("db", "banned")}, []hbplugin.Verdict{restarts("db", "banned")}, "",
			"1 of 1 guests would not move live: type journalctl -u vmferryd"},
		{"for another reason", []hbplugin.Verdict{restarts("db", "banned")},
			[]hbplugin.Verdict{restarts("db", "no memory")}, "db",
			"1 of 1 guests would not move live: type journalctl -u vmferryd"},
		{"worse", []hbplugin.Verdict{restarts("db", "banned")}, []hbplugin.Verdict{stops}, "db",
			"1 of 1 guests would not move live: type journalctl -u vmferryd"},
		{"well again", []hbplugin.Verdict{restarts("db", "banned")}, allLive("db"), "db", ""},
		{"gone", []hbplugin.Verdict{restarts("db", "banned")}, allLive("a"), "", ""},
		{"back, and no better", allLive("a"), append(allLive("a"), restarts("db", "banned")), "db",
			"1 of 2 guests would not move live: type journalctl -u vmferryd"},
		{"nobody can tell", allLive("a"), []hbplugin.Verdict{untold("a", "x")}, "a",
			"1 of 1 guests cannot be predicted: type journalctl -u vmferryd"},
		{"nobody can tell, in other words", []hbplugin.Verdict{untold("a", "x")},
			[]hbplugin.Verdict{untold("a", "y")}, "",
			"1 of 1 guests cannot be predicted: type journalctl -u vmferryd"},
		{"both", nil, []hbplugin.Verdict{restarts("db", "x"), untold("a", "y")}, "a db",
			"1 of 2 guests would not move live, 1 of 2 guests cannot be predicted: type journalctl -u vmferryd"},
		{"in standby", []hbplugin.Verdict{stops}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := latest{}
			o.update(tt.before)
			var names []string
			for _, v := range o.update(tt.now) {
				names = append(names, v.Resource)
			}
			if got := strings.Join(names, " "); got != tt.news || o.line() != tt.line {
				t.Errorf("news of %q, line %q; want %q, %q", got, o.line(), tt.news, tt.line)
			}
		})
	}
}

// foresight is an outlook task in a synctest bubble.
type foresight struct {
	mu    sync.Mutex
	lines []string
	log   strings.Builder
	moves atomic.Bool // a guest leaves
}

func (f *foresight) tell(_ context.Context, line string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line)
	return nil
}

func (f *foresight) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

// take returns what was logged since the last call.
func (f *foresight) take() (log, line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	log = f.log.String()
	f.log.Reset()
	if len(f.lines) > 0 {
		line = f.lines[len(f.lines)-1]
	}
	return log, line
}

func foresee(t *testing.T, o *oracle, every time.Duration, script func(f *foresight)) {
	synctest.Test(t, func(t *testing.T) {
		f := &foresight{}
		log := logrus.New()
		log.SetOutput(f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Watch{Predictor: predictorOf(o), Every: every, Status: f.tell, Busy: f.moves.Load,
				Log: log}.Run(ctx)
		}()
		script(f)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func after(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

func TestWatch(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true},
		said: append(allLive("web"), restarts("db", "it is banned from n2"))}
	foresee(t, o, 5*time.Minute, func(f *foresight) {
		after(10 * time.Second)
		log, line := f.take()
		for _, want := range []string{"level=warning",
			"guest db would not move live at a shutdown of this node: it is restarted elsewhere because it is banned from n2",
			`guest=db`, `remedy="type: mend db"`, `verdict="restarted elsewhere"`, `why="it is banned from n2"`} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no %q:\n%s", want, log)
			}
		}
		if line != "1 of 2 guests would not move live: type journalctl -u vmferryd" ||
			strings.Contains(log, "guest=web") {
			t.Errorf("line %q, log\n%s", line, log)
		}
		after(20 * time.Minute)
		if n := o.count(); n < 4 || n > 5 {
			t.Errorf("asked %d times in 20 minutes", n)
		}
		if log, _ := f.take(); log != "" {
			t.Errorf("said again, and nothing has changed:\n%s", log)
		}
		o.set(func(o *oracle) { o.said = allLive("web", "db") })
		after(10 * time.Minute)
		if log, line := f.take(); !strings.Contains(log, "guest db would move live again") ||
			!strings.Contains(log, "level=info") || line != "" {
			t.Errorf("well again: line %q, log\n%s", line, log)
		}
	})
}

// A manager that does not answer yet is asked again soon, and its silence is said once.
func TestWatchWaitsForTheManager(t *testing.T) {
	o := &oracle{viewErr: errors.New("crm_mon: not connected"), said: []hbplugin.Verdict{restarts("db", "x")}}
	foresee(t, o, time.Hour, func(f *foresight) {
		after(5 * time.Minute)
		if log, line := f.take(); strings.Count(log, "not connected") != 1 || line != "" {
			t.Errorf("line %q, log\n%s", line, log)
		}
		o.set(func(o *oracle) { o.viewErr, o.view.Running = nil, true })
		after(retryAfter)
		if _, line := f.take(); !strings.HasPrefix(line, "1 of 1 guests") {
			t.Errorf("line %q", line)
		}
	})
}

func TestWatchRests(t *testing.T) {
	for _, tt := range []struct {
		every time.Duration
		view  hbplugin.View
	}{{0, hbplugin.View{Running: true}}, {time.Minute, hbplugin.View{Running: true, Standby: true}}} {
		o := &oracle{view: tt.view, said: allLive("a")}
		foresee(t, o, tt.every, func(f *foresight) {
			after(time.Hour)
			if log, _ := f.take(); o.count() != 0 || log != "" {
				t.Errorf("every %v, %+v: asked %d times, log\n%s", tt.every, tt.view, o.count(), log)
			}
		})
	}
}

// While a guest leaves, nobody is asked; but not for ever.
func TestWatchWaitsWhileGuestsLeave(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, said: allLive("db")}
	foresee(t, o, time.Hour, func(f *foresight) {
		f.moves.Store(true)
		after(2 * busyWait)
		if o.count() != 0 {
			t.Errorf("asked %d times while a guest leaves", o.count())
		}
		f.moves.Store(false)
		after(2 * busyWait)
		if o.count() != 1 {
			t.Errorf("asked %d times when it had left", o.count())
		}
	})
	foresee(t, o, time.Hour, func(f *foresight) {
		f.moves.Store(true)
		after(busyTries*busyWait + retryAfter)
		if o.count() != 2 {
			t.Errorf("asked %d times beside moves without an end", o.count()-1)
		}
	})
}

// A question that hangs ends at its bound, and the next one is asked.
func TestWatchIsBounded(t *testing.T) {
	o := &oracle{view: hbplugin.View{Running: true}, hangs: true, said: []hbplugin.Verdict{restarts("db", "x")}}
	foresee(t, o, time.Minute, func(f *foresight) {
		after(roundTime + time.Minute)
		if log, _ := f.take(); !strings.Contains(log, fmt.Sprintf("no answer within %v", roundTime)) {
			t.Errorf("log\n%s", log)
		}
		o.set(func(o *oracle) { o.hangs = false })
		after(roundTime + time.Minute)
		if _, line := f.take(); line == "" {
			t.Error("asked no more after a question that hung")
		}
	})
}

// While the manager moves a guest its forecast is not of what would happen at a shutdown.
func TestWatchWaitsUntilItIsQuiet(t *testing.T) {
	busy := hbplugin.View{Running: true, Guests: []hbplugin.Guest{{Name: "db", Moving: true}}}
	o := &oracle{view: busy, said: []hbplugin.Verdict{restarts("db", "it is in the middle of a move")}}
	foresee(t, o, time.Hour, func(f *foresight) {
		after(2 * busyWait)
		if log, _ := f.take(); o.count() != 0 || log != "" {
			t.Errorf("asked %d times, log\n%s", o.count(), log)
		}
		o.set(func(o *oracle) { o.view.Guests[0].Moving, o.said = false, allLive("db") })
		after(2 * busyWait)
		if log, _ := f.take(); o.count() != 1 || log != "" {
			t.Errorf("asked %d times, log\n%s", o.count(), log)
		}
	})
	o.set(func(o *oracle) { o.view.Guests[0].Moving = true })
	foresee(t, o, time.Hour, func(f *foresight) {
		after(busyTries*busyWait + retryAfter)
		if o.count() != 2 {
			t.Errorf("a manager that is always at work was asked %d times", o.count()-1)
		}
	})
}
