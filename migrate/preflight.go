package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/preflight"
)

// The types of a request and of the errors of a move that are the pre-flight's: see package preflight.
type (
	Refusal    = preflight.Refusal
	DiskMode   = preflight.DiskMode
	MemoryMode = preflight.MemoryMode
)

// The checks of the pre-flight, see [Refusal].
const (
	CheckRequest    = preflight.CheckRequest
	CheckSource     = preflight.CheckSource
	CheckRunning    = preflight.CheckRunning
	CheckJob        = preflight.CheckJob
	CheckTarget     = preflight.CheckTarget
	CheckSameHost   = preflight.CheckSameHost
	CheckDuplicate  = preflight.CheckDuplicate
	CheckHypervisor = preflight.CheckHypervisor
	CheckMemory     = preflight.CheckMemory
	CheckCPU        = preflight.CheckCPU
	CheckDisk       = preflight.CheckDisk
	CheckDiskMove   = preflight.CheckDiskMove
	CheckNetwork    = preflight.CheckNetwork
	CheckFirmware   = preflight.CheckFirmware
	CheckTLS        = preflight.CheckTLS
	CheckAddress    = preflight.CheckAddress
	CheckConnection = preflight.CheckConnection
	CheckLibvirt    = preflight.CheckLibvirt
)

// The modes of [Request].Disks and [Request].Memory.
const (
	DisksShared  = preflight.DisksShared
	DisksCopy    = preflight.DisksCopy
	DisksAuto    = preflight.DisksAuto
	MemoryWarn   = preflight.MemoryWarn
	MemoryRefuse = preflight.MemoryRefuse
	MemoryIgnore = preflight.MemoryIgnore
)

// DiskModes and MemoryModes are all modes, for those who read one.
var (
	DiskModes   = preflight.DiskModes
	MemoryModes = preflight.MemoryModes
)

// refuse is why a move is not begun.
func refuse(check, reason, hint string, err error) *Refusal {
	return &Refusal{Check: check, Reason: reason, Hint: hint, Err: err}
}

// askTime bounds a question to one end beside the migration.
const askTime = 5 * time.Second

// preflight asks both ends all that can be asked, and takes over what was found. all is preflight.Request.All.
func (m *mover) preflight(ctx context.Context, all bool) error {
	paused := m.found.Paused // of a pre-flight before: a guest that was paused on purpose stays so
	var err error
	m.found, err = preflight.Run(ctx, m.req.preflight(m.uuid, all), preflight.Deps{
		Source: &m.source, Target: &m.target, Halted: m.deps.Halted, Lock: m.lockGuest, SharedBy: m.sharedBy,
		Resolve: m.deps.Resolve, Own: m.deps.Own, Conf: m.deps.Conf, Log: m.log,
	})
	m.found.Paused = m.found.Paused || paused
	m.uuid, m.rec.UUID, m.rec.Memory = m.found.UUID, m.found.UUID, m.found.Memory
	m.rec.Notes = append(m.rec.Notes, m.found.Notes...)
	switch {
	case m.found.AtBoth:
		m.rec.Outcome = Unknown
	case m.found.AtSource:
		m.rec.Outcome = Stayed // until something is begun
	}
	m.disks.Plan(m.uuid, m.found.Copies)
	return err
}

// preflight is the request as the pre-flight takes it.
func (r Request) preflight(uuid string, all bool) preflight.Request {
	return preflight.Request{
		Guest: r.Guest, UUID: uuid, SourceURI: r.SourceURI, Target: r.Target, TargetURI: r.TargetURI,
		MigrateURI: r.MigrateURI, Bandwidth: r.Bandwidth, Unsafe: r.Unsafe, Memory: r.Memory, Disks: r.Disks,
		Options: r.Options, StartsNetworks: r.StartsNetworks, Fetch: r.Fetch, Adopt: r.Adopt, All: all,
	}
}

// lockGuest takes the guest's lock until the end of the move. The error is that another has it; a node without locks
// continues without.
func (m *mover) lockGuest(ctx context.Context, uuid string) error {
	if m.guard != nil {
		return nil
	}
	guard, err := m.deps.Slots.AcquireGuest(ctx, uuid)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		m.log.WithError(err).Info("the guest cannot be locked against other pre-flights and moves")
	}
	m.guard = guard
	return nil
}
