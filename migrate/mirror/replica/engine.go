package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// Engine works on a node's replicas. All its fields have to be set.
type Engine struct {
	Store mirror.Store
	// Run runs a program until it ends, or ctx does, which kills it. The error says what the program wrote.
	Run  func(ctx context.Context, name string, args ...string) (output string, err error)
	Now  func() time.Time
	Room func(dir string) (free, all uint64, err error) // in bytes, of a directory's file system; see [Room]
	// Patience is how long a source may take to send the next message of a round, and qemu-nbd to start.
	Patience time.Duration
	step     func(done string) // a test's
}

// Room asks the operating system.
func Room(dir string) (free, all uint64, err error) {
	var s unix.Statfs_t
	err = unix.Statfs(dir, &s)
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), err
}

func (e *Engine) did(step string) {
	if e.step != nil {
		e.step(step)
	}
}

// qemuImg has half an hour: where storage does not respond, the guest's lock is not held for ever.
func (e *Engine) qemuImg(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	_, err := e.Run(ctx, "qemu-img", args...)
	return err
}

// load reads a manifest, nil where there is none.
func (e *Engine) load(_ context.Context, uuid string) (*mirror.Manifest, error) {
	m, err := e.Store.Load(uuid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &m, err
}

// Recover finishes what the manifest says is under way: a round that is being applied, a guest that has left, or that
// was on its way here and runs nowhere. It puts what a truth has in overlays into its disks, and removes what is left of
// other rounds. Where a guest uses the files it fails; without a manifest it does nothing. Cut short, it is called again. The caller has the guest's lock.
func (e *Engine) Recover(ctx context.Context, uuid string) error {
	_, err := e.recover(ctx, uuid)
	return err
}

func (e *Engine) recover(ctx context.Context, uuid string) (*mirror.Manifest, error) {
	m, err := e.load(ctx, uuid)
	switch {
	case m == nil || err != nil:
	case m.Applying:
		err = e.apply(ctx, m)
	case m.Arriving:
		err = e.turnBack(ctx, m)
	case m.Overlay:
		err = e.fold(ctx, m)
	}
	for i := 0; m != nil && err == nil && m.Role == mirror.Truth && i < len(m.Disks); i++ {
		// Those of a QEMU that has crashed are of no use, and in the way of qemu-img resize. Where a guest runs they stay.
		_ = mirror.RemoveBitmaps(ctx, e.Run, m.Disks[i].Path, func(_ mirror.Point, isBroken bool) bool { return isBroken })
	}
	if m != nil && err == nil {
		err = cmp.Or(e.miss(m), sweep(*m, m.Disks))
	}
	return m, err
}

// Finish applies the rounds that a process was killed amid, so that no start has to wait for it.
func (e *Engine) Finish(ctx context.Context) error {
	all, err := e.Store.All()
	for _, m := range all {
		if m.Applying {
			s := session{Engine: e, hello: m}
			err = errors.Join(err, s.locked(ctx, s.recover, func(*mirror.Manifest) error { return nil }))
		}
	}
	return err
}

// miss notes that a replica's files are gone, so that the next round sends the disks whole. Where their file system may
// just not be mounted it does not.
func (e *Engine) miss(m *mirror.Manifest) error {
	changed := false
	for i, d := range m.Disks {
		_, err := os.Lstat(d.Replica())
		if m.Role == mirror.Replica && d.Dir != 0 && errors.Is(err, fs.ErrNotExist) && inode(filepath.Dir(d.Path)) == d.Dir {
			m.Disks[i], changed = mirror.Disk{Target: d.Target, Path: d.Path, Size: d.Size}, true
		}
	}
	if !changed {
		return nil
	}
	return e.Store.Save(*m)
}

// inode is a file's number, 0 where there is none.
func inode(path string) uint64 {
	var at unix.Stat_t
	_ = unix.Stat(path, &at)
	return at.Ino
}

// apply commits the deltas of the manifest's round. They are whole, also where that is done twice, until they are not
// named any more. A disk whose delta is gone may have half of it, and counts as not there.
func (e *Engine) apply(ctx context.Context, m *mirror.Manifest) error {
	for i, d := range m.Disks {
		if !m.IsDelta(d) {
			continue
		}
		delta := d.Delta(m.Point)
		err := regular(d.Replica())
		if _, gone := os.Lstat(delta); err == nil && errors.Is(gone, fs.ErrNotExist) {
			m.Disks[i] = mirror.Disk{Target: d.Target, Path: d.Path, Size: d.Size}
			continue
		}
		if err = cmp.Or(err, regular(delta)); err == nil {
			err = e.commit(ctx, delta)
		}
		if err = cmp.Or(err, sync(d.Replica())); err != nil {
			return fmt.Errorf("apply round %s to disk %q: %w", m.Point, d.Target, err)
		}
		e.did("commit " + d.Target)
	}
	m.Applying = false
	err := e.Store.Save(*m)
	e.did("at")
	return err
}

// commit puts an overlay into the image below it. Cut short, it is done again.
func (e *Engine) commit(ctx context.Context, image string) error {
	err := e.qemuImg(ctx, "commit", "-q", "-f", "qcow2", "-d", "-t", "none", image)
	if err != nil { // without O_DIRECT
		err = e.qemuImg(ctx, "commit", "-q", "-f", "qcow2", "-d", "-t", "writeback", image)
	}
	return err
}

// Forget removes the manifest of a guest, and its replica where there is one; a truth's disks, and what was kept, stay.
// It refuses where a guest may be on its way, or has written to files that the manifest alone names.
func (e *Engine) Forget(ctx context.Context, uuid string) error {
	unlock, err := e.Store.Lock(uuid)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := e.load(ctx, uuid)
	switch {
	case m == nil || err != nil:
		return err
	case m.Role == mirror.Promoting || m.Overlay || m.Arriving || m.Folding || !m.Handed.IsZero():
		return errors.New("a start or a move of the guest is under way: wait for its end, or start the guest")
	}
	disks := m.Disks
	m.Disks, m.Applying = nil, false // cut short, there is a replica of no disk
	if m.Role == mirror.Replica {
		err = cmp.Or(e.Store.Save(*m), sweep(*m, disks))
	}
	if err == nil {
		err = os.Remove(e.Store.Path(uuid))
	}
	return cmp.Or(err, atomicfile.SyncDir(e.Store.Dir))
}

// sweep removes the mirror's files beside disks that the manifest does not name.
func sweep(m mirror.Manifest, disks []mirror.Disk) (err error) {
	var named []string
	for _, d := range m.Disks {
		if m.Role != mirror.Truth {
			named = append(named, d.Replica())
		}
		if m.Applying {
			named = append(named, d.Delta(m.Point))
		}
	}
	for _, d := range disks {
		dir, base := filepath.Split(d.Path)
		all, rerr := os.ReadDir(dir)
		for _, f := range all {
			rest, is := strings.CutPrefix(f.Name(), base+mirror.ReplicaSuffix)
			if !is {
				rest, is = strings.CutPrefix(f.Name(), base+mirror.DeltaSuffix)
			}
			if _, ok := mirror.ParsePoint("vmferry-" + rest); is && ok && !slices.Contains(named, dir+f.Name()) {
				rerr = errors.Join(rerr, os.Remove(dir+f.Name()))
			}
		}
		err = errors.Join(err, rerr)
	}
	return err
}

// regular is why there is no regular file. A link is none: the mirror makes no links.
func regular(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q: %w", path, safefile.ErrNotFile)
	}
	return err
}

// sync makes a file and its name durable.
func sync(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), atomicfile.SyncDir(filepath.Dir(path)))
}

// Promote makes the replica the truth of an epoch, which is higher than its own: its disks get the names that the guest
// starts from, and what has these names is kept under another. disks are the guest's by target and path, as this
// node's configuration has them; lost says how old the replica is. Where Promote refuses, all is as before; cut short,
// it is called again. tell tells the cluster of the epoch, after all that can refuse and before anything is changed. The
// caller has the guest's lock.
func (e *Engine) Promote(ctx context.Context, uuid string, epoch uint64, disks []mirror.Disk, lost time.Duration,
	tell func(context.Context) error) error {
	m, err := e.recover(ctx, uuid)
	switch {
	case err != nil:
	case m != nil && m.Role == mirror.Truth && m.Epoch == epoch:
		return nil
	case m != nil && m.Role == mirror.Replica && m.Epoch < epoch && !m.Taken().IsZero():
		err = e.promotable(ctx, m.Disks, disks)
		m.Role, m.Point, m.Last, m.Closed = mirror.Promoting, mirror.Point{Epoch: epoch}, 0, false
		m.Lost, m.LostAt = lost.Seconds(), e.Now()
		if err == nil {
			err = tell(ctx)
		}
		if err == nil {
			err = e.Store.Save(*m)
			e.did("promoting")
		}
	case m == nil || m.Role != mirror.Promoting || m.Epoch != epoch:
		err = fmt.Errorf("there is none that is whole, and of an epoch below %d", epoch)
	default:
		err = tell(ctx) // the cluster may have forgotten it
	}
	for i := 0; err == nil && i < len(m.Disks); i++ {
		err = e.install(m.Disks[i], epoch)
	}
	for i := 0; err == nil && i < len(m.States); i++ {
		err = restore(m.States[i])
	}
	if err == nil {
		e.did("states")
		for i, d := range m.Disks {
			m.Disks[i] = mirror.Disk{Target: d.Target, Path: d.Path, Size: d.Size}
		}
		m.Role, m.States = mirror.Truth, nil
		err = e.Store.Save(*m)
	}
	if err != nil {
		return fmt.Errorf("promote the replica: %w", err)
	}
	return nil
}

// promotable is why what it has is no replica of a guest that is configured to have what it wants. It may have more: what
// was plugged in for a while.
func (e *Engine) promotable(ctx context.Context, has, wants []mirror.Disk) error {
	for _, w := range wants {
		same := func(d mirror.Disk) bool { return w.Target == d.Target && w.Path == d.Path }
		if !slices.ContainsFunc(has, same) {
			return fmt.Errorf("it has no disk %q at %q, which the guest's configuration has", w.Target, w.Path)
		}
	}
	if len(wants) == 0 {
		return errors.New("the guest's configuration has no disk")
	}
	for _, d := range has {
		err := cmp.Or(regular(d.Replica()), e.unused(ctx, d))
		if err == nil && !d.Checked {
			err = e.check(ctx, d.Replica())
		}
		if err != nil {
			return fmt.Errorf("disk %q: %w", d.Target, err)
		}
	}
	return nil
}

// check is why an image is not sound. Of a large one it takes minutes.
func (e *Engine) check(ctx context.Context, image string) error {
	err := e.qemuImg(ctx, "check", "-q", "-f", "qcow2", image)
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) && exit.ExitCode() == 3 { // space is lost, and nothing else
		return nil
	}
	return err
}

// unused is why what a disk's name has, if there is anything, must not be put aside.
func (e *Engine) unused(ctx context.Context, d mirror.Disk) error {
	if _, err := os.Lstat(d.Path); err != nil {
		return nil
	}
	// This fails where a guest runs from it, by QEMU's lock, and for what is no image of a guest that is mirrored.
	return cmp.Or(regular(d.Path), e.qemuImg(ctx, "info", "-f", "qcow2", d.Path))
}

// install gives a replica's disk its name, also where that was cut short.
func (e *Engine) install(d mirror.Disk, epoch uint64) error {
	err := regular(d.Replica())
	if errors.Is(err, fs.ErrNotExist) {
		return regular(d.Path) // it has it
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.Replica(), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	from := d.Path
	if _, gone := os.Lstat(from); gone != nil { // it was put aside
		from += mirror.OldSuffix
	}
	err = errors.Join(resemble(f, from, 0o600), f.Sync(), f.Close())
	if err == nil {
		err = keep(d, epoch)
		e.did("old " + d.Target)
	}
	if err == nil {
		err = errors.Join(os.Rename(d.Replica(), d.Path), atomicfile.SyncDir(filepath.Dir(d.Path)))
		e.did("install " + d.Target)
	}
	return err
}

// keep gives what a disk's name has, if there is anything, the name DISK.vmferry-old, which moves use, too, or the first
// that is free of DISK.vmferry-old-EPOCH and those after it.
func keep(d mirror.Disk, epoch uint64) error {
	old := d.Path + mirror.OldSuffix
	for n := epoch; ; n++ {
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		old = fmt.Sprintf("%s%s-%d", d.Path, mirror.OldSuffix, n)
	}
	if err := os.Rename(d.Path, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(d.Path))
}

// restore writes a state where the guest looks for it. The users of QEMU and swtpm own the directories: what they have
// put in a directory's place is not followed.
func restore(s mirror.State) error {
	dir := filepath.Dir(s.Path)
	err := os.MkdirAll(dir, 0o711)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Lstat(dir); err == nil && !info.IsDir() {
			err = fmt.Errorf("%q is a link: %w", dir, unix.ENOTDIR)
		}
	}
	if err != nil {
		return err
	}
	return atomicfile.File(s.Path, func(f *os.File) error {
		_, err := f.Write(s.Content)
		return errors.Join(err, resemble(f, s.Path, 0o600))
	})
}

// resemble gives a file the owner and the mode of another, or that mode where there is none. libvirt sees to the rest.
func resemble(f *os.File, other string, mode fs.FileMode) error {
	info, err := os.Lstat(other)
	if err != nil {
		return f.Chmod(mode)
	}
	return errors.Join(f.Chown(int(safefile.OwnerOf(info)), -1), f.Chmod(info.Mode().Perm()))
}
