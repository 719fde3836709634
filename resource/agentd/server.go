package agentd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

const (
	// maxRequests is how many callers are served at once; more are sent away. Pacemaker runs
	// at most twice as many actions at once as a node has cores.
	maxRequests = 128
	// maxTurns is how many migrations may be in the queue at once. They stay for long, and
	// must not keep monitors out.
	maxTurns = 128
	// talkTime is how long a caller may take to say what it wants, and to listen.
	talkTime = 5 * time.Second
	// acceptPause keeps a server that cannot accept, for want of file descriptors, from spinning.
	acceptPause = 100 * time.Millisecond
)

// Server answers monitors on a unix socket. All fields but Turn are required.
type Server struct {
	// Socket is where it listens, normally wire.Socket in the agent's run directory.
	Socket string
	// Look answers a request of the process pid. It is called for several at once, and its
	// context ends when the caller goes away.
	Look func(ctx context.Context, pid int, r wire.Request) wire.Answer
	// Turn, where not nil, has the conversation that a migration begins with first; in is
	// what it says further. Without it migrations are sent away.
	Turn func(ctx context.Context, conn net.Conn, in *bufio.Reader, first []byte)
	Log  logrus.FieldLogger
}

// Run answers until ctx ends, which is no error; then the socket is removed, and requests
// under way are called off but not waited for: one may hang in a file system. ready is
// called when the socket is there. An error says why it cannot be.
func (s *Server) Run(ctx context.Context, ready func()) error {
	l, err := socket.Listen(s.Socket, "vmferryd")
	if err != nil {
		return fmt.Errorf("listen for monitors: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // which removes the socket
	defer stop()
	ready()
	free, turns := make(chan struct{}, maxRequests), make(chan struct{}, maxTurns)
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.Log.WithError(err).Warn("cannot accept a monitor")
			_ = wait.For(ctx, acceptPause) // the loop ends with ctx
			continue
		}
		select {
		case free <- struct{}{}:
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				first := s.converse(ctx, conn, in)
				<-free
				if first != nil {
					s.turn(ctx, conn, in, first, turns)
				}
			}()
		default:
			_ = conn.Close() // which sends the caller away
		}
	}
}

// converse serves one caller. One that asks for a migration's turn is not served yet: its request
// is returned.
func (s *Server) converse(ctx context.Context, conn *net.UnixConn, in *bufio.Reader) (enter []byte) {
	pid, err := wire.Caller(conn)
	if err != nil {
		s.Log.WithError(err).Warn("refused a caller")
		return nil
	}
	line, err := receive(conn, in)
	if err == nil && s.Turn != nil && wire.IsEnter(line) {
		return line
	}
	var request wire.Request
	if err == nil {
		request, err = wire.DecodeRequest(line)
	}
	if err != nil {
		s.Log.WithError(err).Debug("cannot decode a request")
		send(conn, decline(err.Error()))
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = in.ReadByte() // a caller has no more to say: it went away
		cancel()
	}()
	answer := s.Look(ctx, pid, request)
	if ctx.Err() == nil {
		send(conn, answer)
	}
	return nil
}

// turn serves a migration, unless there are too many.
func (s *Server) turn(ctx context.Context, conn *net.UnixConn, in *bufio.Reader, first []byte, turns chan struct{}) {
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
		s.Turn(ctx, conn, in, first)
	default:
		send(conn, decline("too many migrations wait for their turn"))
	}
}

// receive reads a line of bounded length and in bounded time.
func receive(conn *net.UnixConn, in *bufio.Reader) ([]byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(talkTime))
	line, err := wire.ReadLine(in)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return line, nil
}

// send writes an answer. A caller that does not take it has gone, and looks for itself.
func send(conn *net.UnixConn, a wire.Answer) {
	line, err := wire.Encode(a)
	if err != nil {
		line, _ = wire.Encode(decline(err.Error()))
	}
	_ = conn.SetWriteDeadline(time.Now().Add(talkTime))
	_, _ = io.Copy(conn, bytes.NewReader(line))
}

func decline(why string) wire.Answer { return wire.Answer{Schema: wire.Schema, Declined: why} }
