package reflector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

// acceptPause is how long the reflector waits after a failed accept, which
// is nearly always a lack of file descriptors.
const acceptPause = 100 * time.Millisecond

// connection is one TCP connection of a reflector.
type connection struct {
	place
	sessions []uint64 // its sessions
}

// ServeTCP answers the streams that l accepts until ctx is cancelled, which is
// no error; it then closes l and every connection. A stream with
// anything but probes is closed, and one that Limits does not allow.
func (r *Reflector) ServeTCP(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	failed := logLimiter{every: time.Minute}
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		case err != nil:
			if n, ok := failed.more(r.now()); ok {
				r.log.WithError(err).WithField("times", n).Warn("cannot accept a TCP connection")
			}
			_ = wait.For(ctx, acceptPause)
			continue
		}
		one := &connection{}
		one.owner, one.evict = ownerOf(remote(conn)), func() { _ = conn.Close() }
		if !r.admit(one, r.now()) {
			_ = conn.Close()
			r.refuse(r.now(), limitConnections)
			continue
		}
		open.Go(func() {
			defer r.dismiss(one)
			r.stream(ctx, conn, one)
		})
	}
}

// admit gives a connection a place, and reports whether there was one. The one that
// goes for it is closed.
func (r *Reflector) admit(one *connection, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections.take(&one.place, now)
}

// dismiss frees the place of a connection.
func (r *Reflector) dismiss(one *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections.free(&one.place)
}

// now is how long the reflector has been there.
func (r *Reflector) now() time.Duration { return time.Since(r.started) }

// remote is the address of a client.
func remote(conn net.Conn) netip.Addr {
	at, _ := netip.ParseAddrPort(conn.RemoteAddr().String()) // it is of TCP
	return at.Addr()
}

// stream answers one connection until it ends.
func (r *Reflector) stream(ctx context.Context, conn net.Conn, one *connection) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Reap clients that are gone, but keep those that are cut off for
		// minutes: their outage is what is being measured.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 10,
		})
	}
	_ = conn.SetReadDeadline(time.Now().Add(firstProbe))
	err := r.answerStream(patient{conn}, one, func() { _ = conn.SetReadDeadline(time.Time{}) })
	if err == nil || ctx.Err() != nil {
		return
	}
	if n, ok := r.ended.more(r.now()); ok {
		r.log.WithError(err).WithField("client", conn.RemoteAddr().String()).WithField("times", n).
			Debug("TCP connection ended")
	}
}

// patient is a connection to a client that need not read its answers at once.
type patient struct{ net.Conn }

// Write gives up when the client does not make room for the answers.
func (p patient) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(maxKeep))
	return p.Conn.Write(b)
}

var (
	// errClients ends a connection for which there is no room.
	errClients = errors.New("too many clients")
	// errSessions ends a connection with too many sessions.
	errSessions = fmt.Errorf("probes of more than %d sessions", sessionsPerConnection)
)

// answerStream answers every whole probe that rw delivers, as many at a time
// as one read brings, until it ends or brings something else. It calls proven with
// the first.
func (r *Reflector) answerStream(rw io.ReadWriter, one *connection, proven func()) error {
	buf := make([]byte, wire.StreamBuffer)
	for have := 0; ; {
		n, err := rw.Read(buf[have:])
		have += n
		if whole := have - have%wire.PacketSize; whole > 0 {
			now, first := r.now(), !one.shown
			if err := r.answerAll(buf[:whole], one, now); err != nil {
				return err
			}
			if first {
				proven()
			}
			if _, err := rw.Write(buf[:whole]); err != nil {
				return err
			}
			have = copy(buf, buf[whole:have])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answerAll turns probes into their answers, in place.
func (r *Reflector) answerAll(b []byte, one *connection, now time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; len(b) > 0; b = b[wire.PacketSize:] {
		p, err := wire.Parse(b, wire.Probe)
		if err != nil {
			return err
		}
		if !one.mayHave(p.Session) {
			return errSessions
		}
		e := r.sessions.find(sender{p.Session, one.owner}, now)
		if e == nil {
			r.refuse(now, limitClients)
			return errClients
		}
		e.touch(now)
		// TCP has a brake of its own, and what was held up comes at once: no pace.
		wire.AnswerInPlace(b, r.instance, e.receive(p.Seq))
	}
	one.touch(now)
	return nil
}

// mayHave reports whether a session is one of the few of a connection, or may be.
func (c *connection) mayHave(id uint64) bool {
	if slices.Contains(c.sessions, id) {
		return true
	}
	if len(c.sessions) == sessionsPerConnection {
		return false
	}
	c.sessions = append(c.sessions, id)
	return true
}
