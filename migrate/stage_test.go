package migrate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// daemon is one end's libvirtd.
type daemon struct {
	mu    sync.Mutex
	gone  chan struct{} // closed when it dies; a new one when it is back
	hung  chan struct{} // closed when it stops to answer
	alive bool
}

func newDaemon() *daemon {
	return &daemon{gone: make(chan struct{}), hung: make(chan struct{}), alive: true}
}

// restart is how long systemd takes to start a libvirtd that died.
const restart = 3 * time.Second

func (d *daemon) die() {
	d.mu.Lock()
	d.alive = false
	close(d.gone)
	d.mu.Unlock()
	time.AfterFunc(restart, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.alive, d.gone = true, make(chan struct{})
	})
}

func (d *daemon) hang() { close(d.hung) }

func (d *daemon) isHung() bool { return isClosed(d.hung) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// connect is nil and no error for a libvirtd that does not answer until ctx ends.
func (d *daemon) connect(ctx context.Context) (gone <-chan struct{}, err error) {
	if d.isHung() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.alive {
		return nil, libvirt.ErrConnect
	}
	return d.gone, nil
}

// awaitBack returns when the libvirtd is there.
func (d *daemon) awaitBack() {
	for {
		d.mu.Lock()
		alive := d.alive
		d.mu.Unlock()
		if alive {
			return
		}
		time.Sleep(restart / 10)
	}
}

// open is Deps.Open over the two daemons.
func (s *stage) open(ctx context.Context, uri string) (endpoint.Host, error) {
	s.dieHere()
	f := map[string]*fake{sourceURI: s.Source, targetURI: s.Target}[uri]
	gone, err := s.daemons[f].connect(ctx)
	if err != nil {
		return nil, err
	}
	return &wire{fake: f, stage: s, gone: gone}, nil
}

// wire is a connection: it breaks with its daemon, hangs with it, and the agent behind it may be killed.
type wire struct {
	*fake
	stage *stage
	gone  <-chan struct{}
}

// ask returns the error of a question that cannot be asked.
func (w *wire) ask(ctx context.Context) error {
	w.stage.dieHere()
	d := w.stage.daemons[w.fake]
	select {
	case <-w.gone:
		return libvirt.ErrConnect
	default:
	}
	if d.isHung() {
		<-ctx.Done()
		w.stage.dieHere()
		return ctx.Err()
	}
	return nil
}

func (w *wire) Close() error { return nil }

func (w *wire) Status(ctx context.Context, guest string) (libvirt.Status, error) {
	if err := w.ask(ctx); err != nil {
		return libvirt.Status{}, err
	}
	return w.fake.Status(ctx, guest)
}

func (w *wire) Watch(ctx context.Context, guest string, f func(libvirt.Event)) (func(), error) {
	if err := w.ask(ctx); err != nil {
		return nil, err
	}
	heard := func(e libvirt.Event) {
		if !isClosed(w.gone) && !w.stage.daemons[w.fake].isHung() {
			f(e)
		}
	}
	return w.fake.Watch(ctx, guest, heard)
}

func (w *wire) JobStats(ctx context.Context, guest string) (libvirt.JobStats, error) {
	if err := w.ask(ctx); err != nil {
		return libvirt.JobStats{}, err
	}
	return w.fake.JobStats(ctx, guest)
}

func (w *wire) CompletedJob(ctx context.Context, guest string) (libvirt.JobStats, error) {
	if err := w.ask(ctx); err != nil {
		return libvirt.JobStats{}, err
	}
	return w.fake.CompletedJob(ctx, guest)
}

func (w *wire) SetMaxDowntime(ctx context.Context, guest string, limit time.Duration) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	return w.fake.SetMaxDowntime(ctx, guest, limit)
}

func (w *wire) AbortJob(ctx context.Context, guest string) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	return w.fake.AbortJob(ctx, guest)
}

func (w *wire) SetMaxSpeed(ctx context.Context, guest string, mibs uint64, postCopy bool) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	return w.fake.SetMaxSpeed(ctx, guest, mibs, postCopy)
}

func (w *wire) AbortPostCopy(ctx context.Context, guest string) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	return w.fake.AbortPostCopy(ctx, guest)
}

func (w *wire) Resume(ctx context.Context, guest string) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	return w.fake.Resume(ctx, guest)
}

func (w *wire) Load(ctx context.Context, guest string) (libvirt.Load, error) {
	if err := w.ask(ctx); err != nil {
		return libvirt.Load{}, err
	}
	return w.fake.Load(ctx, guest)
}

func (w *wire) StartPostCopy(ctx context.Context, _ string) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	close(w.stage.switched)
	return nil
}

func (w *wire) XML(ctx context.Context, guest string) (string, error) {
	if err := w.ask(ctx); err != nil {
		return "", err
	}
	return w.fake.XML(ctx, guest)
}

func (w *wire) Capabilities(ctx context.Context) (string, error) {
	if err := w.ask(ctx); err != nil {
		return "", err
	}
	return w.fake.Capabilities(ctx)
}

// MigrateToURI3 has the source's libvirtd migrate. It continues when nobody waits for it any more.
func (w *wire) MigrateToURI3(ctx context.Context, _, _ string, p libvirt.MigrateParams) error {
	if err := w.ask(ctx); err != nil {
		return err
	}
	w.fake.Mu.Lock()
	w.fake.Aborted = make(chan struct{})
	w.fake.Mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- w.stage.ferry(p.Recover) }()
	hung := w.stage.daemons[w.fake].hung
	var err error
	select {
	case err = <-done:
	case <-w.gone:
		err = libvirt.ErrConnect
	case <-hung:
		<-ctx.Done()
		err = ctx.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	if w.stage.is(func() bool { return w.stage.killed }) {
		runtime.Goexit() // nobody hears it
	}
	return err
}

var errAborted = errors.New("operation aborted: migration out: canceled by client")

// ferry is what the two libvirtds and QEMUs do: pre-copy in three passes, post-copy where that is the
// phase that matters, the switchover.
func (s *stage) ferry(again bool) error {
	if again {
		return errCut // what tore stays torn
	}
	s.reach("begin")
	if err := s.setUp(); err != nil {
		return s.undone(err)
	}
	for pass := 1; pass <= 3; pass++ {
		if pass == 2 {
			s.reach("copying")
		}
		s.Source.Emit("MIGRATION_PASS", fmt.Sprintf(`{"pass":%d}`, pass))
		if err := s.carry(pass, time.Second); err != nil {
			return s.undone(err)
		}
	}
	if s.at == "post-copy" {
		return s.finishByPostCopy()
	}
	s.Halt()
	s.reach("switching")
	if err := s.carry(3, 300*time.Millisecond); err != nil {
		return s.undone(err)
	}
	s.Migration("completed")
	s.Target.Is(runs("migrated"))
	s.Target.Emit("RESUME", "")
	s.Source.SetJob(libvirt.JobStats{})
	s.Source.Answer(libvirt.ErrNoDomain)
	return nil
}

// setUp is before the first byte.
func (s *stage) setUp() error {
	switch {
	case s.daemons[s.Target].isHung():
		time.Sleep(30 * time.Second) // libvirt's keep-alive
		return errLibvirt
	case !s.daemons[s.Target].lives():
		return libvirt.ErrUnsupported // any error of the source's own
	case s.is(func() bool { return s.full }):
		return errors.New("cannot set up guest memory: Cannot allocate memory")
	case s.is(func() bool { return s.link == cut }):
		return errors.New("unable to connect to 'node2:49152': No route to host")
	}
	s.Migration("setup")
	s.Target.Is(stopped("migration"))
	s.Migration("active")
	return nil
}

func (d *daemon) lives() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.alive }

// carry is so long a part of the copying. The error is why the migration ends in it.
func (s *stage) carry(pass int, span time.Duration) error {
	const step = 100 * time.Millisecond
	for left := span; left > 0; {
		link := 0
		s.set(func() { link = s.link })
		job := libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 90 << 20,
			Processed: uint64(pass) * (100 << 20), Rate: 100 << 20, Iteration: pass}
		if s.at == "post-copy" {
			job.Remaining, job.DirtyRate = 200<<20, 100<<20
		}
		switch link {
		case whole:
			left -= step
		case slow:
			job.Rate = 1 << 20
			left -= step / 20
		}
		if pass < 3 || span == time.Second {
			s.Source.SetJob(job)
		}
		s.Source.Mu.Lock()
		s.Source.Cut = link == cut
		aborted := s.Source.Aborted
		s.Source.Mu.Unlock()
		time.Sleep(step)
		switch {
		case s.is(func() bool { return s.dead[s.Source] || s.dead[s.Target] }):
			return errLibvirt
		case !s.daemons[s.Source].lives() || !s.daemons[s.Target].lives():
			return errLibvirt
		case isClosed(aborted) && !s.daemons[s.Source].isHung():
			return errAborted
		}
	}
	return nil
}

// undone is how libvirt tidies up after an error; the source's libvirtd does it once it is there.
func (s *stage) undone(err error) error {
	s.daemons[s.Source].awaitBack()
	s.Source.SetJob(libvirt.JobStats{})
	s.Migration("cancelled")
	s.Target.Answer(libvirt.ErrNoDomain)
	if !s.is(func() bool { return s.dead[s.Source] }) {
		s.Source.Is(runs("migration-canceled"))
	}
	return err
}

// finishByPostCopy waits for the switch, and lets the guest continue at the target.
func (s *stage) finishByPostCopy() error {
	for !isClosed(s.switched) {
		if err := s.carry(4, time.Second); err != nil {
			return s.undone(err)
		}
	}
	s.split()
	s.reach("post-copy")
	span := 2 * time.Second
	if s.is(func() bool { return s.link == slow }) {
		span *= 4
	}
	time.Sleep(span)
	switch {
	case s.is(func() bool { return s.dead[s.Source] }):
		s.Target.Is(runs("postcopy-failed"))
		return errCut
	case s.is(func() bool { return s.dead[s.Target] }):
		s.Source.Is(stopped("postcopy-failed"))
		return errCut
	case s.is(func() bool { return s.link == cut }):
		s.tear()
		return errCut
	}
	s.whole()
	return nil
}
