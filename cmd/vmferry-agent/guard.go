package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
)

// guardIn asks this node's guard whether guests may run on a node; nil where none is set up. A configuration that
// cannot be looked at is one: a guest must not run without its guard.
func guardIn(config, socket string) func(ctx context.Context, node string) error {
	if _, err := os.Lstat(config); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return func(ctx context.Context, node string) error { return control.AskMayRun(ctx, socket, node) }
}
