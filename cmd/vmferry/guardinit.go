package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/setup"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/wait"
)

// guardMade is what guard init prints.
type guardMade struct {
	Schema  int      `json:"schema"`
	Device  string   `json:"device"`
	Cluster string   `json:"cluster"`
	Nodes   []string `json:"nodes"`
}

// guardInit writes a lease device, where nobody can lose anything by that.
func guardInit(ctx context.Context, c *call, o *guardFlags, rest []string) error {
	h, err := c.guardHeader(o, rest[0])
	if err == nil {
		err = c.mayInit(ctx, o, h)
	}
	if err != nil {
		return err
	}
	_, err = setup.InTime(ctx, o.device, func() (struct{}, error) { return struct{}{}, device.Init(o.device, h) })
	switch {
	case ctx.Err() != nil:
		return interrupted(": %s may be written in part, and is no lease device then: type the same again", o.device)
	case err != nil:
		return fmt.Errorf("guard init: %w", err)
	}
	made := guardMade{Schema: schema, Device: o.device, Cluster: h.Cluster, Nodes: h.Nodes}
	return c.result(made, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is the lease device of cluster %q now.\nOn each of %s: write device = %q to %s, then type:\n"+
			"    systemctl enable --now vmferry-guard && vmferry guard check\n",
			made.Device, made.Cluster, strings.Join(made.Nodes, ", "), made.Device, settings.Path)
		return err
	})
}

// guardHeader is the header that is to be written: what is not given is as the cluster manager's configuration says.
func (c *call) guardHeader(o *guardFlags, nodes string) (lease.Header, error) {
	cluster, configured, err := ring.Cluster(c.root)
	if err != nil {
		c.printf("the cluster manager's configuration cannot be read: %v", err)
	}
	h := lease.Header{Cluster: cmp.Or(o.cluster, cluster), Times: o.times, Nodes: configured}
	if nodes != "" {
		h.Nodes = strings.Split(nodes, ",")
	}
	const line = "type vmferry guard init --device PATH --cluster NAME NODE,NODE"
	switch {
	case o.device == "":
		return h, misuse("guard init: no device is named: %s", line)
	case !filepath.IsAbs(o.device):
		return h, misuse("guard init: --device %s is not an absolute path: write it as guard.toml has it", o.device)
	case len(h.Nodes) == 0:
		return h, misuse("guard init: no nodes are named, here or in the cluster manager's configuration: %s", line)
	case h.Cluster == "":
		return h, misuse("guard init: the cluster has no name, here or in the cluster manager's configuration: %s",
			line)
	}
	for _, n := range h.Nodes {
		if len(configured) > 0 && n != "" && !slices.Contains(configured, n) {
			return h, misuse("guard init: the cluster manager's configuration has no node %q: it has %s", n,
				strings.Join(configured, ","))
		}
	}
	if err := h.Check(); err != nil {
		return h, misuse("guard init: %w", err)
	}
	return h, nil
}

// mayInit looks at the device, and asks the operator.
func (c *call) mayInit(ctx context.Context, o *guardFlags, h lease.Header) error {
	judge := func(found device.State, err error, agreed bool) error {
		if err == nil {
			err = setup.MayInit(o.device, found, h, agreed)
		}
		switch {
		case ctx.Err() != nil:
			return errInterrupted
		case err != nil:
			return fmt.Errorf("guard init: %w", err)
		}
		return nil
	}
	found, err := c.lookTwice(ctx, o.device)
	err = judge(found, err, o.yes)
	if (err == nil || errors.Is(err, setup.ErrConfirm)) && setup.OnThisNode(ctx, o.device) {
		c.printf("%s", setup.Alone(o.device))
	}
	if !errors.Is(err, setup.ErrConfirm) || c.answer == nil {
		return err
	}
	fmt.Fprintf(c.stderr, "%s: %s. Write leases of cluster %q, nodes %s, to it? Type yes: ", o.device,
		setup.Holds(found),
		h.Cluster, strings.Join(h.Nodes, ", "))
	answer, err := wait.Within(ctx, c.answer, nil)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil || strings.TrimSpace(answer) != "yes":
		return errors.New("guard init: nothing was written: the answer was not yes")
	}
	found, err = setup.LookAgain(ctx, o.device, found) // somebody may have used it meanwhile
	return judge(found, err, true)
}

// lookTwice looks at what guards may use, and says on a terminal why that takes its time.
func (c *call) lookTwice(ctx context.Context, path string) (device.State, error) {
	m := c.meter()
	defer m.end()
	return setup.LookTwice(ctx, path, func(d time.Duration) {
		if m.tty {
			m.show(time.Now(), "", fmt.Sprintf("looking for %s whether a guard uses %s", d, path))
		}
	})
}
