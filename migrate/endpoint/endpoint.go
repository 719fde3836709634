package endpoint

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// LookTime bounds one question about where the guest is, and a connection made for it.
const LookTime = 2 * time.Second

// Endpoint is one end of a migration: its URI, and the connection to it while there is one. It is not
// for use by several goroutines at once.
type Endpoint struct {
	URI string
	// Open connects to the libvirt at a URI.
	Open   func(ctx context.Context, uri string) (Host, error)
	Host   Host // nil while not connected
	Broken bool // a connection was lost, and with it its events
}

// Connect makes the connection within limit, unless there is one.
func (e *Endpoint) Connect(ctx context.Context, limit time.Duration) error {
	if e.Host != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	host, err := e.Open(ctx, e.URI)
	if err != nil {
		return err
	}
	e.Host = host
	return nil
}

// Observe asks for the guest, within twice LookTime. A connection that gives no answer is closed, and the next call
// makes a new one: libvirtd may have been started again.
func (e *Endpoint) Observe(ctx context.Context, guest string) Observation {
	if err := e.Connect(ctx, LookTime); err != nil {
		return Observation{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, LookTime)
	defer cancel()
	status, err := e.Host.Status(ctx, guest)
	if err != nil && !errors.Is(err, libvirt.ErrNoDomain) {
		e.Drop()
	}
	return Observation{Status: status, Err: err}
}

// Drop closes a connection that is lost, and with it its events.
func (e *Endpoint) Drop() {
	e.Broken = true
	e.Close()
}

// Close closes the connection, if there is one. Connect makes another.
func (e *Endpoint) Close() {
	if e.Host != nil {
		_ = e.Host.Close()
		e.Host = nil
	}
}
