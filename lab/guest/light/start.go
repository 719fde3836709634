package light

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// firstFD is below the reflector's own descriptors: the child closes all others below it, which it
	// inherited.
	firstFD = 512
	backlog = 64
)

// Start forks a reflector that listens at addr, an IPv4 address, with UDP and TCP, and returns its process id. When
// Start returns, clients can connect. The caller collects the child with wait(2). The child ends when it is killed, or
// when the thread that called Start ends (prctl(2), PR_SET_PDEATHSIG).
func Start(addr netip.AddrPort) (pid int, err error) {
	memory, err := syscall.Mmap(-1, 0, int(unsafe.Sizeof(reflector{})), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return 0, errors.New("map memory for the reflector: " + err.Error())
	}
	defer syscall.Munmap(memory) //nolint:errcheck // the child has its own
	r := (*reflector)(unsafe.Pointer(unsafe.SliceData(memory)))
	defer r.closeAll()
	if err := r.open(addr); err != nil {
		return 0, errors.New("reflector at " + addr.String() + ": " + err.Error())
	}
	child, errno := fork(r)
	if errno != 0 {
		return 0, errors.New("fork the reflector: " + errno.Error())
	}
	return int(child), nil
}

// open makes the sockets and draws the instance number, by which clients notice a restart.
func (r *reflector) open(addr netip.AddrPort) error {
	if !addr.Addr().Is4() {
		return errors.New("not an IPv4 address")
	}
	r.epoll, r.udp, r.listener = -1, -1, -1
	// GRND_INSECURE does not wait: a guest that boots has little randomness, and here it is no secret.
	number := unsafe.Slice((*byte)(unsafe.Pointer(&r.instance)), unsafe.Sizeof(r.instance))
	if _, err := unix.Getrandom(number, unix.GRND_INSECURE); err != nil {
		return os.NewSyscallError("getrandom", err)
	}
	var err error
	if r.epoll, err = high(unix.EpollCreate1(unix.EPOLL_CLOEXEC)); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	for _, s := range []struct {
		fd   *int32
		kind int
		tag  int32
	}{{&r.udp, unix.SOCK_DGRAM, udpTag}, {&r.listener, unix.SOCK_STREAM, listenerTag}} {
		if err := r.socket(s.fd, s.kind, addr, s.tag); err != nil {
			return err
		}
	}
	return os.NewSyscallError("listen", unix.Listen(int(r.listener), backlog))
}

func (r *reflector) socket(fd *int32, kind int, addr netip.AddrPort, tag int32) (err error) {
	if *fd, err = high(unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptInt(int(*fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	sa := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	if err := unix.Bind(int(*fd), sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: tag}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(r.epoll), unix.EPOLL_CTL_ADD, int(*fd), &event))
}

// high moves a new descriptor to firstFD or above.
func high(fd int, err error) (int32, error) {
	if err != nil {
		return -1, err
	}
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFD)
	return int32(moved), errors.Join(err, unix.Close(fd))
}

// closeAll closes the parent's copies.
func (r *reflector) closeAll() {
	for _, fd := range []int32{r.epoll, r.udp, r.listener} {
		if fd > 0 {
			unix.Close(int(fd)) //nolint:errcheck // the child has its own
		}
	}
}

// fork starts the child, which stays in serve. The parent's thread gets its signals back.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func fork(r *reflector) (pid uintptr, errno syscall.Errno) {
	r.signals = ^uint64(0)
	mask, old := uintptr(unsafe.Pointer(&r.signals)), uintptr(unsafe.Pointer(&r.unblocked))
	size := unsafe.Sizeof(r.signals)
	_, _, errno = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, mask, old, size, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		r.serve()
	}
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, old, 0, size, 0, 0)
	return pid, errno
}
