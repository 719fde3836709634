package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"time"
)

const (
	resourceDir = "/etc/ha.d/resource.d"
	// probeTime bounds the status of one guest. The resource script has its own, shorter time.
	probeTime = time.Minute
)

// Probe asks vmferry's resource script on this node for the status of each guest of haresources that is not known, by
// its name. The agent notes then which guest may come here, as it does on every node that joins a Pacemaker: Heartbeat
// itself asks for a guest of the other node only when it takes it over, and a guest that is moved arrives before that.
// What the script answers makes no difference; an error is that it could not be run.
func (c *Client) Probe(ctx context.Context, known func(guest string) bool) error {
	entries, err := c.entries()
	errs := []error{err}
	for _, e := range entries {
		if known(e.Name) {
			continue
		}
		bounded, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("no end within %s", probeTime))
		_, err := c.run(bounded, resourceDir+"/"+Script, e.call("status")...)
		cancel()
		if !errors.As(err, new(*exec.ExitError)) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// call are the arguments with which Heartbeat calls the resource script for a guest.
func (e Entry) call(action string) []string {
	args := []string{e.Params["config"]}
	for _, name := range slices.Sorted(maps.Keys(e.Params)) {
		if name != "config" {
			args = append(args, name+"="+e.Params[name])
		}
	}
	return append(args, action)
}
