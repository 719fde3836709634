package migrate

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// The faults matrix: each phase of a move, and what breaks in it.
//
//	M  moved: it runs at the target alone
//	S  stayed: its migration was begun and taken back, and it runs at the source alone
//	R  refused: nothing was begun, and it runs at the source alone
//	L  lost: the fault killed the QEMU that it ran in, nothing of it runs, and the record does not say moved
//	U  it runs once, and an end that stays silent keeps the record from telling where
//	T  torn: post-copy broke permanently, and the record says what to do with the halves
//
// The faults of shared storage are in package resource, which saves and restores.
const matrix = `
            source-QEMU target-QEMU source-libvirtd target-libvirtd source-hangs target-hangs link-cut link-slow target-memory agent-killed window
slot        L           M           R               R               R            R            S        S         R             M            S
pre-flight  L           M           R               R               R            R            S        S         R             M            S
predict     L           M           S               S               U            S            S        S         S             M            S
begin       L           M           S               S               M            S            S        S         S             M            S
copying     L           S           S               S               M            U            S        S         S             M            S
switching   L           S           S               S               M            U            S        M         S             M            M
post-copy   T           T           M               M               M            U            T        M         T             M            M
verifying   M           L           M               M               M            U            M        M         L             M            M
`

// faults break something permanently, but for a libvirtd that dies, which systemd starts again, and an agent
// that is killed, which the cluster manager calls again.
var faults = map[string]func(*stage){
	"source-QEMU":     func(s *stage) { s.killQEMU(s.Source) },
	"target-QEMU":     func(s *stage) { s.killQEMU(s.Target) },
	"source-libvirtd": func(s *stage) { s.daemons[s.Source].die() },
	"target-libvirtd": func(s *stage) { s.daemons[s.Target].die() },
	"source-hangs":    func(s *stage) { s.daemons[s.Source].hang() },
	"target-hangs":    func(s *stage) { s.daemons[s.Target].hang() },
	"link-cut":        func(s *stage) { s.set(func() { s.link = cut }) },
	"link-slow":       func(s *stage) { s.set(func() { s.link = slow }) },
	"target-memory":   func(s *stage) { s.set(func() { s.full = true }); takeMemory(s.Target); s.killQEMU(s.Target) },
	"agent-killed":    func(s *stage) { s.set(func() { s.killed = true }) },
	"window":          func(s *stage) { s.shorten <- time.Now().Add(3 * time.Second) },
}

// matrixPhases are in the order in which a move comes to them.
var matrixPhases = []string{"slot", "pre-flight", "predict", "begin", "copying", "switching", "post-copy", "verifying"}

func TestFaultsMatrix(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(matrix), "\n")
	columns := strings.Fields(rows[0])
	if len(columns) != len(faults) || slices.ContainsFunc(columns, func(c string) bool { return faults[c] == nil }) {
		t.Fatalf("the matrix has the faults %v, and there are %d", columns, len(faults))
	}
	var walked []string
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		if len(cells) != 1+len(columns) {
			t.Fatalf("%q has %d cells, want one for each of %v", row, len(cells)-1, columns)
		}
		walked = append(walked, cells[0])
		for i, fault := range columns {
			t.Run(cells[0]+"/"+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { runCell(t, cells[0], fault, cells[1+i]) })
			})
		}
	}
	if !slices.Equal(walked, matrixPhases) {
		t.Errorf("the matrix has the phases %v, want %v", walked, matrixPhases)
	}
}

// runCell moves a guest with a fault in one phase, and again where the agent was killed.
func runCell(t *testing.T, phase, fault, want string) {
	s := newStage(t, phase, fault)
	stop := s.watchCopies()
	rec, err := s.move(time.Minute)
	if fault == "agent-killed" {
		s.set(func() { s.killed = false })
		s.req.Adopt, s.deps.Slots.Dir = true, t.TempDir()
		rec, err = s.move(time.Minute)
	}
	stop()
	if !s.struck {
		t.Fatalf("the move never came to %s", phase)
	}
	if got := s.judge(rec, err); got != want {
		t.Errorf("%s, want %s: outcome %q, runs at the source %v, at the target %v, %v, notes %q",
			got, want, rec.Outcome, executes(s.Source), executes(s.Target), err, rec.Notes)
	}
	if want != "M" && rec.Error == "" {
		t.Error("the record does not say what happened")
	}
	next := want == "R" && strings.HasPrefix(fault, "target") || want == "S" && !errors.Is(err, ErrOutOfTime)
	if MayTryNext(err) != next {
		t.Errorf("another target may help: %v, want %v: %v", !next, next, err)
	}
	if rec.DurationMS > float64(time.Minute.Milliseconds())+2000 { // what aborting and verifying get at least
		t.Errorf("took %v ms of a minute: %+v, %v", rec.DurationMS, rec.Steps, rec.Error)
	}
}

// judge is the letter of how a move ended, "?" for what must not be.
func (s *stage) judge(rec record.Record, err error) string {
	var refusal *preflight.Refusal
	here, there := executes(s.Source), executes(s.Target)
	switch {
	case (err == nil) != (rec.Outcome == record.Moved), here && there:
	case rec.Outcome == record.Moved && there:
		return "M"
	case rec.Outcome == record.Stayed && here && !errors.As(err, &refusal):
		return "S"
	case rec.Outcome != record.Moved && here && errors.As(err, &refusal):
		return "R"
	case rec.Outcome == record.Unknown && (here || there):
		return "U"
	case rec.Outcome == record.Unknown && !here && !there && strings.Contains(strings.Join(rec.Notes, ""), "post-copy"):
		return "T"
	case rec.Outcome != record.Moved && !here && !there && s.died:
		return "L"
	}
	return "?"
}

// The states of the link that the guest's memory takes.
const (
	whole = iota
	slow  // 1 MiB/s
	cut
)

// stage is a pair with libvirtds between us and its QEMUs, and what can break of all that.
type stage struct {
	*pair
	t       *testing.T
	daemons map[*fake]*daemon

	mu     sync.Mutex
	at     string // the phase in which the fault strikes
	strike func(*stage)
	struck bool
	link   int
	full   bool // the target has no memory
	killed bool // the agent
	died   bool // a QEMU in which the guest ran
	dead   map[*fake]bool

	switched chan struct{} // closed when post-copy was requested
}

func newStage(t *testing.T, phase, fault string) *stage {
	s := &stage{pair: newPair(t), t: t, at: phase, strike: faults[fault], dead: map[*fake]bool{}, switched: make(chan struct{})}
	s.daemons = map[*fake]*daemon{s.Source: newDaemon(), s.Target: newDaemon()}
	s.pair.shorten = make(chan time.Time, 1)
	s.req.Shorten = s.pair.shorten
	s.req.PostCopy, s.req.NoConverge = phase == "post-copy", phase == "post-copy"
	s.req.Memory = preflight.MemoryRefuse
	s.deps.Open = s.open
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetLevel(logrus.DebugLevel)
	log.AddHook(s)
	s.deps.Log = log
	return s
}

// Levels implements logrus.Hook.
func (*stage) Levels() []logrus.Level { return []logrus.Level{logrus.DebugLevel} }

// Fire implements logrus.Hook: the engine says when it begins a step.
func (s *stage) Fire(e *logrus.Entry) error {
	if e.Message == "begin" {
		phase, _ := e.Data["phase"].(string)
		s.reach(map[string]string{"slot": "slot", "pre-flight": "pre-flight", "predict": "predict", "verify": "verifying"}[phase])
	}
	s.dieHere()
	return nil
}

// reach strikes in the phase that is meant, once.
func (s *stage) reach(phase string) {
	s.mu.Lock()
	now := phase == s.at && !s.struck
	s.struck = s.struck || now
	s.mu.Unlock()
	if now {
		s.strike(s)
	}
}

func (s *stage) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *stage) is(f func() bool) bool { s.mu.Lock(); defer s.mu.Unlock(); return f() }

// dieHere ends the goroutine where the agent was killed.
func (s *stage) dieHere() {
	if s.is(func() bool { return s.killed }) {
		runtime.Goexit()
	}
}

// move makes one move, of which nothing is left where the agent is killed.
func (s *stage) move(limit time.Duration) (rec record.Record, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(s.t.Context(), limit)
		defer cancel()
		rec, err = Move(ctx, s.req, s.deps)
	}()
	<-done
	return rec, err
}

// watchCopies fails the test as soon as the guest executes twice.
func (s *stage) watchCopies() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-quit:
				tick.Stop()
				return
			case <-tick.C:
				if executes(s.Source) && executes(s.Target) {
					s.t.Error("the guest executes twice")
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

func takeMemory(f *fake) { f.Mu.Lock(); defer f.Mu.Unlock(); f.Free = 0 }

// executes reports whether the guest's processors run at this end.
func executes(f *fake) bool {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return f.Fails == nil && f.At.State == libvirt.Running && f.At.Reason != "postcopy-failed"
}

// killQEMU ends the guest's process at one end, if there is one.
func (s *stage) killQEMU(f *fake) {
	f.Mu.Lock()
	there := f.Fails == nil
	f.Mu.Unlock()
	if !there {
		return
	}
	hasGuest := f == s.Source || executes(f) // and not only its incoming copy
	f.Answer(libvirt.ErrNoDomain)
	s.set(func() { s.dead[f] = true; s.died = s.died || hasGuest })
}
