package probe

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelTick is the resolution of the time of an acknowledgement: one tick of the kernel's clock.
func kernelTick() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return 10 * time.Millisecond // the slowest clock that Linux has
	}
	return time.Duration(res.Nano())
}

// tcpInfo is room for one answer of getsockopt(2). unix.GetsockoptTCPInfo allocates it at each call.
type tcpInfo struct{ unix.TCPInfo }

// read asks the kernel about a connection, and reports whether it answered.
func (i *tcpInfo) read(fd int) bool {
	size := uint32(unsafe.Sizeof(i.TCPInfo))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&i.TCPInfo)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// age is how long ago the newest acknowledgement came.
func (i *tcpInfo) age() time.Duration { return time.Duration(i.Last_ack_recv) * time.Millisecond }
