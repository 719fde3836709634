package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// calm is the least time between two outages. The time up to the next one is
// longer by a random part of two intervals, so that outages begin anywhere
// between two probes.
const calm = 200 * time.Millisecond

// breaker makes outages of one kind.
type breaker struct {
	kind string
	set  func(broken bool) error
}

func accuracyUDP(ctx context.Context, o Options) (Result, error) {
	return o.reflected(ctx, func(r *Result, t Trial) { r.Ours = append(r.Ours, t.Ratio()) }, "of the allowed error", true)
}

func accuracyDirection(ctx context.Context, o Options) (Result, error) {
	return o.reflected(ctx, func(r *Result, t Trial) {
		if t.Kind == Stop {
			return
		}
		wrong := 0.0
		if t.Wrong() {
			wrong = 1
		}
		r.Ours = append(r.Ours, wrong)
	}, "wrong calls", false)
}

func accuracyTCP(ctx context.Context, o Options) (Result, error) {
	r := Result{Unit: "of the allowed error"}
	w, err := newWorld()
	if err != nil {
		return r, err
	}
	defer w.close()
	if r.Trials, err = o.stopped(ctx, w, "tcp"); err != nil {
		return r, err
	}
	for _, t := range r.Trials {
		r.Ours = append(r.Ours, t.Ratio())
	}
	r.Notes = append(r.Notes, off(r.Trials, o.Interval))
	return r, nil
}

// reflected makes outages before a reflector of this process, and over UDP
// stopped ones where wanted.
func (o Options) reflected(ctx context.Context, take func(*Result, Trial), unit string, stop bool) (Result, error) {
	r := Result{Unit: unit}
	w, err := newWorld()
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := o.inProcess(ctx, w, &r, stop); err != nil {
		return r, err
	}
	if stop {
		trials, err := o.stopped(ctx, w, "udp")
		if err != nil {
			return r, err
		}
		r.Trials = append(r.Trials, trials...)
	}
	for _, t := range r.Trials {
		take(&r, t)
	}
	r.Notes = append(r.Notes, off(r.Trials, o.Interval))
	return r, nil
}

// inProcess makes outages out and back before a reflector of this process.
func (o Options) inProcess(ctx context.Context, w *world, r *Result, peers bool) error {
	var udp *net.UDPConn
	var err error
	w.server.do(func() { udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 7007}) })
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	raw, err := udp.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach the socket: %w", err)
	}
	served := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not like others
		_ = hurry()
		served <- blackout.NewReflector(o.Log).ServeUDP(ctx, udp)
	}()
	defer func() { cancel(); <-served }()
	for _, b := range []breaker{{Out, func(broken bool) error { return filter(raw, broken) }}, {Back, w.refuse}} {
		var beside []*peerRun
		if b.kind == Back && peers { // which hits all of them alike
			beside = o.startPeers(ctx, w, r)
		}
		outages, target, err := o.series(ctx, w, "udp://"+net.JoinHostPort(serverAddr, serverPort), b)
		for _, p := range beside {
			p.judge(outages, r)
		}
		if err != nil {
			return err
		}
		r.Trials = append(r.Trials, o.judge(outages, target)...)
	}
	return nil
}

// filter makes a socket drop everything that it receives, or ends that.
func filter(raw syscall.RawConn, on bool) error {
	var err error
	control := func(fd uintptr) {
		if !on {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return
		}
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // keep no byte
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	}
	return errors.Join(raw.Control(control), err)
}

// stopped makes outages by stopping a reflector that is a process.
func (o Options) stopped(ctx context.Context, w *world, scheme string) ([]Trial, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, stop, err := w.server.start(ctx, nil, o.Program, "serve", "--listen", net.JoinHostPort(serverAddr, serverPort), "--user", "0")
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := w.await(ctx, serverPort); err != nil {
		return nil, err
	}
	outages, target, err := o.series(ctx, w, scheme+"://"+net.JoinHostPort(serverAddr, serverPort),
		breaker{Stop, func(broken bool) error { return halt(cmd, broken) }})
	if err != nil {
		return nil, err
	}
	return o.judge(outages, target), nil
}

// halt stops a process, and returns when it stands, or lets it go on.
func halt(cmd *exec.Cmd, on bool) error {
	if !on {
		return cmd.Process.Signal(unix.SIGCONT)
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < time.Second; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(state, "T") {
			return nil
		}
	}
	return errors.New("the server does not stop")
}

// series runs the probe on a target while a breaker makes all outages, in a
// random order.
func (o Options) series(ctx context.Context, w *world, target string, b breaker) ([]made, *blackout.Target, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan struct{})
	var once bool
	cfg := blackout.Config{
		Targets: []string{target}, Interval: o.Interval, Threshold: o.Interval, ReconnectAfter: time.Hour, Log: o.Log,
		ProgressEvery: calm / 4,
		Progress: func(p []blackout.Progress) {
			if p[0].Answered > 0 && !once {
				once = true
				close(answered)
			}
		},
	}
	var report *blackout.Report
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.client.do(func() { report, failed = blackout.Watch(ctx, cfg) })
	}()
	var outages []made
	var err error
	select {
	case <-answered:
		outages, err = o.outages(ctx, b)
	case <-done:
	case <-ctx.Done():
	}
	cancel()
	<-done
	if err := errors.Join(err, failed); err != nil {
		return nil, nil, err
	}
	return outages, &report.Targets[0], nil
}

// outages makes all outages of a breaker, and tells how late the machine was.
func (o Options) outages(ctx context.Context, b breaker) ([]made, error) {
	ctx, cancel := context.WithCancel(ctx)
	birds := newCanaries(ctx)
	all, err := o.breakAll(ctx, b)
	cancel()
	birds.wait.Wait()
	for i := range all {
		all[i].late = birds.around(all[i].begin[0]) + birds.after(all[i].end[0])
	}
	return all, err
}

// breakAll makes them, in a random order.
func (o Options) breakAll(ctx context.Context, b breaker) ([]made, error) {
	var lengths []time.Duration
	for range o.Repeat {
		lengths = append(lengths, o.Lengths...)
	}
	rand.Shuffle(len(lengths), func(i, j int) { lengths[i], lengths[j] = lengths[j], lengths[i] })
	var all []made
	for i, length := range lengths {
		wait(ctx, calm+rand.N(2*o.Interval))
		m := made{kind: b.kind}
		var err error
		if m.begin, err = timed(b.set, true); err != nil {
			return nil, fmt.Errorf("begin an outage %s: %w", b.kind, err)
		}
		wait(ctx, length)
		if m.end, err = timed(b.set, false); err != nil {
			return nil, fmt.Errorf("end an outage %s: %w", b.kind, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		all = append(all, m)
		o.Log.Debugf("outage %s of %s, %d of %d", b.kind, length, i+1, len(lengths))
	}
	wait(ctx, calm)
	return all, ctx.Err()
}

// timed calls set and returns the instants before and after.
func timed(set func(bool) error, broken bool) ([2]time.Time, error) {
	before := time.Now()
	err := set(broken)
	return [2]time.Time{before, time.Now()}, err
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (o Options) judge(outages []made, target *blackout.Target) []Trial {
	var all []Trial
	for _, m := range outages {
		all = append(all, m.judge(target, o.Interval, o.Interval))
	}
	return all
}
