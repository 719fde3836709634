package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// rateBurst at an interval of a millisecond is 100,000 packets a second.
const rateBurst = 100

// probeCost compares the CPU time of probe processes with irtt's, at the same
// interval, in turns.
func probeCost(ctx context.Context, o Options) (Result, error) {
	r := Result{Unit: "CPU s per million packets"}
	err := o.withServer(ctx, func(ctx context.Context, w *world, dir string) error {
		peer, err := exec.LookPath(irtt)
		if err != nil {
			r.Notes = append(r.Notes, "without irtt beside it: "+err.Error())
		} else {
			r.PeerName = irtt
			_, stop, err := w.server.start(ctx, nil, peer, irttServer...)
			if err != nil {
				return err
			}
			defer stop()
			wait(ctx, calm)
		}
		for range o.Repeat {
			ours, _, err := o.runOurs(ctx, w, dir, 1)
			if err != nil {
				return err
			}
			r.Ours = append(r.Ours, ours)
			if r.PeerName == "" {
				continue
			}
			theirs, err := o.runIRTT(ctx, w, dir)
			if err != nil {
				return err
			}
			r.Peer = append(r.Peer, theirs)
		}
		return nil
	})
	return r, err
}

// probeRate sends one flow of 100,000 packets a second and tells what it lost of
// its own; skipped slots count as lost, as they were not sent.
func probeRate(ctx context.Context, o Options) (Result, error) {
	r := Result{Unit: "lost packets per million"}
	o.Interval = time.Millisecond
	err := o.withServer(ctx, func(ctx context.Context, w *world, dir string) error {
		for range o.Repeat {
			_, t, err := o.runOurs(ctx, w, dir, rateBurst)
			if err != nil {
				return err
			}
			r.Ours = append(r.Ours, 1e6*float64(t.Sent-t.Answered)/float64(max(t.Sent, 1)))
			r.Notes = append(r.Notes, fmt.Sprintf("%d packets in %s, %d slots missed", t.Sent, o.For, t.Skipped))
		}
		return nil
	})
	return r, err
}

// withServer runs f beside a reflector that is a process.
func (o Options) withServer(ctx context.Context, f func(ctx context.Context, w *world, dir string) error) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "blackout-proof-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_, stop, err := w.server.start(ctx, nil, o.Program, "serve", "--listen", net.JoinHostPort(serverAddr, serverPort), "--user", "0")
	if err != nil {
		return err
	}
	defer stop()
	if err := w.await(ctx, serverPort); err != nil {
		return err
	}
	return f(ctx, w, dir)
}

// runOurs runs the probe as a process and returns what it cost, in CPU seconds
// for a million packets, and what it measured.
func (o Options) runOurs(ctx context.Context, w *world, dir string, burst int) (float64, *blackout.Target, error) {
	file := filepath.Join(dir, "ours.json")
	cost, err := o.costOf(ctx, w, o.Program, "watch", "udp://"+net.JoinHostPort(serverAddr, serverPort), "--quiet",
		"--interval", o.Interval.String(), "--burst", strconv.Itoa(burst), "--for", o.For.String(), "--max-error", "1h", "--json", file)
	if err != nil {
		return 0, nil, err
	}
	report, err := blackout.ReadFile(file)
	if err != nil {
		return 0, nil, err
	}
	t := &report.Targets[0]
	return perMillion(cost, t.Sent), t, nil
}

// runIRTT runs irtt as a process and returns what it cost.
func (o Options) runIRTT(ctx context.Context, w *world, dir string) (float64, error) {
	file := filepath.Join(dir, "theirs.json")
	args := o.irttClient(o.For)
	args[slices.Index(args, outFile)] = file
	cost, err := o.costOf(ctx, w, irtt, args...)
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var report irttReport
	if err := json.Unmarshal(data, &report); err != nil {
		return 0, fmt.Errorf("read irtt's report: %w", err)
	}
	return perMillion(cost, uint64(len(report.RoundTrips))), nil
}

// costOf runs a program in the client's namespace to its end, and returns the CPU
// time of its process.
func (o Options) costOf(ctx context.Context, w *world, name string, args ...string) (time.Duration, error) {
	cmd, stop, err := w.client.start(ctx, nil, name, args...)
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := cmd.Wait(); err != nil {
		return 0, errors.Join(ctx.Err(), fmt.Errorf("run %q: %w", name, err))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func perMillion(cost time.Duration, packets uint64) float64 {
	return cost.Seconds() * 1e6 / float64(max(packets, 1))
}
