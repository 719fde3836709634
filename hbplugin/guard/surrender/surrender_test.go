package surrender

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/roottest"
	"github.com/vmferry/vmferry/resource/hostproc"
)

func TestSocketInode(t *testing.T) {
	for link, want := range map[string]uint32{
		"socket:[4711]": 4711, "socket:[0]": 0, "socket:[x]": 0, "socket:[4711": 0, "pipe:[4711]": 0, "/dev/null": 0,
		"socket:[99999999999]": 0,
	} {
		if got, ok := socketInode(link); ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d, %v", link, got, ok)
		}
	}
}

// A connection of this process is found among its sockets, and is gone for both ends once it is destroyed.
func TestDestroy(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err)
			continue
		}
		defer listener.Close()
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		found := own(t)
		for _, s := range found {
			if int(s.id.SourcePort) == listener.Addr().(*net.TCPAddr).Port && s.id.DestinationPort == 0 {
				t.Errorf("%s: a socket that listens is among those to be destroyed: %+v", address, s)
			}
		}
		port := uint16(client.LocalAddr().(*net.TCPAddr).Port)
		i := slices.IndexFunc(found, func(s socket) bool { return s.id.SourcePort == port })
		if i < 0 {
			t.Fatalf("port %d is not among %d sockets of this process", port, len(found))
		}
		roottest.Need(t)
		if err := destroy(found[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: a socket that is destroyed can be read: %v", address, err)
		}
		if err := destroy(found[i]); err != nil {
			t.Errorf("once more: %v", err)
		}
	}
}

// Whether sockets can be destroyed is asked with one that does not exist.
func TestCanDestroy(t *testing.T) {
	roottest.Need(t)
	if err := CanDestroy(); err != nil {
		t.Error(err)
	}
}

// own are the sockets of this process.
func own(t *testing.T) []socket {
	t.Helper()
	owner, err := owners(t.Context(), []hostproc.Process{{PID: os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := sockets()
	if err != nil {
		t.Fatal(err)
	}
	return owned(all, owner)
}

// programs is a hypervisor whose guests are children of this test.
type programs struct {
	mu      sync.Mutex
	running map[int]*exec.Cmd
	hidden  error
}

func (p *programs) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = map[int]*exec.Cmd{}
	}
	p.running[cmd.Process.Pid] = cmd
}

func (p *programs) list(context.Context) (all []hostproc.Process, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid := range p.running {
		all = append(all, hostproc.Process{PID: pid})
	}
	return all, p.hidden
}

func (p *programs) kill(_ context.Context, each hostproc.Process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cmd := p.running[each.PID]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		delete(p.running, each.PID)
	}
	return nil
}

func TestProve(t *testing.T) {
	p := new(programs)
	p.start(t)
	p.start(t)
	k := &Killer{List: p.list, Kill: p.kill}
	if err := k.Prove(t.Context()); err != nil || len(p.running) != 0 {
		t.Errorf("%v, %d are left", err, len(p.running))
	}
	if err := k.Prove(t.Context()); err != nil {
		t.Errorf("with no guest: %v", err)
	}
}

// A list that may not be whole is no proof, whatever was killed.
func TestNoProofWithoutAList(t *testing.T) {
	p := &programs{hidden: hostproc.ErrIncomplete}
	p.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := (&Killer{List: p.list, Kill: p.kill}).Prove(ctx)
	if !errors.Is(err, hostproc.ErrIncomplete) || len(p.running) != 0 {
		t.Errorf("%v, %d are left", err, len(p.running))
	}
}

// A look of Watch that began before a guest did says nothing of that guest, though it ends after a look of Prove.
func TestALateLookIsNoProof(t *testing.T) {
	type late struct{}
	looks := 0
	k := &Killer{
		List: func(ctx context.Context) ([]hostproc.Process, error) {
			if ctx.Value(late{}) != nil {
				return nil, nil
			}
			if looks++; looks > 20 {
				return nil, nil
			}
			return []hostproc.Process{{PID: os.Getpid()}}, nil
		},
		Kill: func(context.Context, hostproc.Process) error { return nil },
	}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), late{}, true))
	defer cancel()
	go k.Watch(ctx, time.Microsecond)
	if err := k.Prove(t.Context()); err != nil || looks <= 20 {
		t.Errorf("%v: proven after %d looks, while the guest was there", err, looks)
	}
}

// A look that fails ends no guest.
func TestKnown(t *testing.T) {
	p := new(programs)
	p.start(t)
	p.start(t)
	k := &Killer{List: p.list, Kill: p.kill}
	if _, err := k.look(t.Context()); err != nil || k.Known() != 2 {
		t.Errorf("%d guests, %v", k.Known(), err)
	}
	k.List = func(context.Context) ([]hostproc.Process, error) { return nil, hostproc.ErrIncomplete }
	if _, err := k.look(t.Context()); err == nil || k.Known() != 2 {
		t.Errorf("after a look that failed: %d guests, %v", k.Known(), err)
	}
	k.List = func(context.Context) ([]hostproc.Process, error) { return nil, nil }
	if _, err := k.look(t.Context()); err != nil || k.Known() != 0 {
		t.Errorf("after all have ended: %d guests, %v", k.Known(), err)
	}
}

// What cannot be killed is named.
func TestNoProofOfWhatDoesNotEnd(t *testing.T) {
	p := new(programs)
	p.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	hangs := func(context.Context, hostproc.Process) error { return errors.New("it waits for a disk") }
	err := (&Killer{List: p.list, Kill: hangs}).Prove(ctx)
	if err == nil || !strings.Contains(err.Error(), "it waits for a disk") || !strings.Contains(err.Error(), "still there") {
		t.Errorf("%v", err)
	}
}

// A helper that does not end is no longer seen once its parent has ended, and counts all the same.
func TestNoProofOfAHelperThatIsNotSeen(t *testing.T) {
	var mu sync.Mutex
	seen := []hostproc.Process{{PID: 7, StartTime: 1}, {PID: 8, StartTime: 2, Helper: true}}
	tries, giveUp := 0, func() {}
	k := &Killer{
		List: func(context.Context) ([]hostproc.Process, error) {
			mu.Lock()
			defer mu.Unlock()
			return seen, nil
		},
		Kill: func(_ context.Context, p hostproc.Process) error {
			mu.Lock()
			defer mu.Unlock()
			seen = nil
			if !p.Helper || tries == 6 {
				return nil
			}
			if tries++; tries%3 == 0 {
				giveUp()
			}
			return errors.New("it waits for a disk")
		},
	}
	if _, err := k.look(t.Context()); err != nil || k.Known() != 1 {
		t.Errorf("%d guests, %v", k.Known(), err)
	}
	for range 2 { // the guard bounds each try
		ctx, cancel := context.WithCancel(t.Context())
		mu.Lock()
		giveUp = cancel
		mu.Unlock()
		if err := k.Prove(ctx); err == nil || !strings.Contains(err.Error(), "it waits for a disk") {
			t.Errorf("%v", err)
		}
	}
	if err := k.Prove(t.Context()); err != nil || tries != 6 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestInodesOfNobody(t *testing.T) {
	if got, err := inodes(filepath.Join(t.TempDir(), "proc"), 1); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}
