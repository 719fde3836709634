package pacemaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/forecast"
)

const (
	// forecastTime bounds a forecast. A simulation takes some hundredths of a second for a few guests,
	// and seconds for thousands of resources.
	forecastTime = 30 * time.Second
	// transitions is how many of them a forecast follows. Pacemaker looks again after each: what is stopped in
	// the first can be started in the second.
	transitions = 4
)

// Forecast implements hbplugin.Cluster: it lets Pacemaker's scheduler simulate the cluster with this node in
// standby (crm_simulate(8)), on a private copy of the CIB. Operations that are under way are taken to succeed. A
// node that is in standby already is told what happens to what is still here. The cluster is only read. It is an error
// where Pacemaker does not run here, or where one of its programs gives no answer.
func (c *Client) Forecast(ctx context.Context) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, forecastTime)
	defer cancel()
	node, err := c.alive(ctx)
	if err != nil {
		return nil, err
	}
	live, err := c.run(ctx, "cibadmin", "--query")
	if err != nil {
		return nil, err
	}
	conf, err := cib.ParseConfig(strings.NewReader(live))
	if err != nil {
		return nil, err
	}
	doc, err := cib.WithStandby([]byte(live), node)
	if err != nil {
		return nil, err
	}
	runs, err := c.simulate(ctx, doc)
	if err != nil {
		return nil, err
	}
	return forecast.Verdicts(conf, runs, node, c.Agents), nil
}

// simulate runs transitions until nothing is left to do, each from where the last one ended. The files are in a
// directory of their own, which nobody else can read: a CIB may hold passwords.
func (c *Client) simulate(ctx context.Context, doc []byte) ([]cib.Simulation, error) {
	dir, err := os.MkdirTemp("", "vmferry-forecast-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the copy of the CIB: %w", err)
	}
	defer os.RemoveAll(dir)
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("cib-%d.xml", i)) }
	if err := os.WriteFile(file(0), doc, 0o600); err != nil {
		return nil, fmt.Errorf("write a copy of the CIB: %w", err)
	}
	var runs []cib.Simulation
	for i := range transitions {
		// Without --save-output the result would go to a file beside the cluster's own CIB.
		out, err := c.run(ctx, "crm_simulate", "--xml-file", file(i), "--save-output", file(i+1),
			"--simulate", "--show-scores", "--show-utilization", "--output-as=xml")
		s, perr := cib.ParseSimulation(strings.NewReader(out))
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: type apt-get install pacemaker-cli-utils", err)
		}
		if err != nil && len(out) > 0 { // the document says more than the exit code
			err = fmt.Errorf("%w: %w", err, perr)
		}
		if err = cmp.Or(err, perr); err != nil {
			return nil, err
		}
		runs = append(runs, s)
		if len(s.Steps) == 0 {
			break
		}
	}
	return runs, nil
}
