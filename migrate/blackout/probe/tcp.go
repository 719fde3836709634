package probe

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// tcpProber probes one target over TCP.
//
//	             answer                broken: reset
//	candidates ─────────► established ───────────────► none
//	    ▲                     │ silent for ReconnectAfter
//	    └─────────────────────┘ one more every RetryEvery
//
// A candidate is a connection, or an attempt at one, that has not brought an
// answer; it gets ConnectTimeout for that. The first that does replaces the
// established connection, which is abandoned when it only stalled. When the
// established one recovers first, the candidates are dropped. While both are
// there each probe goes to all of them, under one sequence number: the client
// is out until any of them answers.
type tcpProber struct {
	target
	cfg   Config
	at    netip.AddrPort
	addr  unix.Sockaddr
	watch func(fd int, events uint32) error

	established *stream
	candidates  []*stream
	ever        bool          // an established connection has been there
	next        time.Duration // next attempt
	out         [wire.PacketSize]byte
	spare       []*stream
	info        tcpInfo
	timing      time.Duration // the resolution of info's times
}

func newTCPProber(at netip.AddrPort, cfg Config, watch func(fd int, events uint32) error) (*tcpProber, error) {
	sa, err := socket.Sockaddr(at)
	if err != nil {
		return nil, err
	}
	return &tcpProber{cfg: cfg, at: at, addr: sa, watch: watch, timing: kernelTick()}, nil
}

// tick implements prober. Before the first connection there is nothing to
// probe with, and nothing is counted.
func (c *tcpProber) tick(now time.Duration, skipped uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maintain(now)
	if c.track.LastSeq() > 0 || c.connected() {
		c.listen(now)
		c.probe(now, skipped)
	}
}

// streams are all connections, and the attempts at one.
func (c *tcpProber) streams(yield func(*stream) bool) {
	if c.established != nil && !yield(c.established) {
		return
	}
	for _, s := range c.candidates {
		if !yield(s) {
			return
		}
	}
}

// listen asks this host's kernel when the other one acknowledged on any connection.
func (c *tcpProber) listen(now time.Duration) {
	for s := range c.streams {
		if !s.connected || !c.info.read(s.fd) {
			continue
		}
		if at, lateness, fresh := s.acks.Update(now, c.info.age(), c.info.Bytes_acked); fresh {
			c.kernel.Acknowledge(at, lateness)
		}
	}
}

// probe sends the next probe to every connection.
func (c *tcpProber) probe(now time.Duration, skipped uint64) {
	seq := c.track.Send(now, skipped)
	c.kernel.Send(now, skipped)
	wire.Packet{Kind: wire.Probe, Session: c.session, Seq: seq, Sent: now}.Put(c.out[:])
	if !c.send() {
		c.track.Note(outage.NotSent)
	}
	done := c.clock.now()
	c.track.Sent(seq, done)
	c.kernel.Sent(seq, done)
}

// connected reports whether any candidate has a connection.
func (c *tcpProber) connected() bool {
	return slices.ContainsFunc(c.candidates, func(s *stream) bool { return s.connected })
}

// send writes the probe to every connection and reports whether any took it.
func (c *tcpProber) send() bool {
	taken := false
	for s := range c.streams {
		if s.connected && s.send(c.out[:]) {
			taken = true
		}
	}
	return taken
}

// maintain gives up attempts that took too long and begins new ones.
func (c *tcpProber) maintain(now time.Duration) {
	c.candidates = slices.DeleteFunc(c.candidates, func(s *stream) bool {
		if now < s.deadline {
			return false
		}
		c.drop(s)
		return true
	})
	if c.established != nil && c.track.Overdue(now) < c.cfg.ReconnectAfter || now < c.next {
		return
	}
	c.next = now + c.cfg.RetryEvery
	if s := c.dial(now + c.cfg.ConnectTimeout); s != nil {
		c.candidates = append(c.candidates, s)
	}
}

// dial begins an attempt; nil when it fails at once, as with no route.
func (c *tcpProber) dial(deadline time.Duration) *stream {
	fd, err := socket.Open(c.at, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Connect(fd, c.addr)
	if err != nil && err != unix.EINPROGRESS || c.watch(fd, unix.EPOLLOUT) != nil {
		_ = unix.Close(fd)
		return nil
	}
	s := c.newStream()
	s.fd, s.deadline = fd, deadline
	return s
}

// newStream returns an unused stream; attempts of a long outage share a few.
func (c *tcpProber) newStream() *stream {
	if n := len(c.spare); n > 0 {
		s := c.spare[n-1]
		c.spare = c.spare[:n-1]
		s.connected, s.have, s.pending = false, 0, 0
		return s
	}
	s := new(stream)
	s.in.Bind(make([]byte, wire.StreamBuffer))
	return s
}

// drop closes a connection.
func (c *tcpProber) drop(s *stream) {
	_ = unix.Close(s.fd)
	s.fd = -1
	c.spare = append(c.spare, s)
}

// ready implements prober.
func (c *tcpProber) ready(fd int, _ uint32, lateness time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streamOf(fd)
	if s == nil || c.advance(s, lateness) {
		return
	}
	// An answer may have made a candidate the established one just before it broke.
	if s == c.established {
		c.track.Note(outage.Reset)
		c.established, c.next = nil, 0
	} else {
		c.candidates = slices.DeleteFunc(c.candidates, func(one *stream) bool { return one == s })
	}
	c.drop(s)
}

// streamOf finds a connection; nil for one that was closed by what was handled just before.
func (c *tcpProber) streamOf(fd int) *stream {
	for s := range c.streams {
		if s.fd == fd {
			return s
		}
	}
	return nil
}

// advance takes a connection one step further; false when it failed.
func (c *tcpProber) advance(s *stream, lateness time.Duration) bool {
	if s.connected {
		return c.read(s, lateness)
	}
	if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		return false
	}
	s.connected = true
	s.acks = outage.Acks{Tick: c.timing, Looked: c.clock.now()}
	if c.watch(s.fd, eventsIn) != nil {
		return false
	}
	c.greet(s)
	return true
}

// greet sends the newest probe on a new connection, or the first of all: at a long
// interval the next one would come too late for the time that the connection gets, at
// either end.
func (c *tcpProber) greet(s *stream) {
	if c.track.LastSeq() == 0 {
		c.probe(c.clock.now(), 0)
		return
	}
	s.send(c.out[:])
}

// read takes what a connection has; false when it is broken, or brings
// something that no reflector sends.
func (c *tcpProber) read(s *stream, lateness time.Duration) bool {
	n, err := s.receive()
	if err == unix.EAGAIN {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	whole := s.have - s.have%wire.PacketSize
	for at := 0; at < whole; at += wire.PacketSize {
		p, err := wire.ParseAny(s.buffer()[at:whole])
		if err != nil || p.Kind == wire.Challenge || p.Session != c.session {
			return false
		}
		c.prefer(s)
		stamp, stamped := s.in.Stamp()
		c.answered(p, stamp, stamped, lateness)
	}
	s.have = copy(s.buffer(), s.buffer()[whole:s.have])
	return true
}

// prefer makes the connection that answered the established one and closes
// all others.
func (c *tcpProber) prefer(s *stream) {
	if s != c.established {
		if c.established != nil {
			c.track.Note(outage.Abandoned)
			c.drop(c.established)
		}
		if c.ever {
			c.track.Note(outage.Reconnected)
		}
		c.established, c.ever = s, true
	}
	for _, one := range c.candidates {
		if one != s {
			c.drop(one)
		}
	}
	c.candidates = c.candidates[:0]
}

// close implements prober.
func (c *tcpProber) close() {
	for s := range c.streams {
		_ = unix.Close(s.fd)
	}
}
