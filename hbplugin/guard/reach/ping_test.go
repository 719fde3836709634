package reach

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/roottest"
	"github.com/vmferry/vmferry/migrate/wait"
)

var one, two = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

// answer is the reply to a request, as a host would send it.
func answer(request []byte) []byte {
	b := append([]byte{}, request...)
	b[0] = echoReply4
	return b
}

func TestTake(t *testing.T) {
	from := func(a netip.Addr) *net.IPAddr { return &net.IPAddr{IP: a.AsSlice()} }
	for name, test := range map[string]struct {
		play func(p *Pinger)
		want int
	}{
		"nobody answers": {func(*Pinger) {}, 0},
		"one answers":    {func(p *Pinger) { p.take(from(one), answer(p.echo(echoRequest4, 1)), echoReply4) }, 1},
		"it answers more": {func(p *Pinger) {
			b := answer(p.echo(echoRequest4, 1))
			p.take(from(one), b, 0)
			p.take(from(one), b, 0)
		}, 1},
		"a stranger does": {func(p *Pinger) {
			p.take(from(netip.MustParseAddr("192.0.2.9")), answer(p.echo(echoRequest4, 1)), echoReply4)
		}, 0},
		"its own request comes back": {func(p *Pinger) { p.take(from(one), p.echo(echoRequest4, 1), echoReply4) }, 0},
		"the answer of an earlier round": {func(p *Pinger) {
			late := answer(p.echo(echoRequest4, 1))
			p.begin()
			p.take(from(one), late, echoReply4)
		}, 0},
		"a short one": {func(p *Pinger) { p.take(from(one), answer(p.echo(echoRequest4, 1))[:12], echoReply4) }, 0},
	} {
		p := NewPinger([]netip.Addr{one, two})
		p.begin()
		test.play(p)
		p.end()
		if got := p.Reached(); got != test.want {
			t.Errorf("%s: %d are reached, want %d", name, got, test.want)
		}
		if all := p.Answers(); len(all) != 2 || all[1] {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// The loopback address answers.
func TestRun(t *testing.T) {
	roottest.Need(t)
	p := NewPinger([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	for p.Reached() == 0 {
		if err := wait.For(ctx, 50*time.Millisecond); err != nil {
			t.Fatalf("127.0.0.1 is not reached: %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// broken is a socket that fails at once.
type broken struct {
	net.PacketConn
	reads int
}

func (b *broken) ReadFrom([]byte) (int, net.Addr, error) {
	b.reads++
	return 0, nil, net.ErrClosed
}

// A socket that fails takes no processor from others.
func TestBrokenSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := new(broken)
		if NewPinger(nil).receive(ctx, b, echoReply4); b.reads > int(time.Second/pause)+1 {
			t.Errorf("it is read %d times in a second", b.reads)
		}
	})
}
