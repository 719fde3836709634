package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	// A connection without a sign of life for keepaliveInterval × (keepaliveCount+1)
	// is closed by the library, which ends the calls that hang in it. Migrations of busy
	// hosts were seen to leave a daemon silent for several seconds: do not go lower.
	keepaliveInterval = 5 // seconds
	keepaliveCount    = 3

	// closeWait is how long Close waits for a goodbye to a daemon that may hang.
	closeWait = 2 * time.Second
)

// Conn is a connection to one libvirt daemon. Its methods may be called from
// several goroutines at once. After Close they fail with [libvirt.ErrConnect].
type Conn struct {
	*session
	Domains
	Migrations
	Node
	Storage
	Backups
}

// The parts of a Conn, by what they are about.
type (
	// Domains asks for the host's domains, and starts and stops them.
	Domains struct{ *session }
	// Migrations moves a domain to another host, and measures one that is to be moved.
	Migrations struct{ *session }
	// Node asks for the host itself, and for its networks.
	Node struct{ *session }
	// Storage looks for images and other files of the host, and makes and removes images in its storage pools.
	Storage struct{ *session }
)

// session is the connection itself, and the calls that are under way in it.
type session struct {
	uri string
	lv  *lv.Connect

	mu     sync.Mutex
	calls  int // C calls under way, abandoned ones too
	closed bool

	paths pathWords

	agents atomic.Int32 // guest agents that are asked now
}

// newConn is not connected.
func newConn(uri string) *Conn {
	s := &session{uri: uri}
	return &Conn{s, Domains{s}, Migrations{s}, Node{s}, Storage{s}, Backups{s}}
}

// pathWords are a host's messages for two errors, without the path: libvirt sends no errno, and translates the text.
type pathWords struct {
	mu                     sync.Mutex
	notDirectory, notThere string
}

// Open connects to the libvirt daemon at uri, read-write. It returns at the
// context's end even when the daemon accepts and never answers. A URI that [libvirt.CheckURI] refuses is not
// opened. All its errors are [libvirt.ErrConnect].
func Open(ctx context.Context, uri string) (*Conn, error) {
	c := newConn(uri)
	if err := ctx.Err(); err != nil {
		return nil, late(opOpen, uri, "", err)
	}
	if err := libvirt.CheckURI(uri); err != nil {
		return nil, wrap(opOpen, uri, "", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.connect() }()
	select {
	case err := <-done:
		if err != nil {
			return nil, wrap(opOpen, uri, "", err)
		}
		return c, nil
	case <-ctx.Done():
		returned := leftBehind(uri)
		go func() {
			defer returned()
			if err := <-done; err == nil {
				_ = c.Close() // the connection came too late: nobody will use it
			}
		}()
		return nil, late(opOpen, uri, "", ctx.Err())
	}
}

// Opener is Open for one who knows a connection by an interface of his own: as turns a Conn
// into it. It takes care that no connection is a nil interface, and not one that holds a
// nil *Conn.
func Opener[I any](as func(*Conn) I) func(ctx context.Context, uri string) (I, error) {
	return func(ctx context.Context, uri string) (I, error) {
		c, err := Open(ctx, uri)
		if err != nil {
			var none I
			return none, err
		}
		return as(c), nil
	}
}

func (s *session) connect() error {
	if err := startEvents(); err != nil {
		return err
	}
	return retryLoad(func() error {
		conn, err := lv.NewConnect(s.uri)
		if err != nil {
			return err
		}
		s.lv = conn
		// Drivers without a daemon (test, esx) have no keepalive, and need none.
		_ = retryLoad(func() error { return conn.SetKeepAlive(keepaliveInterval, keepaliveCount) })
		return nil
	})
}

// URI is what Open was given.
func (c *Conn) URI() string { return c.uri }

// Close ends the connection. Where calls are still under way in C (abandoned at
// their deadline), the last of them to return closes it instead. Close waits
// two seconds at most and may be called again.
func (c *Conn) Close() error {
	c.mu.Lock()
	again, busy := c.closed, c.calls > 0
	c.closed = true
	c.mu.Unlock()
	if again || busy {
		return nil
	}
	done := make(chan error, 1)
	go func() { _, err := c.lv.Close(); done <- err }()
	select {
	case err := <-done:
		if err != nil {
			return wrap("close", c.uri, "", err)
		}
	case <-time.After(closeWait):
	}
	return nil
}

func (s *session) enter(op, domain string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &libvirt.Error{Op: op, URI: s.uri, Domain: domain, Message: "the connection was closed",
			Kind: libvirt.ErrConnect}
	}
	s.calls++
	return nil
}

func (s *session) leave() {
	s.mu.Lock()
	s.calls--
	last := s.closed && s.calls == 0
	s.mu.Unlock()
	if last {
		_, _ = s.lv.Close() // Close was called while we were in C
	}
}

// call makes the C calls in f, and returns when they do or when ctx ends.
func call[T any](ctx context.Context, s *session, op, domain string, f func() (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, late(op, s.uri, domain, err)
	}
	if err := s.enter(op, domain); err != nil {
		return zero, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer s.leave()
		var r result
		r.err = retryLoad(func() (err error) { r.value, err = f(); return err })
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return zero, wrap(op, s.uri, domain, r.err)
		}
		return r.value, nil
	case <-ctx.Done():
		returned := leftBehind(s.uri)
		go func() { <-done; returned() }()
		return zero, late(op, s.uri, domain, ctx.Err())
	}
}

// do is call for calls that return only an error.
func do(ctx context.Context, s *session, op, domain string, f func() error) error {
	_, err := call(ctx, s, op, domain, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// withDomain looks the domain up, by its name or its [libvirt.Ref], and calls f with it.
func withDomain[T any](ctx context.Context, s *session, op, name string, f func(*lv.Domain) (T, error)) (T, error) {
	return call(ctx, s, op, name, func() (T, error) {
		dom, err := s.lookup(name)
		if err != nil {
			var zero T
			return zero, err
		}
		defer func() { _ = dom.Free() }()
		return f(dom)
	})
}

// lookup finds a domain by what a Ref has of it.
func (s *session) lookup(ref string) (*lv.Domain, error) {
	name, uuid := libvirt.SplitRef(ref)
	if uuid != "" {
		return s.lv.LookupDomainByUUIDString(uuid)
	}
	return s.lv.LookupDomainByName(name)
}

// doDomain is withDomain for calls that return only an error.
func doDomain(ctx context.Context, s *session, op, name string, f func(*lv.Domain) error) error {
	_, err := withDomain(ctx, s, op, name, func(d *lv.Domain) (struct{}, error) { return struct{}{}, f(d) })
	return err
}

// retryLoad calls f again when the binding says that it could not load a symbol.
// The binding marks a symbol as looked up just before it marks it as found,
// without a lock, so that the first two concurrent users of a function can collide.
// The C function was not called then, and the second try finds it.
func retryLoad(f func() error) error {
	err := f()
	var lerr lv.Error
	if errors.As(err, &lerr) && isMissingSymbol(lerr) {
		return f()
	}
	return err
}

// startEvents registers libvirt's default event loop, which must happen before the
// first connection is made, and runs it for the life of the process. A failure
// is remembered: without the library nothing else can work either.
var startEvents = sync.OnceValue(func() error {
	if err := lv.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for {
			if err := lv.EventRunDefaultImpl(); err != nil {
				// Never seen; do not spin if it should come.
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	return nil
})
