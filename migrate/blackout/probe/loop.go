package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// prober is the sockets of one target, or of several. All its methods are called
// from the loop's thread; those that touch a tracker take its target's lock.
type prober interface {
	// tick sends the next probe, after skipped slots that were missed.
	tick(now time.Duration, skipped uint64)
	// ready handles what epoll reported about fd. lateness bounds how long ago
	// that may have happened.
	ready(fd int, events uint32, lateness time.Duration)
	// idle reports whether no answer is awaited.
	idle() bool
	close()
}

// loop sends and receives for all targets on one thread: an absolute timer
// for the slots, and epoll for everything that comes back.
type loop struct {
	clock    clock
	interval time.Duration
	probers  []prober
	epoll    int
	timer    int
	wake     int // eventfd, written when the run is to end

	base     time.Duration // when slot 0 was
	slot     uint64        // the newest that has begun
	lateness time.Duration // of the newest slot
	late     atomic.Int64  // the same, for other goroutines

	hold      bool // wait without giving up the place in Go's scheduler
	draining  bool // no more slots begin
	faults    outage.Faults
	asleep    func() time.Duration
	slept     time.Duration // what asleep returned last
	shared    bool          // probers need other goroutines soon
	onSuspend func()        // called when this machine has slept
}

// The owners that the loop's own descriptors have in epoll, next to the
// indices of the probers.
const (
	ownerTimer = -1
	ownerWake  = -2
)

func newLoop(interval time.Duration) (*loop, error) {
	l := &loop{interval: interval, asleep: asleep, slept: asleep(), onSuspend: func() {}}
	var errs [3]error
	l.epoll, errs[0] = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	l.timer, errs[1] = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	l.wake, errs[2] = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	err := errors.Join(
		os.NewSyscallError("epoll_create1", errs[0]),
		os.NewSyscallError("timerfd_create", errs[1]),
		os.NewSyscallError("eventfd", errs[2]))
	if err == nil {
		err = errors.Join(l.watch(l.timer, ownerTimer, unix.EPOLLIN), l.watch(l.wake, ownerWake, unix.EPOLLIN))
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("prepare to send: %w", err)
	}
	return l, nil
}

// watch registers fd with epoll, or changes what is registered.
func (l *loop) watch(fd, owner int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(owner)}
	err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
	if errors.Is(err, unix.EEXIST) {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, fd, &ev)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (l *loop) close() {
	for _, p := range l.probers {
		p.close()
	}
	for _, fd := range []int{l.epoll, l.timer, l.wake} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// run sends a probe to each target in every slot until ctx is done; it then
// waits for outstanding answers, at most linger, and returns when sending
// ended.
func (l *loop) run(ctx context.Context, linger time.Duration) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, l.interrupt)
	defer stop()
	defer l.keepPlace()()

	l.base = l.clock.now()
	if err := l.arm(l.interval, l.interval); err != nil {
		return l.clock.now(), err
	}
	if err := l.send(ctx); err != nil {
		return l.clock.now(), err
	}
	end := l.clock.now()
	if err := l.arm(linger, 0); err != nil {
		return end, err
	}
	return end, l.drain()
}

// interrupt makes the loop look at its context.
func (l *loop) interrupt() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(l.wake, one[:])
}

// arm sets the timer off once after first and then at every interval; both
// are kept by the kernel on an absolute schedule.
func (l *loop) arm(first, every time.Duration) error {
	spec := unix.ItimerSpec{
		Value:    unix.NsecToTimespec(int64(max(first, 1))),
		Interval: unix.NsecToTimespec(int64(every)),
	}
	if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("set the timer: %w", err)
	}
	return nil
}

// send is the part of a run in which probes are sent. Slots that were missed
// are skipped: a burst would measure something else.
func (l *loop) send(ctx context.Context) error {
	for ctx.Err() == nil {
		slots, err := l.wait()
		if err != nil {
			return err
		}
		if slots == 0 {
			continue
		}
		for _, p := range l.probers {
			p.tick(l.clock.now(), slots-1)
		}
	}
	return nil
}

// drain receives until every answer is there or the timer goes off.
func (l *loop) drain() error {
	l.draining, l.hold = true, false
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.wake, nil)
	for !l.idle() {
		slots, err := l.wait()
		if err != nil || slots > 0 {
			return err
		}
	}
	return nil
}

func (l *loop) idle() bool {
	return !slices.ContainsFunc(l.probers, func(p prober) bool { return !p.idle() })
}

// wait blocks until something happens, lets the probers handle what came back,
// and returns how many slots have begun. The timer is looked at first: it shows
// how late everything else may be noticed.
func (l *loop) wait() (slots uint64, err error) {
	var events [64]unix.EpollEvent
	n, err := l.poll(events[:])
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return 0, nil
		}
		return 0, fmt.Errorf("wait for answers: %w", err)
	}
	woken := l.clock.now()
	for i := range events[:n] {
		if events[i].Pad == ownerTimer {
			if slots = l.expired(); !l.draining {
				l.begin(slots, woken)
			}
		}
	}
	for i := range events[:n] {
		if owner := int(events[i].Pad); owner >= 0 {
			l.probers[owner].ready(int(events[i].Fd), events[i].Events, l.lateness+l.clock.now()-woken)
		}
	}
	return slots, nil
}

// holders counts the loops of this process that would keep their place in Go's
// scheduler. One place must be left for everything else.
var holders atomic.Int32

// maxHold is the longest interval at which the loop keeps its place in Go's
// scheduler while it waits.
const maxHold = 10 * time.Millisecond

// keepPlace decides whether this loop keeps its place, until what it returns is called.
func (l *loop) keepPlace() (release func()) {
	if l.interval > maxHold || l.shared {
		return func() {}
	}
	l.hold = holders.Add(1) < int32(runtime.GOMAXPROCS(0))
	return func() { holders.Add(-1) }
}

// poll waits for events. At short intervals it does so without a word to Go's
// scheduler, which halves what a probe costs: the loop soon runs again anyway.
// Where others must have its place, as for a collection of garbage, the runtime
// sends a signal, and epoll_wait(2) is always interrupted by one.
func (l *loop) poll(events []unix.EpollEvent) (int, error) {
	if !l.hold {
		return unix.EpollWait(l.epoll, events, -1)
	}
	forever := ^uintptr(0)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), forever, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// begin notes that slots have begun, and how late the first of them was seen.
func (l *loop) begin(slots uint64, now time.Duration) {
	first := l.base + time.Duration(l.slot+1)*l.interval
	l.slot += slots
	l.lateness = max(now-first, 0)
	l.late.Store(int64(l.lateness))
	l.faults.Add(report.Late, first, l.lateness)
	if slept := l.asleep(); slept-l.slept >= outage.LeastFault {
		l.faults.Add(report.Asleep, now, slept-l.slept)
		l.slept = slept
		l.onSuspend()
	}
}

// expired returns how often the timer went off since it was last asked.
func (l *loop) expired() uint64 {
	var b [8]byte
	if n, err := unix.Read(l.timer, b[:]); err != nil || n != len(b) {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}
