package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

const (
	maxRequest = 64 << 10
	maxReply   = 4 << 20         // some kilobytes for each of hundreds of guests
	talkTime   = 2 * time.Second // for one line
	pause      = 50 * time.Millisecond
)

// ErrNobody is the error of a question where no daemon listens.
var ErrNobody = errors.New("nobody listens")

// Ask puts one request to the daemon that listens at path, and reads its reply into reply: each is a line of JSON. It
// waits until ctx ends, which must have a deadline. The word of a process that is neither root's nor this user's is an
// error, and ErrNobody is it where none listens.
func Ask(ctx context.Context, path string, request, reply any) error {
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("a question to a daemon needs a deadline")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrNobody, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if end, ok := conn.(syscall.Conn); ok {
		_, err = wire.Credentials(end)
	}
	if err != nil {
		return fmt.Errorf("it is not the daemon that listens at %s: %w", path, err)
	}
	if err = json.NewEncoder(conn).Encode(request); err == nil {
		err = decode(conn, maxReply, reply)
	}
	if err != nil {
		return fmt.Errorf("ask at %s: %w", path, errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

func decode(from io.Reader, most int64, into any) error {
	line, err := bufio.NewReader(io.LimitReader(from, most)).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// Serve answers requests until ctx ends, each in a goroutine of its own, and closes l then. answer gets a context that
// ends when the caller has gone, and the caller's user id as the kernel says: root's, or this user's.
func Serve[Q, A any](ctx context.Context, l *net.UnixListener, answer func(ctx context.Context, uid uint32, q Q) A) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			_ = wait.For(ctx, pause) // there may be no descriptor for now; a daemon that answers nobody is none
			continue
		}
		go func() {
			defer conn.Close()
			converse(ctx, conn, answer)
		}()
	}
}

func converse[Q, A any](ctx context.Context, conn *net.UnixConn, answer func(context.Context, uint32, Q) A) {
	caller, err := wire.Credentials(conn)
	if err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(talkTime))
	var q Q
	if err := decode(conn, maxRequest, &q); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // it has no more to say: it went away
		cancel()
	}()
	a := answer(ctx, caller.Uid, q)
	_ = conn.SetWriteDeadline(time.Now().Add(talkTime))
	_ = json.NewEncoder(conn).Encode(a)
}
