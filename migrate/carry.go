package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
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
	image    libvirt.Image
	before   disks.Note     // of a move that broke and left a half copy at the target; zero without one
	makeRoom bool           // an old copy there has to go first
	doubt    bool           // the target has not answered what it was told to make, and may still make it
	leaving  *disks.Leaving // nil before it is begun
}

// mark is the one behind which the target's image lies. It is known once the disk is on its way.
func (c *carried) mark() libvirt.Mark {
	return libvirt.Mark{Path: c.Path + disks.ArrivingSuffix, Size: c.leaving.Note().Mark}
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

// checkDisks refuses what the target does not have, unless it is to be copied or libvirt leaves it out.
func (m *mover) checkDisks(ctx context.Context, guest *libvirtxml.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, storageTime)
	defer cancel()
	m.carried, m.lacks = nil, nil
	byLibvirt := m.req.Options.CopyAll || m.req.Options.CopyInc
	if byLibvirt {
		m.note("disks that the guest writes to were not checked: they are copied")
	}
	for _, d := range hostDisks(guest) {
		if byLibvirt && d.writable {
			continue
		}
		if refusal := m.checkDisk(ctx, d); refusal != nil {
			if err := m.refuse(refusal); err != nil {
				return err
			}
		}
	}
	return m.checkDiskRoom(ctx)
}

func (m *mover) checkDisk(ctx context.Context, d hostDisk) *Refusal {
	there, before, refusal := m.seeAtTarget(ctx, d)
	if refusal != nil {
		return refusal
	}
	fate, refusal := d.decide(m.req.Disks, there, m.lacking(ctx, d), heading{m.req.Guest, m.req.Target})
	if fate == diskCopied && refusal == nil {
		refusal = m.checkLocal(ctx, d)
	}
	if refusal != nil {
		return refusal
	}
	switch fate {
	case diskCopied:
		m.carried = append(m.carried, &carried{CopiedDisk: CopiedDisk{Target: d.target, Path: d.path}, image: libvirt.Image{Path: d.path, Format: d.format}, before: before})
		m.lacks = append(m.lacks, fmt.Sprintf("the target does not have the disk %q before a move has copied it", d.path))
	case diskLeft:
		m.with = append(m.with, fmt.Sprintf("%q stays behind: the target lacks it, and libvirt leaves drive %s empty, as its startupPolicy is %s", d.source, d.target, d.policy))
		if !d.startsWithout() {
			m.lacks = append(m.lacks, fmt.Sprintf("the target does not have %q, which a start needs", d.source))
		}
	}
	return nil
}

// lacking returns the first thing that the target lacks below the disk's image.
func (m *mover) lacking(ctx context.Context, d hostDisk) libvirt.DiskSource {
	for _, source := range d.below {
		if m.visible(ctx, source) == libvirt.VisibleNo {
			return source
		}
	}
	return libvirt.DiskSource{}
}

// visible asks the target, and notes what it cannot tell.
func (m *mover) visible(ctx context.Context, source libvirt.DiskSource) libvirt.Visible {
	there, err := m.target.Host.DiskVisible(ctx, source)
	switch {
	case err != nil:
		m.note(fmt.Sprintf("disk %q was not checked: %v", source, err))
		return libvirt.VisibleUnknown
	case there == libvirt.VisibleUnknown:
		m.note(fmt.Sprintf("disk %q was not checked: the target's libvirt cannot tell", source))
	}
	return there
}

// seeAtTarget asks whether the target has the disk. What a move that broke has left of it there does not count: before
// is that move's note. A half copy that no move from here is noted for is not touched.
func (m *mover) seeAtTarget(ctx context.Context, d hostDisk) (there libvirt.Visible, before disks.Note, refusal *Refusal) {
	if d.source == (libvirt.DiskSource{}) {
		return libvirt.VisibleYes, before, nil
	}
	there = m.visible(ctx, d.source)
	shared := m.req.Disks == DisksShared || m.req.Disks == ""
	if shared || !d.writable || d.path == "" || there == libvirt.VisibleUnknown {
		return there, before, nil
	}
	mark := d.path + disks.ArrivingSuffix
	if m.visible(ctx, libvirt.DiskSource{Path: mark}) != libvirt.VisibleYes {
		return there, before, nil
	}
	before, err := bounded(ctx, func() (disks.Note, error) { return disks.ReadNote(d.path) })
	if err != nil || before.Mark == 0 || before.Peer != m.req.Target || !strings.EqualFold(before.UUID, m.uuid) || !before.Made && there == libvirt.VisibleYes {
		return there, before, &Refusal{CheckDisk, fmt.Sprintf("the target has an unfinished copy of the disk %q, and nothing here tells that a move from here made it", d.path),
			"if it is certain that no guest uses it, remove it there: " + shellword.Line("rm", d.path, mark), nil}
	}
	return libvirt.VisibleNo, before, nil
}

// checkLocal refuses to copy what other hosts may see as it is, and would be overwritten by its own copy, or removed with
// one that is given up.
func (m *mover) checkLocal(ctx context.Context, d hostDisk) *Refusal {
	if m.req.Fetch {
		return nil // it is refused for that
	}
	kind, err := bounded(ctx, func() (string, error) { return m.sharedBy(d.path) })
	switch {
	case err != nil:
		return &Refusal{CheckDisk, fmt.Sprintf("whether the disk %q is on shared storage cannot be told", d.path), "", err}
	case kind != "":
		return &Refusal{CheckDisk, fmt.Sprintf("the target does not see the disk %q, which lies on %s here, and is not copied since it may be shared", d.path, kind),
			fmt.Sprintf("mount it on %s as it is mounted here: %s", m.req.Target, shellword.Line("findmnt", "-T", d.path)), nil}
	}
	return nil
}

// bounded calls what may hang on storage, and leaves it behind at the end of ctx.
func bounded[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f()
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// checkDiskRoom asks how large the disks are that go along, and whether the target has room. An old
// copy there may be removed for it, so that only the copying itself can tell.
func (m *mover) checkDiskRoom(ctx context.Context) error {
	if len(m.carried) > 0 && m.req.Fetch {
		return &Refusal{CheckDisk, "the guest's disks have to be copied, which only the node that it leaves can do", "move it from there: vmferry migrate", nil}
	}
	need := map[string]uint64{}
	for _, c := range m.carried {
		size, err := m.source.Host.DiskSize(ctx, m.req.Guest, c.Target)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the size of disk %q cannot be told", c.Path), "", err}
		}
		c.image.Capacity, c.Bytes = size.Capacity, size.Allocated
		need[filepath.Dir(c.Path)] += size.Allocated
	}
	for dir, bytes := range need {
		room, err := m.target.Host.Room(ctx, dir)
		if err != nil {
			return &Refusal{CheckDisk, fmt.Sprintf("the target does not tell the room in %q", dir), poolHint(dir), err}
		}
		if room < bytes && !m.mayDropOld(ctx, dir) {
			return &Refusal{CheckDisk, fmt.Sprintf("the target has %d MiB free in %s, and the guest's disks need %d MiB", room>>20, dir, mebibytes(bytes)), "free some there", nil}
		}
	}
	return nil
}

// mayDropOld tells whether the target has old copies of the guest's disks in a folder, of which the truth is here. They
// are removed when the disks begin to be copied.
func (m *mover) mayDropOld(ctx context.Context, dir string) (any bool) {
	for _, c := range m.carried {
		if filepath.Dir(c.Path) == dir && m.hasOld(ctx, c) {
			m.note(fmt.Sprintf("the old copy %q at the target makes room for the new one", c.Path+disks.OldSuffix))
			c.makeRoom, any = true, true
		}
	}
	return any
}

// noteLimit is longer than any note, in bytes.
const noteLimit = 4 << 10

// hasOld tells whether the target has an old copy of the disk that this very guest left there: the note beside it
// says so.
func (m *mover) hasOld(ctx context.Context, c *carried) bool {
	raw, err := m.target.Host.ReadImage(ctx, c.Path+disks.NoteSuffix, noteLimit)
	if err != nil || len(raw) == 0 {
		return false
	}
	note, err := disks.ParseNote(raw)
	if err != nil || note.Stage != disks.Moved || !strings.EqualFold(note.UUID, m.uuid) {
		return false
	}
	there, err := m.target.Host.DiskVisible(ctx, libvirt.DiskSource{Path: c.Path + disks.OldSuffix})
	return err == nil && there == libvirt.VisibleYes
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
	defer func() { c.doubt = err != nil && (ctx.Err() != nil || errors.Is(err, libvirt.ErrConnect)) }()
	note := disks.Note{Guest: m.req.Guest, UUID: m.uuid, Peer: m.req.Target, Mark: cmp.Or(c.before.Mark, disks.NewMark()), Made: c.before.Made}
	if c.leaving, err = disks.Begin(c.Path, note); err != nil {
		return err
	}
	if c.before.Mark != 0 {
		if err = m.target.Host.RemoveImage(ctx, c.Path, c.mark()); err == nil {
			err = c.leaving.MadeImage(false) // and not before: what is not noted as made loses its mark, and is kept
		}
	} else {
		err = m.target.Host.CreateImage(ctx, libvirt.Image{Path: c.mark().Path, Format: "raw", Capacity: c.mark().Size})
	}
	if err == nil && c.makeRoom {
		err = m.target.Host.RemoveImage(ctx, c.Path+disks.OldSuffix, c.mark())
	}
	if err != nil {
		return err
	}
	if err := m.target.Host.CreateImage(ctx, c.image); err != nil {
		return err
	}
	if err := c.leaving.MadeImage(true); err != nil {
		return err
	}
	if m.hears.source {
		return nil
	}
	return c.leaving.HandOver() // nobody will tell when the copying ends
}

// adoptDisks finds the disks that an earlier call began to carry; host is where the guest is.
func (m *mover) adoptDisks(ctx context.Context, host Host) {
	if m.req.Fetch || m.examines { // which settles nothing, and would keep the images locked
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
		if d.path == "" {
			continue
		}
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
		return errors.Join(c.leaving.Left(), m.tidyAfter(ctx, c))
	case Stayed:
		if err := m.giveBack(ctx, c); err != nil {
			return errors.Join(err, c.leaving.StayedBut())
		}
		return c.leaving.Stayed()
	}
	m.note(fmt.Sprintf("which copy of disk %q is the truth is not known: neither node starts the guest from it before a person has looked", c.Path))
	return c.leaving.Close()
}

// giveBack removes a half copy at the target, if this move made it. The mark goes last: it says what the copy is.
func (m *mover) giveBack(ctx context.Context, c *carried) error {
	if err := m.target.Connect(ctx, lookTime); err != nil {
		return fmt.Errorf("tidy up at the target: %w", err)
	}
	if c.doubt {
		return fmt.Errorf("the target has not said whether it made the image %q: what it makes stays marked there as unfinished", c.Path)
	}
	if c.leaving.Note().Made {
		if err := m.target.Host.RemoveImage(ctx, c.Path, c.mark()); err != nil {
			return err
		}
		if err := c.leaving.MadeImage(false); err != nil {
			return err
		}
	}
	return m.target.Host.RemoveImage(ctx, c.mark().Path, c.mark())
}

// tidyAfter removes at the target what an earlier stay of the guest left there, and then the mark: the image is the
// truth. Where the mark is not there any more, another has seen that already, or looks at another directory now.
func (m *mover) tidyAfter(ctx context.Context, c *carried) error {
	if err := m.target.Connect(ctx, lookTime); err != nil {
		return fmt.Errorf("tidy up at the target: %w", err)
	}
	there, err := m.target.Host.DiskVisible(ctx, libvirt.DiskSource{Path: c.Path})
	if err == nil && there == libvirt.VisibleNo {
		return fmt.Errorf("disk %q is not in its directory at the target, although the guest runs from it there: something was mounted over it while the disk was copied; "+
			"unmount that on %s before the guest is stopped: %s", c.Path, m.req.Target, shellword.Line("umount", filepath.Dir(c.Path)))
	}
	old := m.hasOld(ctx, c)
	for _, suffix := range []string{disks.OldSuffix, disks.NoteSuffix, disks.ArrivingSuffix} {
		if !old && suffix != disks.ArrivingSuffix {
			continue
		}
		if err := m.target.Host.RemoveImage(ctx, c.Path+suffix, c.mark()); err != nil {
			return err
		}
	}
	return nil
}
