package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	lv "libvirt.org/go/libvirt"
)

// The sentinels that errors.Is finds in an [*Error].
var (
	// ErrNoDomain says that libvirt answered, and knows no domain of that name.
	ErrNoDomain = errors.New("no such domain")
	// ErrConnect says that libvirt could not be reached: the library is missing,
	// the daemon is down, or the connection broke.
	ErrConnect = errors.New("cannot reach libvirt")
	// ErrUnsupported says that this driver or version of libvirt cannot do it.
	ErrUnsupported = errors.New("not supported by libvirt")
)

const missingLibrary = "libvirt's library is not installed: apt install libvirt0"

// Error is what every method of this package returns when it fails. It unwraps
// to the context's error when the context ended before libvirt answered.
type Error struct {
	Op      string // what was attempted, such as "status"
	URI     string // the connection's URI
	Domain  string // the domain's name, or empty
	Code    int    // virErrorNumber, 0 when the error is not libvirt's
	Message string // libvirt's own words

	kind  error // one of the sentinels, or nil
	cause error // the context's error, or nil
}

// Error says what was attempted, on what, and libvirt's own message.
func (e *Error) Error() string {
	what := e.Op
	if e.Domain != "" {
		what = fmt.Sprintf("%s %q", e.Op, e.Domain)
	}
	return fmt.Sprintf("libvirt %s at %q: %s", what, e.URI, e.Message)
}

// Is reports whether target is the sentinel that the error belongs to.
func (e *Error) Is(target error) bool { return e.kind != nil && target == e.kind }

// Unwrap gives the context's error when that is why the call ended.
func (e *Error) Unwrap() error { return e.cause }

// wrap turns what the binding returned into an *Error.
func wrap(op, uri, domain string, err error) *Error {
	e := &Error{Op: op, URI: uri, Domain: domain, Message: err.Error()}
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		return e
	}
	e.Code, e.Message = int(lerr.Code), lerr.Message
	e.kind = kindOf(op, lerr)
	if isMissingLibrary(lerr) {
		e.Message = missingLibrary
	}
	return e
}

// late is the error of a call whose context ended first.
func late(op, uri, domain string, cause error) *Error {
	e := &Error{Op: op, URI: uri, Domain: domain, cause: cause, Message: "cancelled before libvirt answered"}
	if errors.Is(cause, context.DeadlineExceeded) {
		e.Message = "no answer before the deadline"
	}
	if op == opOpen {
		e.kind = ErrConnect
	}
	return e
}

func kindOf(op string, err lv.Error) error {
	switch err.Code {
	case lv.ERR_NO_DOMAIN:
		return ErrNoDomain
	case lv.ERR_NO_SUPPORT, lv.ERR_OPERATION_UNSUPPORTED, lv.ERR_ARGUMENT_UNSUPPORTED, lv.ERR_CONFIG_UNSUPPORTED:
		return ErrUnsupported
	case lv.ERR_NO_CONNECT, lv.ERR_INVALID_CONN, lv.ERR_RPC, lv.ERR_AUTH_FAILED:
		return ErrConnect
	}
	switch {
	case op == opOpen, isMissingLibrary(err), err.Domain == lv.FROM_RPC, err.Domain == lv.FROM_REMOTE:
		// The client's side of the transport reports a broken connection
		// with many codes, under these domains.
		return ErrConnect
	case isMissingSymbol(err):
		return ErrUnsupported
	}
	return nil
}

// isMissingLibrary knows the messages of the binding's dlopen wrapper: the
// loader's own on the first call, a short one on every later call.
func isMissingLibrary(err lv.Error) bool {
	return err.Domain == lv.FROM_NONE && strings.Contains(err.Message, ".so.0") &&
		(strings.Contains(err.Message, "Failed to open") || strings.Contains(err.Message, "cannot open shared object"))
}

// isMissingSymbol tells that the library is older than a function.
func isMissingSymbol(err lv.Error) bool {
	return err.Domain == lv.FROM_NONE && err.Code == lv.ERR_INTERNAL_ERROR &&
		(strings.Contains(err.Message, "Failed to load ") || strings.Contains(err.Message, "undefined symbol"))
}
