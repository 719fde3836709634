package host

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/resource/command"
)

// SetHealth sets this node's health attribute in Pacemaker, until the node leaves the cluster.
func SetHealth(ctx context.Context, run command.Runner, color health.Color) error {
	if _, err := run(ctx, "attrd_updater", "--name", health.Attribute, "--update", string(color)); err != nil {
		return fmt.Errorf("set %s to %s: %w", health.Attribute, color, err)
	}
	return nil
}
