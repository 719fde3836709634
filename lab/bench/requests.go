package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// longestWait is what a client saw that asks again only when it was answered.
type longestWait struct {
	Longest time.Duration // from a request to its answer, or to the end where none came
	At      time.Time     // when that request was sent
	Answers uint64
}

// request asks the reflector at addr (HOST:PORT) over one TCP connection, with one request in flight: the next
// one is sent every after the one before, or as soon as that is answered. It ends with ctx, which is no error. An
// error is a connection that cannot be made, or that breaks: nothing says then how long the next client waits.
func request(ctx context.Context, addr string, every time.Duration) (longestWait, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return longestWait{}, fmt.Errorf("ask %q: %w", addr, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	r := requester{conn: conn, session: wire.RandomID(), start: time.Now()}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := r.ask(); ctx.Err() == nil && err != nil {
			return r.wait, fmt.Errorf("ask %q: %w", addr, err)
		}
		select {
		case <-ctx.Done():
			return r.wait, nil
		case <-tick.C:
		}
	}
}

// requester is the client's side of one connection.
type requester struct {
	conn    net.Conn
	session uint64
	start   time.Time
	seq     uint64
	wait    longestWait
}

// ask makes one request and waits for its answer.
func (r *requester) ask() error {
	var b [wire.PacketSize]byte
	r.seq++
	sent := time.Now()
	wire.Packet{Kind: wire.Probe, Session: r.session, Seq: r.seq, Sent: sent.Sub(r.start)}.Put(b[:])
	_, err := r.conn.Write(b[:])
	if err == nil {
		_, err = io.ReadFull(r.conn, b[:])
	}
	if took := time.Since(sent); took > r.wait.Longest {
		r.wait.Longest, r.wait.At = took, sent
	}
	if err != nil {
		return err
	}
	if p, err := wire.ParseAny(b[:]); err != nil || p.Session != r.session || p.Seq != r.seq {
		return errors.New("the answer is to another request")
	}
	r.wait.Answers++
	return nil
}
