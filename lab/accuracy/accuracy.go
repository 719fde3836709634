package accuracy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/wait"
)

// accuracy makes all outages, and gives the three results that they show.
func accuracy(ctx context.Context, o Options) ([]Result, error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	defer w.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timelines, err := o.timelines(w)
	if err != nil {
		return nil, err
	}
	stop, err := o.serve(ctx, w, timelines)
	defer stop()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "blackout-accuracy-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	watches, err := o.watchAll(ctx, w, dir, timelines)
	defer func() {
		for _, one := range watches {
			one.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	beside, notes := o.startPeers(ctx, w, timelines)
	defer func() {
		for _, p := range beside {
			p.end()
		}
	}()
	if err := breakAll(ctx, timelines); err != nil {
		return nil, err
	}
	reports, err := endAll(watches)
	if err != nil {
		return nil, err
	}
	return o.conclude(timelines, reports, beside, notes), nil
}

// serve starts a reflector on each lane, as a process: a server that is stopped, or
// that ends, is no business of the others.
func (o Options) serve(ctx context.Context, w *world, timelines []*timeline) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, c := range timelines {
		cmd, end, err := w.server.start(ctx, nil, nil, o.Program, "serve", "--listen", c.at(port), "--user", "0")
		if err != nil {
			return stop, err
		}
		stops, c.servers = append(stops, end), append(c.servers, cmd)
	}
	for _, c := range timelines {
		if err := w.await(ctx, c.at(port)); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// watch is a run of the probe, which is a process as its users have it, on all lanes
// with one interval.
type watch struct {
	file string
	cmd  *exec.Cmd
	stop func()
}

// watchAll starts the probe, and returns when all that is probed has answered.
func (o Options) watchAll(ctx context.Context, w *world, dir string, timelines []*timeline) (all []watch, err error) {
	targets := make(map[time.Duration][]string)
	for _, c := range timelines {
		targets[c.interval] = append(targets[c.interval], "udp://"+c.at(port))
		if c.kind == Stop {
			targets[c.interval] = append(targets[c.interval], "tcp://"+c.at(port))
		}
	}
	for interval, some := range targets {
		one := watch{file: filepath.Join(dir, interval.String()+".json")}
		args := []string{"watch", "--quiet", "--interval", interval.String(), "--threshold", interval.String(),
			"--reconnect-after", "1h", "--max-error", "1h", "--json", one.file}
		if one.cmd, one.stop, err = w.client.start(ctx, nil, nil, o.Program, append(args, some...)...); err != nil {
			return all, err
		}
		all = append(all, one)
	}
	for _, one := range all {
		if err := one.answered(ctx); err != nil {
			return all, err
		}
	}
	return all, nil
}

// answered waits until everything that is probed has answered.
func (p watch) answered(ctx context.Context) error {
	for begun := time.Now(); ; {
		report, err := blackout.ReadFile(p.file)
		if err == nil && !slices.ContainsFunc(report.Targets, func(t blackout.Target) bool { return t.Answered == 0 }) {
			return nil
		}
		if time.Since(begun) > patience || ctx.Err() != nil {
			return errors.Join(errors.New("not everything that is probed answers"), err, ctx.Err())
		}
		_ = wait.For(ctx, calm)
	}
}

// measured is what the probe reported of a target.
type measured struct {
	report *blackout.Report
	target *blackout.Target
}

// asOne reports that it has two outages as one.
func (m measured) asOne(a, b made) bool {
	return slices.ContainsFunc(m.target.Outages, func(o blackout.Outage) bool {
		return !o.Start.After(a.middle()) && !o.End.Before(b.middle())
	})
}

// endAll ends the probe and returns what it measured, by target.
func endAll(all []watch) (map[string]measured, error) {
	for _, one := range all {
		_ = one.cmd.Process.Signal(os.Interrupt)
	}
	targets := make(map[string]measured)
	for _, one := range all {
		if err := one.cmd.Wait(); err != nil {
			return nil, fmt.Errorf("end the probe: %w", err)
		}
		report, err := blackout.ReadFile(one.file)
		if err != nil {
			return nil, err
		}
		for i := range report.Targets {
			targets[report.Targets[i].Target] = measured{report, &report.Targets[i]}
		}
	}
	return targets, nil
}

// breakAll makes all outages, and notes how late the machine was.
func breakAll(ctx context.Context, timelines []*timeline) error {
	watching, cancel := context.WithCancel(ctx)
	monitors := startStallMonitors(watching)
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range timelines {
		group.Go(func() error { return c.run(ctx) })
	}
	err := group.Wait()
	cancel()
	monitors.end()
	for _, c := range timelines {
		c.doubt(monitors)
	}
	return err
}

// conclude judges all outages.
func (o Options) conclude(timelines []*timeline, targets map[string]measured, beside []beside,
	notes []string) []Result {
	udp := Result{Name: AccuracyUDP, Unit: "of the allowed error", Notes: notes}
	tcp := Result{Name: AccuracyTCP, Unit: udp.Unit,
		Notes: []string{"made by stopping the server: what is lost, TCP itself sends again later"}}
	direction := Result{Name: AccuracyDirection, Unit: "wrong calls"}
	for _, c := range timelines {
		overUDP, overTCP := targets["udp://"+c.at(port)], targets["tcp://"+c.at(port)]
		for _, m := range joined(c.made, overUDP.asOne) {
			t := m.judge(overUDP.report, overUDP.target, c.interval)
			udp.Trials, udp.Ours = append(udp.Trials, t), append(udp.Ours, t.Ratio())
			direction.Ours = append(direction.Ours, wrongCall(t))
		}
		if c.kind != Stop {
			continue
		}
		for _, m := range joined(c.made, overTCP.asOne) {
			t := m.judge(overTCP.report, overTCP.target, c.interval)
			tcp.Trials, tcp.Ours = append(tcp.Trials, t), append(tcp.Ours, t.Ratio())
		}
	}
	direction.Trials = udp.Trials
	udp.Classes, tcp.Classes = classes(blackoutName, o.Lengths, udp.Trials),
		classes(blackoutName, o.Lengths, tcp.Trials)
	udp.Notes, tcp.Notes = append(udp.Notes, doubtful(udp.Trials)), append(tcp.Notes, doubtful(tcp.Trials))
	for _, p := range beside {
		trials, err := judgePeer(p, timelines)
		if err != nil || len(trials) == 0 {
			udp.Notes = append(udp.Notes, fmt.Sprintf("what %s wrote cannot be used: %d outages, %v", p.name(),
				len(trials), err))
			continue
		}
		if n := p.broken(); n > 0 {
			udp.Notes = append(udp.Notes, fmt.Sprintf("%s ended by itself on %d of %d links, which are not counted for it", p.name(), n, len(timelines)))
		}
		udp.Classes = append(udp.Classes, classes(p.name(), o.Lengths, trials)...)
		if p.name() == irtt {
			udp.PeerName = irtt
			for _, t := range trials {
				udp.Peer = append(udp.Peer, t.Ratio())
			}
		}
	}
	return []Result{udp, tcp, direction}
}

func wrongCall(t Trial) float64 {
	if t.Wrong() {
		return 1
	}
	return 0
}
