package resource

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
)

const (
	guestUUID = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	guestXML  = "<domain type='kvm'>\n  <name>vm1</name>\n  <uuid>" + guestUUID + "</uuid>\n</domain>\n"
)

// world is one node with libvirt and processes, as scripted by a test. A fault is
// a closure put in place of a default one. Its clock is that of the test's bubble.
type world struct {
	t     *testing.T
	dir   string
	agent Agent
	keeper
	calls []string // what was asked of libvirt and done to processes, without the looks

	state libvirt.Status // meaningful while there
	there bool           // libvirt knows the guest
	procs []hostproc.Process

	open     func(ctx context.Context, uri string) error
	status   func(ctx context.Context) (libvirt.Status, error)
	create   func(ctx context.Context, xml string) error
	shutdown func(ctx context.Context, mode string) error
	destroy  func(ctx context.Context) error
	find     func(ctx context.Context) ([]hostproc.Process, error)
	kill     func(ctx context.Context, p hostproc.Process, grace time.Duration) error
	migrate  func(ctx context.Context, m param.Move) error
	abort    func(ctx context.Context) error
	target   func(ctx context.Context) (libvirt.Status, error) // what another node's libvirt says
}

func newWorld(t *testing.T, action string) *world {
	w := &world{t: t, dir: t.TempDir()}
	config := filepath.Join(w.dir, "vm1.xml")
	if err := os.WriteFile(config, []byte(guestXML), 0o644); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	w.agent = Agent{
		Environ: param.ParseEnviron([]string{
			"OCF_RESOURCE_INSTANCE=res1", "OCF_RESKEY_config=" + config, "OCF_RESKEY_hypervisor=qemu:///system",
			"OCF_RESKEY_CRM_meta_migrate_target=node2", "OCF_RESKEY_CRM_meta_migrate_source=node0",
			"OCF_RESKEY_CRM_meta_on_node=node1",
		}),
		Open: w.connect, Processes: w, RunDir: filepath.Join(w.dir, "run"), StateDir: filepath.Join(w.dir, "state"), Log: log,
		Command: w.command,
		Migrate: func(ctx context.Context, m param.Move) error { w.note("migrate"); return w.migrate(ctx, m) },
	}
	w.defaults()
	return w
}

// defaults is a node on which everything works at once.
func (w *world) defaults() {
	w.open = func(context.Context, string) error { return nil }
	w.status = func(context.Context) (libvirt.Status, error) {
		if !w.there {
			return libvirt.Status{}, noDomain()
		}
		return w.state, nil
	}
	w.create = func(context.Context, string) error { w.boot(); return nil }
	w.shutdown = func(context.Context, string) error { w.gone(); return nil }
	w.destroy = w.endOf
	w.abort = func(context.Context) error { return errors.New("no job is active") }
	w.find = func(context.Context) ([]hostproc.Process, error) { return slices.Clone(w.procs), nil }
	w.kill = func(_ context.Context, p hostproc.Process, _ time.Duration) error {
		w.procs = slices.DeleteFunc(w.procs, func(q hostproc.Process) bool { return q.PID == p.PID })
		w.there = false
		return nil
	}
	w.migrate = func(context.Context, param.Move) error { w.gone(); return nil }
	w.target = func(context.Context) (libvirt.Status, error) { return libvirt.Status{}, noDomain() }
}

func (w *world) endOf(context.Context) error {
	if !w.there {
		return noDomain()
	}
	w.gone()
	return nil
}

func (w *world) boot() { w.is(libvirt.Running, "booted") }
func (w *world) gone() { w.there, w.procs = false, nil }

// is puts the guest into a state, with a process.
func (w *world) is(s libvirt.State, reason string) {
	w.there, w.state = true, libvirt.Status{State: s, Reason: reason, UUID: guestUUID}
	w.procs = []hostproc.Process{{PID: 77, Name: "vm1", UUID: guestUUID, StartTime: 5}}
}

func noDomain() error { return fakeError{libvirt.ErrNoDomain, "Domain not found"} }
func dead() error     { return fakeError{libvirt.ErrConnect, "Connection refused"} }

// fakeError is an error of a kind, with libvirt's words.
type fakeError struct {
	kind    error
	message string
}

func (e fakeError) Error() string        { return e.message }
func (e fakeError) Is(target error) bool { return target == e.kind }

func (w *world) note(call string) { w.calls = append(w.calls, call) }

func (w *world) connect(ctx context.Context, uri string) (observe.Hypervisor, error) {
	if err := w.open(ctx, uri); err != nil {
		return nil, err
	}
	if uri != w.agent.Params.Hypervisor {
		return fakeTarget{fakeConn{w}}, nil
	}
	return fakeConn{w}, nil
}

// blocked answers nothing until the context's end.
func blocked(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Find implements observe.Processes.
func (w *world) Find(ctx context.Context, _, _ string) ([]hostproc.Process, error) {
	return w.find(ctx)
}

// Kill implements observe.Processes.
func (w *world) Kill(ctx context.Context, p hostproc.Process, grace time.Duration) error {
	w.note("kill")
	return w.kill(ctx, p, grace)
}

// fakeConn is the node's own libvirt.
type fakeConn struct{ *world }

func (c fakeConn) Status(ctx context.Context, ref string) (libvirt.Status, error) {
	s, err := c.status(ctx)
	if _, uuid := libvirt.SplitRef(ref); err == nil && uuid != "" && s.UUID != "" && s.UUID != uuid {
		return libvirt.Status{}, noDomain()
	}
	return s, err
}

func (c fakeConn) Create(ctx context.Context, xml string) error {
	c.note("create")
	return c.create(ctx, xml)
}

func (c fakeConn) Shutdown(ctx context.Context, _, mode string) error {
	c.note("shutdown")
	return c.shutdown(ctx, mode)
}
func (c fakeConn) Destroy(ctx context.Context, _ string) error {
	c.note("destroy")
	return c.destroy(ctx)
}
func (c fakeConn) Close() error { return nil }
func (c fakeConn) AbortJob(ctx context.Context, _ string) error {
	c.note("abort")
	return c.abort(ctx)
}

// fakeTarget is the libvirt of another node.
type fakeTarget struct{ fakeConn }

func (c fakeTarget) Status(ctx context.Context, _ string) (libvirt.Status, error) {
	return c.target(ctx)
}

// Residents lists the guest where the node has it active.
func (c fakeTarget) Residents(ctx context.Context) ([]libvirt.Resident, error) {
	s, err := c.target(ctx)
	switch {
	case errors.Is(err, libvirt.ErrNoDomain), err == nil && !s.State.Active():
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []libvirt.Resident{{Name: "vm1", UUID: s.UUID}}, nil
}

// run does an action and returns its error and how long it took by the bubble's clock.
//
//lint:ignore ST1008 most callers look at the error alone
func (w *world) run(action string) (error, time.Duration) {
	began := time.Now()
	err := w.agent.Run(context.Background(), action)
	return err, time.Since(began)
}

// notes are the agent's.
func (w *world) notes() notes.Store { return notes.Open(w.agent.RunDir, w.agent.StateDir) }

// noted has an earlier call seen the guest here.
func (w *world) noted() {
	g := notes.Guest{Guest: "vm1", UUID: guestUUID, Resource: "res1", URI: "qemu:///system", Params: w.agent.Set}
	if err := w.notes().Guests.Save("res1", g); err != nil {
		w.t.Fatal(err)
	}
}

// aged makes the note for the node daemon so old.
func (w *world) aged(age time.Duration) {
	if err := os.Chtimes(w.notes().Guests.Path("res1"), time.Time{}, time.Now().Add(-age)); err != nil {
		w.t.Fatal(err)
	}
}

// held reports whether the note for the node daemon is there.
func (w *world) held() bool {
	guests, err := w.notes().Guests.All()
	if err != nil {
		w.t.Fatal(err)
	}
	want := notes.Guest{Guest: "vm1", UUID: guestUUID, Resource: "res1", URI: "qemu:///system", Priority: w.agent.Params.DrainPriority,
		Params: w.agent.Set}
	return slices.ContainsFunc(guests, func(g notes.Guest) bool { return reflect.DeepEqual(g, want) })
}
