package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Refusal is why a move was not begun. Nothing has been changed.
type Refusal struct {
	Check  string // one of the Check constants
	Reason string // what was found
	Hint   string // what to do about it
	Err    error  // the cause, or nil
}

// The checks of the pre-flight, in their order.
const (
	CheckRequest    = "request"    // the request itself
	CheckSource     = "source"     // the source's libvirt answers
	CheckRunning    = "running"    // the guest runs at the source, in a state that can be moved
	CheckJob        = "job"        // no migration of it is under way
	CheckTarget     = "target"     // the target's libvirt answers
	CheckSameHost   = "same-host"  // the target is another host
	CheckDuplicate  = "duplicate"  // the target has no such guest
	CheckHypervisor = "hypervisor" // the target can run this type of guest
	CheckMemory     = "memory"     // and has room for it
	CheckCPU        = "cpu"        // and its processor
	CheckDisk       = "disk"       // and sees its disks
	CheckNetwork    = "network"    // and has its bridges and networks
	CheckFirmware   = "firmware"   // and the files and programs of its firmware and TPM
	CheckTLS        = "tls"        // both ends have the certificates for an encrypted move
	CheckAddress    = "address"    // the memory can be sent to the target by a name that is known here
	CheckConnection = "connection" // the source's libvirt reaches the target's
	CheckLibvirt    = "libvirt"    // the source's libvirt has nothing against it
)

// Error is one line: the check, the reason, and what to do about it.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("pre-flight %s: %s", r.Check, r.Reason)
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	if r.Hint != "" {
		s += " (" + r.Hint + ")"
	}
	return s
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// What bounds the pre-flight's questions. A libvirtd that was just started probes its QEMU
// binaries before it tells its capabilities, which takes seconds, and many on a busy node: it must not be the
// reason to start a guest anew that could have been moved.
const (
	connectTime = 10 * time.Second
	askTime     = 5 * time.Second
	capsTime    = 45 * time.Second

	jobAgain = 100 * time.Millisecond // between two looks at a job that has sent nothing
	jobYoung = 2 * time.Second        // for how long such a job is looked at
)

// question is one of the pre-flight's: it is bounded by its limit, changes nothing, and its error is a [*Refusal].
type question struct {
	limit time.Duration
	ask   func(ctx context.Context, guest *libvirtxml.Domain) error
}

// questions are those about a guest that runs here, with the target connected, in their order: what names the cause
// best goes first, and what needs the answers of others last.
func (m *mover) questions() []question {
	return []question{
		{capsTime, m.checkHost},
		{2 * lookTime, m.checkDuplicate},
		{askTime, m.checkHypervisor},
		{askTime, m.checkMemory},
		{askTime, m.checkPages},
		{askTime, m.checkCPU},
		{storageTime, m.checkDisks},
		{askTime, m.checkNetworks},
		{askTime, m.checkFirmware},
		{askTime, m.checkAccepted},
		{askTime, m.chooseAddress},
		{2 * askTime, m.checkTLS}, // for the address that was chosen
		{2 * connectTime, m.checkRehearsal},
	}
}

// preflight asks both ends all that can be asked. It fills m.uuid, m.wasPaused and the record's
// memory. already is true when the guest is at the target and not here.
func (m *mover) preflight(ctx context.Context) (already bool, err error) {
	if err := m.source.connect(ctx, connectTime); err != nil {
		return false, &Refusal{CheckSource, "the source's libvirt cannot be reached", "is libvirtd or virtqemud running here?", err}
	}
	here := m.source.look(ctx, m.req.Guest)
	if here.err != nil && !errors.Is(here.err, libvirt.ErrNoDomain) {
		return false, &Refusal{CheckSource, "the source's libvirt gives no answer", "", here.err}
	}
	m.learnUUID(here)
	if here.condition(m.uuid) == absent {
		return m.absentHere(ctx)
	}
	m.rec.Outcome = Stayed // until something is begun
	if err := m.refuse(m.checkSource(ctx, here.status)); err != nil {
		return false, err
	}
	err = m.target.connect(ctx, connectTime)
	if m.torn {
		return false, m.checkHalf(ctx, err)
	}
	if m.adopted {
		m.adoptDisks(ctx, m.source.host)
		return false, nil // all was checked when it began, and the target's copy is its own
	}
	if err != nil {
		return false, &Refusal{CheckTarget, "the target's libvirt cannot be reached",
			"is it open to " + m.req.Target + "'s peers? try: virsh -c " + shellword.Word(m.req.TargetURI) + " hostname", err}
	}
	return false, m.askAll(ctx)
}

// askAll asks the questions until the first refusal, or all of them in an examination.
func (m *mover) askAll(ctx context.Context) error {
	guest, err := m.describe(ctx)
	if err != nil {
		return err
	}
	for _, q := range m.questions() {
		if m.source.host == nil || m.target.host == nil {
			return nil // a refusal has said so
		}
		ask, cancel := context.WithTimeout(ctx, q.limit)
		err := m.refuse(q.ask(ask, guest))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// refuse is err, which ends a move; an examination keeps a refusal and goes on.
func (m *mover) refuse(err error) error {
	var refusal *Refusal
	if !m.examines || !errors.As(err, &refusal) {
		return err
	}
	m.refusals = append(m.refusals, refusal)
	return nil
}

func (m *mover) describe(ctx context.Context) (*libvirtxml.Domain, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	doc, err := m.source.host.XML(ctx, m.req.Guest)
	guest := &libvirtxml.Domain{}
	if err == nil {
		err = guest.Unmarshal(doc)
	}
	if err != nil {
		return nil, &Refusal{CheckSource, "the guest's description cannot be read", "", err}
	}
	m.portable, m.sent = guest, ""
	if doc, err := m.source.host.Portable(ctx, m.req.Guest); err == nil {
		if sent := (&libvirtxml.Domain{}); sent.Unmarshal(doc) == nil {
			m.portable, m.sent = sent, doc
		}
	}
	return guest, nil
}

func (m *mover) learnUUID(here view) {
	if m.uuid == "" && here.err == nil {
		m.uuid = here.status.UUID
	}
	m.rec.UUID = m.uuid
}

// absentHere tells a move that was made before from a guest that runs nowhere.
func (m *mover) absentHere(ctx context.Context) (already bool, err error) {
	refusal := &Refusal{CheckRunning, "the guest does not run at the source", "start it before it can be moved", nil}
	if err := m.target.connect(ctx, connectTime); err != nil {
		refusal.Reason += ", and the target cannot be asked"
		refusal.Err = err
		return false, refusal
	}
	there := m.target.look(ctx, m.req.Guest)
	if there.condition(m.uuid) != running {
		refusal.Reason += "; at the target: " + there.String()
		return false, refusal
	}
	if m.uuid == "" {
		m.note("the guest's UUID is not known here: the one at the target has the same name")
		m.uuid = there.status.UUID
		m.rec.UUID = m.uuid
	}
	m.adoptDisks(ctx, m.target.host)
	return true, nil
}

// checkSource refuses states that a migration would fail in or make worse.
func (m *mover) checkSource(ctx context.Context, s libvirt.Status) error {
	switch {
	case s.State == libvirt.Paused && s.Reason == "user":
		m.wasPaused = true
	case s.State == libvirt.Paused && s.Reason == "migration" && m.req.Adopt: // at its hand-over, if a job is under way
	case s.State == libvirt.Paused && s.Reason == "postcopy" && m.req.Adopt:
		m.events.JoinPostCopy() // it runs at the target already
	case s.State == libvirt.Paused && s.Reason == "postcopy-failed":
		m.torn = true // nothing but to go on with it can save the guest, whoever began it
		return nil
	case s.State != libvirt.Running && s.State != libvirt.Blocked:
		return &Refusal{CheckRunning, fmt.Sprintf("the guest is %v (%s)", s.State, s.Reason), "only a running guest can be moved live", nil}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	job, err := m.jobHere(ctx)
	if err == nil && !job.Active && s.State == libvirt.Paused && !m.wasPaused {
		return &Refusal{CheckRunning, "the guest was left paused by a migration", "stop it: whether the target ran it cannot be told from here", nil}
	}
	if err != nil && !errors.Is(err, libvirt.ErrUnsupported) {
		return &Refusal{CheckJob, "cannot tell whether a job of the guest is under way", "", err}
	}
	if job.Active && m.req.Adopt {
		m.adopted = true
		return nil
	}
	if job.Active {
		hint := "wait for it"
		if m.driver.JobControl {
			hint += ", or abort it: virsh domjobabort " + shellword.Operands(m.req.Guest)
		}
		return &Refusal{CheckJob, "another migration, save or dump of the guest is under way", hint, nil}
	}
	if m.isHalted(ctx, view{status: s}) {
		return &Refusal{CheckRunning, "the guest stands still since a migration or a saving of it failed",
			"stop it, or, where no other node has it, let it go on: xl resume " + shellword.Word(m.req.Guest), nil}
	}
	return nil
}

// jobHere tells of the guest's job. One that has nothing to show may be the rehearsal of another pre-flight, and is
// looked at again until it has ended, or is none of these.
func (m *mover) jobHere(ctx context.Context) (libvirt.JobStats, error) {
	tick := time.NewTicker(jobAgain)
	defer tick.Stop()
	for began := time.Now(); ; {
		job, err := m.source.host.JobStats(ctx, m.req.Guest)
		young := job.Active && job.Total == 0 && job.Processed == 0 && m.driver.JobControl
		if err != nil || !young || time.Since(began) >= jobYoung {
			return job, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return job, nil
		}
	}
}

// checkHalf wants the other half of a guest whose post-copy broke at this target, and not at another.
func (m *mover) checkHalf(ctx context.Context, connect error) error {
	there := view{err: connect}
	if connect == nil {
		there = m.target.look(ctx, m.req.Guest)
	}
	if there.inPostCopy(m.uuid) {
		return nil
	}
	return &Refusal{CheckRunning, "a post-copy of the guest broke, and its other half is not at the target, where it is " + there.String(),
		"move it to where it was moved to before, or destroy it at both ends and start it anew", nil}
}

// checkHost refuses the same host, and keeps both ends' capabilities.
func (m *mover) checkHost(ctx context.Context, _ *libvirtxml.Domain) error {
	source, target, err := m.capabilities(ctx)
	if err != nil {
		return err
	}
	m.sourceCaps, m.targetCaps = source, target
	if u := target.Host.UUID; u != "" && u == source.Host.UUID {
		m.sameHost = true
		return &Refusal{CheckSameHost, "source and target are the same host, or have the same host UUID " + u,
			"give another target, or set another host_uuid in libvirtd.conf or virtqemud.conf there: uuidgen", nil}
	}
	return nil
}

// checkDuplicate refuses when the target has the guest, or another of its name.
func (m *mover) checkDuplicate(ctx context.Context, _ *libvirtxml.Domain) error {
	if m.sameHost {
		return nil // it would be the guest itself
	}
	there := m.target.look(ctx, m.req.Guest)
	switch {
	case errors.Is(there.err, libvirt.ErrNoDomain):
		return nil
	case there.err != nil:
		return &Refusal{CheckTarget, "the target's libvirt gives no answer", "", there.err}
	case !strings.EqualFold(there.status.UUID, m.uuid):
		return &Refusal{CheckDuplicate, "the target has another guest of this name, with UUID " + there.status.UUID, "rename or undefine it there", nil}
	case !there.status.State.Active():
		return m.checkLeftover(ctx, there.status)
	case there.condition(m.uuid) == running:
		m.rec.Outcome = Unknown
		return &Refusal{CheckDuplicate, "the guest runs at both ends", "stop one of them at once: its disks are in danger", nil}
	case there.condition(m.uuid) == paused:
		return &Refusal{CheckDuplicate, "the target has a paused copy of the guest (" + there.status.Reason + ")",
			"it is left from a broken migration, or one is under way: virsh destroy it there once none is", nil}
	}
	return nil
}

func (m *mover) capabilities(ctx context.Context) (source, target *libvirtxml.Caps, err error) {
	ask := func(h Host, check string) (*libvirtxml.Caps, error) {
		doc, err := h.Capabilities(ctx)
		caps := &libvirtxml.Caps{}
		if err == nil {
			err = caps.Unmarshal(doc)
		}
		if err != nil {
			return nil, &Refusal{check, "the host's capabilities cannot be read", "", err}
		}
		return caps, nil
	}
	if source, err = ask(m.source.host, CheckSource); err != nil {
		return nil, nil, err
	}
	target, err = ask(m.target.host, CheckTarget)
	return source, target, err
}

// machineOf is zero where the description does not say it.
func machineOf(guest *libvirtxml.Domain) libvirt.Machine {
	mach := libvirt.Machine{VirtType: guest.Type}
	if guest.OS != nil && guest.OS.Type != nil {
		mach.Arch, mach.Type = guest.OS.Type.Arch, guest.OS.Type.Machine
	}
	return mach
}

// checkHypervisor wants the guest's architecture, type and machine among the target's.
func (m *mover) checkHypervisor(_ context.Context, guest *libvirtxml.Domain) error {
	want := machineOf(guest)
	if m.targetCaps == nil {
		return nil // which was refused
	}
	for _, g := range m.targetCaps.Guests {
		if g.Arch.Name != want.Arch {
			continue
		}
		for _, d := range g.Arch.Domains {
			if d.Type == want.VirtType && (hasMachine(d.Machines, want.Type) || hasMachine(g.Arch.Machines, want.Type)) {
				return nil
			}
		}
	}
	return &Refusal{CheckHypervisor, fmt.Sprintf("the target cannot run guests of type %q, architecture %q, machine %q", want.VirtType, want.Arch, want.Type),
		"install the same hypervisor there, at least as new as the source's", nil}
}

// hasMachine is true for guests without a machine type, as those of container drivers are.
func hasMachine(machines []libvirtxml.CapsGuestMachine, want string) bool {
	for _, m := range machines {
		if m.Name == want || m.Canonical == want {
			return true
		}
	}
	return want == ""
}
