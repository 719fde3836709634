package timing

import (
	"errors"
	"fmt"
	"time"
)

// Times are what can be set. All nodes of a cluster have the same: they are in the header of the lease device.
type Times struct {
	Renew    time.Duration // from one renewal of the lease to the next
	SelfKill time.Duration // age of the lease at which its holder kills its guests
	Kill     time.Duration // what killing them takes at most: processes proven gone, sockets empty
	Poll     time.Duration // from one look at another node's slot to the next
	Margin   time.Duration // for what no other term covers: scheduling, rounding
	Move     time.Duration // budget for moving the guests live before a surrender
	Revoke   time.Duration // time limit of one revocation of a node's access to its disks
	Drift    float64       // how much the rates of two clocks may differ, as a share of 1
}

// Default is for storage whose slowest write under load takes a third of SelfKill.
var Default = Times{
	Renew:    500 * time.Millisecond,
	SelfKill: 3 * time.Second,
	Kill:     time.Second,
	Poll:     100 * time.Millisecond,
	Margin:   300 * time.Millisecond,
	Move:     5 * time.Second,
	Revoke:   2 * time.Second,
	Drift:    0.001,
}

// Expiry is how long another node waits without a renewal before it takes the lease as expired. A node whose hardware
// watchdog fires after watchdog (0: it has none) is not gone before that.
func (t Times) Expiry(watchdog time.Duration) time.Duration {
	gone := t.SelfKill + max(t.Kill, watchdog)
	return time.Duration(float64(gone)*(1+t.Drift)/(1-t.Drift)) + t.Poll + t.Margin
}

// Watchdog is what a hardware watchdog is set to, in whole seconds: it is not fed while the guests are killed, and the
// last feeding may be more than a second old then.
func (t Times) Watchdog() time.Duration {
	return (t.Kill + 2*time.Second + time.Second - 1).Truncate(time.Second)
}

// Reset is after how long without feeding a node is reset at the latest whose watchdog has the timeout: the kernel feeds
// one whose file is closed once more (watchdog_release in drivers/watchdog/watchdog_dev.c), as when the guard dies.
func Reset(timeout time.Duration) time.Duration { return 2 * timeout }

// Fresh is how old the last renewal of a node that is well can be, as another node sees it.
func (t Times) Fresh() time.Duration { return 2*t.Renew + 2*t.Poll + t.Margin }

// Manager is the cluster manager's part of a recovery.
type Manager struct {
	Detect  time.Duration // from the fault to the call of the fence agent, at most
	Timeout time.Duration // what the manager grants one fence call; 0 is no limit
	Start   time.Duration // from the end of the fence call to the end of the first guest's start
}

// Pacemaker is the manager's part with Corosync's token timeout: membership without the peer comes at most 2.2 tokens
// and 0.3 s later, the fence call 1.1 s after that (measured with Pacemaker 3.0.0 and Corosync 3.1.9).
func Pacemaker(token, stonithTimeout, start time.Duration) Manager {
	return PacemakerAfter(token*22/10, stonithTimeout, start)
}

// PacemakerAfter is Pacemaker for a Corosync that takes a silent node for lost after that time: token and consensus,
// which is 2.2 tokens by default.
func PacemakerAfter(lost, stonithTimeout, start time.Duration) Manager {
	return Manager{Detect: lost + 1400*time.Millisecond, Timeout: stonithTimeout, Start: start}
}

// Heartbeat is the manager's part with its deadtime; a STONITH plugin that fails is called again without end.
func Heartbeat(deadtime, start time.Duration) Manager {
	return Manager{Detect: deadtime + time.Second, Start: start}
}

// Bounds are the longest times, from the fault to the end of the first guest's start elsewhere.
type Bounds struct {
	Crash        time.Duration // a node dies, hangs, or loses its storage and its link
	Split        time.Duration // the link alone is cut
	FenceTimeout time.Duration // the least time that the manager has to grant one fence call
}

// Reserve is what the manager has to grant a fence call beyond the guard's worst case: for its own queue, and for a
// guard that has just started.
const Reserve = 10 * time.Second

// Bounds are the worst cases of these times under m. revocable says that access to the disks is revoked.
func (t Times) Bounds(m Manager, watchdog time.Duration, revocable bool) Bounds {
	revoke := time.Duration(0)
	if revocable {
		revoke = t.Revoke + t.Poll // the proof is a read that begins after it
	}
	expiry := t.Expiry(watchdog)
	return Bounds{
		Crash:        max(m.Detect, expiry) + revoke + m.Start,
		Split:        m.Detect + t.agree() + t.Move + t.Kill + 2*t.Poll + revoke + m.Start,
		FenceTimeout: expiry + t.agree() + t.Move + t.Kill + revoke + Reserve,
	}
}

// agree is what two nodes take at most to read and bind each other's claims: three writes, each read one poll later.
func (t Times) agree() time.Duration { return 3*t.Poll + t.Margin }

// Check is the error of times with which the guard cannot keep its promises, each with its arithmetic; nil where there
// is none.
func (t Times) Check() error {
	var bad []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	for _, each := range []struct {
		name  string
		value time.Duration
		least time.Duration
		most  time.Duration
	}{
		{"renew", t.Renew, 50 * time.Millisecond, 10 * time.Second},
		{"self-kill", t.SelfKill, 500 * time.Millisecond, 5 * time.Minute},
		{"kill", t.Kill, 100 * time.Millisecond, time.Minute},
		{"poll", t.Poll, 10 * time.Millisecond, time.Second},
		{"margin", t.Margin, 50 * time.Millisecond, 10 * time.Second},
		{"move", t.Move, 0, 10 * time.Minute},
		{"revoke", t.Revoke, 100 * time.Millisecond, 5 * time.Minute},
	} {
		need(each.value >= each.least && each.value <= each.most, "%s is %s: use %s to %s",
			each.name, each.value, each.least, each.most)
	}
	need(t.Drift >= 0.0001 && t.Drift <= 0.05, "drift is %g: use 0.0001 to 0.05", t.Drift)
	need(t.SelfKill >= 3*t.Renew, "self-kill %s is less than 3 renewals of %s = %s: one slow write kills the guests: use %[3]s "+
		"or more", t.SelfKill, t.Renew, 3*t.Renew)
	need(t.Poll <= t.Renew, "poll %s is longer than renew %s: renewals are missed: use %[2]s or less", t.Poll, t.Renew)
	return errors.Join(bad...)
}

// CheckManager is the error of a manager that gives up on a fence call before the guard can answer it.
func (t Times) CheckManager(m Manager, watchdog time.Duration, revocable bool) error {
	if least := t.Bounds(m, watchdog, revocable).FenceTimeout; m.Timeout > 0 && m.Timeout < least {
		return fmt.Errorf("the fence timeout of %s is shorter than the guard's worst case: set it to %ds or more",
			m.Timeout, int((least+time.Second-1)/time.Second))
	}
	return nil
}
