package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// start brings the guest up from its config file, unless it is here already in any
// form. Only a guest that is proven not to run, here (locate.go) and elsewhere (package elsewhere), is started, and the
// start has succeeded only when the guest was seen to run.
func (s *starter) start(ctx context.Context) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	l, err := s.locate(ctx)
	switch {
	case err != nil:
		return err
	case l.IsRunning():
		s.noteRunning(ctx, l.Observation)
		return nil
	case l.elsewhere == elsewhere.Fetch:
	case !l.IsGone():
		return stateError(s.guest.Name, l.Observation)
	case l.LibvirtErr != nil:
		return ocf.Wrapf(ocf.Generic, l.LibvirtErr, "cannot start guest %q", s.guest.Name)
	}
	how, err := s.bring(ctx, l)
	if err != nil {
		return err
	}
	s.step("created")
	s.removeFailureNote()
	runs, err := s.waitRunning(ctx, how)
	if err != nil {
		return err
	}
	defer s.announcer.announce(ctx, announcedBefore(l.elsewhere, runs))()
	s.removeIntentNote()
	return s.finishArrival(ctx)
}

// noteRunning puts this node in order for a guest that runs here already.
func (s *starter) noteRunning(ctx context.Context, o observe.Observation) {
	s.Log.Infof("already running: %s", o)
	s.tryNoteGuest(o)
	s.adopt(ctx)
	s.saver.remove(ctx, o)
	s.images.arrived(ctx)
}

// lock waits until no other start of this resource is under way: Heartbeat begins
// several at once when it takes a group over. The second finds the guest running.
func (s *starter) lock(ctx context.Context) (*slot.Slot, error) {
	slot, err := s.notes.StartLock(s.Instance).Acquire(ctx, func() {
		s.Log.Info("waiting for another start of this resource")
	})
	if err != nil {
		return nil, ocf.Wrapf(ocf.Generic, err, "guest %q not started: another start of it does not end", s.guest.Name)
	}
	return slot, nil
}

// bring starts the guest that runs nowhere, or fetches it from where it runs; how says which.
func (s *starter) bring(ctx context.Context, l location) (how string, err error) {
	switch l.elsewhere {
	case elsewhere.Start:
		return "started", s.boot(ctx, l.Observation)
	case elsewhere.Fetch:
		return "fetched", s.fetch(ctx, l.by)
	}
	return "", s.refusal(l.by)
}

// boot starts the guest that runs nowhere, from its saved state or from its config file.
func (s *starter) boot(ctx context.Context, o observe.Observation) error {
	if len(s.Params.Mirror.Nodes) == 0 { // else a replica may take their place: see bringUp
		if err := s.images.check(ctx); err != nil {
			return ocf.Wrapf(ocf.Generic, err, "guest %q not started", s.guest.Name)
		}
	}
	s.step("proven")
	// Where the storage is not mounted, to boot would leave a saved state behind that fits the disks no more.
	if err := timely.Do(ctx, func() error { return checkSaveDirs(s.Params) }); err != nil {
		return err
	}
	if isStuck(s.guest.Driver(), o) {
		if err := s.broken.restartLibvirt(ctx); err != nil {
			return ocf.Wrapf(ocf.Generic, err, "guest %q not started", s.guest.Name)
		}
	}
	if err := s.create(ctx, o); err != nil {
		return err
	}
	s.images.forgetMoves(ctx)
	s.saver.record.promoted(s.Params.Mirror.Nodes, s.lost, s.began)
	return nil
}

func (s *starter) create(ctx context.Context, o observe.Observation) error {
	if err := s.guest.Connect(ctx); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "cannot start guest %q", s.guest.Name)
	}
	warnOfMemory(s.Params, s.Log)
	warnOfWriters(ctx, s.Params.File(), s.Log)
	s.Log.Infof("starting from %s", s.Params.File())
	err := s.guest.Call(ctx, func(conn observe.Hypervisor) error { return s.bringUp(ctx, conn, o) })
	if err == nil {
		return nil
	}
	// Another start may have come first, or the answer got lost on its way.
	if again := s.guest.Look(ctx); again.State == observe.Running {
		s.Log.WithError(err).Warn("libvirt reported an error for the start, but the guest runs")
		return nil
	}
	if imageLocked(err) {
		return ocf.Wrapf(ocf.Generic, err, "guest %q not started, its disk is in use by another process: "+
			"is the guest running on another node", s.guest.Name)
	}
	return ocf.Wrapf(ocf.Generic, err, "cannot start guest %q", s.guest.Name)
}

// imageLocked knows QEMU's message for a disk that another QEMU has open.
func imageLocked(err error) bool {
	var lerr *libvirt.Error
	if !errors.As(err, &lerr) {
		return false
	}
	return slices.ContainsFunc([]string{"Failed to get \"write\" lock", "Failed to get shared \"write\" lock",
		"Is another process using the image", "resource busy"},
		func(words string) bool { return strings.Contains(lerr.Message, words) })
}

// fetch moves the guest here from the node that has it, live. A manager that takes the guest for stopped
// would else take the failed start for a failed node.
func (s *starter) fetch(ctx context.Context, from elsewhere.Answer) error {
	if s.Node == "" {
		return ocf.Wrapf(ocf.Generic, s.refusal(from),
			"guest %q cannot be fetched, as this node's own name is not known", s.guest.Name)
	}
	source, err := s.routes.To(ctx, from.Node)
	if err != nil {
		return ocf.Wrapf(ocf.Configured, err, "guest %q cannot be fetched from %s", s.guest.Name, from.Node)
	}
	own, err := s.routes.To(ctx, s.Node)
	if err != nil {
		return ocf.Wrapf(ocf.Configured, err, "guest %q cannot be fetched to %s", s.guest.Name, s.Node)
	}
	if err := s.mayRun(ctx); err != nil {
		return s.refusedByGuard(err)
	}
	adopt, err := s.beginMove(notes.Inward, from.Node, from.Status.UUID)
	if err != nil {
		return err
	}
	m := s.Params.Move(s.guest.Name, from.Status.UUID, own)
	m.SourceURI, m.Fetch, m.Relay = source.URI, true, false
	m.Adopt = adopt // begun by a start that was killed
	soft, cancel := s.at(ctx, s.budget.migrate)
	defer cancel()
	s.Log.WithField("peer", from.Node).Info("the guest runs there already: moving it here")
	if err := s.Migrate(soft, m); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "guest %q could not be fetched from %s", s.guest.Name, from.Node)
	}
	return nil
}

// announcedBefore are the processes for which the node daemon's announcement suffices: those that a migration brought.
// QEMU's own announcement has taught them to this host's bridge. To a guest that boots nobody else does that: the
// daemon may not change the bridge, and the guest may send nothing before it is asked. Where it ran before, its frames
// came in from another node, and the bridge would continue to look for it there: its clients would wait until their
// entries expire.
func announcedBefore(d elsewhere.Decision, o observe.Observation) []hostproc.Process {
	if d != elsewhere.Fetch {
		return nil
	}
	return o.Processes
}

// bringUp starts the guest, which is proven not to run: from its saved state, or from its file. The guard is asked when
// the connection is open, and what it says counts for this connection alone: before it gives the lease up, it kills
// libvirt's daemon at the other end, so that a start that is late cannot succeed.
func (s *starter) bringUp(ctx context.Context, conn observe.Hypervisor, o observe.Observation) error {
	if err := s.mayRun(ctx); err != nil {
		return err
	}
	text, err := startXML(ctx, conn, s.config.domain, s.guest.Name, o.Status.UUID)
	if err != nil {
		return err
	}
	for _, f := range domainxml.FirmwareOf(text) {
		if f.Path == "" { // it begins empty at each start
			s.Log.Warnf("the guest's %s", f)
		}
	}
	if s.Params.StartResources {
		if err := startResources(ctx, conn, domainxml.HostResourcesOf(text)); err != nil {
			return err
		}
	}
	asking, cancel := timely.Within(ctx, s.budget.call)
	defer cancel()
	if err := checkMemory(asking, conn, s.Params, text, s.Log); err != nil {
		return err
	}
	// A promotion keeps the guest from starting on the other node: nothing may refuse the start here after it.
	if s.lost, err = s.judge(ctx); err != nil {
		return err
	}
	state, err := s.saver.claim(ctx, text)
	if err != nil {
		return err
	}
	if state != nil {
		return s.saver.restore(ctx, conn, state)
	}
	image := overlay{s.Params.Overlay, s.Params.Config, s.command, s.Log}
	if err := image.make(ctx, domainxml.HostResourcesOf(text).Disks); err != nil {
		return err
	}
	return conn.Create(ctx, text)
}

// startXML is what libvirt starts the guest from, which d describes; uuid is that of a definition that libvirt has.
func startXML(ctx context.Context, conn observe.Hypervisor, d domainxml.Domain, name, uuid string) (string, error) {
	switch {
	case d.IsXL:
		text, err := conn.DomainXML(ctx, libvirt.NativeXL, d.Text)
		if err != nil {
			return "", err
		}
		return domainxml.WithName(text, name)
	case d.UUID == "" && uuid == "": // what is kept under a UUID that ends with the guest is of no use to anybody
		return d.Text, nil
	}
	return domainxml.KeepTPM(d.WithUUID(uuid)), nil
}

// startResources starts what the guest needs of libvirt. conn may be another node's.
func startResources(ctx context.Context, conn observe.Hypervisor, n domainxml.HostResources) error {
	for _, pool := range n.Pools {
		if err := conn.StartPool(ctx, pool); err != nil {
			return fmt.Errorf("its storage pool %q does not start: %w", pool, err)
		}
	}
	for _, network := range n.Networks {
		if err := conn.StartNetwork(ctx, network); err != nil {
			return fmt.Errorf("its network %q does not start: %w", network, err)
		}
	}
	return nil
}

// checkMemory compares what the guest needs with what the node has, by the rule of a migration's target: see
// [preflight.JudgeMemory]. Xen gives a guest all of its memory at once, and reports a lack of it only as a domain that
// could not be created. text is the guest's XML.
func checkMemory(
	ctx context.Context, conn observe.Hypervisor, p param.Params, text string, log logrus.FieldLogger,
) error {
	driver := libvirt.DriverOf(p.Hypervisor)
	need, fixed := preflight.MemoryNeed(text, driver), driver.FixedMemory
	if need == 0 || p.Memory == preflight.MemoryIgnore && !fixed {
		return nil
	}
	free, err := conn.FreeMemory(ctx)
	if err != nil {
		log.WithError(err).Info("whether there is memory for the guest is not known")
		return nil
	}
	short, refused := preflight.JudgeMemory(need, free, fixed, p.Memory)
	has := fmt.Sprintf("%d MiB of memory free, and the guest needs %d MiB", free>>20, (need+1<<20-1)>>20)
	switch {
	case refused:
		return fmt.Errorf("the node has %s: move or stop another guest, or give this one less", has)
	case short:
		log.Warnf("the node may not have memory for the guest: it has %s", has)
	}
	return nil
}
