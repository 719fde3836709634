package reach

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	round     = time.Second
	pause     = 20 * time.Millisecond // after a socket has failed
	tokenSize = 16

	echoRequest4, echoReply4 = 8, 0     // RFC 792
	echoRequest6, echoReply6 = 128, 129 // RFC 4443
)

// Pinger sends an echo request to every address of the ping list once a second, and counts who answers.
type Pinger struct {
	mu     sync.Mutex
	order  []netip.Addr
	counts map[netip.Addr]*Count
	token  [tokenSize]byte // of this round: a reply without it is late, or not a reply to this
	heard  map[netip.Addr]bool
}

// NewPinger is a pinger of these addresses that has heard nobody yet.
func NewPinger(addresses []netip.Addr) *Pinger {
	p := &Pinger{order: addresses, counts: map[netip.Addr]*Count{}}
	for _, a := range addresses {
		p.counts[a] = new(Count)
	}
	return p
}

// Reached is how many addresses are reached.
func (p *Pinger) Reached() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.counts {
		if c.Reached() {
			n++
		}
	}
	return n
}

// Answers says of each address, in the order of the list, whether it is reached.
func (p *Pinger) Answers() (all []bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.order {
		all = append(all, p.counts[a].Reached())
	}
	return all
}

// Run pings until ctx ends. It fails at once where no raw socket can be had: that takes CAP_NET_RAW.
func (p *Pinger) Run(ctx context.Context) error {
	if len(p.order) == 0 {
		return nil
	}
	v4, err4 := net.ListenPacket("ip4:icmp", "")
	v6, err6 := net.ListenPacket("ip6:ipv6-icmp", "")
	if err4 != nil && err6 != nil {
		return fmt.Errorf("ping: %w", errors.Join(err4, err6))
	}
	var all sync.WaitGroup
	for _, each := range []struct {
		socket net.PacketConn
		reply  byte
	}{{v4, echoReply4}, {v6, echoReply6}} {
		if each.socket == nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = each.socket.Close() })
		defer stop()
		all.Go(func() { p.receive(ctx, each.socket, each.reply) })
	}
	for sequence := uint16(1); ctx.Err() == nil; sequence++ {
		p.begin()
		for _, a := range p.order {
			socket, request := v4, byte(echoRequest4)
			if a.Is6() && !a.Is4In6() {
				socket, request = v6, echoRequest6
			}
			if socket != nil {
				_, _ = socket.WriteTo(p.echo(request, sequence), &net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()})
			}
		}
		if wait.For(ctx, round) == nil {
			p.end()
		}
	}
	all.Wait()
	return nil
}

// begin begins a round.
func (p *Pinger) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = rand.Read(p.token[:])
	p.heard = map[netip.Addr]bool{}
}

// end counts a round.
func (p *Pinger) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, c := range p.counts {
		c.Add(p.heard[a])
	}
}

// echo is an echo request of this round. The kernel fills in the checksum of ICMPv6.
func (p *Pinger) echo(kind byte, sequence uint16) []byte {
	b := make([]byte, 8, 8+tokenSize)
	b[0] = kind
	binary.BigEndian.PutUint16(b[6:], sequence)
	p.mu.Lock()
	b = append(b, p.token[:]...)
	p.mu.Unlock()
	if kind == echoRequest4 {
		binary.BigEndian.PutUint16(b[2:], wire.Checksum(b))
	}
	return b
}

func (p *Pinger) receive(ctx context.Context, socket net.PacketConn, reply byte) {
	b := make([]byte, 1500)
	for ctx.Err() == nil {
		n, from, err := socket.ReadFrom(b)
		if err != nil {
			_ = wait.For(ctx, pause) // closed as ctx has ended, or it may fail at once, again and again
			continue
		}
		if address, ok := from.(*net.IPAddr); ok {
			p.take(address, b[:n], reply)
		}
	}
}

// take is one ICMP message.
func (p *Pinger) take(from *net.IPAddr, b []byte, reply byte) {
	a, ok := netip.AddrFromSlice(from.IP)
	if !ok || len(b) != 8+tokenSize || b[0] != reply {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a = a.Unmap().WithZone(from.Zone)
	if !bytes.Equal(b[8:], p.token[:]) || p.heard == nil {
		return
	}
	if p.counts[a] != nil {
		p.heard[a] = true
	} else if plain := a.WithZone(""); p.counts[plain] != nil {
		p.heard[plain] = true
	}
}
