package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

// pacemakerOf is Pacemaker on a node that has these processes, and no other.
func pacemakerOf(t *testing.T, run command.Runner, processes ...hostproctest.Process,
) func(config.Config) []hbplugin.Cluster {
	proc := t.TempDir()
	for _, p := range append(processes, hostproctest.Process{PID: 1, Comm: "systemd"}) {
		if err := p.Write(proc); err != nil {
			t.Fatal(err)
		}
	}
	return func(config.Config) []hbplugin.Cluster {
		return []hbplugin.Cluster{&pacemaker.Client{Proc: proc, Etc: proc, Run: run}}
	}
}

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
		_, err := identify(t.Context(), file, pacemakerOf(t, nil))
		if err == nil || errors.As(err, new(misconfigured)) == c.retryable {
			t.Errorf("node %q: %v", c.node, err)
		}
	}
}

// A cluster manager that does not answer does not keep the guard for ever.
func TestManagerDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	asked := make(chan struct{}, 10)
	hangs := func(context.Context, string, ...string) (string, error) {
		asked <- struct{}{}
		<-release
		return "", nil
	}
	all := pacemakerOf(t, hangs, hostproctest.Process{PID: 30, Comm: "pacemakerd"})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(errors.New("too late"))
	}()
	me := &identity{managers: all(config.Config{})}
	if name, err := me.ownName(ctx); err == nil || !strings.Contains(err.Error(), "too late") {
		t.Errorf("%q, %v", name, err)
	}
}

// A guard ends when its lease device is made once more, and not before.
func TestFollow(t *testing.T) {
	dir, err := os.MkdirTemp(".", "follow-test-") // the usual one may have no direct I/O
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "lease")
	h := lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}}
	if err := device.Init(path, h); err != nil {
		t.Fatal(err)
	}
	me := &identity{settings: settings.Settings{Device: path}}
	if me.header, err = readHeader(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	me.header.Times.Renew = 5 * time.Millisecond
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	me.follow(short, func() { t.Error("nothing was changed") })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	replaced := make(chan struct{})
	go me.follow(ctx, func() { close(replaced) })
	if err := device.Init(path, h); err != nil {
		t.Fatal(err)
	}
	select {
	case <-replaced:
	case <-ctx.Done():
		t.Error("the new device is not noticed")
	}
}
