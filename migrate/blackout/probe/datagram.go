package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// eventsIn is what epoll waits for on an open socket.
const eventsIn = unix.EPOLLIN

// flow is a target of a datagramProber.
type flow struct {
	*target
	mode  wire.Mode
	to    socket.Address
	toLen uint32
}

// datagramProber probes targets from one socket: one target whose mode needs a
// socket of its own, or up to batchSize others of one mode and address family.
type datagramProber struct {
	fd    int
	burst int
	flows []*flow
	owner map[uint64]*flow // by session
	out   *socket.Batch
	in    *socket.Batch
	slots [socket.BatchSize]struct {
		*flow
		seq uint64
	}
	filled int
}

// newDatagramProber returns a prober without targets for addresses like at.
func newDatagramProber(e endpoint.Endpoint, at netip.AddrPort, burst int) (*datagramProber, error) {
	fd, err := openDatagram(e.Proto, at)
	if err != nil {
		return nil, fmt.Errorf("open a socket for %s: %w", e.Name, err)
	}
	return &datagramProber{
		fd: fd, burst: burst, owner: make(map[uint64]*flow),
		out: socket.NewBatch(wire.MaxProbe), in: socket.NewBatch(wire.MaxProbe),
	}, nil
}

// openDatagram opens the socket for a mode.
func openDatagram(proto string, at netip.AddrPort) (int, error) {
	if proto != endpoint.ICMP {
		return socket.Open(at, unix.SOCK_DGRAM, 0)
	}
	icmp := unix.IPPROTO_ICMP
	if at.Addr().Is6() {
		icmp = unix.IPPROTO_ICMPV6
	}
	fd, err := socket.Open(at, unix.SOCK_DGRAM, icmp)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		if fd, raw := socket.Open(at, unix.SOCK_RAW, icmp); raw == nil {
			return fd, nil
		}
		return -1, fmt.Errorf("%w: allow this user's group in sysctl net.ipv4.ping_group_range, or run as root", err)
	}
	return fd, err
}

// add makes t a target of the prober.
func (d *datagramProber) add(t *target, m wire.Mode, at netip.AddrPort) error {
	sa, err := socket.Sockaddr(at)
	if err != nil {
		return err
	}
	if err := checkRoute(at, sa); err != nil {
		return fmt.Errorf("find a route to %s: %w", t.Name, err)
	}
	f := &flow{target: t, mode: m}
	if m.Shared() {
		f.to, f.toLen = socket.AddressOf(sa)
	} else if err := unix.Connect(d.fd, sa); err != nil {
		return fmt.Errorf("find a route to %s: %w", t.Name, err)
	}
	d.flows = append(d.flows, f)
	d.owner[t.session] = f
	return nil
}

// checkRoute finds out whether this host knows a way to an address.
func checkRoute(at netip.AddrPort, sa unix.Sockaddr) error {
	fd, err := socket.Open(at, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Connect(fd, sa), unix.Close(fd))
}

// full reports whether no more targets fit.
func (d *datagramProber) full() bool {
	return len(d.flows) == socket.BatchSize || !d.flows[0].mode.Shared()
}

// tick implements prober.
func (d *datagramProber) tick(now time.Duration, skipped uint64) {
	for _, f := range d.flows {
		missed := skipped * uint64(d.burst)
		for range d.burst {
			f.mu.Lock()
			seq := f.track.Send(now, missed)
			f.mu.Unlock()
			d.queue(f, wire.Packet{Seq: seq, Sent: now}, seq)
			missed = 0
		}
	}
	d.flush()
}

// queue puts a probe into the batch, and sends the batch when it is full. tried
// is its number, or 0 when the probe has been sent before.
func (d *datagramProber) queue(f *flow, p wire.Packet, tried uint64) {
	i := d.filled
	d.slots[i].flow, d.slots[i].seq = f, tried
	p.Kind, p.Session, p.Instance, p.Count = wire.Probe, f.session, f.cookie[0], f.cookie[1]
	d.out.SetLength(i, f.mode.Put(d.out.Buffer(i), p))
	d.out.SetAddress(i, f.to, f.toLen)
	if d.filled++; d.filled == socket.BatchSize {
		d.flush()
	}
}

// flush sends what is queued. A connected socket reports an ICMP error for an
// earlier probe in place of sending the next, once: that is no error of the next.
func (d *datagramProber) flush() {
	for from, again := 0, false; from < d.filled; {
		n, err := d.out.Send(d.fd, from, d.filled, unix.MSG_DONTWAIT)
		if err == nil {
			from, again = from+n, false
			continue
		}
		if !again && err != unix.EAGAIN {
			again = true
			continue
		}
		d.failed(from)
		from, again = from+1, false
	}
	d.done()
}

// failed notes that the kernel did not take probe i of the batch.
func (d *datagramProber) failed(i int) {
	f := d.slots[i].flow
	f.mu.Lock()
	defer f.mu.Unlock()
	f.track.Note(outage.NotSent)
}

// done notes when the kernel had taken the batch, and empties it.
func (d *datagramProber) done() {
	for i := range d.slots[:d.filled] {
		f, seq := d.slots[i].flow, d.slots[i].seq
		if seq == 0 {
			continue
		}
		f.mu.Lock()
		f.track.Sent(seq, f.clock.now())
		f.mu.Unlock()
	}
	d.filled = 0
}

// ready implements prober. It reads one batch: epoll reports it again when there is
// more, and the timer gets its turn in between.
func (d *datagramProber) ready(_ int, _ uint32, lateness time.Duration) {
	n, err := d.in.Receive(d.fd, unix.MSG_DONTWAIT)
	if err != nil {
		return
	}
	for i := range n {
		d.take(i, lateness)
	}
	d.flush()
}

// take handles one datagram.
func (d *datagramProber) take(i int, lateness time.Duration) {
	f := d.flows[0]
	f.mu.Lock()
	last := f.track.LastSeq()
	f.mu.Unlock()
	p, err := f.mode.Classify(d.in.Received(i), last)
	if err != nil {
		return
	}
	if f.mode.Shared() {
		if f = d.owner[p.Session]; f == nil {
			return
		}
	}
	stamp, stamped := d.in.Stamp(i)
	again := false
	f.mu.Lock()
	if p.Kind == wire.Challenge {
		again = f.challenged(p)
	} else {
		f.answered(p, stamp, stamped, lateness)
	}
	f.mu.Unlock()
	if again {
		d.queue(f, wire.Packet{Seq: p.Seq, Sent: p.Sent}, 0)
	}
}

// idle implements prober.
func (d *datagramProber) idle() bool {
	return !slices.ContainsFunc(d.flows, func(f *flow) bool { return !f.target.idle() })
}

// close implements prober.
func (d *datagramProber) close() { _ = unix.Close(d.fd) }
