package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// irtt is the peer: the one tool that also sends at a millisecond and tells the
// time of every answer. It has no measure of outages; the rule of the probe is
// put onto its list.
const (
	irtt     = "irtt"
	irttPort = "2112"
)

// peerRun is irtt beside the probe.
type peerRun struct {
	dir        string
	client     *exec.Cmd
	stop, halt func()
}

// startPeer starts irtt beside the probe, or notes why not.
func (o Options) startPeer(ctx context.Context, w *world, r *Result) *peerRun {
	p, err := o.tryPeer(ctx, w)
	if err != nil {
		r.Notes = append(r.Notes, "without irtt beside it: "+err.Error())
		return nil
	}
	r.PeerName = irtt
	return p
}

func (o Options) tryPeer(ctx context.Context, w *world) (*peerRun, error) {
	if _, err := exec.LookPath(irtt); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "blackout-proof-")
	if err != nil {
		return nil, err
	}
	p := &peerRun{dir: dir}
	if _, p.halt, err = w.server.start(ctx, irtt, "server", "-b", serverAddr+":"+irttPort, "-d", "0", "-i", "0"); err != nil {
		return nil, fmt.Errorf("%w, %w", err, os.RemoveAll(dir))
	}
	wait(ctx, calm) // it listens on UDP alone, and says nothing
	p.client, p.stop, err = w.client.start(ctx, irtt, "client", "-i", o.Interval.String(), "-d", o.length().String(),
		"-Q", "--wait=100ms", "-o", filepath.Join(dir, "run.json"), serverAddr+":"+irttPort)
	if err != nil {
		p.halt()
		return nil, fmt.Errorf("%w, %w", err, os.RemoveAll(dir))
	}
	return p, nil
}

// length is more than what a series of outages takes.
func (o Options) length() time.Duration {
	sum := time.Second
	for _, l := range o.Lengths {
		sum += time.Duration(o.Repeat) * (l + calm + 10*o.Interval + 20*time.Millisecond)
	}
	return sum + sum/10
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

// judge ends irtt and compares the outages with its list of answers. It states
// no error: what is allowed is an interval and the doubt.
func (p *peerRun) judge(o Options, outages []made, r *Result) {
	defer func() { _ = os.RemoveAll(p.dir) }()
	defer p.halt()
	_ = p.client.Process.Signal(unix.SIGINT)
	_ = p.client.Wait()
	p.stop()
	answers, err := readIRTT(filepath.Join(p.dir, "run.json"))
	if err != nil {
		r.Notes = append(r.Notes, "irtt's report cannot be read: "+err.Error())
		return
	}
	for _, m := range outages {
		t := m.judge(&blackout.Target{}, o.Interval, 0)
		t.ReportedMs = ms(longestGap(answers, m.middle(), o.Interval))
		t.AllowedMs = 2*ms(o.Interval) + t.DoubtMs // as for the probe, whose least error is an interval
		r.Peer = append(r.Peer, t.Ratio())
	}
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
		if at := one.Timestamps.Client.Receive.Wall; one.Lost == "false" && at > 0 && at < math.MaxInt64 {
			answers = append(answers, time.Unix(0, at))
		}
	}
	slices.SortFunc(answers, time.Time.Compare)
	return answers, nil
}
