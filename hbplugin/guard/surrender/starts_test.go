package surrender

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// daemons is a libvirt whose daemons fork. Its clock moves only when a test moves it.
type daemons struct {
	running  []hostproc.Process
	looks    int
	now      time.Duration
	killed   []int
	onKill   func(pid int)
	lists    func(look int) error
	unkilled error
}

func (d *daemons) list(context.Context) ([]hostproc.Process, error) {
	d.looks++
	if d.lists != nil {
		return slices.Clone(d.running), d.lists(d.looks)
	}
	return slices.Clone(d.running), nil
}

func (d *daemons) kill(_ context.Context, p hostproc.Process) error {
	if d.unkilled != nil {
		return d.unkilled
	}
	d.killed = append(d.killed, p.PID)
	d.running = slices.DeleteFunc(d.running, func(q hostproc.Process) bool { return q.PID == p.PID })
	if d.onKill != nil {
		d.onKill(p.PID)
	}
	return nil
}

// began is a process that began so long after the boot.
func began(pid int, at time.Duration) hostproc.Process {
	return hostproc.Process{PID: pid, StartTime: uint64(at / (10 * time.Millisecond))}
}

func TestEndStarts(t *testing.T) {
	for name, test := range map[string]struct {
		onKill func(d *daemons, pid int)
		killed []int
		left   []int
	}{
		"no more than the daemon": {func(*daemons, int) {}, []int{10}, nil},
		"a child that executes no QEMU yet": {func(d *daemons, pid int) {
			if pid == 10 {
				d.running = append(d.running, began(11, 99*time.Second))
			}
		}, []int{10, 11}, nil},
		"the next daemon": {func(d *daemons, pid int) {
			if pid == 10 {
				d.running = append(d.running, began(12, 101*time.Second))
			}
		}, []int{10}, []int{12}},
	} {
		d := &daemons{running: []hostproc.Process{began(10, time.Second)}, now: 100 * time.Second}
		d.onKill = func(pid int) { test.onKill(d, pid) }
		k := &Killer{Daemons: d.list, Kill: d.kill, Now: func() time.Duration { return d.now }}
		if err := k.EndStarts(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var left []int
		for _, p := range d.running {
			left = append(left, p.PID)
		}
		if !slices.Equal(d.killed, test.killed) || !slices.Equal(left, test.left) {
			t.Errorf("%s: killed %v, left %v", name, d.killed, left)
		}
	}
}

// A daemon that does not end, and a look that may not be whole, are no proof.
func TestNoProofOfEndedStarts(t *testing.T) {
	d := &daemons{running: []hostproc.Process{began(10, time.Second)}, unkilled: errors.New("it waits for a disk")}
	k := &Killer{Daemons: d.list, Kill: d.kill, Now: func() time.Duration { return 0 }}
	if err := k.EndStarts(t.Context()); err == nil || !strings.Contains(err.Error(), "it waits for a disk") {
		t.Errorf("a daemon that does not end: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	d = &daemons{lists: func(look int) error {
		if look == 1 {
			return nil
		}
		return hostproc.ErrIncomplete
	}}
	k.Daemons, k.Kill = d.list, d.kill
	if err := k.EndStarts(ctx); !errors.Is(err, hostproc.ErrIncomplete) {
		t.Errorf("a look that is not whole: %v", err)
	}
}

// What a start has brought while its daemon was ended is killed too.
func TestSurrender(t *testing.T) {
	p, d := new(programs), &daemons{running: []hostproc.Process{began(10, time.Second)}}
	k := &Killer{List: p.list, Daemons: d.list, Now: func() time.Duration { return time.Minute },
		Kill: func(ctx context.Context, each hostproc.Process) error {
			return errors.Join(p.kill(ctx, each), d.kill(ctx, each))
		}}
	d.onKill = func(pid int) {
		if pid == 10 {
			p.start(t)
		}
	}
	if err := k.Surrender(t.Context()); err != nil || len(p.running) != 0 || !slices.Contains(d.killed, 10) {
		t.Errorf("%v, %d guests are left, killed %v", err, len(p.running), d.killed)
	}
}
