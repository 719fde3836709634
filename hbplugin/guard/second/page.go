package second

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PagePath is where the page is.
const PagePath = "/run/vmferry/guard.page"

// ErrBusy is the error of a page whose role another process has.
var ErrBusy = errors.New("another process has this role")

// fields are the page. Each is written as a whole.
type fields struct {
	until      atomic.Int64  // guests may run until then, by CLOCK_BOOTTIME; 0: there is no lease
	good       atomic.Int64  // when the newest renewal that counts began
	generation atomic.Uint64 // of the lease
}

// Page is the shared memory.
type Page struct {
	file   *os.File
	memory []byte
	*fields
}

// Role is what a process does with the page.
type Role int64

// The roles. One process at a time has each.
const (
	Guard Role = iota
	Second
)

// OpenPage maps the page at path, and makes it where there is none. The lock of the role is kept until Close, or the
// end of the process; ErrBusy says that somebody has it.
func OpenPage(path string, role Role) (*Page, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Page{file: f}
	if err := p.open(role); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return p, nil
}

// lock is the lock of the role.
func (r Role) lock() unix.Flock_t {
	return unix.Flock_t{Type: unix.F_WRLCK, Start: 1<<20 + int64(r), Len: 1}
}

// Runs reports whether another process has the role. An error of the system is a no.
func (p *Page) Runs(role Role) bool {
	lock := role.lock()
	err := unix.FcntlFlock(p.file.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

func (p *Page) open(role Role) error {
	lock := role.lock()
	err := unix.FcntlFlock(p.file.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrBusy
	}
	if err != nil {
		return err
	}
	size := os.Getpagesize()
	if err := unix.Fallocate(int(p.file.Fd()), 0, 0, int64(size)); err != nil {
		return err
	}
	p.memory, err = unix.Mmap(int(p.file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	p.fields = (*fields)(unsafe.Pointer(&p.memory[0])) // a page is aligned for every type
	return nil
}

// Close unmaps the page and gives the role back.
func (p *Page) Close() error { return errors.Join(unix.Munmap(p.memory), p.file.Close()) }

// Leased takes until when guests may run, in which generation, and what that counts from.
func (p *Page) Leased(until, good time.Duration, generation uint64) {
	p.generation.Store(generation)
	p.good.Store(int64(good))
	p.until.Store(int64(until))
}

// Released takes that no guest runs, and none may.
func (p *Page) Released() { p.until.Store(0) }

// Until is until when guests may run; 0 where there is no lease.
func (p *Page) Until() time.Duration { return time.Duration(p.until.Load()) }

// Good is when the newest renewal that counts began, and in which generation.
func (p *Page) Good() (good time.Duration, generation uint64) {
	return time.Duration(p.good.Load()), p.generation.Load()
}
