package resource

import (
	"context"
	"errors"
	"os"
	"time"
)

var errNoCommand = errors.New("no programs can be run here")

// age is how long ago a note was written; known is false where there is none.
func (d stateDir) age(folder, id string) (age time.Duration, known bool) {
	info, err := os.Stat(d.file(folder, id))
	if err != nil {
		return 0, false
	}
	return time.Since(info.ModTime()), true
}

// command runs a program for the action.
func (a *run) command(ctx context.Context, name string, args ...string) (string, error) {
	if a.Command == nil {
		return "", errNoCommand
	}
	return a.Command(ctx, name, args...)
}
