package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// diskTime bounds what is done with images at both ends, before a move and after it: libvirt refreshes a large storage
// pool for a while.
const diskTime = 20 * time.Second

// PhaseDisks is the phase in which disks are copied, before the first byte of memory.
const PhaseDisks = "copying disks"

// createImages makes the images at the target that the disks are copied to.
func (m *mover) createImages(ctx context.Context) error {
	if m.disks.Empty() {
		return nil
	}
	defer m.step("make images")()
	ctx, cancel := context.WithTimeout(ctx, diskTime)
	defer cancel()
	begun, err := m.disks.Create(ctx, m.hears.source)
	m.rec.Disks = append(m.rec.Disks, begun...)
	if err != nil {
		return refuse(preflight.CheckDisk, "the guest's disks cannot be copied", "", err)
	}
	m.disks.Start(time.Now())
	if m.policy.PostCopy {
		m.policy.PostCopy = false
		m.note("post-copy is not used for a guest whose disks are copied")
	}
	return nil
}

// adoptDisks takes over the disks that an earlier call began to copy; host is where the guest is.
func (m *mover) adoptDisks(ctx context.Context, host endpoint.Host) {
	if m.req.Fetch {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, err := preflight.Images(ctx, host, m.req.Guest)
	if err != nil {
		m.log.WithError(err).Warn("it is not known whether disks of the guest are copied")
		return
	}
	for _, problem := range m.disks.Adopt(m.uuid, all) {
		m.note("a disk that was being copied: " + problem.Error())
	}
	if !m.disks.Empty() {
		m.found.Params.CopyAll, m.found.Params.Disks = true, m.disks.Targets()
	}
}

// disksCopied is called when the memory begins to flow, once or more often.
func (m *mover) disksCopied() {
	m.disks.Stop(time.Now())
	m.rec.DisksMS = record.Millis(m.disks.Took)
	if err := m.disks.HandOver(); err != nil {
		m.log.WithError(err).Error("a crash of this node now could have the guest started from an old disk")
	}
}

// sampleDisks is sample while disks are copied. The error is why to abort.
func (m *mover) sampleDisks(s libvirt.DiskStats) error {
	rate, hopeless := m.disks.Sample(time.Now(), s,
		diskcopy.Limits{Left: m.left(), Grace: m.policy.Grace(), Bandwidth: m.req.Bandwidth})
	m.progress = Progress{DiskTotal: s.Total, DiskRemaining: s.Remaining, RateMiBs: float64(rate) / (1 << 20)}
	m.report(PhaseDisks)
	if hopeless != "" {
		return fmt.Errorf("%w: %s", ErrHopeless, hopeless)
	}
	return nil
}

// finishDisks makes true, at both ends, what the outcome says of the disks that were copied.
func (m *mover) finishDisks(ctx context.Context) {
	if m.disks.Empty() {
		return
	}
	defer m.step("settle disks")()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diskTime)
	defer cancel()
	for _, note := range m.disks.Finish(ctx, m.rec.Outcome) {
		m.note(note)
	}
}
