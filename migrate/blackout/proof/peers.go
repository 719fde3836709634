package proof

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// peer is a tool that tells the time of every answer. None of them measures
// outages; the probe's rule is put onto their lists.
type peer struct {
	name     string
	interval time.Duration
	server   []string // its arguments; nil where it has none
	client   []string
	// answers reads when answers came, in order, from what the client wrote to
	// file or to standard output.
	answers func(file string, stdout []byte) ([]time.Time, error)
}

const (
	irtt     = "irtt"
	irttPort = "2112"
	fping    = "fping"
	// fpingInterval is the shortest that fping knows for one target.
	fpingInterval = 10 * time.Millisecond
	// outFile stands for the file that a client is to write.
	outFile = "OUT"
)

// irttServer are the arguments of irtt's server.
var irttServer = []string{"server", "-b", serverAddr + ":" + irttPort, "-d", "0", "-i", "0"}

// irttClient are the arguments of its client, for a run of some length.
func (o Options) irttClient(length time.Duration) []string {
	return []string{"client", "-i", o.Interval.String(), "-d", length.String(), "-Q", "--wait=100ms", "-o", outFile, serverAddr + ":" + irttPort}
}

// peers are those that are tried beside the probe.
func (o Options) peers() []peer {
	return []peer{
		{irtt, o.Interval, irttServer, o.irttClient(o.length()), func(file string, _ []byte) ([]time.Time, error) { return readIRTT(file) }},
		{fping, max(o.Interval, fpingInterval), nil, []string{"-l", "-D", "-p", strconv.Itoa(int(max(o.Interval, fpingInterval).Milliseconds())), serverAddr},
			func(_ string, stdout []byte) ([]time.Time, error) { return readFping(stdout), nil }},
	}
}

// length is more than what a series of outages takes.
func (o Options) length() time.Duration {
	sum := time.Second
	for _, l := range o.Lengths {
		sum += time.Duration(o.Repeat) * (l + calm + 10*o.Interval + 20*time.Millisecond)
	}
	return sum + sum/10
}

// peerRun is a peer that runs beside the probe.
type peerRun struct {
	peer
	dir        string
	stdout     bytes.Buffer
	client     *exec.Cmd
	stop, halt func()
}

// startPeers starts those that are installed, and notes why not the others.
func (o Options) startPeers(ctx context.Context, w *world, r *Result) []*peerRun {
	var all []*peerRun
	for _, p := range o.peers() {
		run := &peerRun{peer: p, stop: func() {}, halt: func() {}}
		if err := run.start(ctx, w); err != nil {
			run.end()
			r.Notes = append(r.Notes, fmt.Sprintf("without %s beside it: %v", p.name, err))
			continue
		}
		all = append(all, run)
	}
	return all
}

func (p *peerRun) start(ctx context.Context, w *world) error {
	if _, err := exec.LookPath(p.name); err != nil {
		return err
	}
	var err error
	if p.dir, err = os.MkdirTemp("", "blackout-proof-"); err != nil {
		return err
	}
	if p.server != nil {
		if _, p.halt, err = w.server.start(ctx, nil, p.name, p.server...); err != nil {
			return err
		}
		wait(ctx, calm) // it may listen on UDP alone, and say nothing
	}
	args := slices.Clone(p.peer.client)
	if i := slices.Index(args, outFile); i >= 0 {
		args[i] = p.file()
	}
	p.client, p.stop, err = w.client.start(ctx, &p.stdout, p.name, args...)
	return err
}

func (p *peerRun) file() string { return filepath.Join(p.dir, "run.json") }

// end ends what still runs and removes what was written.
func (p *peerRun) end() {
	p.stop()
	p.halt()
	_ = os.RemoveAll(p.dir)
}

// judge ends the peer and compares the outages with its list of answers. It
// states no error: what is allowed are two of its intervals and the doubt, as for
// the probe, whose least error is an interval.
func (p *peerRun) judge(outages []made, r *Result) {
	defer p.end()
	_ = p.client.Process.Signal(unix.SIGINT)
	_ = p.client.Wait() // it says that it was interrupted
	answers, err := p.answers(p.file(), p.stdout.Bytes())
	if err != nil || len(answers) == 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("what %s wrote cannot be used: %d answers, %v", p.name, len(answers), err))
		return
	}
	var ratios, off []float64
	for _, m := range outages {
		t := m.judge(&blackout.Target{}, p.interval, p.interval)
		t.ReportedMs = ms(longestGap(answers, m.middle(), p.interval))
		ratios, off = append(ratios, t.Ratio()), append(off, math.Abs(t.ReportedMs-t.TrueMs))
	}
	if p.name == irtt {
		r.Peer, r.PeerName = ratios, p.name
	}
	r.Notes = append(r.Notes, offBy(p.name, p.interval, off))
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

// readFping reads lines such as "[1795251100.80325] 192.0.2.2 : [0], 64 bytes,
// 0.626 ms (0.626 avg, 0% loss)": when each answer came, in order.
func readFping(stdout []byte) []time.Time {
	var answers []time.Time
	for lines := bufio.NewScanner(bytes.NewReader(stdout)); lines.Scan(); {
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "["), "]")
		seconds, err := strconv.ParseFloat(stamp, 64)
		if ok && err == nil && strings.Contains(rest, " bytes, ") {
			answers = append(answers, time.UnixMicro(int64(seconds*1e6)))
		}
	}
	return answers
}
