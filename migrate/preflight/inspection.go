package preflight

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// What bounds the checks. A libvirtd that was just started probes its QEMU binaries before it answers with its
// capabilities, which takes seconds, and many on a busy node: that must not be the reason to restart a guest
// elsewhere that could have been migrated.
const (
	connectTime = 10 * time.Second
	askTime     = 5 * time.Second
	capsTime    = 45 * time.Second
	// storageTime is for images at the target: libvirt refreshes a large storage pool for a while.
	storageTime = 20 * time.Second
)

// Request is what the pre-flight has to know of a move. Its fields are those of migrate.Request.
type Request struct {
	Guest, UUID       string // the UUID in lower case, "" where the caller does not know it
	SourceURI         string
	Target, TargetURI string
	MigrateURI        string
	Bandwidth         uint64 // MiB/s
	Unsafe            bool
	Memory            MemoryMode
	Disks             DiskMode
	Options           libvirt.MigrateOptions
	StartsNetworks    bool
	Fetch             bool
	Adopt             bool
	All               bool // continue after a refusal, so that an operator sees all that is in the way
}

// Deps is what the pre-flight needs from outside.
type Deps struct {
	Source, Target *endpoint.Endpoint // connected by Run
	// Halted, when set, reports whether a guest that runs by libvirt's word is paused for a migration or save.
	Halted func(ctx context.Context, guest, uuid string) (bool, error)
	// Lock keeps the rehearsal apart from other pre-flights and moves of the guest. Its error is that another has the
	// lock.
	Lock func(ctx context.Context, uuid string) error
	// SharedBy is disks.SharedBy.
	SharedBy func(path string) (kind string, err error)
	Resolve  func(ctx context.Context, host string) ([]netip.Addr, error) // nil is the system's resolver
	Own      func() []netip.Addr                                          // this node's addresses; nil asks the system
	Conf     string                                                       // this node's qemu.conf, "" for libvirt's own
	Log      logrus.FieldLogger
}

// Findings is what the pre-flight found, as far as it came.
type Findings struct {
	UUID     string // of the guest, "" where not known
	Already  bool   // the guest runs at the target, and not at the source: it was moved before
	AtSource bool   // the guest is at the source
	AtBoth   bool   // and runs at the target, too
	Paused   bool   // the guest was paused before the move, on purpose
	// Adopted says that a migration to this target is under way, which another caller began, and InPostCopy that the
	// guest runs at the target already.
	Adopted, InPostCopy bool
	PostCopyFailed      bool // an earlier migration broke in its post-copy phase, and can be recovered

	Guest  *libvirtxml.Domain // as the target gets it, nil before it was read
	Memory uint64             // bytes that the guest has
	// Params are what the migration begins with. An attempt adds its own.
	Params libvirt.MigrateParams
	Copies []diskcopy.Plan // the disks that are copied with the guest

	With     []string   // what is copied with the guest or stays behind, in words
	Lacks    []string   // what the migration copies or leaves out, and a start at the target would need, in words
	Notes    []string   // what could not be checked, and what a reader should know
	Refusals []*Refusal // with Request.All
}

// copyDisks puts the disks that are copied into the parameters.
func (f *Findings) copyDisks() {
	if len(f.Copies) == 0 {
		return
	}
	f.Params.CopyAll, f.Params.Disks = true, nil
	for _, c := range f.Copies {
		f.Params.Disks = append(f.Params.Disks, c.Target)
	}
}

// inspection is one pre-flight under way.
type inspection struct {
	req            Request
	deps           Deps
	source, target *endpoint.Endpoint
	log            logrus.FieldLogger
	driver         libvirt.Driver // the source's
	found          Findings

	guest                  *libvirtxml.Domain // as it runs
	sent                   string             // the same as text, "" where the driver does not give it
	sourceCaps, targetCaps *libvirtxml.Caps   // nil before they were asked
	sameHost               bool
}

func newInspection(req Request, deps Deps) *inspection {
	p := &inspection{req: req, deps: deps, source: deps.Source, target: deps.Target, log: deps.Log,
		driver: libvirt.DriverOf(req.SourceURI)}
	p.found.UUID = req.UUID
	p.found.Params = libvirt.MigrateParams{URI: req.MigrateURI, Bandwidth: req.Bandwidth, Unsafe: req.Unsafe,
		MigrateOptions: req.Options}
	return p
}

func (p *inspection) note(text string) {
	p.found.Notes = append(p.found.Notes, text)
	p.log.Info(text)
}

// unchecked notes why something was not checked. It refuses nothing.
func (p *inspection) unchecked(what string, why error) error {
	p.note(what + " was not checked: " + why.Error())
	return nil
}

// conclude keeps what a rule says: notes, and err as refuse does.
func (p *inspection) conclude(notes []string, err error) error {
	for _, n := range notes {
		p.note(n)
	}
	return p.refuse(err)
}

// refuse is err. With Request.All it keeps a refusal and continues.
func (p *inspection) refuse(err error) error {
	var refusal *Refusal
	if !p.req.All || !errors.As(err, &refusal) {
		return err
	}
	p.found.Refusals = append(p.found.Refusals, refusal)
	return nil
}

// DiskMode says what is done with disks that are not on storage which both nodes share.
type DiskMode string

// The modes. Disks that a guest cannot write to are never copied.
const (
	DisksShared DiskMode = "shared" // nothing is copied; the same as ""
	DisksCopy   DiskMode = "copy"   // every image is copied, and none may be at the target already
	DisksAuto   DiskMode = "auto"   // those are copied that the target does not see
)

// DiskModes are all modes, for those who read one.
var DiskModes = []DiskMode{DisksShared, DisksCopy, DisksAuto}

// MemoryMode says what follows where a host reports less free memory than a guest needs. What a Linux host reports
// is a guess: memory that a file system's cache (ZFS) gives back, pages that KSM merges and swap are not in it.
type MemoryMode string

// The modes.
const (
	MemoryWarn   MemoryMode = "warn"   // it is noted, and the guest goes there all the same; the same as ""
	MemoryRefuse MemoryMode = "refuse" // the guest does not go there
	MemoryIgnore MemoryMode = "no"     // the host is not asked
)

// MemoryModes are all modes, for those who read one.
var MemoryModes = []MemoryMode{MemoryWarn, MemoryRefuse, MemoryIgnore}
