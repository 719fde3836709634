package resource

import (
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

// The contract with the caller, under the names that this package speaks of it by.
type (
	// ExitCode is an exit status of the agent.
	ExitCode = ocf.ExitCode
	// Error is how an action ends that did not succeed.
	Error = ocf.Error
)

// The codes that this agent uses; see package ocf.
const (
	Success       = ocf.Success
	Generic       = ocf.Generic
	Args          = ocf.Args
	Unimplemented = ocf.Unimplemented
	Installed     = ocf.Installed
	Configured    = ocf.Configured
	NotRunning    = ocf.NotRunning
)

// Usage lists the actions in one line.
var Usage = ocf.Names()

// CodeOf is the exit code that stands for err; see [ocf.CodeOf].
func CodeOf(err error) ExitCode { return ocf.CodeOf(err) }

// fail makes an *Error without a cause.
func fail(code ExitCode, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// because makes an *Error with a cause.
func because(code ExitCode, err error, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...), Err: err}
}

// stateError is the error for a guest that cannot be called running nor stopped.
func stateError(guest string, o observe.Observation) *Error {
	switch o.State {
	case observe.Stalled:
		return fail(Generic, "guest %q is here but does not work: %s", guest, o)
	case observe.Switching:
		return fail(Generic, "guest %q was left paused by a migration: %s", guest, o)
	case observe.Incoming:
		return fail(Generic, "guest %q is arriving by a migration and does not run yet: %s", guest, o)
	}
	return fail(Generic, "cannot tell whether guest %q runs here: %s", guest, o)
}

var (
	errNotAlive = errors.New("the guest is paused, suspended or crashed")
	errTimeUp   = errors.New("timed out")
)
