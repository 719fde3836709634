package accuracy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/wait"
)

// The names of the tools.
const (
	blackoutName = "blackout"
	irtt         = "irtt"
	fping        = "fping"
	sockperf     = "sockperf"
)

const (
	// fpingInterval is the shortest that fping knows for one target.
	fpingInterval = 10 * time.Millisecond
	// startupTime is what the peers have to begin: they say nothing when they do.
	startupTime = 2 * time.Second
)

// beside is a tool that runs beside the probe and tells the time of every answer.
// None of them measures outages; the probe's rule is put onto their lists.
type beside interface {
	name() string
	// interval is the time between two of its probes on a lane.
	interval(c *timeline) time.Duration
	// halt ends the measurement, so that all is written.
	halt()
	// answers says when answers came on a lane, in order; not ok where the outages
	// were not made for it, or it ended before them.
	answers(c *timeline) (at []time.Time, ok bool, err error)
	// broken is on how many lanes it ended before it should have.
	broken() int
	// end ends what still runs and removes what was written.
	end()
}

// startPeers starts those that are installed, and says why not the others.
func (o Options) startPeers(ctx context.Context, w *world, timelines []*timeline) (all []beside, notes []string) {
	for _, one := range []struct {
		name  string
		start func(context.Context, *world, []*timeline) (beside, error)
	}{{irtt, o.startIRTT}, {fping, startFping}} {
		_, err := exec.LookPath(one.name)
		if err == nil {
			var p beside
			if p, err = one.start(ctx, w, timelines); err == nil {
				all = append(all, p)
				continue
			}
		}
		notes = append(notes, fmt.Sprintf("without %s beside it: %v", one.name, err))
	}
	if len(all) > 0 {
		_ = wait.For(ctx, startupTime)
	}
	return all, notes
}

// judgePeer ends a tool and compares the outages with its lists of answers.
func judgePeer(p beside, timelines []*timeline) ([]Trial, error) {
	p.halt()
	var all []Trial
	for _, c := range timelines {
		answers, ok, err := p.answers(c)
		if err != nil {
			return all, err
		}
		if !ok {
			continue
		}
		asOne := func(a, b made) bool { return gapAround(answers, a.middle(), 0) > b.middle().Sub(a.middle()) }
		for _, m := range joined(c.made, asOne) {
			all = append(all, m.judgeAnswers(answers, p.interval(c)))
		}
	}
	return all, nil
}

// irttRuns are a client and a server of irtt for each lane.
type irttRuns struct {
	dir              string
	stops            []func()
	timelines        []*timeline
	clients, servers []*exec.Cmd // one of each
	lost             map[*timeline]bool
}

// irttServer are the arguments of irtt's server.
func irttServer(at string) []string { return []string{"server", "-b", at, "-d", "0", "-i", "0"} }

// irttClient are the arguments of its client, which writes to a file.
func irttClient(at, file string, interval, length time.Duration) []string {
	return []string{"client", "-i", interval.String(), "-d", length.String(), "-Q", "--wait=100ms", "-o", file, at}
}

func (o Options) startIRTT(ctx context.Context, w *world, timelines []*timeline) (beside, error) {
	dir, err := os.MkdirTemp("", "blackout-accuracy-")
	if err != nil {
		return nil, err
	}
	r := &irttRuns{dir: dir, timelines: timelines, lost: make(map[*timeline]bool)}
	if err := r.start(ctx, w, o.length()); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (r *irttRuns) start(ctx context.Context, w *world, length time.Duration) error {
	for _, c := range r.timelines {
		cmd, err := r.run(ctx, w.server, irttServer(c.at(irttPort)))
		if err != nil {
			return err
		}
		r.servers, c.servers = append(r.servers, cmd), append(c.servers, cmd)
	}
	_ = wait.For(ctx, startupTime) // they listen on UDP alone, and say nothing
	for _, c := range r.timelines {
		cmd, err := r.run(ctx, w.client, irttClient(c.at(irttPort), r.file(c), c.interval, length))
		if err != nil {
			return err
		}
		r.clients = append(r.clients, cmd)
	}
	return nil
}

func (r *irttRuns) run(ctx context.Context, s *space, args []string) (*exec.Cmd, error) {
	cmd, stop, err := s.start(ctx, nil, nil, irtt, args...)
	if err == nil {
		r.stops = append(r.stops, stop)
	}
	return cmd, err
}

// length is more than what all outages together take.
func (o Options) length() time.Duration {
	var short, tall time.Duration
	for _, l := range o.Lengths {
		if all := time.Duration(o.Repeat) * (l + 2*calm); l < long {
			short += all
		} else {
			tall += all / longLanes
		}
	}
	return time.Minute + 3*max(short, tall)/2
}

func (r *irttRuns) file(c *timeline) string          { return filepath.Join(r.dir, c.name()+".json") }
func (*irttRuns) name() string                       { return irtt }
func (*irttRuns) interval(c *timeline) time.Duration { return c.interval }

func (r *irttRuns) halt() {
	for i, c := range r.timelines {
		if gone(r.servers[i]) || gone(r.clients[i]) {
			r.lost[c] = true
		}
	}
	for _, cmd := range r.clients {
		_ = cmd.Process.Signal(unix.SIGINT)
	}
	for _, cmd := range r.clients {
		_ = cmd.Wait() // it says that it was interrupted
	}
}

func (r *irttRuns) broken() int { return len(r.lost) }

func (r *irttRuns) answers(c *timeline) ([]time.Time, bool, error) {
	if r.lost[c] {
		return nil, false, nil
	}
	at, err := readIRTT(r.file(c))
	return at, true, err
}

func (r *irttRuns) end() {
	for _, stop := range r.stops {
		stop()
	}
	_ = os.RemoveAll(r.dir)
}

// irttReport is what is read of irtt's JSON; times are nanoseconds.
type irttReport struct {
	RoundTrips []struct {
		Lost       string `json:"lost"`
		Timestamps struct {
			Client struct {
				Receive struct {
					Wall int64 `json:"wall"`
				} `json:"receive"`
			} `json:"client"`
		} `json:"timestamps"`
	} `json:"round_trips"`
}

// readIRTT returns when answers came, in order.
func readIRTT(path string) ([]time.Time, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var report irttReport
	if err := json.Unmarshal(data, &report); err != nil {
		return nil, err
	}
	var answers []time.Time
	for _, one := range report.RoundTrips {
		if at := one.Timestamps.Client.Receive.Wall; one.Lost == "false" && at > 0 {
			answers = append(answers, time.Unix(0, at))
		}
	}
	slices.SortFunc(answers, time.Time.Compare)
	return answers, nil
}

// fpingRun is one fping for all lanes whose server is not stopped: the kernel
// answers it.
type fpingRun struct {
	client *exec.Cmd
	stop   func()
	stdout bytes.Buffer
	lost   int
	lanes  map[string][]time.Time // by the server's address
}

func startFping(ctx context.Context, w *world, timelines []*timeline) (beside, error) {
	args := []string{"-l", "-D", "-i", "0.1", "-p", strconv.Itoa(int(fpingInterval.Milliseconds()))}
	for _, c := range timelines {
		if c.kind != Stop {
			args = append(args, c.serverAddr)
		}
	}
	r := &fpingRun{}
	var err error
	r.client, r.stop, err = w.client.start(ctx, &r.stdout, nil, fping, args...)
	return r, err
}

func (*fpingRun) name() string                     { return fping }
func (*fpingRun) interval(*timeline) time.Duration { return fpingInterval }
func (r *fpingRun) end()                           { r.stop() }

func (r *fpingRun) broken() int { return r.lost }

func (r *fpingRun) halt() {
	if gone(r.client) {
		r.lost = 1
	}
	_ = r.client.Process.Signal(unix.SIGINT)
	_ = r.client.Wait() // it says that it was interrupted
	r.lanes = readFping(r.stdout.Bytes())
}

func (r *fpingRun) answers(c *timeline) ([]time.Time, bool, error) {
	return r.lanes[c.serverAddr], c.kind != Stop, nil
}

// readFping reads lines such as "[1795251100.80325] 192.0.2.2 : [0], 64 bytes,
// 0.626 ms (0.626 avg, 0% loss)": when each answer came, in order, by address.
func readFping(stdout []byte) map[string][]time.Time {
	answers := make(map[string][]time.Time)
	for lines := bufio.NewScanner(bytes.NewReader(stdout)); lines.Scan(); {
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "["), "] ")
		seconds, err := strconv.ParseFloat(stamp, 64)
		if ok && err == nil && strings.Contains(rest, " bytes, ") {
			addr, _, _ := strings.Cut(rest, " ")
			answers[addr] = append(answers[addr], time.UnixMicro(int64(seconds*1e6)))
		}
	}
	return answers
}
