package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// Before the cluster manager runs, nobody knows a node whose host name is not its name in the cluster: the guard has to
// be started again, and not to give up. A name that is set and not on the device is a mistake.
func TestUnknownNodeName(t *testing.T) {
	dir := t.TempDir()
	h := lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha-of-plant", "beta-of-plant"}}
	if err := device.Init(filepath.Join(dir, "lease"), h); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		node      string
		retryable bool
	}{{"", true}, {"gamma", false}} {
		file := filepath.Join(dir, "guard.toml")
		text := "device = '" + filepath.Join(dir, "lease") + "'\nnode = '" + c.node + "'\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := identify(t.Context(), file)
		if err == nil || errors.As(err, new(misconfigured)) == c.retryable {
			t.Errorf("node %q: %v", c.node, err)
		}
	}
}
