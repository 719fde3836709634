package blackout

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// The relays are between watch and a reflector and do harm by sequence
// number, never by time. They note when they forwarded answers, before and
// after the call, so that a test knows what watch must have seen.

// handed is one answer that a relay passed on to the client.
type handed struct {
	seq           uint64
	before, after time.Time
}

// ledger is what a relay did.
type ledger struct {
	mu      sync.Mutex
	answers []handed
	out     int // probes dropped
	back    int // answers dropped
}

func (l *ledger) hand(seq uint64, pass func()) {
	before := time.Now()
	pass()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, handed{seq, before, time.Now()})
}

// gap returns the last answer forwarded before the harm that begins with probe
// seq, and the first one after it.
func (l *ledger) gap(t *testing.T, seq uint64) (last, first handed) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.answers {
		if h.seq >= seq && i > 0 {
			return l.answers[i-1], h
		}
	}
	t.Fatalf("no answer was forwarded after probe %d", seq)
	return handed{}, handed{}
}

// checkOutage finds the outage that the relay made, beginning with probe seq,
// and compares its length with what the relay did. It need not be the longest:
// on a busy machine the relay itself may be kept from running.
func checkOutage(t *testing.T, got Target, l *ledger, seq uint64, interval time.Duration) Outage {
	t.Helper()
	last, first := l.gap(t, seq)
	least, most := first.before.Sub(last.after), first.after.Sub(last.before)
	middle := last.after.Add(least / 2)
	for _, o := range got.Outages {
		if o.Start.After(middle) || o.End.Before(middle) {
			continue
		}
		low, high := ms(least-interval)-o.ErrorMs-ms(interval), ms(most-interval)+o.ErrorMs+ms(interval)
		if o.Ms < low || o.Ms > high {
			t.Errorf("outage of %v ms ± %v, the relay made one between %v and %v ms", o.Ms, o.ErrorMs, low, high)
		}
		if got.BlackoutMs < o.Ms {
			t.Errorf("blackout of %v ms is shorter than an outage of %v ms", got.BlackoutMs, o.Ms)
		}
		return o
	}
	t.Fatalf("the outage around %s is not among %+v", middle, got.Outages)
	return Outage{}
}

// background runs f until the test ends and waits for it.
func background(t *testing.T, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// udpRelay passes datagrams between one client and reflectors.
type udpRelay struct {
	ledger
	t        *testing.T
	front    *net.UDPConn
	dropOut  func(seq uint64) bool
	dropBack func(seq uint64) bool
	// route picks a reflector for a probe, by index.
	route func(seq uint64) int
	// seen is called with each probe that arrives.
	seen func(seq uint64)
}

func never(uint64) bool { return false }

// start returns the address at which the relay represents the reflectors.
func (r *udpRelay) start(reflectors ...string) string {
	r.t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.front = front
	client := make(chan net.Addr, len(reflectors))
	var backs []net.Conn
	for _, addr := range reflectors {
		back, err := net.Dial("udp", addr)
		if err != nil {
			r.t.Fatal(err)
		}
		backs = append(backs, back)
	}
	background(r.t, func(context.Context) { r.forward(backs, client) })
	for _, back := range backs {
		background(r.t, func(context.Context) { r.backward(back, client) })
	}
	r.t.Cleanup(func() {
		_ = front.Close()
		for _, back := range backs {
			_ = back.Close()
		}
	})
	return front.LocalAddr().String()
}

func (r *udpRelay) forward(backs []net.Conn, client chan<- net.Addr) {
	buf := make([]byte, 2048)
	for first := true; ; first = false {
		n, from, err := r.front.ReadFrom(buf)
		if err != nil {
			return
		}
		for range backs {
			if first {
				client <- from
			}
		}
		p, err := wire.Parse(buf[:n], wire.Probe)
		if err != nil {
			r.t.Errorf("watch sent %x", buf[:n])
			continue
		}
		r.seen(p.Seq)
		if r.dropOut(p.Seq) {
			r.mu.Lock()
			r.out++
			r.mu.Unlock()
			continue
		}
		_, _ = backs[r.route(p.Seq)].Write(buf[:n])
	}
}

func (r *udpRelay) backward(back net.Conn, client <-chan net.Addr) {
	buf := make([]byte, 2048)
	var to net.Addr
	for {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		if to == nil {
			to = <-client
		}
		p, err := wire.ParseAny(buf[:n])
		if err != nil || p.Kind == wire.Probe {
			r.t.Errorf("the reflector answered %x", buf[:n])
			continue
		}
		if p.Kind == wire.Answer && r.dropBack(p.Seq) {
			r.mu.Lock()
			r.back++
			r.mu.Unlock()
			continue
		}
		r.hand(p.Seq, func() { _, _ = r.front.WriteTo(buf[:n], to) })
	}
}

// tcpRelay passes streams, packet by packet.
type tcpRelay struct {
	ledger
	t *testing.T
	// accepted is called with each connection and its number, from 0; false
	// resets it.
	accepted func(n int) bool
	// probe is called with each probe before it is passed on; false resets
	// the connection.
	probe func(n int, seq uint64) bool
	// hold keeps a probe, and with it all that follow on the connection, until
	// it is false for one.
	hold func(n int, seq uint64) bool
}

func (r *tcpRelay) start(reflector string) string {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var wg sync.WaitGroup
	background(r.t, func(ctx context.Context) {
		defer wg.Wait()
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !r.accepted(n) {
				reset(conn)
				continue
			}
			wg.Go(func() { r.connection(ctx, n, conn.(*net.TCPConn), reflector) })
		}
	})
	r.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

func (r *tcpRelay) connection(ctx context.Context, n int, client *net.TCPConn, reflector string) {
	server, err := net.Dial("tcp", reflector)
	if err != nil {
		r.t.Errorf("reach the reflector: %v", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { r.answers(client, server) })
	r.probes(n, client, server)
	_ = server.Close()
	wg.Wait()
}

func (r *tcpRelay) probes(n int, client, server net.Conn) {
	buf := make([]byte, wire.PacketSize)
	var held []byte
	for {
		if _, err := io.ReadFull(client, buf); err != nil {
			return
		}
		p, err := wire.Parse(buf, wire.Probe)
		if err != nil {
			r.t.Errorf("watch sent %x", buf)
			return
		}
		if !r.probe(n, p.Seq) {
			reset(client)
			return
		}
		held = append(held, buf...)
		if r.hold(n, p.Seq) {
			continue
		}
		if _, err := server.Write(held); err != nil {
			return
		}
		held = held[:0]
	}
}

func (r *tcpRelay) answers(client, server net.Conn) {
	buf := make([]byte, wire.PacketSize)
	for {
		if _, err := io.ReadFull(server, buf); err != nil {
			return
		}
		p, err := wire.Parse(buf, wire.Answer)
		if err != nil {
			r.t.Errorf("the reflector answered %x", buf)
			return
		}
		r.hand(p.Seq, func() { _, err = client.Write(buf) })
		if err != nil {
			return
		}
	}
}

func ms(d time.Duration) float64 { return report.Millis(d) }

func encoded(p wire.Packet) []byte {
	b := make([]byte, wire.PacketSize)
	p.Put(b)
	return b
}
