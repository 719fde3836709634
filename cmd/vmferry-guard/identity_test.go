package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// A guard ends when its lease device is made once more, and not before.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")
	h := lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}}
	if err := device.Init(path, h); err != nil {
		t.Fatal(err)
	}
	me := &identity{settings: settings.Settings{Device: path}}
	var err error
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
