package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Capture is what a tap has seen of TCP at its ports.
type Capture struct {
	Packets int64 `json:"packets"`
	Bytes   int64 `json:"bytes"` // of payload
	Missed  int64 `json:"missed"`
	// Seen counts the places at which each of the marks passed by in the clear. One that lies across two segments is
	// found where they came in order.
	Seen map[string]int64 `json:"seen"`

	tails map[flow][]byte // the last bytes of each flow, in which a mark may have begun
	low   uint16
	high  uint16
}

// flow is one direction of a TCP connection.
type flow struct{ from, to netip.AddrPort }

// tap listens on a link for TCP at a range of ports, and looks for marks in what passes by:
//
//	tap --link NAME --ports LOW-HIGH MARK…
//
// When it ends, it prints a [Capture] as JSON.
func tap(ctx context.Context, args []string, out io.Writer, ready func()) error {
	flags := flag.NewFlagSet("tap", flag.ContinueOnError)
	link := flags.String("link", "", "")
	ports := flags.String("ports", "1-65535", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	seen, err := newCapture(*ports, flags.Args())
	if err != nil {
		return err
	}
	socket, err := packetSocket(*link)
	if err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	defer socket.Close()
	ready()
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	packet := make([]byte, 1<<18)
	for {
		n, err := socket.Read(packet)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("tap: %w", err)
		}
		if err != nil {
			break
		}
		seen.take(packet[:n])
	}
	if err := seen.finish(socket, packet); err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return json.NewEncoder(out).Encode(seen)
}

// finish takes in what has arrived, and how much found no room in the socket's buffer.
func (c *Capture) finish(socket *os.File, packet []byte) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), packet)
			if err != nil {
				break // EAGAIN: that was all
			}
			c.take(packet[:n])
		}
		c.Missed = -1
		if stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.Missed = int64(stats.Drops)
		}
	})
}

func newCapture(ports string, marks []string) (*Capture, error) {
	c := &Capture{Seen: map[string]int64{}, tails: map[flow][]byte{}}
	if n, _ := fmt.Sscanf(ports, "%d-%d", &c.low, &c.high); n != 2 || c.low > c.high {
		return nil, fmt.Errorf("tap: ports %q are not LOW-HIGH", ports)
	}
	for _, mark := range marks {
		if mark == "" {
			return nil, errors.New("tap: a mark is empty")
		}
		c.Seen[mark] = 0
	}
	return c, nil
}

// packetSocket gets all IPv4 packets of a link without their Ethernet headers (packet(7), SOCK_DGRAM).
func packetSocket(link string) (*os.File, error) {
	card, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "packets of "+link)
	all := uint16(unix.ETH_P_ALL) // of ETH_P_IP alone, what leaves is not seen
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: card.Index}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on link %q: %w", link, err), socket.Close())
	}
	return socket, nil
}

// take takes one IP packet in.
func (c *Capture) take(packet []byte) {
	way, payload, ok := segment(packet)
	if !ok || !c.watches(way.from.Port()) && !c.watches(way.to.Port()) || len(payload) == 0 {
		return
	}
	c.Packets++
	c.Bytes += int64(len(payload))
	longest := 0
	tail := c.tails[way]
	for mark := range c.Seen {
		// What lies in the tail alone was counted with the packet before.
		keep := tail[max(0, len(tail)-len(mark)+1):]
		c.Seen[mark] += int64(bytes.Count(append(bytes.Clone(keep), payload...), []byte(mark)))
		longest = max(longest, len(mark))
	}
	whole := append(tail, payload...)
	c.tails[way] = bytes.Clone(whole[max(0, len(whole)-longest):])
}

func (c *Capture) watches(port uint16) bool { return c.low <= port && port <= c.high }

// segment reads the headers of IPv4 (RFC 791) and TCP (RFC 9293). A packet that segmentation offload has made larger
// than the total length can tell has 0 there.
func segment(packet []byte) (way flow, payload []byte, ok bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_TCP {
		return flow{}, nil, false
	}
	header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if total == 0 || total > len(packet) {
		total = len(packet)
	}
	if header < 20 || total < header+20 {
		return flow{}, nil, false
	}
	tcp := packet[header:total]
	offset := int(tcp[12]>>4) * 4
	if offset < 20 || offset > len(tcp) {
		return flow{}, nil, false
	}
	from, _ := netip.AddrFromSlice(packet[12:16])
	to, _ := netip.AddrFromSlice(packet[16:20])
	way = flow{
		netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)),
		netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
	}
	return way, tcp[offset:], true
}
