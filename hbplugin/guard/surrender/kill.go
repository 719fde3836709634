package surrender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Killer ends guests. It is safe for concurrent use.
type Killer struct {
	// List returns what runs the guests that this node answers for, and their helpers, never other processes. An error
	// means that some may be missing.
	List func(ctx context.Context) ([]hostproc.Process, error)
	// Kill ends one of them, or of Daemons, and returns nil with the proof of its end.
	Kill func(ctx context.Context, p hostproc.Process) error
	// Daemons returns the processes that execute libvirt's daemons, with what they have forked and what does not
	// execute a QEMU yet. An error means that some may be missing.
	Daemons func(ctx context.Context) ([]hostproc.Process, error)
	// Now is since when the host is up, by the clock of a process's start time.
	Now func() time.Duration

	mu      sync.Mutex
	known   []hostproc.Process
	left    []hostproc.Process // those that Prove has killed without a proof of their end
	sockets map[cookie]socket  // of known, and of those that ended
	version uint64             // one more with each change of sockets
	changed chan<- struct{}    // where Keep waits for one; nil: it does not run
}

// Watch looks at the guests again and again until ctx ends, so that Prove needs no look before it kills.
func (k *Killer) Watch(ctx context.Context, every time.Duration) {
	for wait.For(ctx, every) == nil {
		_, _ = k.look(ctx)
	}
}

// Known is how many guests were seen at the last look.
func (k *Killer) Known() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return hostproc.CountGuests(k.known)
}

// look takes the list of guests, and their sockets. With an error some may be missing.
func (k *Killer) look(ctx context.Context) ([]hostproc.Process, error) {
	found, err := k.List(ctx)
	k.mu.Lock()
	if err == nil || len(found) > len(k.known) { // a look that fails ends no guest
		k.known = found
	}
	k.mu.Unlock()
	return found, errors.Join(err, k.remember(ctx, found))
}

// remember takes the sockets that these processes have now.
func (k *Killer) remember(ctx context.Context, processes []hostproc.Process) error {
	owner, err := owners(ctx, processes)
	k.mu.Lock()
	idle := len(owner) == 0 && len(k.sockets) == 0
	k.mu.Unlock()
	if idle {
		return err
	}
	all, listErr := sockets()
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	k.take(owned(all, owner), all)
	return err
}

// longGone is in how many lists a socket has to be missing before it counts as closed: a list that is made while
// sockets come and go can miss one.
const longGone = 3

// take adds sockets of guests to those that are known, and forgets those that the list of all, if there is one, shows
// to be closed.
func (k *Killer) take(of, all []socket) {
	there := make(map[cookie]bool, len(all))
	for _, s := range all {
		there[s.id.Cookie] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sockets == nil {
		k.sockets = map[cookie]socket{}
	}
	before := k.version
	for name, s := range k.sockets {
		if s.missed++; there[name] || all == nil {
			s.missed = 0
		}
		if k.sockets[name] = s; s.missed >= longGone {
			delete(k.sockets, name)
			k.version++
		}
	}
	for _, s := range of {
		if _, known := k.sockets[s.id.Cookie]; !known {
			k.version++
		}
		k.sockets[s.id.Cookie] = s
	}
	if k.version != before {
		k.wake()
	}
}

// wake has Keep look. The caller has locked mu.
func (k *Killer) wake() {
	select {
	case k.changed <- struct{}{}:
	default: // nobody waits, or it is woken already
	}
}

// owners are the processes of sockets, by the sockets' inodes. What a process has open cannot be read while it is in
// execve(2), which may wait for storage.
func owners(ctx context.Context, processes []hostproc.Process) (map[uint32]int, error) {
	errs := make([]error, len(processes))
	have := make([]map[uint32]bool, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		if p.Domain {
			continue
		}
		all.Go(func() {
			have[i], errs[i] = hostproc.Within(ctx, hostproc.Host{}, "sockets", p.PID,
				func() (map[uint32]bool, error) { return inodes("/proc", p.PID) })
		})
	}
	all.Wait()
	owner := map[uint32]int{}
	for i, own := range have {
		for n := range own {
			owner[n] = processes[i].PID
		}
	}
	return owner, errors.Join(errs...)
}

// owned are those of the sockets that have an owner.
func owned(all []socket, owner map[uint32]int) (found []socket) {
	for _, s := range all {
		if s.process = owner[s.inode]; s.process != 0 {
			found = append(found, s)
		}
	}
	return found
}

// Prove kills every guest, with its helpers, and returns nil when all are proven gone: no process is left, and no socket
// of one. It goes on until then, or until ctx ends, and kills nothing after that. It begins with what is known, before it
// looks for more: a look can hang. Only its own looks are proof: one of Watch may have begun before a guest did, and
// end later. What was killed counts until its end is proven, whether a look still shows it or not: a helper whose parent
// has ended cannot be told from other programs.
func (k *Killer) Prove(ctx context.Context) error {
	k.mu.Lock()
	known := union(k.known, k.left)
	k.mu.Unlock()
	var problem error
	for ctx.Err() == nil {
		var left []hostproc.Process
		left, problem = k.killAll(ctx, known)
		k.mu.Lock()
		k.left = left
		k.mu.Unlock()
		found, err := k.look(ctx)
		known, problem = union(found, left), errors.Join(problem, err)
		if problem == nil && len(known) == 0 {
			if problem = k.drain(); problem == nil {
				return nil
			}
		}
		if wait.For(ctx, 10*time.Millisecond) != nil {
			break
		}
	}
	return errors.Join(ctx.Err(), problem, stillThere(known))
}

// union is a with those of b that are other processes.
func union(a, b []hostproc.Process) []hostproc.Process {
	all := slices.Clone(a)
	for _, p := range b {
		same := func(q hostproc.Process) bool {
			return q.PID == p.PID && q.StartTime == p.StartTime && q.Domain == p.Domain
		}
		if !slices.ContainsFunc(all, same) {
			all = append(all, p)
		}
	}
	return all
}

func stillThere(known []hostproc.Process) error {
	if len(known) == 0 {
		return nil
	}
	return fmt.Errorf("%v is still there, and %d others", known[0], len(known)-1)
}

// killAll takes the sockets that these have now, and ends them, all at once. It returns those whose end is not proven.
func (k *Killer) killAll(ctx context.Context, processes []hostproc.Process) (left []hostproc.Process, err error) {
	err = k.remember(ctx, processes)
	errs := make([]error, len(processes), len(processes)+1)
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() { errs[i] = k.Kill(ctx, p) })
	}
	all.Wait()
	for i, p := range processes {
		if errs[i] != nil {
			left = append(left, p)
		}
	}
	return left, errors.Join(append(errs, err)...)
}

// drain destroys the sockets of guests that ended, and reports whether one is left.
func (k *Killer) drain() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.sockets) == 0 {
		return nil
	}
	var errs []error
	for _, s := range k.sockets {
		errs = append(errs, destroy(s))
	}
	all, err := sockets()
	if err != nil {
		return err
	}
	left := 0
	for _, s := range all {
		if _, ours := k.sockets[s.id.Cookie]; ours {
			left++
		}
	}
	if left > 0 {
		return errors.Join(append(errs, fmt.Errorf("%d TCP sockets of guests that ended are left", left))...)
	}
	k.sockets = map[cookie]socket{}
	k.version++
	k.wake()
	return nil
}
