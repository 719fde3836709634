package blackout

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A watch does not notice that its cookies expire.
func TestAWatchLosesNothingToNewCookies(t *testing.T) {
	r := NewReflector(quiet())
	r.baker = newBaker(100 * time.Millisecond)
	addr := serveReflector(t, "127.0.0.1:0", r)
	report, err := Watch(t.Context(), Config{Targets: []string{"udp://" + addr}, For: time.Second, Linger: patience})
	if err != nil {
		t.Fatal(err)
	}
	r.sessions.mu.Lock() // of the UDP side's last datagram
	turns := r.baker.epoch - 2
	r.sessions.mu.Unlock()
	got := report.Targets[0]
	if turns < 3 {
		t.Errorf("%d keys in %v", turns, report.End.Sub(report.Start))
	}
	if got.Lost+got.Unsettled+got.LostOut+got.LostBack+got.Duplicates != 0 || got.Answered != got.Sent || got.Instances != 1 {
		t.Errorf("sent %d, answered %d, lost %d (%d out, %d back), %d open, %d twice, %d instances", got.Sent, got.Answered,
			got.Lost, got.LostOut, got.LostBack, got.Unsettled, got.Duplicates, got.Instances)
	}
}

// hostileUDP is a service that lets reply say what it sends for each datagram; it
// tells how many came.
func hostileUDP(t *testing.T, reply func(p packet) []packet) (addr string, received *atomic.Uint64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received = new(atomic.Uint64)
	background(t, func(context.Context) {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			received.Add(1)
			p, err := parsePacket(buf[:n], kindProbe)
			if err == nil && p.seq > 1<<32 {
				t.Errorf("probe %d is sent again, and never was", p.seq)
			}
			if err == nil {
				for _, a := range reply(p) {
					_, _ = conn.WriteTo(encoded(a), from)
				}
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String(), received
}

// Whatever a service sends over UDP, a watch sends each probe twice at most, on
// average, it ends, and its report adds up.
func TestAWatchOfAHostileService(t *testing.T) {
	as := func(p packet, change func(p *packet)) packet {
		p.kind, p.instance, p.count = kindAnswer, 1, p.seq
		change(&p)
		return p
	}
	var n uint64
	for name, reply := range map[string]func(p packet) []packet{
		"challenges for ever": func(p packet) []packet { return []packet{as(p, func(p *packet) { p.kind = kindChallenge })} },
		"challenges the future": func(p packet) []packet {
			return []packet{as(p, func(p *packet) { p.kind, p.seq = kindChallenge, 1<<63 }), as(p, func(*packet) {})}
		},
		"counts that jump": func(p packet) []packet { return []packet{as(p, func(p *packet) { p.count = p.seq << 60 })} },
		"many instances":   func(p packet) []packet { return []packet{as(p, func(p *packet) { n++; p.instance = n })} },
		"other sessions": func(p packet) []packet {
			return []packet{as(p, func(p *packet) { p.session++ }), as(p, func(*packet) {})}
		},
		"everything often": func(p packet) []packet { return slices.Repeat([]packet{as(p, func(*packet) {})}, 20) },
		"times of its own": func(p packet) []packet { return []packet{as(p, func(p *packet) { p.sent = -1 << 63 })} },
		"the future": func(p packet) []packet {
			return []packet{as(p, func(p *packet) { p.seq = 1<<64 - 1 }), as(p, func(*packet) {})}
		},
	} {
		addr, received := hostileUDP(t, reply)
		report, err := Watch(t.Context(), Config{Targets: []string{"udp://" + addr}, For: 300 * time.Millisecond, Linger: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		got := report.Targets[0]
		if n := received.Load(); n > 2*got.Sent {
			t.Errorf("%s: %d datagrams for %d probes", name, n, got.Sent)
		}
		if err := got.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.Answered+got.LostOut+got.LostBack+got.Unsettled != got.Sent {
			t.Errorf("%s: answered %d + out %d + back %d + unsettled %d, sent %d", name, got.Answered, got.LostOut, got.LostBack, got.Unsettled, got.Sent)
		}
	}
}

// An endless stream stops a watch neither from sending nor from its end.
func TestAWatchOfAnEndlessStream(t *testing.T) {
	for name, stream := range map[string]func(first packet) []byte{
		"garbage": func(packet) []byte { return make([]byte, 64<<10) },
		"answers": func(p packet) []byte {
			p.kind = kindAnswer
			return bytes.Repeat(encoded(p), 1000)
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { endless(conn, stream) })
			}
		})
		report, err := Watch(t.Context(), Config{Targets: []string{"tcp://" + l.Addr().String()}, For: 300 * time.Millisecond, Linger: 10 * time.Millisecond})
		_ = l.Close()
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Targets[0]; got.check() != nil || got.Sent == 0 || got.Answered > got.Sent {
			t.Errorf("%s: %+v, %v", name, got, got.check())
		}
	}
}

// endless sends what stream makes of the first probe until the client is gone.
func endless(conn net.Conn, stream func(packet) []byte) {
	defer conn.Close()
	buf := make([]byte, PacketSize)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return
	}
	p, _ := parseAny(buf)
	for all := stream(p); ; {
		if _, err := conn.Write(all); err != nil {
			return
		}
	}
}

// A watch over TCP is answered at any interval, also where connections get less time
// than that.
func TestATCPWatchAtALongInterval(t *testing.T) {
	addr := startReflector(t)
	report, err := Watch(t.Context(), Config{
		Targets: []string{"tcp://" + addr}, Interval: time.Second, ConnectTimeout: 900 * time.Millisecond,
		For: 2500 * time.Millisecond, Linger: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Targets[0]; got.Answered == 0 {
		t.Errorf("sent %d, answered %d", got.Sent, got.Answered)
	}
}
