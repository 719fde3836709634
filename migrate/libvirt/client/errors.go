package client

import (
	"context"
	"errors"
	"strings"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// opOpen is what an error of Open says was attempted.
const opOpen = "connect"

const missingLibrary = "libvirt's library is not installed: apt install libvirt0"

// wrap turns what the binding returned into an *libvirt.Error.
func wrap(op, uri, domain string, err error) *libvirt.Error {
	e := &libvirt.Error{Op: op, URI: uri, Domain: domain, Message: err.Error()}
	var lerr lv.Error
	if !errors.As(err, &lerr) {
		switch { // not libvirt's: ours, or a URI by which it would run a program
		case errors.Is(err, libvirt.ErrForeign):
			e.Kind = libvirt.ErrForeign
		case op == opOpen:
			e.Kind = libvirt.ErrConnect
		}
		return e
	}
	e.Code, e.Message = int(lerr.Code), lerr.Message
	e.Kind = kindOf(op, lerr)
	if isMissingLibrary(lerr) {
		e.Message = missingLibrary
	}
	return e
}

// late is the error of a call whose context ended first.
func late(op, uri, domain string, cause error) *libvirt.Error {
	e := &libvirt.Error{Op: op, URI: uri, Domain: domain, Cause: cause, Message: "cancelled before libvirt answered"}
	if errors.Is(cause, context.DeadlineExceeded) {
		e.Message = "no answer before the deadline"
	}
	if op == opOpen {
		e.Kind = libvirt.ErrConnect
	}
	return e
}

func kindOf(op string, err lv.Error) error {
	switch err.Code {
	case lv.ERR_NO_DOMAIN:
		return libvirt.ErrNoDomain
	case lv.ERR_NO_NETWORK:
		return libvirt.ErrNoNetwork
	case lv.ERR_CHECKPOINT_INCONSISTENT, lv.ERR_NO_DOMAIN_CHECKPOINT:
		return libvirt.ErrCheckpoint
	case lv.ERR_NO_SUPPORT, lv.ERR_OPERATION_UNSUPPORTED, lv.ERR_ARGUMENT_UNSUPPORTED, lv.ERR_CONFIG_UNSUPPORTED:
		return libvirt.ErrUnsupported
	case lv.ERR_NO_CONNECT, lv.ERR_INVALID_CONN, lv.ERR_RPC, lv.ERR_AUTH_FAILED:
		return libvirt.ErrConnect
	}
	switch {
	case op == opOpen, isMissingLibrary(err), err.Domain == lv.FROM_RPC, err.Domain == lv.FROM_REMOTE:
		// The client's side of the transport reports a broken connection
		// with many codes, under these domains.
		return libvirt.ErrConnect
	case isMissingSymbol(err):
		return libvirt.ErrUnsupported
	}
	return nil
}

// isMissingLibrary knows the messages of the binding's dlopen wrapper: the
// loader's own on the first call, a short one on every later call.
func isMissingLibrary(err lv.Error) bool {
	return err.Domain == lv.FROM_NONE && strings.Contains(err.Message, ".so.0") &&
		(strings.Contains(err.Message, "Failed to open") || strings.Contains(err.Message, "cannot open shared object"))
}

// isMissingSymbol reports that the library is older than a function.
func isMissingSymbol(err lv.Error) bool {
	return err.Domain == lv.FROM_NONE && err.Code == lv.ERR_INTERNAL_ERROR &&
		(strings.Contains(err.Message, "Failed to load ") || strings.Contains(err.Message, "undefined symbol"))
}
