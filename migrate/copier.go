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

// copier copies the guest's disks, which comes before its memory.
type copier struct {
	diskcopy.Copy
	*job
	req *Request
}

// create makes the images at the target that the disks are copied to.
func (c *copier) create(ctx context.Context) error {
	if c.Empty() {
		return nil
	}
	defer c.step("make images")()
	ctx, cancel := context.WithTimeout(ctx, diskTime)
	defer cancel()
	begun, err := c.Create(ctx, c.hears.source)
	c.rec.Disks = append(c.rec.Disks, begun...)
	if err != nil {
		return refuse(preflight.CheckDisk, "the guest's disks cannot be copied", "", err)
	}
	c.Start(time.Now())
	return nil
}

// adopt takes over the disks that an earlier call began to copy; host is where the guest is.
func (c *copier) adopt(ctx context.Context, host endpoint.Host) {
	if c.req.Fetch {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, err := preflight.Images(ctx, host, c.req.Guest)
	if err != nil {
		c.log.WithError(err).Warn("it is not known whether disks of the guest are copied")
		return
	}
	for _, problem := range c.Adopt(c.uuid, all) {
		c.note("a disk that was being copied: " + problem.Error())
	}
	if !c.Empty() {
		c.found.Params.CopyAll, c.found.Params.Disks = true, c.Targets()
	}
}

// copied is called when the memory begins to flow, once or more often.
func (c *copier) copied() {
	c.Stop(time.Now())
	c.rec.DisksMS = record.Millis(c.Took)
	if err := c.HandOver(); err != nil {
		c.log.WithError(err).Error("a crash of this node now could have the guest started from an old disk")
	}
}

// sample is sample while disks are copied. The error is why to abort.
func (c *copier) sample(s libvirt.DiskStats, grace time.Duration) error {
	rate, hopeless := c.Sample(time.Now(), s,
		diskcopy.Limits{Left: c.left(), Grace: grace, Bandwidth: c.req.Bandwidth})
	c.progress = Progress{DiskTotal: s.Total, DiskRemaining: s.Remaining, RateMiBs: float64(rate) / (1 << 20)}
	c.report(PhaseDisks)
	if hopeless != "" {
		return fmt.Errorf("%w: %s", ErrHopeless, hopeless)
	}
	return nil
}

// finish makes true, at both ends, what the outcome says of the disks that were copied.
func (c *copier) finish(ctx context.Context) {
	if c.Empty() {
		return
	}
	defer c.step("settle disks")()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diskTime)
	defer cancel()
	for _, note := range c.Finish(ctx, c.rec.Outcome) {
		c.note(note)
	}
}
