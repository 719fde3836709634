package reflector

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// patience is how long a test waits for an answer that a reflector owes.
const patience = 30 * time.Second

// dialFrom opens a TCP connection from an address of loopback; the reset at its
// end leaves nothing behind.
func dialFrom(t *testing.T, from, to string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reset(conn) })
	return conn.(*net.TCPConn)
}

// ask sends a probe over a connection and returns its answer.
func ask(t *testing.T, conn net.Conn, session, seq uint64) wire.Packet {
	t.Helper()
	buf := make([]byte, wire.PacketSize)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(probeBytes(session, seq)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, buf); err != nil {
		t.Fatalf("no answer to probe %d of session %d: %v", seq, session, err)
	}
	p, err := wire.Parse(buf, wire.Answer)
	if err != nil || p.Session != session || p.Seq != seq {
		t.Fatalf("probe %d of session %d is answered by %x, %v", seq, session, buf, err)
	}
	return p
}

// A client that opens all connections locks nobody out, and closes no connection of a
// live client.
func TestConnectionsOfOthersLockNobodyOut(t *testing.T) {
	same := func(int) string { return "127.0.0.1" }
	many := func(i int) string { return fmt.Sprintf("127.0.1.%d", 1+i%250) }
	nothing := func(net.Conn, int) {}
	part := func(c net.Conn, i int) { _, _ = c.Write(probeBytes(uint64(i)+100, 1)[:wire.PacketSize-1]) }
	once := func(c net.Conn, i int) { ask(t, c, uint64(i)+100, 1) }
	for name, attack := range map[string]struct {
		from func(int) string
		say  func(net.Conn, int)
	}{
		"silent": {same, nothing}, "silent, of many addresses": {many, nothing},
		"part of a probe": {same, part}, "one probe": {same, once}, "one probe, of many addresses": {many, once},
	} {
		t.Run(name, func(t *testing.T) {
			addr := startReflector(t)
			early := dialFrom(t, "127.0.0.1", addr)
			for i := range DefaultConnections {
				ask(t, early, 1, uint64(i)+1)
				attack.say(dialFrom(t, attack.from(i), addr), i)
			}
			if p := ask(t, dialFrom(t, "127.0.0.1", addr), 2, 1); p.Count != 1 {
				t.Errorf("%+v, want a count of 1", p)
			}
			if p := ask(t, early, 1, DefaultConnections+1); p.Count != DefaultConnections+1 {
				t.Errorf("the early client: %+v, want a count of %d", p, DefaultConnections+1)
			}
		})
	}
}

// One connection makes few sessions, however many it asks for, and a new client
// finds a place.
func TestManySessionsOverOneConnection(t *testing.T) {
	addr := startReflector(t)
	greedy := dialFrom(t, "127.0.0.1", addr)
	answers := make(chan int)
	go func() {
		n, _ := io.Copy(io.Discard, greedy)
		answers <- int(n) / wire.PacketSize
	}()
	for id := range uint64(2048) {
		if _, err := greedy.Write(probeBytes(id+1000, 1)); err != nil {
			break
		}
	}
	_ = greedy.CloseWrite()
	if n := <-answers; n > 8 {
		t.Errorf("%d sessions over one connection", n)
	}
	if p := newClient(t, addr).probe(t, 1, 1); p.Count != 1 {
		t.Errorf("a new client over UDP: %+v, want a count of 1", p)
	}
	if p := ask(t, dialFrom(t, "127.0.0.1", addr), 2, 1); p.Count != 1 {
		t.Errorf("a new client over TCP: %+v, want a count of 1", p)
	}
}

// peer is a client without a socket, with the address that it says it has.
type peer struct {
	r       *Reflector
	from    socket.Address
	session uint64
	seq     uint64
	cookie  wire.Cookie
}

func newPeer(r *Reflector, addr string, session uint64) *peer {
	sa, _ := socket.Sockaddr(netip.MustParseAddrPort(addr)) // it has no zone
	from, _ := socket.AddressOf(sa)
	return &peer{r: r, from: from, session: session}
}

// again sends its newest probe at an instant, with the requested cookie,
// and returns the answer; not ok when there is none.
func (c *peer) again(now time.Duration) (wire.Packet, bool) {
	for range 2 {
		b := encoded(wire.Packet{Kind: wire.Probe, Session: c.session, Seq: c.seq, Instance: c.cookie[0],
			Count: c.cookie[1]})
		if !c.r.datagram(b, c.from, now) {
			return wire.Packet{}, false
		}
		p, _ := wire.ParseAny(b)
		if p.Kind == wire.Answer {
			return p, true
		}
		c.cookie = p.Cookie()
	}
	return wire.Packet{}, false
}

// next sends its next probe.
func (c *peer) next(now time.Duration) (wire.Packet, bool) {
	c.seq++
	return c.again(now)
}

// crowd is new clients at one address after another.
type crowd struct {
	r    *Reflector
	addr func(n uint32) string
	n    uint32
}

// rush makes new clients at an instant, each with so many probes, and returns how
// many were answered.
func (c *crowd) rush(now time.Duration, clients, probes int) (answered int) {
	for range clients {
		c.n++
		p := newPeer(c.r, c.addr(c.n), uint64(c.n)<<20)
		for range probes {
			if _, ok := p.next(now); ok {
				answered++
			}
		}
	}
	return answered
}

// The crowds that a reflector may meet: at one address, in one network, anywhere.
var crowds = map[string]func(n uint32) string{
	"one address":   func(uint32) string { return "198.51.100.9:5000" },
	"one /64":       func(n uint32) string { return fmt.Sprintf("[2001:db8::%x:%x]:5000", n>>16, n&0xffff) },
	"mapped":        func(uint32) string { return "[::ffff:198.51.100.9]:5000" },
	"many networks": func(n uint32) string { return fmt.Sprintf("[2001:db8:%x:%x::1]:5000", n>>16, n&0xffff) },
}

// A client that sends once in a second, or in a minute, keeps its count while
// others come and go, and each newcomer is answered.
func TestSlowClientsKeepTheirCount(t *testing.T) {
	for name, addr := range crowds {
		for _, interval := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
			r := New(quiet(), Limits{Clients: 64})
			var slow []*peer
			for i := range 8 {
				slow = append(slow, newPeer(r, fmt.Sprintf("192.0.2.%d:7000", i+1), uint64(i+1)))
			}
			others := crowd{r: r, addr: addr}
			for turn := range uint64(20) {
				now := time.Duration(turn) * interval
				for i, c := range slow {
					if p, ok := c.next(now); !ok || p.Count != turn+1 {
						t.Fatalf("%s, every %s: probe %d of client %d: count %d (%v)", name, interval, c.seq, i,
							p.Count, ok)
					}
				}
				if turn == 0 {
					continue // one probe is no claim yet
				}
				const newcomers = 400
				if n := others.rush(now+interval/2, newcomers, 1); n != newcomers {
					t.Fatalf("%s, every %s: %d of %d newcomers are answered", name, interval, n, newcomers)
				}
			}
		}
	}
}

// A broadcast or multicast datagram is not answered: its source may be forged, and
// many reflectors receive it.
func TestOnlyUnicastIsAnswered(t *testing.T) {
	for _, test := range []struct{ listen, all, one, device string }{
		{"0.0.0.0:0", "127.255.255.255", "127.0.0.1", "lo"},
		{":0", "127.255.255.255", "127.0.0.1", "lo"},
		{"0.0.0.0:0", "224.0.0.1", "127.0.0.1", "lo"},
		{":0", "224.0.0.1", "127.0.0.1", "lo"},
		{"[::]:0", "ff02::1", "::1", "lo"},
	} {
		t.Run(test.listen+" "+test.all, func(t *testing.T) {
			port := netip.MustParseAddrPort(startReflectorAt(t, test.listen)).Port()
			all := netip.AddrPortFrom(netip.MustParseAddr(test.all), port)
			fd := castSocket(t, all, test.device)
			one, _ := socket.Sockaddr(netip.AddrPortFrom(netip.MustParseAddr(test.one), port))
			to, _ := socket.Sockaddr(all)
			if six, ok := to.(*unix.SockaddrInet6); ok {
				six.ZoneId = loopbackIndex(t)
			}
			if err := unix.Sendto(fd, probeBytes(1, 1), 0, to); err != nil {
				t.Skipf("send to %s: %v", all, err)
			}
			if err := unix.Sendto(fd, probeBytes(1, 2), 0, one); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2048)
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n != wire.PacketSize || binary.BigEndian.Uint64(buf[16:]) != 2 {
				t.Errorf("the first reply is %x, %v; want that to the second probe", buf[:n], err)
			}
		})
	}
}

func loopbackIndex(t *testing.T) uint32 {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	return uint32(lo.Index)
}

// castSocket may send to all that are on loopback, and hears itself.
func castSocket(t *testing.T, to netip.AddrPort, device string) int {
	t.Helper()
	fd, err := socket.Open(to, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	_ = unix.SetNonblock(fd, false)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	if to.Addr().Is6() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, int(loopbackIndex(t)))
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1)
		return fd
	}
	_ = unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{127, 0, 0, 1})
	return fd
}

// A watch of hours is answered through every change of the reflector's keys, and a
// cookie is good for no longer than two of them.
func TestCookiesExpire(t *testing.T) {
	r := New(quiet(), Limits{})
	live, idle := newPeer(r, "192.0.2.1:7000", 1), newPeer(r, "192.0.2.2:7000", 2)
	if _, ok := idle.next(0); !ok {
		t.Fatal("no answer")
	}
	first := idle.cookie
	given := make(map[wire.Cookie]bool)
	for at := time.Duration(0); at < 2*time.Hour; at += time.Second {
		if p, ok := live.next(at); !ok || p.Count != live.seq {
			t.Fatalf("at %s: count %d of %d (%v)", at, p.Count, live.seq, ok)
		}
		given[live.cookie] = true
	}
	if len(given) < 4 {
		t.Errorf("%d cookies in two hours", len(given))
	}
	if p, ok := idle.next(2 * time.Hour); !ok || p.Count != 2 || idle.cookie == first {
		t.Errorf("after two hours of silence: %+v (%v), the cookie is new: %v; want a count of 2", p, ok,
			idle.cookie != first)
	}
}

// pipes is a listener whose clients are pipes, so that it lives on a fake clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// caller is the reflector's end of a pipe, from an address.
type caller struct {
	net.Conn
	from string
}

func (c caller) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

func (p pipes) dial(from string) net.Conn {
	ours, theirs := net.Pipe()
	p <- caller{theirs, from}
	return ours
}

// listening runs f with a reflector on pipes, in a bubble.
func listening(t *testing.T, l Limits, f func(t *testing.T, p pipes)) {
	synctest.Test(t, func(t *testing.T) {
		r, p := New(quiet(), l), make(pipes)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.ServeTCP(ctx, p) }()
		f(t, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// closedAfter is when a connection is closed.
func closedAfter(conn net.Conn) time.Duration {
	begun := time.Now()
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begun)
}

// A connection without a whole probe is closed in time, however its bytes are spread.
// One that brought a probe may be silent for an hour.
func TestConnectionsHaveADeadline(t *testing.T) {
	listening(t, Limits{}, func(t *testing.T, p pipes) {
		if took := closedAfter(p.dial("192.0.2.1:1")); took != firstProbe {
			t.Errorf("a silent connection is closed after %s, want %s", took, firstProbe)
		}
		slow := p.dial("192.0.2.1:2")
		go func() {
			for _, b := range probeBytes(1, 1)[:wire.PacketSize-1] {
				<-time.After(time.Second)
				if _, err := slow.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		if took := closedAfter(slow); took != firstProbe {
			t.Errorf("one that brings a byte each second is closed after %s, want %s", took, firstProbe)
		}
		good := p.dial("192.0.2.1:3")
		ask(t, good, 1, 1)
		<-time.After(time.Hour)
		if got := ask(t, good, 1, 2); got.Count != 2 {
			t.Errorf("after an hour of silence: %+v, want a count of 2", got)
		}
		deaf := p.dial("192.0.2.1:4")
		if _, err := deaf.Write(probeBytes(2, 1)); err != nil { // and does not read
			t.Fatal(err)
		}
		<-time.After(maxKeep + time.Second)
		if _, err := deaf.Write(probeBytes(2, 2)); err == nil {
			t.Error("one that takes no answers is kept")
		}
	})
}

// The number of a session is no secret. From another address it is another session.
func TestSessionsOfOthersAreLeftAlone(t *testing.T) {
	listening(t, Limits{}, func(t *testing.T, p pipes) {
		good, bad := p.dial("192.0.2.1:1"), p.dial("192.0.2.2:1")
		again := p.dial("192.0.2.1:2")
		for seq := range uint64(5) {
			if got := ask(t, good, 7, 2*seq+1); got.Count != 2*seq+1 {
				t.Errorf("%+v, want a count of %d", got, 2*seq+1)
			}
			if got := ask(t, bad, 7, 1<<63+seq); got.Count != seq+1 {
				t.Errorf("another: %+v, want a count of %d", got, seq+1)
			}
			if got := ask(t, again, 7, 2*seq+2); got.Count != 2*seq+2 {
				t.Errorf("another connection of the same: %+v, want a count of %d", got, 2*seq+2)
			}
		}
	})
}

// What repeats is said once in a while.
func TestRefusalsAreLoggedSeldom(t *testing.T) {
	log, lines := logrus.New(), new(bytes.Buffer)
	log.SetOutput(lines)
	r := New(log, Limits{Clients: 1})
	busy := newPeer(r, "192.0.2.1:7000", 1)
	others := crowd{r: r, addr: crowds["many networks"]}
	for second := range 150 {
		now := time.Duration(second) * time.Second
		if _, ok := busy.next(now); !ok {
			t.Fatal("no answer")
		}
		if second == 0 {
			continue
		}
		if n := others.rush(now+time.Second/2, 100, 1); n != 0 {
			t.Fatalf("%d took the place of a client that is alive", n)
		}
	}
	if n := strings.Count(lines.String(), "\n"); n != 3 {
		t.Errorf("%d lines in two and a half minutes: %s", n, lines)
	}
}

// A sender that knows an old cookie, and does not receive at its address, is not
// answered after the cookie expired, however long it sends.
func TestAnExpiredCookieIsNoCookie(t *testing.T) {
	r := New(quiet(), Limits{})
	c := newPeer(r, "192.0.2.1:7000", 1)
	if _, ok := c.next(0); !ok {
		t.Fatal("no answer")
	}
	for at := time.Duration(0); at < time.Hour; at += 100 * time.Millisecond {
		c.seq++
		b := encoded(wire.Packet{Kind: wire.Probe, Session: 1, Seq: c.seq, Instance: c.cookie[0], Count: c.cookie[1]})
		_ = r.datagram(b, c.from, at)
		if p, _ := wire.ParseAny(b); p.Kind == wire.Answer && at >= 2*keyLife {
			t.Fatalf("answered at %s", at)
		} else if p.Kind != wire.Answer && at < keyLife {
			t.Fatalf("not answered at %s", at)
		}
	}
}

// No more connections are kept than the limits say, and who has been there for some
// time stays.
func TestConnectionsKeepTheirLimits(t *testing.T) {
	for name, limits := range map[string]Limits{
		"in all": {Connections: 3}, "of one address": {ConnectionsPerAddress: 3},
	} {
		listening(t, limits, func(t *testing.T, p pipes) {
			var there []net.Conn
			for seq := range uint64(10) {
				for id := range uint64(3) {
					if seq == 0 {
						there = append(there, p.dial(fmt.Sprintf("192.0.2.1:%d", id+1)))
					}
					ask(t, there[id], id, seq+1)
				}
				<-time.After(time.Second)
			}
			for range 5 {
				if took := closedAfter(p.dial("192.0.2.1:9")); took != 0 {
					t.Errorf("%s: one too many is closed after %s", name, took)
				}
			}
			for id, conn := range there {
				ask(t, conn, uint64(id), 11)
			}
			<-time.After(2 * time.Minute) // longer than they may be silent when another comes
			ask(t, p.dial("192.0.2.1:9"), 9, 1)
		})
	}
}
