package migrate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// storageTime bounds what is asked of images at the target and done with them, before a move and
// after it: to look through a large pool takes libvirt a while.
const storageTime = 20 * time.Second

// PhaseDisks is the phase in which disks are copied, before the first byte of memory.
const PhaseDisks = "copying disks"

// CopiedDisk is one disk that goes along with its guest.
type CopiedDisk struct {
	Target string `json:"target"` // as the guest's description names it, such as "vda"
	Path   string `json:"path"`   // of its image, on both nodes
	Bytes  uint64 `json:"bytes"`  // that the image took up before the move
}

// carried is a disk on its way, and what has been done for it.
type carried struct {
	CopiedDisk
	image   libvirt.Image
	renew   bool           // the target has a half copy, of a move that broke
	leaving *disks.Leaving // nil before it is begun
}

// diskLoad is how far the copying of disks is.
type diskLoad struct {
	began   time.Time // zero where another began it
	took    time.Duration
	seen    time.Time // when the last sample was
	done    uint64    // bytes, then
	quiet   time.Duration
	starved time.Duration
}

// checkDisks refuses what a storage pool of the target says is not there, unless it is to be copied.
func (m *mover) checkDisks(ctx context.Context, guest *libvirtxml.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, storageTime)
	defer cancel()
	if m.req.Options.CopyAll || m.req.Options.CopyInc {
		m.note("disks were not checked: they are copied")
		return nil
	}
	m.carried = nil
	for _, d := range hostDisks(guest) {
		there, renew, err := m.seeAtTarget(ctx, d)
		if err != nil {
			m.note(fmt.Sprintf("disk %q was not checked: %v", d.path, err))
			there = libvirt.VisibleUnknown
		}
		carry, refusal := d.decide(m.req.Disks, there)
		switch {
		case refusal != nil:
			return refusal
		case carry:
			m.carried = append(m.carried, &carried{CopiedDisk: CopiedDisk{Target: d.target, Path: d.path}, image: libvirt.Image{Path: d.path, Format: d.format}, renew: renew})
		case err == nil && there == libvirt.VisibleUnknown:
			m.note(fmt.Sprintf("disk %q was not checked: no storage pool of the target covers it", d.path))
		}
	}
	return m.checkDiskRoom(ctx)
}

// seeAtTarget asks whether the target has the disk. What a move that broke has left of it there does
// not count: renew tells of it.
func (m *mover) seeAtTarget(ctx context.Context, d hostDisk) (there libvirt.Visible, renew bool, err error) {
	dir, shared := filepath.Dir(d.path), m.req.Disks == DisksShared || m.req.Disks == ""
	if !shared {
		_, _ = m.target.host.Room(ctx, dir) // so that it knows of files that came or went; without a pool it knows nothing
	}
	there, err = m.target.host.DiskVisible(ctx, d.path, dir)
	if err != nil || there == libvirt.VisibleUnknown || shared {
		return there, false, err
	}
	mark, err := m.target.host.DiskVisible(ctx, d.path+disks.ArrivingSuffix, dir)
	if err == nil && mark == libvirt.VisibleYes {
		return libvirt.VisibleNo, true, nil
	}
	return there, false, err
}

// checkDiskRoom asks how large the disks are that go along, and whether the target has room. An old
// copy there may be removed for it, so that only the copying itself can tell.
func (m *mover) checkDiskRoom(ctx context.Context) error {
	if len(m.carried) > 0 && m.req.Fetch {
		return &Refusal{CheckDisk, "the guest's disks have to be copied, which only the node that it leaves can do", "move it from there: vmferry migrate", nil}
	}
	need := map[string]uint64{}
	for _, c := range m.carried {
		size, err := m.source.host.DiskSize(ctx, m.req.Guest, c.Target)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the size of disk %q cannot be told", c.Path), "", err}
		}
		c.image.Capacity, c.Bytes = size.Capacity, size.Allocated
		need[filepath.Dir(c.Path)] += size.Allocated
	}
	for dir, bytes := range need {
		room, err := m.target.host.Room(ctx, dir)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the target does not tell the room in %q", dir), "", err}
		}
		if room < bytes && !m.dropOld(ctx, dir) {
			return &Refusal{CheckDisk, fmt.Sprintf("the target has %d MiB free in %s, and the guest's disks need %d MiB", room>>20, dir, (bytes+1<<20-1)>>20), "free some there", nil}
		}
	}
	return nil
}

// dropOld removes old copies of the guest's disks at the target, of which the truth is here, and tells
// whether there were any.
func (m *mover) dropOld(ctx context.Context, dir string) (any bool) {
	for _, c := range m.carried {
		old := c.Path + disks.OldSuffix
		if there, err := m.target.host.DiskVisible(ctx, old, dir); err != nil || there != libvirt.VisibleYes || filepath.Dir(c.Path) != dir {
			continue
		}
		if err := m.target.host.RemoveImage(ctx, old); err != nil {
			m.log.WithError(err).Warn("an old copy stays at the target")
			continue
		}
		m.note(fmt.Sprintf("removed the old copy %q at the target, to make room for the new one", old))
		any = true
	}
	return any
}

// addDisks reckons with the copying of disks, which comes before all else and takes nothing from the
// pause.
func (f *Forecast) addDisks(going []*carried, capped bool) {
	for _, c := range going {
		f.Disks += c.Bytes
		f.DurationMS += millis(seconds(c.cost(capped), f.Bandwidth))
	}
}

// cost is how many bytes the bandwidth is to be reckoned with: QEMU counts what an image does not
// hold against a bound, and sends next to nothing of it.
func (c *carried) cost(capped bool) uint64 {
	if capped {
		return c.image.Capacity
	}
	return c.Bytes
}

// diskBytes is what goes along of disks.
func (m *mover) diskBytes() (all uint64) {
	for _, c := range m.carried {
		all += c.Bytes
	}
	return all
}

// receive makes the images at the target that the disks are copied to, each behind a mark that
// says that it is not whole, and notes here that they leave. With an error nothing is left of that.
func (m *mover) receive(ctx context.Context) error {
	if len(m.carried) == 0 {
		return nil
	}
	defer m.step("make images")()
	ctx, cancel := context.WithTimeout(ctx, storageTime)
	defer cancel()
	for _, c := range m.carried {
		m.rec.Disks = append(m.rec.Disks, c.CopiedDisk)
		if err := m.receiveOne(ctx, c); err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("disk %q cannot be copied", c.Path), "", err}
		}
	}
	m.disks.began = time.Now()
	if m.policy.PostCopy {
		m.policy.PostCopy = false
		m.note("post-copy is not used for a guest whose disks are copied")
	}
	return nil
}

func (m *mover) receiveOne(ctx context.Context, c *carried) (err error) {
	note := disks.Note{Guest: m.req.Guest, UUID: m.uuid, Peer: m.req.Target}
	if c.leaving, err = disks.Begin(c.Path, note); err != nil {
		return err
	}
	if c.renew {
		err = m.target.host.RemoveImage(ctx, c.Path)
	} else {
		err = m.target.host.CreateImage(ctx, libvirt.Image{Path: c.Path + disks.ArrivingSuffix, Format: "raw"})
	}
	if err != nil {
		return err
	}
	if err := m.target.host.CreateImage(ctx, c.image); err != nil {
		return err
	}
	if m.hears.source {
		return nil
	}
	return c.leaving.HandOver() // nobody will tell when the copying ends
}

// adoptDisks finds the disks that an earlier call began to carry; host is where the guest is.
func (m *mover) adoptDisks(ctx context.Context, host Host) {
	if m.req.Fetch {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	doc, err := host.XML(ctx, m.req.Guest)
	guest := &libvirtxml.Domain{}
	if err == nil {
		err = guest.Unmarshal(doc)
	}
	if err != nil {
		m.log.WithError(err).Warn("whether disks of the guest go along cannot be told")
		return
	}
	for _, d := range hostDisks(guest) {
		l, ok, err := disks.Adopt(d.path)
		if err != nil {
			m.note("a disk that was to go along: " + err.Error())
		}
		if ok {
			m.carried = append(m.carried, &carried{CopiedDisk: CopiedDisk{Target: d.target, Path: d.path}, leaving: l})
		}
	}
}

// copied is called when the memory begins to flow, once or more often: from here on the guest may run at the
// target at any time.
func (m *mover) copied() {
	if !m.disks.began.IsZero() && m.disks.took == 0 {
		m.disks.took = time.Since(m.disks.began)
		m.rec.DisksMS = millis(m.disks.took)
	}
	for _, c := range m.carried {
		if c.leaving == nil {
			continue
		}
		if err := c.leaving.HandOver(); err != nil {
			m.log.WithError(err).Error("a crash of this node now could have the guest started from an old disk")
		}
	}
}

// sampleDisks is sample while disks are copied. The error is why to abort.
func (m *mover) sampleDisks(s libvirt.DiskStats) error {
	now, d := time.Now(), &m.disks
	if d.seen.IsZero() {
		d.seen = now
	}
	if d.began.IsZero() {
		d.began = now
	}
	gap := min(now.Sub(d.seen), 2*pollEvery)
	d.quiet, d.starved, d.seen = d.quiet+gap, d.starved+gap, now
	if s.Processed != d.done {
		d.done, d.quiet = s.Processed, 0
	}
	var rate uint64
	if took := now.Sub(d.began); took > 0 {
		rate = uint64(float64(s.Processed) / took.Seconds())
	}
	left := m.left()
	if rate > 0 && (m.policy.Window == 0 || seconds(s.Remaining, rate) <= left) {
		d.starved = 0
	}
	m.progress = Progress{DiskTotal: s.Total, DiskRemaining: s.Remaining, RateMiBs: float64(rate) / (1 << 20)}
	m.report(PhaseDisks)
	grace := m.policy.grace()
	if m.req.Bandwidth > 0 {
		grace += seconds(mirrorStep, m.req.Bandwidth<<20)
	}
	if why := stopCopying(grace, s.Remaining, rate, left, d.quiet, d.starved); why != "" {
		return fmt.Errorf("%w: %s", ErrHopeless, why)
	}
	return nil
}

// settleDisks makes true, at both ends, what the outcome says of the disks that went along.
func (m *mover) settleDisks(ctx context.Context) {
	if len(m.carried) == 0 {
		return
	}
	defer m.step("settle disks")()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTime)
	defer cancel()
	for _, c := range m.carried {
		if c.leaving == nil {
			continue
		}
		if err := m.settle(ctx, c); err != nil {
			m.note("of the guest's disks something is not in order: " + err.Error())
		}
	}
	m.carried = nil
}

func (m *mover) settle(ctx context.Context, c *carried) error {
	switch m.rec.Outcome {
	case Moved:
		return errors.Join(c.leaving.Left(), m.removeThere(ctx, c.Path, disks.ArrivingSuffix, disks.NoteSuffix, disks.OldSuffix))
	case Stayed:
		return errors.Join(m.removeThere(ctx, c.Path, "", disks.ArrivingSuffix), c.leaving.Stayed())
	}
	m.note(fmt.Sprintf("which copy of disk %q is the truth is not known: neither node starts the guest from it before a person has looked", c.Path))
	return c.leaving.Close()
}

// removeThere removes files beside an image at the target. The first failure ends it, so that the mark of a half
// copy stays for as long as that does.
func (m *mover) removeThere(ctx context.Context, image string, suffixes ...string) error {
	if err := m.target.connect(ctx, lookTime); err != nil {
		return fmt.Errorf("tidy up at the target: %w", err)
	}
	for _, suffix := range suffixes {
		if err := m.target.host.RemoveImage(ctx, image+suffix); err != nil {
			return err
		}
	}
	return nil
}
