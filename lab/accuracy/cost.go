package accuracy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// rateBurst at an interval of a millisecond is 100,000 packets a second.
	rateBurst = 100
	// manyTargets is how many services ProbeMany watches at a time.
	manyTargets = 1000
	// sockperfPort is where sockperf's server is.
	sockperfPort = "11111"
)

// testbed is a lane with a reflector that is a process, on which runs are measured.
type testbed struct {
	Options
	*lane
	dir     string
	server  *exec.Cmd
	classes []Class
	notes   []string
}

// withTestbed runs f beside a reflector.
func (o Options) withTestbed(ctx context.Context, f func(ctx context.Context, b *testbed) error) (*testbed, error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	defer w.close()
	b := &testbed{Options: o}
	if b.lane, err = w.newLane(0); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if b.dir, err = os.MkdirTemp("", "blackout-accuracy-"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	var stop func()
	b.server, stop, err = w.server.start(ctx, nil, nil, o.Program, "serve", "--listen", "0.0.0.0:"+port, "--user", "0",
		"--max-clients", strconv.Itoa(100*manyTargets), // each run is new clients, of one address
		"--max-clients-per-address", strconv.Itoa(100*manyTargets))
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := w.await(ctx, b.at(port)); err != nil {
		return nil, err
	}
	return b, f(ctx, b)
}

// beside starts a peer's server, where the peer is installed; else there is a note.
func (b *testbed) beside(ctx context.Context, name string, server ...string) (stop func(), ok bool) {
	_, err := exec.LookPath(name)
	if err == nil {
		if _, stop, err = b.lane.server.start(ctx, nil, nil, name, server...); err == nil {
			_ = wait.For(ctx, 3*calm) // it listens on UDP alone, and says nothing
			return stop, true
		}
	}
	b.notes = append(b.notes, fmt.Sprintf("without %s beside it: %v", name, err))
	return func() {}, false
}

// run is what one run of a tool cost and did.
type run struct {
	cpu            time.Duration
	took           time.Duration
	sent, answered uint64
	skipped        uint64
}

// perMillion is the CPU time for a million packets, in seconds.
func (r run) perMillion() float64 { return r.cpu.Seconds() * 1e6 / float64(max(r.sent, 1)) }

// lost is how many of a million packets had no answer.
func (r run) lost() float64 {
	return 1e6 * float64(r.sent-min(r.answered, r.sent)) / float64(max(r.sent, 1))
}

// cores is how many processors were busy with it.
func (r run) cores() float64 { return r.cpu.Seconds() / r.took.Seconds() }

// contest runs each tool in turn, as often as is wanted, and returns one value of
// each run by tool.
func (b *testbed) contest(ctx context.Context, of func(run) float64,
	tools map[string]func(context.Context) (run, error)) (map[string][]float64, error) {
	values := make(map[string][]float64)
	for range b.Repeat {
		for _, name := range []string{blackoutName, irtt, sockperf} {
			if tools[name] == nil {
				continue
			}
			r, err := tools[name](ctx)
			if err != nil {
				return nil, err
			}
			values[name] = append(values[name], of(r))
		}
	}
	return values, nil
}

// note sums up the values of a contest.
func (b *testbed) note(class string, values map[string][]float64) {
	for _, name := range []string{blackoutName, irtt, sockperf} {
		if len(values[name]) > 0 {
			b.classes = append(b.classes, newClass(class, name, values[name]))
		}
	}
}

// probeCost compares the CPU time of the probe's process with irtt's and sockperf's
// at the same rate, and at a high one with sockperf's alone: irtt does not reach it.
func probeCost(ctx context.Context, o Options) ([]Result, error) {
	r := Result{Name: ProbeCost, Unit: "CPU s per million packets", PeerName: irtt}
	b, err := o.withTestbed(ctx, func(ctx context.Context, b *testbed) error {
		slow := map[string]func(context.Context) (run, error){
			blackoutName: func(ctx context.Context) (run, error) { return b.ours(ctx, 1) },
		}
		fast := map[string]func(context.Context) (run, error){
			blackoutName: func(ctx context.Context) (run, error) { return b.ours(ctx, rateBurst) },
		}
		stop, ok := b.beside(ctx, irtt, irttServer(b.at(irttPort))...)
		defer stop()
		if ok {
			slow[irtt] = b.irtt
		}
		if stop, ok = b.beside(ctx, sockperf, "server", "-i", b.serverAddr, "-p", sockperfPort); ok {
			slow[sockperf] = func(ctx context.Context) (run, error) { return b.sockperf(ctx, 1) }
			fast[sockperf] = func(ctx context.Context) (run, error) { return b.sockperf(ctx, rateBurst) }
		}
		defer stop()
		values, err := b.contest(ctx, run.perMillion, slow)
		if err != nil {
			return err
		}
		r.Ours, r.Peer = values[blackoutName], values[irtt]
		b.note(b.rate(1), values)
		if values, err = b.contest(ctx, run.perMillion, fast); err != nil {
			return err
		}
		b.note(b.rate(rateBurst), values)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Classes, r.Notes = b.classes, b.notes
	return []Result{r}, nil
}

// rate is a number of packets in an interval, in words.
func (o Options) rate(burst int) string {
	return fmt.Sprintf("%d/s", time.Duration(burst)*time.Second/o.Interval)
}

// probeRate sends one flow of 100,000 packets a second and says what was lost,
// beside sockperf.
func probeRate(ctx context.Context, o Options) ([]Result, error) {
	o.Interval = time.Millisecond
	r := Result{Name: ProbeRate, Unit: "lost packets per million", PeerName: sockperf}
	b, err := o.withTestbed(ctx, func(ctx context.Context, b *testbed) error {
		tools := map[string]func(context.Context) (run, error){
			blackoutName: func(ctx context.Context) (run, error) {
				one, err := b.ours(ctx, rateBurst)
				b.notes = append(b.notes, fmt.Sprintf("%d packets in %s, %d more not sent in time, %.2f of a core",
					one.sent, b.For, one.skipped, one.cores()))
				return one, err
			},
		}
		stop, ok := b.beside(ctx, sockperf, "server", "-i", b.serverAddr, "-p", sockperfPort)
		defer stop()
		if ok {
			tools[sockperf] = func(ctx context.Context) (run, error) { return b.sockperf(ctx, rateBurst) }
		}
		values, err := b.contest(ctx, run.lost, tools)
		r.Ours, r.Peer = values[blackoutName], values[sockperf]
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Notes = b.notes
	return []Result{r}, nil
}

// probeMany watches a thousand services at once, every millisecond and every ten.
func probeMany(ctx context.Context, o Options) ([]Result, error) {
	r := Result{Name: ProbeMany, Unit: "cores"}
	b, err := o.withTestbed(ctx, func(ctx context.Context, b *testbed) error {
		if err := b.crowd(); err != nil {
			return err
		}
		for _, interval := range []time.Duration{o.Interval, 10 * o.Interval} {
			b.Interval = interval
			var cores []float64
			for range b.Repeat {
				one, err := b.ours(ctx, 1, crowdTargets()...)
				if err != nil {
					return err
				}
				cores = append(cores, one.cores())
				b.notes = append(b.notes, fmt.Sprintf("every %s: %d packets to %d targets in %s, %d more not sent in time, %.1f of a million lost, %.2f s of CPU for a million",
					interval, one.sent, manyTargets, b.For, one.skipped, one.lost(), one.perMillion()))
			}
			b.classes = append(b.classes, newClass("every "+interval.String(), blackoutName, cores))
			if r.Ours == nil {
				r.Ours = cores
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Classes, r.Notes = b.classes, b.notes
	return []Result{r}, nil
}

// ours runs the probe as a process; without targets, on the reflector of the lane.
func (b *testbed) ours(ctx context.Context, burst int, targets ...string) (run, error) {
	if len(targets) == 0 {
		targets = []string{"udp://" + b.at(port)}
	}
	file := filepath.Join(b.dir, "ours.json")
	r, _, err := b.measure(ctx, b.Program,
		append([]string{"watch", "--quiet", "--interval", b.Interval.String(), "--burst", strconv.Itoa(burst),
			"--for", b.For.String(), "--max-error", "1h", "--json", file}, targets...)...)
	if err != nil {
		return r, err
	}
	report, err := blackout.ReadFile(file)
	if err != nil {
		return r, err
	}
	for _, t := range report.Targets {
		r.sent, r.answered, r.skipped = r.sent+t.Sent, r.answered+t.Answered, r.skipped+t.Skipped
	}
	return r, nil
}

// irtt runs irtt as a process.
func (b *testbed) irtt(ctx context.Context) (run, error) {
	file := filepath.Join(b.dir, "theirs.json")
	r, _, err := b.measure(ctx, irtt, irttClient(b.at(irttPort), file, b.Interval, b.For)...)
	if err != nil {
		return r, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	var report irttReport
	if err := json.Unmarshal(data, &report); err != nil {
		return r, fmt.Errorf("read irtt's report: %w", err)
	}
	r.sent = uint64(len(report.RoundTrips))
	return r, nil
}

// sockperf runs sockperf as a process: so many packets in each interval, of the
// probe's size, and each answered.
func (b *testbed) sockperf(ctx context.Context, burst int) (run, error) {
	r, stdout, err := b.measure(ctx, sockperf, "under-load", "-i", b.serverAddr, "-p", sockperfPort, "-m",
		strconv.Itoa(wire.PacketSize),
		"--mps", strconv.Itoa(int(time.Duration(burst)*time.Second/b.Interval)), "-t",
		strconv.Itoa(max(int(b.For.Seconds()), 1)), "--reply-every", "1")
	if err != nil {
		return r, err
	}
	r.sent, r.answered, err = readSockperf(stdout)
	return r, err
}

// sockperfTotal is the line that has all packets of a run.
var sockperfTotal = regexp.MustCompile(`\[Total Run\].* SentMessages=(\d+); ReceivedMessages=(\d+)`)

// readSockperf finds how many packets were sent and answered.
func readSockperf(stdout []byte) (sent, answered uint64, err error) {
	found := sockperfTotal.FindSubmatch(stdout)
	if found == nil {
		return 0, 0, fmt.Errorf("sockperf tells no totals: %q", bytes.TrimSpace(stdout))
	}
	sent, err = strconv.ParseUint(string(found[1]), 10, 64)
	answered, failed := strconv.ParseUint(string(found[2]), 10, 64)
	return sent, answered, errors.Join(err, failed)
}

// measure runs a program in the client's namespace to its end, and tells the CPU
// time of its process.
func (b *testbed) measure(ctx context.Context, name string, args ...string) (run, []byte, error) {
	var stdout, complaint bytes.Buffer
	begun := time.Now()
	cmd, stop, err := b.client.start(ctx, &stdout, &complaint, name, args...)
	if err != nil {
		return run{}, nil, err
	}
	defer stop()
	if err := cmd.Wait(); err != nil {
		return run{}, nil, errors.Join(ctx.Err(),
			fmt.Errorf("run %q: %w: %s", name, err, bytes.TrimSpace(complaint.Bytes())))
	}
	return run{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), took: time.Since(begun)},
		stdout.Bytes(), nil
}

// The crowd's network: the server answers at every address of it.
const crowdNet = "198.19.0.0/16"

// crowdTargets are manyTargets services.
func crowdTargets() []string {
	var all []string
	for i := range manyTargets {
		all = append(all, "udp://"+net.JoinHostPort(fmt.Sprintf("198.19.%d.%d", i/250, 1+i%250), port))
	}
	return all
}
