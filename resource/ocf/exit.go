package ocf

import (
	"errors"
	"fmt"
)

// ExitCode is an exit status of an OCF resource agent (OCF resource agent API 1.1,
// "Exit status codes").
type ExitCode int

// The codes that this agent uses.
const (
	Success       ExitCode = 0 // done; for a monitor: running
	Generic       ExitCode = 1 // failed, or cannot tell
	Args          ExitCode = 2 // called wrongly
	Unimplemented ExitCode = 3 // no such action
	Installed     ExitCode = 5 // something is missing on this node; another one may have it
	Configured    ExitCode = 6 // the resource's parameters are wrong on every node
	NotRunning    ExitCode = 7 // proven not to run here; no failure
)

// Error is how an action ends that did not succeed.
type Error struct {
	Code   ExitCode
	Reason string // one line for the operator; empty when the code says it all
	Err    error  // the cause, or nil
}

// Errorf makes an Error without a cause.
func Errorf(code ExitCode, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// Wrapf makes an Error with a cause.
func Wrapf(code ExitCode, err error, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...), Err: err}
}

// Error gives the reason and the cause on one line.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Reason
	case e.Reason == "":
		return e.Err.Error()
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the exit code for err: 0 for nil, and 1 for an error
// that carries no code.
func CodeOf(err error) ExitCode {
	var coded *Error
	switch {
	case err == nil:
		return Success
	case errors.As(err, &coded):
		return coded.Code
	}
	return Generic
}
