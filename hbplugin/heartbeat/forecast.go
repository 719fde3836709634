package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
)

var _ hbplugin.Cluster = (*Client)(nil)

// Claims implements hbplugin.Cluster: the guests of haresources, those of the other node too. Heartbeat knows
// neither meta attributes nor time-outs.
func (c *Client) Claims(context.Context) ([]hbplugin.Claim, error) {
	entries, err := c.entries()
	var out []hbplugin.Claim
	for _, e := range entries {
		out = append(out, hbplugin.Claim{Resource: e.Name, Environ: hbplugin.EnvironOf(e.Name, e.Params)})
	}
	return out, err
}

// Resources implements hbplugin.Cluster.
func (c *Client) Resources(ctx context.Context) ([]hbplugin.Claim, error) { return c.Claims(ctx) }

// Places implements hbplugin.Cluster: Heartbeat does not say what the other node holds.
func (c *Client) Places(context.Context) (hbplugin.Places, error) {
	return hbplugin.Places{}, fmt.Errorf("%s does not tell where a guest runs", c)
}

// Forecast implements hbplugin.Cluster. Heartbeat has no scheduler: "hb_standby all" gives all that this node holds
// to the other one, if that is active. The stop of the resource script is then a live migration, where the guest's
// ladder has one. It is an error where Heartbeat does not run here, or does not answer.
func (c *Client) Forecast(ctx context.Context) ([]hbplugin.Verdict, error) {
	alive, err := daemonAlive(ctx, cmp.Or(c.PIDFile, defaultPIDFile), hostproc.Host{Proc: c.Proc})
	if err == nil && !alive {
		err = errors.New("heartbeat does not run on this node: type systemctl start heartbeat")
	}
	if err != nil {
		return nil, err
	}
	state, err := c.state(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := c.held(state)
	if err != nil {
		return nil, err
	}
	peers, err := c.Peers(ctx)
	if err != nil {
		return nil, err
	}
	var out []hbplugin.Verdict
	for _, e := range entries {
		out = append(out, verdict(e, state, peers))
	}
	return out, nil
}

// verdict is the rule of Forecast for one guest.
func verdict(e Entry, s state, peers []elsewhere.Peer) hbplugin.Verdict {
	v := hbplugin.Verdict{Resource: e.Name}
	var down []string
	for _, p := range peers {
		if p.State == elsewhere.PeerUp {
			v.To = cmp.Or(v.To, p.Name)
		} else {
			down = append(down, p.Name)
		}
	}
	params := hbplugin.EnvironOf(e.Name, e.Params).Params
	switch {
	case s == transition:
		v.Fate, v.To, v.Why = hbplugin.Unknown, "", "heartbeat is moving resources between the nodes"
		v.Remedy = "ask again when cl_status rscstatus no longer says transition"
	case e.Stuck != "":
		v.Fate, v.To, v.Why = hbplugin.Stays, "", e.Stuck
		v.Remedy = "put another resource, such as an address, first in its line of haresources on both nodes"
	case v.To == "":
		v.Fate, v.Why = hbplugin.Stops, "no other node is active"
		v.Remedy = "on " + strings.Join(down, ", ") + ", type: systemctl start heartbeat"
	case !params.Ladder.MovesLive():
		v.Fate, v.Why = hbplugin.Restarts, "its ladder does not name live"
		v.Remedy = "add live to its parameter ladder in haresources on both nodes"
	default:
		v.Fate = hbplugin.MovesLive
	}
	return v
}
