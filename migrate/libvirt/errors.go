package libvirt

import (
	"errors"
	"fmt"
)

// The sentinels that errors.Is finds in an [*Error].
var (
	// ErrNoDomain says that libvirt answered, and knows no domain of that name.
	ErrNoDomain = errors.New("no such domain")
	// ErrNoNetwork says that libvirt answered, and knows no network of that name.
	ErrNoNetwork = errors.New("no such network")
	// ErrConnect says that libvirt could not be reached: the library is missing,
	// the daemon is down, or the connection broke.
	ErrConnect = errors.New("cannot reach libvirt")
	// ErrUnsupported says that this driver or version of libvirt cannot do it.
	ErrUnsupported = errors.New("not supported by libvirt")
)

// Error is what every method of a connection returns when it fails. It unwraps
// to the context's error when the context ended before libvirt answered.
type Error struct {
	Op      string // what was attempted, such as "status"
	URI     string // the connection's URI
	Domain  string // the domain's name or Ref, or empty
	Code    int    // virErrorNumber, 0 when the error is not libvirt's
	Message string // libvirt's own words
	Kind    error  // one of the sentinels, or nil
	Cause   error  // the context's error, or nil
}

// Error says what was attempted, on what, and libvirt's own message.
func (e *Error) Error() string {
	what := e.Op
	if e.Domain != "" {
		name, _ := SplitRef(e.Domain)
		what = fmt.Sprintf("%s %q", e.Op, name)
	}
	return fmt.Sprintf("libvirt %s at %q: %s", what, e.URI, e.Message)
}

// noSupport is VIR_ERR_NO_SUPPORT.
const noSupport = 3

// Unimplemented reports whether err says that the driver has not the call at all. ErrUnsupported also means what it
// refuses in one guest.
func Unimplemented(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == noSupport
}

// configUnsupported is VIR_ERR_CONFIG_UNSUPPORTED.
const configUnsupported = 67

// IsOtherHardware reports whether libvirt refused a description since a guest in memory would find another hardware
// with it.
//
// Source: virDomainDefCheckABIStability in libvirt's src/conf/domain_conf.c.
func IsOtherHardware(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == configUnsupported
}

// Is reports whether target is the sentinel that the error belongs to.
func (e *Error) Is(target error) bool { return e.Kind != nil && target == e.Kind }

// Unwrap gives the context's error when that is why the call ended.
func (e *Error) Unwrap() error { return e.Cause }
