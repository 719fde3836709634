package game

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

const (
	// renewEvery is how often a new token is requested: one is good for at least 16 s.
	renewEvery = 4 * time.Second
	// silentFor is after how long a silence a new token is requested, in case that the server was started again.
	silentFor = time.Second
	// retryEvery is the time between two requests for a token while there is no answer.
	retryEvery = 100 * time.Millisecond
)

// Result is what a client saw.
type Result struct {
	Sent     uint64 // requests for the server's description
	Answered uint64 // distinct ones that were answered
	// Longest is the longest time in which an answer was due and none came, with an error of one interval. LongestEnd
	// is when it ended; zero if no answer was ever late.
	Longest    time.Duration
	LongestEnd time.Time
}

// Watch asks the server at addr (HOST:PORT) for its description in every interval, until ctx ends, which is no error.
// It is an error when the server never answered, or when no socket can be had. A slot in which this process was
// late is not made up for.
func Watch(ctx context.Context, addr string, interval time.Duration) (Result, error) {
	if interval <= 0 {
		return Result{}, fmt.Errorf("watch the game server at %q: the interval %v is not above 0", addr, interval)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", addr)
	if err != nil {
		return Result{}, fmt.Errorf("watch the game server: %w", err)
	}
	defer conn.Close()
	c := &client{conn: conn, mine: rand.Uint32N(noToken)}
	for next := time.Now(); ctx.Err() == nil; {
		c.send(time.Now())
		next = slotAfter(next, interval, time.Now())
		if err := c.receiveUntil(next); err != nil {
			return Result{}, fmt.Errorf("watch the game server at %q: %w", addr, err)
		}
	}
	result := c.end()
	if result.Answered == 0 {
		return result, fmt.Errorf("watch the game server at %q: it never answered", addr)
	}
	return result, nil
}

// slotAfter is the first slot after now, in the grid on which slot is.
func slotAfter(slot time.Time, interval time.Duration, now time.Time) time.Time {
	late := max(now.Sub(slot), 0)
	return slot.Add(late.Truncate(interval) + interval)
}

// client is one run. It belongs to one goroutine.
type client struct {
	silence
	conn        net.Conn
	mine        uint32
	token       uint32
	hasToken    bool
	asked       time.Time // when a token was requested last
	out, packet [maxPacketSize]byte
}

// send sends what is to be sent in a slot. What the socket refuses counts as lost: the network may come back.
func (c *client) send(now time.Time) {
	if c.wantsToken(now) {
		c.asked = now
		_, _ = c.conn.Write(tokenRequest(c.mine))
	}
	if c.hasToken {
		number := c.silence.send(now)
		_, _ = c.conn.Write(appendInfoRequest(c.out[:0], c.token, c.mine, number))
	}
}

// wantsToken says whether it is time to request a token.
func (c *client) wantsToken(now time.Time) bool {
	if !c.hasToken || now.Sub(c.last) >= silentFor {
		return now.Sub(c.asked) >= retryEvery
	}
	return now.Sub(c.asked) >= renewEvery
}

// receiveUntil takes what comes up to that time. That a port is not open, or a host not there, is no error: it is what
// is measured.
func (c *client) receiveUntil(end time.Time) error {
	if err := c.conn.SetReadDeadline(end); err != nil {
		return err
	}
	for {
		n, err := c.conn.Read(c.packet[:])
		switch {
		case err == nil:
			c.take(c.packet[:n], time.Now())
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		}
	}
}

func (c *client) take(packet []byte, now time.Time) {
	r, ok := parse(packet, c.mine)
	switch {
	case !ok:
	case r.isToken:
		c.token, c.hasToken = r.token, true
		if c.begun {
			c.alive(now, c.result.Sent)
		}
	default:
		c.answer(now, r.number)
	}
}
