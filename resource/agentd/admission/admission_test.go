package admission

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

const (
	gb  = 1e9
	sec = time.Second
)

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// office is a desk in a bubble of fake time, and what happened there, by the second.
type office struct {
	*testing.T
	desk  *Server
	begin time.Time
	wait  sync.WaitGroup

	mu  sync.Mutex
	log []string
}

// inOffice runs f with a desk; when f and all that it began are done, nobody may be left inside.
func inOffice(t *testing.T, gather time.Duration, f func(o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &office{T: t, begin: time.Now(), desk: &Server{Log: quiet(), Gather: func() time.Duration { return gather }}}
		f(o)
		o.wait.Wait()
		synctest.Wait()
		o.desk.mu.Lock()
		defer o.desk.mu.Unlock()
		if o.desk.inside != 0 || o.desk.queue != nil {
			t.Errorf("%d are left inside", o.desk.inside)
		}
	})
}

func (o *office) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, fmt.Sprintf("%g ", time.Since(o.begin).Seconds())+fmt.Sprintf(format, args...))
}

func (o *office) check(want ...string) {
	o.Helper()
	o.wait.Wait()
	slices.SortStableFunc(o.log, func(x, y string) int { // what happens at the same time, by name
		ax, ay := strings.Fields(x), strings.Fields(y)
		if ax[0] != ay[0] {
			return 0
		}
		return strings.Compare(ax[1], ay[1])
	})
	if !slices.Equal(o.log, want) {
		o.Errorf("\n got %s\nwant %s", strings.Join(o.log, "\n     "), strings.Join(want, "\n     "))
	}
}

// connect is the agent's end of a connection to the desk, which ctx's end closes as the daemon's would.
func (o *office) connect(ctx context.Context) net.Conn {
	agent, daemon := net.Pipe()
	o.wait.Go(func() {
		defer func() { _ = daemon.Close() }()
		in := bufio.NewReader(daemon)
		first, err := in.ReadBytes('\n')
		if err == nil {
			o.desk.Serve(ctx, daemon, in, first)
		}
	})
	return agent
}

// idle is a guest that needs so many seconds of a link of a gigabyte a second, and 0.5 s of set-up.
func idle(name string, seconds int, priority int) Request {
	return Request{Guest: name, Priority: priority, Rate: gb, SetUp: sec / 2, Load: Load{Memory: uint64(seconds) * gb}}
}

// move is an agent: it waits for its turn, copies for so long after the set-up, verifies for a second.
func (o *office) move(ctx context.Context, r Request, took time.Duration) {
	o.wait.Go(func() {
		conn := o.connect(o.Context())
		turn, err := enter(ctx, conn, r, func() { o.note("%s waits", r.Guest) }, nil)
		if err != nil {
			_ = conn.Close() // as Enter does
			o.note("%s: %v", r.Guest, err)
			return
		}
		defer turn.Release()
		o.note("%s has its turn", r.Guest)
		select {
		case <-time.After(r.SetUp + took):
			turn.Copied(time.Millisecond)
			o.note("%s left", r.Guest)
			time.Sleep(sec)
		case <-turn.GiveUp():
			o.note("%s gives up", r.Guest)
		case <-ctx.Done():
			o.note("%s died", r.Guest)
		}
	})
	synctest.Wait()
}

// pass lets time pass.
func (o *office) pass(d time.Duration) { time.Sleep(d) }

func TestTurnsByPriority(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		o.move(o.Context(), idle("small", 1, 0), 1*sec)
		o.move(o.Context(), idle("big", 4, 0), 4*sec)
		o.move(o.Context(), idle("dear", 2, 9), 2*sec)
		o.check("0 big waits", "0 dear waits", "0 small waits",
			"1 dear has its turn", // the first after the gathering
			"3 big has its turn",  // set up while dear still copies
			"3.5 dear left",
			"3.5 small has its turn", // to see whether two get more out of the link
			"5 small left",
			"7.5 big left",
		)
	})
}

// A manager that calls for one guest after the other has each wait for others once, not each time.
func TestTurnsOneByOne(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		for _, name := range []string{"a", "b", "c"} {
			o.move(o.Context(), idle(name, 1, 0), sec)
			o.wait.Wait()
			o.pass(2 * sec)
			if name == "b" {
				o.pass(lull)
			}
		}
		o.check("0 a waits", "1 a has its turn", "2.5 a left", "5.5 b has its turn", "7 b left", "25 c waits",
			"26 c has its turn", "27.5 c left")
	})
}

// What is measured while guests wait decides as well: one that turns out to be busy bears less company.
func TestTurnsByWhatIsMeasured(t *testing.T) {
	inOffice(t, 2*sec, func(o *office) {
		r := idle("busy", 2, 1)
		r.Budget = 300 * time.Millisecond
		measured := func(ctx context.Context) (predict.Load, bool) {
			o.pass(sec)
			load := predict.Load(r.Load)
			load.DirtyRate = gb / 5
			return load, true
		}
		var atOnce []int
		for _, m := range []Measured{nil, measured} {
			turn, err := enter(o.Context(), o.connect(o.Context()), r, nil, m)
			if err != nil {
				t.Fatal(err)
			}
			atOnce = append(atOnce, turn.AtOnce())
			turn.Release()
			o.wait.Wait()
			o.pass(lull)
		}
		if atOnce[0] != 16 || atOnce[1] >= atOnce[0] {
			t.Errorf("%d at once without and with what was measured", atOnce)
		}
	})
}

// Over a link of which nothing is known nobody begins before the first one has left, late as that may be.
func TestTurnsOnAnUnknownLink(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		for i, name := range []string{"a", "b", "c"} {
			r := idle(name, 1, -i)
			r.Rate = 0
			o.move(o.Context(), r, time.Duration(20-9*i)*sec)
		}
		o.check("0 a waits", "0 b waits", "0 c waits", "1 a has its turn", "21.5 a left", "21.5 b has its turn",
			"21.5 c has its turn",
			"24 c left", "33 b left")
	})
}

// What one move may take of the link says nothing of what another gets: the deadline leaves time for b.
func TestTurnsOfTheBounded(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		o.desk.SetDeadline(o.begin.Add(100 * sec))
		slow := idle("slow", 1, 9)
		slow.Most, slow.Shutdown = gb/1000, 20*sec
		o.move(o.Context(), slow, time.Hour)
		o.move(o.Context(), idle("b", 10, 0), 10*sec)
		o.check("0 b waits", "0 slow waits", "1 b has its turn", "11.5 b left", "11.5 slow has its turn", "80 slow gives up")
		o.desk.SetDeadline(time.Time{})
	})
}

// Those who die, before their turn or in it, hold up nobody.
func TestTurnsOfTheDead(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		mover, kill := context.WithTimeout(o.Context(), 3*sec)
		defer kill()
		waiter, killWaiter := context.WithTimeout(o.Context(), 2*sec)
		defer killWaiter()
		o.move(mover, idle("a", 60, 2), 60*sec)
		o.move(waiter, idle("b", 60, 1), 60*sec)
		o.move(o.Context(), idle("c", 1, 0), sec)
		o.check("0 a waits", "0 b waits", "0 c waits",
			"1 a has its turn", "2 b: context deadline exceeded", "3 a died", "3 c has its turn", "4.5 c left")
	})
}

func TestTurnsUntilADeadline(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		o.move(o.Context(), idle("a", 60, 2), 60*sec)
		o.move(o.Context(), idle("b", 50, 0), 50*sec)
		o.wait.Go(func() {
			o.pass(5 * sec)
			o.desk.SetDeadline(o.begin.Add(100 * sec))
			o.desk.SetDeadline(o.begin.Add(100 * sec))
		})
		o.move(o.Context(), idle("stuck", 3, 9), time.Hour)
		o.wait.Wait()
		o.desk.SetDeadline(time.Time{})
		o.check("0 a waits", "0 b waits", "0 stuck waits", "1 stuck has its turn",
			"4 a has its turn", // set up while stuck should still be copying
			// What else can be done takes a minute.
			`40 b: guest "b" cannot be migrated in the 1m0s that remain: it needs 50s on a link, and every link is busy until too late; use "shutdown" instead`,
			"40 stuck gives up", "64.5 a left")
	})
}

// One whose caller's time is short goes before one that could wait, and is refused when that time is over.
func TestTurnsMindTheCallersTime(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		short, late := idle("short", 10, 0), idle("late", 30, 0)
		short.Deadline, late.Deadline = o.begin.Add(20*sec), o.begin.Add(40*sec)
		o.move(o.Context(), idle("long", 60, 0), 60*sec)
		o.move(o.Context(), late, 30*sec)
		o.move(o.Context(), short, 40*sec) // much longer than predicted
		o.check("0 late waits", "0 long waits", "0 short waits", "1 short has its turn",
			"11 long has its turn", // late would not be done in time
			`40 late: guest "late" cannot be migrated in the 0s that remain: it needs 30s on a link, and every link is busy until too late; use "shutdown" instead`,
			"41.5 short left", "71.5 long left")
	})
}

// A daemon that ends, or hangs, is no reason for those who wait to fail, nor to wait for ever.
func TestTurnsWhenTheDaemonGoes(t *testing.T) {
	inOffice(t, 0, func(o *office) {
		daemon, stop := context.WithCancel(o.Context())
		first, err := enter(o.Context(), o.connect(daemon), idle("a", 9, 0), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*sec, stop)
		if _, err := enter(o.Context(), o.connect(daemon), idle("b", 9, 0), nil, nil); err == nil ||
			time.Since(o.begin) != 3*sec {
			t.Errorf("the daemon ended, and the answer was %v", err)
		}
		select {
		case <-first.GiveUp():
			t.Error("the end of the daemon ended a move")
		case <-time.After(sec):
		}
		first.Copied(time.Millisecond)
		first.Release()
		first.Release()

		mute, other := net.Pipe()
		o.wait.Go(func() { _, _ = io.Copy(io.Discard, other) })
		begin := time.Now()
		if _, err := enter(o.Context(), mute, idle("c", 9, 0), nil, nil); err == nil || time.Since(begin) != silence {
			t.Errorf("a mute daemon: %v after %v", err, time.Since(begin))
		}
		_ = mute.Close()
	})
}

func TestTurnsDeclined(t *testing.T) {
	inOffice(t, 0, func(o *office) {
		turn, err := enter(o.Context(), o.connect(o.Context()), idle("a", 9, 0), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		bad := idle("b", 1, 0)
		bad.Ladder = []ladder.Rung{"walk"}
		for name, r := range map[string]Request{
			"a turn already": idle("a", 9, 0), "no means": bad, "no guest": {}, "negative": {Guest: "c", SetUp: -1},
			"too long": {Guest: strings.Repeat("x", wire.MaxSize)},
		} {
			conn := o.connect(o.Context())
			if _, err := enter(o.Context(), conn, r, nil, nil); err == nil {
				t.Errorf("%s: was let in", name)
			}
			_ = conn.Close()
		}
		turn.Release()
		conn := o.connect(o.Context())
		if _, err := enter(o.Context(), conn, bad, nil, nil); err == nil || !strings.Contains(err.Error(), "walk") {
			t.Errorf("the first: %v", err)
		}
		_ = conn.Close()
	})
}

// An agent that hangs beyond its own deadline loses its turn, and one that says what it should not as well.
func TestTurnsAreNotKeptForEver(t *testing.T) {
	inOffice(t, 0, func(o *office) {
		r := idle("a", 9, 0)
		r.Deadline = o.begin.Add(20 * sec)
		if _, err := enter(o.Context(), o.connect(o.Context()), r, nil, nil); err != nil {
			t.Fatal(err)
		}
		o.wait.Wait()
		if took := time.Since(o.begin); took != 20*sec+silence {
			t.Errorf("it was kept for %v", took)
		}
		babbler, err := enter(o.Context(), o.connect(o.Context()), idle("b", 9, 0), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(babbler.stream, "thanks\n")
		o.wait.Wait()
	})
}

// TestTurnsUnderFire has many agents come, move, die and come back at any time, while the deadline moves.
func TestTurnsUnderFire(t *testing.T) {
	inOffice(t, sec, func(o *office) {
		for i := range 60 {
			o.wait.Go(func() {
				for round := range 3 {
					o.pass(time.Duration((i*7919+round*104729)%50000) * time.Millisecond)
					ctx, cancel := context.WithTimeout(o.Context(), time.Duration((i*31+round*17)%120)*sec)
					turn, err := enter(ctx, o.connect(ctx), idle(fmt.Sprint("g", i), 1+i%5, i%3), nil, nil)
					if err == nil {
						o.pass(time.Duration(i%7) * sec)
						if i%4 > 0 {
							turn.Copied(time.Millisecond)
							o.note("%d", i)
						}
						turn.Release()
					}
					cancel()
				}
			})
		}
		for i := range 5 {
			o.pass(30 * sec)
			o.desk.SetDeadline(time.Now().Add(time.Duration(i*40) * sec))
		}
		o.desk.SetDeadline(time.Time{})
		o.wait.Wait()
		if len(o.log) < 10 {
			t.Errorf("only %d left", len(o.log))
		}
	})
}

func TestEnterWithoutADaemon(t *testing.T) {
	var late *drain.TooLate
	if _, err := Enter(t.Context(), filepath.Join(t.TempDir(), "none"), idle("a", 1, 0), nil, nil); err == nil ||
		errors.As(err, &late) {
		t.Errorf("no daemon: %v", err)
	}
}

// TestQueue has the engine's wish go over a real socket, and the daemon's plan come back: a second guest waits until
// the first has left, or until the daemon is told that the first bears company after all.
func TestQueue(t *testing.T) {
	socket := listen(t, &Server{Log: quiet()})
	queue := Queue(socket, Request{Resource: "r", Priority: 3, Ladder: []ladder.Rung{ladder.Shutdown}})
	w := migrate.AdmissionRequest{Guest: "a", Rate: gb, SetUp: time.Hour, Rungs: []ladder.Rung{ladder.Live}}
	w.Load = predict.Load{Memory: gb, DirtyRate: 2 * gb, Budget: time.Millisecond} // hopeless, and so alone
	first, err := queue(t.Context(), w, nil)
	if err != nil || first.AtOnce() != 1 || !first.Deadline().IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	w.Guest, w.Load = "b", predict.Load{Memory: gb}
	waits, cancel := context.WithCancel(t.Context())
	if _, err := queue(waits, w, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("beside one that is alone: %v", err)
	}
	first.Update(w.Load)
	w.Guest = "c" // the daemon may not know yet that b has gone
	second, err := queue(t.Context(), w, nil)
	if err != nil || second.AtOnce() != 16 {
		t.Fatalf("%+v, %v", second, err)
	}
	second.Release()
	first.Copied(time.Millisecond)
	first.Release()
	if got := (Request{Ladder: []ladder.Rung{ladder.Shutdown}}).with(w); !slices.Equal(got.Ladder,
		[]ladder.Rung{ladder.Live, ladder.Shutdown}) {
		t.Errorf("the ladder is %v", got.Ladder)
	}
}

// listen serves a desk on a real socket until the test ends.
func listen(t *testing.T, d *Server) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				if first, err := in.ReadBytes('\n'); err == nil {
					d.Serve(context.Background(), conn, in, first)
				}
			}()
		}
	}()
	return socket
}
