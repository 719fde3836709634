package watchdog

import (
	"bytes"
	"sync"
	"syscall"
	"time"
)

// defaultTimeout is that of most drivers, and limits are softdog's.
const (
	defaultTimeout = time.Minute
	least          = time.Second
	most           = 65535 * time.Second
)

// Timer is a watchdog. Its methods may be called from several goroutines. Errors are those that a driver has.
type Timer struct {
	fire func()

	mu      sync.Mutex
	open    bool
	expect  bool // the last write had the letter that lets a close disarm it
	timeout time.Duration
	running *time.Timer // nil: disarmed
}

// New returns a timer that is disarmed. fire is called, in a goroutine of its own, when it was not fed in time.
func New(fire func()) *Timer { return &Timer{fire: fire, timeout: defaultTimeout} }

// Open arms it. EBUSY is for a second user.
func (t *Timer) Open() syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		return syscall.EBUSY
	}
	t.open, t.expect = true, false
	t.feed()
	return 0
}

// feed begins the timeout again.
func (t *Timer) feed() {
	if t.running == nil {
		t.running = time.AfterFunc(t.timeout, t.fire)
		return
	}
	t.running.Reset(t.timeout)
}

// Write feeds it.
func (t *Timer) Write(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expect = bytes.ContainsRune(data, 'V')
	t.feed()
}

// Close disarms it, where the last write allows that. Else it is fed once more, and continues to run.
func (t *Timer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = false
	if t.expect {
		t.disarm()
		return
	}
	t.feed()
}

// Reset is the loss of the node's power: it is disarmed, whoever had it open.
func (t *Timer) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.timeout = false, defaultTimeout
	t.disarm()
}

func (t *Timer) disarm() {
	if t.running != nil {
		t.running.Stop()
		t.running = nil
	}
}

// SetTimeout sets its timeout, and feeds it. EINVAL is for one that no driver takes.
func (t *Timer) SetTimeout(timeout time.Duration) syscall.Errno {
	if timeout < least || timeout > most {
		return syscall.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timeout = timeout
	t.feed()
	return 0
}

// Timeout is what it is set to.
func (t *Timer) Timeout() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.timeout
}
