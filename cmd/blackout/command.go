package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// The exit codes; see blackout(1).
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitExceeded = 3
)

// exitError is an error with its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// misuse is an error of the command line.
func misuse(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// parse parses flags and returns the other arguments; they may be mixed.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard)
	parsed(fs)
	var rest []string
	for {
		err := fs.Parse(args)
		if err != nil && !errors.Is(err, flag.ErrHelp) {
			err = misuse("%w; 'blackout help' lists the flags", err)
		}
		if err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// positive refuses a duration or a number of 0 or less that was given: the
// library would take 0 for its default.
func positive(fs *flag.FlagSet) error {
	var err error
	fs.Visit(func(f *flag.Flag) {
		var low bool
		switch v := f.Value.(flag.Getter).Get().(type) {
		case time.Duration:
			low = v <= 0
		case int:
			low = v <= 0
		}
		if low && err == nil {
			err = misuse("%s: --%s must be above 0, got %s", fs.Name(), f.Name, f.Value)
		}
	})
	return err
}

// exceeded is the error of a run that was not as good as it had to be.
func exceeded(format string, args ...any) error {
	return &exitError{exitExceeded, fmt.Errorf(format, args...)}
}
