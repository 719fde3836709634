package blackout

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acks turns what TCP_INFO (tcp(7)) tells of one connection, slot by slot, into the instants at which the other
// kernel acknowledged. The kernel counts tcpi_last_ack_recv in clock ticks and tells only the newest one: of
// several acknowledgements within a slot the last one counts.
type acks struct {
	tick   time.Duration // of the kernel's clock
	looked time.Duration // when TCP_INFO was read last
	acked  uint64        // tcpi_bytes_acked then
}

// look takes what was read at an instant: how long ago the newest acknowledgement came, and how many bytes are
// acknowledged. fresh tells that one came since the look before, at the instant at, give or take a tick: age is a
// difference of ticks. lateness is how much earlier it may have come.
func (a *acks) look(now, age time.Duration, acked uint64) (at, lateness time.Duration, fresh bool) {
	since := now - a.looked
	if age < since || acked > a.acked {
		at = max(now-age, a.looked)
		lateness, fresh = min(a.tick, at-a.looked), true
	}
	a.looked, a.acked = now, acked
	return at, lateness, fresh
}

// acknowledge takes an acknowledgement that arrived at an instant as the answer to the newest probe that was sent
// before it.
func (k *tracker) acknowledge(at, lateness time.Duration) {
	seq := k.newest
	for next, ok := k.tries.time(seq + 1); ok && next <= at; next, ok = k.tries.time(seq + 1) {
		seq++
	}
	if seq > k.newest {
		k.answer(packet{kind: kindProbe, seq: seq}, at, lateness)
	}
}

// kernelTick is how exactly the kernel tells when an acknowledgement came: one tick of its clock.
func kernelTick() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return 10 * time.Millisecond // the slowest clock that Linux has
	}
	return time.Duration(res.Nano())
}

// tcpInfo is room for one answer of getsockopt(2). unix.GetsockoptTCPInfo allocates it at each call.
type tcpInfo struct{ unix.TCPInfo }

// read asks the kernel about a connection, and reports whether it told.
func (i *tcpInfo) read(fd int) bool {
	size := uint32(unsafe.Sizeof(i.TCPInfo))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&i.TCPInfo)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// age is how long ago the newest acknowledgement came.
func (i *tcpInfo) age() time.Duration { return time.Duration(i.Last_ack_recv) * time.Millisecond }
