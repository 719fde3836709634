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

	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// hostileUDP is a service that lets reply say what it sends for each datagram; it
// says how many came.
func hostileUDP(t *testing.T, reply func(p wire.Packet) []wire.Packet) (addr string, received *atomic.Uint64) {
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
			p, err := wire.Parse(buf[:n], wire.Probe)
			if err == nil && p.Seq > 1<<32 {
				t.Errorf("probe %d is sent again, and never was", p.Seq)
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
	as := func(p wire.Packet, change func(p *wire.Packet)) wire.Packet {
		p.Kind, p.Instance, p.Count = wire.Answer, 1, p.Seq
		change(&p)
		return p
	}
	var n uint64
	for name, reply := range map[string]func(p wire.Packet) []wire.Packet{
		"challenges for ever": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Kind = wire.Challenge })}
		},
		"challenges the future": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Kind, p.Seq = wire.Challenge, 1<<63 }),
				as(p, func(*wire.Packet) {})}
		},
		"counts that jump": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Count = p.Seq << 60 })}
		},
		"many instances": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { n++; p.Instance = n })}
		},
		"other sessions": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Session++ }), as(p, func(*wire.Packet) {})}
		},
		"everything often": func(p wire.Packet) []wire.Packet {
			return slices.Repeat([]wire.Packet{as(p, func(*wire.Packet) {})}, 20)
		},
		"times of its own": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Sent = -1 << 63 })}
		},
		"the future": func(p wire.Packet) []wire.Packet {
			return []wire.Packet{as(p, func(p *wire.Packet) { p.Seq = 1<<64 - 1 }), as(p, func(*wire.Packet) {})}
		},
	} {
		addr, received := hostileUDP(t, reply)
		report, err := Watch(t.Context(), Config{Targets: []string{"udp://" + addr}, For: 300 * time.Millisecond,
			Linger: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		got := report.Targets[0]
		if n := received.Load(); n > 2*got.Sent {
			t.Errorf("%s: %d datagrams for %d probes", name, n, got.Sent)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.Answered+got.LostOut+got.LostBack+got.Unsettled != got.Sent {
			t.Errorf("%s: answered %d + out %d + back %d + unsettled %d, sent %d", name, got.Answered, got.LostOut,
				got.LostBack, got.Unsettled, got.Sent)
		}
	}
}

// An endless stream stops a watch neither from sending nor from its end.
func TestAWatchOfAnEndlessStream(t *testing.T) {
	for name, stream := range map[string]func(first wire.Packet) []byte{
		"malformed": func(wire.Packet) []byte { return make([]byte, 64<<10) },
		"answers": func(p wire.Packet) []byte {
			p.Kind = wire.Answer
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
		report, err := Watch(t.Context(), Config{Targets: []string{"tcp://" + l.Addr().String()},
			For: 300 * time.Millisecond, Linger: 10 * time.Millisecond})
		_ = l.Close()
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Targets[0]; got.Check() != nil || got.Sent == 0 || got.Answered > got.Sent {
			t.Errorf("%s: %+v, %v", name, got, got.Check())
		}
	}
}

// endless sends what stream makes of the first probe until the client is gone.
func endless(conn net.Conn, stream func(wire.Packet) []byte) {
	defer conn.Close()
	buf := make([]byte, wire.PacketSize)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return
	}
	p, _ := wire.ParseAny(buf)
	for all := stream(p); ; {
		if _, err := conn.Write(all); err != nil {
			return
		}
	}
}

// A watch over TCP is answered at any interval, also where connections get less time
// than that.
func TestATCPWatchAtALongInterval(t *testing.T) {
	addr := reflectortest.Start(t)
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
