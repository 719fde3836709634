package observe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
)

const (
	uuid      = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	otherUUID = "99999999-2222-4333-8444-555555555555"
)

// node is a node's libvirt and its processes.
type node struct {
	Hypervisor // nothing but what is below is called
	domains    map[string]libvirt.Status
	err        error // of libvirt
	procs      []hostproc.Process
	ends       time.Time // when libvirt forgets all domains; zero for never
	opened     int
	looked     int // at processes
}

func (n *node) Status(_ context.Context, ref string) (libvirt.Status, error) {
	name, id := libvirt.SplitRef(ref)
	s, ok := n.domains[name]
	ok = ok && (n.ends.IsZero() || time.Now().Before(n.ends))
	if n.err == nil && (!ok || id != "" && s.UUID != id) {
		return libvirt.Status{}, libvirt.ErrNoDomain
	}
	return s, n.err
}

func (n *node) Close() error { return nil }

func (n *node) Find(context.Context, string, string) ([]hostproc.Process, error) {
	n.looked++
	return n.procs, nil
}

func (n *node) Kill(context.Context, hostproc.Process, time.Duration) error { return nil }

// observer looks for guest vm1 on the node.
func (n *node) observer() *Observer {
	var log logrus.FieldLogger
	log, _ = test.NewNullLogger()
	return &Observer{
		Identity: Identity{"vm1", uuid}, URI: "qemu:///system", Processes: n, CallTime: 10 * time.Second, Log: log,
		Open:    func(context.Context, string) (Hypervisor, error) { n.opened++; return n, nil },
		IsNoted: func() bool { return false }, IsClaimed: func(string) bool { return false },
	}
}

func runs(id string) libvirt.Status {
	return libvirt.Status{State: libvirt.Running, Reason: "booted", UUID: id}
}

func TestLook(t *testing.T) {
	here := []hostproc.Process{{PID: 7, Name: "vm1", UUID: uuid}}
	for _, c := range []struct {
		name  string
		n     node
		alone bool // libvirt's answer may decide alone
		want  State
		text  string
	}{
		{"runs", node{domains: map[string]libvirt.Status{"vm1": runs(uuid)}, procs: here}, false, Running,
			"libvirt says running/booted, and QEMU process 7 is here"},
		{"runs, as libvirt says", node{domains: map[string]libvirt.Status{"vm1": runs(uuid)}}, true, Running,
			"libvirt says running/booted"},
		{"libvirt alone calls it running", node{domains: map[string]libvirt.Status{"vm1": runs(uuid)}}, false, Unknown,
			"libvirt says running/booted, and no QEMU process of it is here"},
		{"not here", node{}, true, NotRunning, "libvirt says absent, and no QEMU process of it is here"},
		{"lost by libvirt", node{procs: here}, true, Running, "libvirt says absent, and QEMU process 7 is here"},
		{"libvirt is away", node{err: libvirt.ErrConnect, procs: here}, true, Running,
			"libvirt does not answer (" + libvirt.ErrConnect.Error() + "), and QEMU process 7 is here"},
		{"another of its name", node{domains: map[string]libvirt.Status{"vm1": runs(otherUUID)},
			procs: []hostproc.Process{{PID: 8, Name: "vm1", UUID: otherUUID}}}, true, NotRunning,
			"libvirt says absent (another guest of this name is running here, with UUID " + otherUUID + ")" +
				", and no QEMU process of it is here"},
	} {
		g := c.n.observer()
		g.SkipProcesses = c.alone
		if o := g.Look(t.Context()); o.State != c.want || o.String() != c.text {
			t.Errorf("%s: %v, %q, want %v, %q", c.name, o.State, o, c.want, c.text)
		}
	}
}

// A guest of an edited config file is looked for when the one before it is gone, and not before.
func TestLookForTheConfiguredGuest(t *testing.T) {
	n := &node{domains: map[string]libvirt.Status{"vm1": runs(uuid), "vm2": runs(otherUUID)}}
	g := n.observer()
	g.SkipProcesses, g.Configured = true, &Identity{"vm2", otherUUID}
	if o := g.Look(t.Context()); !o.IsRunning() || g.Name != "vm1" {
		t.Errorf("%v of %s", o, g.Name)
	}
	delete(n.domains, "vm1")
	if o := g.Look(t.Context()); !o.IsRunning() || g.Name != "vm2" || g.Configured != nil {
		t.Errorf("%v of %s", o, g.Name)
	}
}

// What was found under a name that is a guess counts for nothing where it is another resource's.
func TestClaimedByAnotherResource(t *testing.T) {
	n := &node{domains: map[string]libvirt.Status{"vm1": runs(uuid)}}
	g := n.observer()
	g.IsClaimed = func(id string) bool { return id == uuid }
	if o := g.Look(t.Context()); !o.IsGone() {
		t.Error(o)
	}
}

// A connection is kept, except one over which libvirt stopped to answer.
func TestCallReconnects(t *testing.T) {
	n := &node{}
	g := n.observer()
	for _, c := range []struct {
		err    error
		opened int
	}{{nil, 1}, {errors.New("no"), 1}, {libvirt.ErrConnect, 1}, {context.DeadlineExceeded, 2}, {nil, 3}} {
		if err := g.Call(t.Context(), func(Hypervisor) error { return c.err }); !errors.Is(err, c.err) || n.opened != c.opened {
			t.Errorf("%v: got %v, opened %d times, want %d", c.err, err, n.opened, c.opened)
		}
	}
}

// libvirt is believed alone when it keeps saying that the guest is here.
func TestDisputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{domains: map[string]libvirt.Status{"vm1": runs(uuid)}}
		g, began := n.observer(), time.Now()
		o, ok := g.WaitFor(t.Context(), Observation.IsRunning)
		if took := time.Since(began); !ok || took != g.CallTime {
			t.Errorf("%v after %v", o, took)
		}
	})
}

func TestWaitUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{domains: map[string]libvirt.Status{"vm1": {State: libvirt.Paused, Reason: "migration", UUID: uuid}}}
		g, began := n.observer(), time.Now()
		if o := g.WaitStable(t.Context(), began.Add(3*time.Second), false); o.State != Switching ||
			time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", o, time.Since(began))
		}
		n.ends = time.Now().Add(2 * time.Second)
		if o := g.WaitStable(t.Context(), time.Now().Add(time.Minute), false); !o.IsGone() {
			t.Error(o)
		}
	})
}
