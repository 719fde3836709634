package agentd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/observe"
)

const (
	// maxURIs is how many libvirts a pool serves. A node has one, seldom two.
	maxURIs = 8
	// maxCalls is how many calls to one libvirt are under way at once, those that hang
	// included. libvirt's daemon works on five of one client (max_client_requests).
	maxCalls = 8
	// longestCall is how long one call is waited for. libvirt answers within milliseconds,
	// and on a busy host within a second or two.
	longestCall = 3 * time.Second
)

// errFull says that the pool has no room for another libvirt.
var errFull = errors.New("too many libvirts")

// Pool keeps one connection to each libvirt, for callers that only look. It may be used by
// several goroutines at once.
type Pool struct {
	// Dial connects. It may take as long as it likes: it is not waited for longer than for a call.
	Dial func(ctx context.Context, uri string) (observe.Hypervisor, error)
	Log  logrus.FieldLogger

	mu    sync.Mutex
	lines map[string]*line
}

// Open gives the connection to the libvirt at uri, made when there is none. Close of what
// it returns does nothing; its Status and Info connect again when the connection broke, as it
// does when libvirt is restarted. Other methods are the connection's own.
func (p *Pool) Open(ctx context.Context, uri string) (observe.Hypervisor, error) {
	l, err := p.line(uri)
	if err != nil {
		return nil, err
	}
	conn, err := ask(ctx, l, "", l.connect)
	if err != nil {
		return nil, err
	}
	return shared{conn, l}, nil
}

func (p *Pool) line(uri string) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lines[uri]; l != nil {
		return l, nil
	}
	if len(p.lines) >= maxURIs {
		return nil, errFull
	}
	if p.lines == nil {
		p.lines = map[string]*line{}
	}
	l := &line{
		uri:   uri,
		dial:  func() (observe.Hypervisor, error) { return p.Dial(context.Background(), uri) },
		log:   p.Log.WithField("uri", uri),
		slots: make(chan struct{}, maxCalls),
		late:  map[string]int{},

		dialing: make(chan struct{}, 1),
	}
	p.lines[uri] = l
	return l, nil
}

// Close gives all connections back. Those in which calls hang go with the process.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if conn := l.take(nil); conn != nil {
			_ = conn.Close() // nothing depends on a clean goodbye
		}
	}
}

// shared is a connection that others use too.
type shared struct {
	observe.Hypervisor
	line *line
}

// Close implements observe.Hypervisor.
func (shared) Close() error { return nil }

// Status implements observe.Hypervisor.
func (s shared) Status(ctx context.Context, name string) (libvirt.Status, error) {
	return query(ctx, s.line, name, observe.Hypervisor.Status)
}

// Info implements observe.Hypervisor.
func (s shared) Info(ctx context.Context, name string) (libvirt.Info, error) {
	return query(ctx, s.line, name, observe.Hypervisor.Info)
}

// line is the way to one libvirt.
type line struct {
	uri  string
	dial func() (observe.Hypervisor, error)
	log  logrus.FieldLogger
	// slots has an element for each call that is under way.
	slots chan struct{}
	// dialing is full while a connection is made: by a call, so that it is one of those.
	dialing chan struct{}

	mu      sync.Mutex // guards what follows
	conn    observe.Hypervisor
	late    map[string]int // overdue calls by guest; "" for the connection's own
	suspect bool           // a call became overdue, and none has come back since
	probing bool           // and one is trying whether libvirt answers again
}

// query asks libvirt about a guest, again over a new connection when the old one turns out to be
// broken.
func query[T any](
	ctx context.Context, l *line, guest string,
	about func(observe.Hypervisor, context.Context, string) (T, error),
) (T, error) {
	return ask(ctx, l, guest, func() (T, error) {
		value, err := once(l, guest, about)
		if errors.Is(err, libvirt.ErrConnect) {
			return once(l, guest, about)
		}
		return value, err
	})
}

// once asks once, for as long as libvirt takes, and gives up a connection that is broken.
func once[T any](l *line, guest string, about func(observe.Hypervisor, context.Context, string) (T, error)) (T, error) {
	conn, err := l.connect()
	if err != nil {
		var zero T
		return zero, err
	}
	value, err := about(conn, context.Background(), guest)
	if errors.Is(err, libvirt.ErrConnect) && l.take(conn) != nil {
		_ = conn.Close() // nothing depends on a clean goodbye
	}
	return value, err
}

// connect gives the connection, and makes it when there is none.
func (l *line) connect() (observe.Hypervisor, error) {
	l.dialing <- struct{}{}
	defer func() { <-l.dialing }()
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := l.dial()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	return conn, nil
}

// take removes the connection from the line and returns it, when it is the given one or
// nil was given.
func (l *line) take(which observe.Hypervisor) observe.Hypervisor {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn := l.conn
	if which != nil && which != conn {
		return nil // somebody has replaced it already
	}
	l.conn = nil
	return conn
}
