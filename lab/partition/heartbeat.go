package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
)

const (
	haCf          = "/etc/ha.d/ha.cf"
	stonithPlugin = "external/vmferry"
)

// manual is what vmferry-guard(8) says to type on both nodes, in SETTING UP TWO NODES WITH HEARTBEAT: the lab does just
// that, and a test compares both. The lease device and guard.toml are there already.
var manual = struct{ stop, manager, plugin, start, look string }{
	stop: "systemctl stop heartbeat\n",
	manager: `grep -q '^manager' /etc/vmferry/vmferryd.toml &&
    sed -i 's/^manager.*/manager = "heartbeat"/' \
        /etc/vmferry/vmferryd.toml ||
    echo 'manager = "heartbeat"' >>/etc/vmferry/vmferryd.toml
systemctl restart vmferryd
`,
	plugin: "echo 'stonith_host * " + stonithPlugin + "' >>" + haCf + "\n",
	start:  "systemctl enable --now vmferry-guard\nsystemctl start heartbeat\n",
	look:   "vmferry guard status\nvmferry guard check\nstonith -t " + stonithPlugin + " -S\n",
}

// leavePacemaker makes of nodes that run Pacemaker some that the manual means. Guests return to their home by themselves.
const leavePacemaker = `
systemctl stop pacemaker corosync vmferry-guard
systemctl mask pacemaker corosync
systemctl unmask heartbeat
sed -i 's/^auto_failback .*/auto_failback on/' ` + haCf

// setUpTime bounds the way from Pacemaker to Heartbeat.
const setUpTime = 3 * time.Minute

// setUp gives the nodes to Heartbeat with the guard as its STONITH, each guest on its home.
func (m *Matrix) setUp(ctx context.Context, h cluster.Heartbeat) error {
	ctx, cancel := context.WithTimeoutCause(ctx, setUpTime, errors.New("the nodes do not come to rest under Heartbeat"))
	defer cancel()
	typed := func(commands string) error { return h.Everywhere(ctx, "sh", "-e", "-c", commands) }
	m.Progress("the nodes go to Heartbeat")
	if err := typed(leavePacemaker); err != nil {
		return err
	}
	if err := h.List(ctx, m.homes()); err != nil {
		return err
	}
	for _, commands := range []string{manual.stop, manual.manager, manual.plugin, manual.start} {
		if err := typed(commands); err != nil {
			return err
		}
	}
	if err := m.calm(ctx); err != nil {
		return err
	}
	for _, name := range h.Nodes {
		if said, err := h.Run(ctx, name, "sh", "-e", "-c", manual.look); err != nil {
			return fmt.Errorf("after the set-up of vmferry-guard(8): %w\n%s", err, said)
		}
	}
	return nil
}

// homes are the guests by the names of the nodes that are their homes.
func (m *Matrix) homes() map[string][]cluster.Guest {
	homes := map[string][]cluster.Guest{}
	for i, name := range m.Cluster.Nodes {
		for _, g := range m.GuestsOf(i) {
			homes[name] = append(homes[name], g.Guest)
		}
	}
	return homes
}
