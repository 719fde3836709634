package replica

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// take makes the replica what a guest that is on its way finds. That is noted first: whoever finds files of that kind
// and no guest gives them their names back.
func (s *session) take(ctx context.Context, t wire.Take) error {
	return s.locked(ctx, s.recover, func(own *mirror.Manifest) error {
		behind := func(d mirror.Disk) bool { return d.At != t.Point }
		if own == nil || own.Role != mirror.Replica || own.Point != t.Point || t.Base.Epoch != own.Epoch ||
			own.Taken().IsZero() || slices.ContainsFunc(own.Disks, behind) {
			return fmt.Errorf("the replica does not have all of round %s", t.Point)
		}
		for i, d := range own.Disks {
			for _, path := range []string{d.Path, d.Overlay()} {
				if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%q is there, in the way of a guest: %w", path, cmp.Or(err, fs.ErrExist))
				}
			}
			own.Disks[i].At = t.Base
		}
		own.Arriving = true
		err := s.Store.Save(*own)
		s.did("arriving")
		for i := 0; err == nil && i < len(own.Disks); i++ {
			err = s.offer(ctx, own.Disks[i])
			s.did("offer " + own.Disks[i].Target)
		}
		if err != nil {
			return errors.Join(err, s.turnBack(ctx, own))
		}
		return s.Send(wire.Done{Point: t.Point})
	})
}

// offer gives a replica's disk the name that the guest finds it by, and makes its overlay.
func (s *session) offer(ctx context.Context, d mirror.Disk) error {
	err := cmp.Or(regular(d.Replica()), os.Rename(d.Replica(), d.Path))
	if err != nil {
		return err
	}
	s.did("rename " + d.Target)
	f, err := os.OpenFile(d.Overlay(), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_ = f.Close()
	err = s.qemuImg(ctx, "create", "-q", "-f", "qcow2", "-b", d.Path, "-F", "qcow2", d.Overlay(),
		strconv.FormatUint(d.Size, 10))
	return cmp.Or(err, sync(d.Overlay()))
}

// turnBack is for a guest that was on its way here, and is not: the replica is as before.
func (e *Engine) turnBack(_ context.Context, m *mirror.Manifest) error {
	for _, d := range m.Disks {
		if used, err := isLocked(d.Overlay()); used || err != nil {
			return cmp.Or(err, errors.New("a guest is arriving"))
		}
	}
	for _, d := range m.Disks {
		err := remove(d.Overlay())
		e.did("unlink " + d.Target)
		if _, gone := os.Lstat(d.Replica()); err == nil && errors.Is(gone, fs.ErrNotExist) {
			err = cmp.Or(regular(d.Path), os.Rename(d.Path, d.Replica()))
		}
		if err = cmp.Or(err, atomicfile.SyncDir(filepath.Dir(d.Path))); err != nil {
			return fmt.Errorf("disk %q, to which no guest has come: %w", d.Target, err)
		}
		e.did("back " + d.Target)
	}
	m.Arriving = false
	return e.Store.Save(*m)
}

// Leave makes the disks here the replica of a guest that is proven to run at the peer, where it was handed to; else it
// does nothing. The caller has the guest's lock.
func (e *Engine) Leave(ctx context.Context, uuid string) error {
	m, err := e.load(ctx, uuid)
	if m == nil || err != nil || m.Role != mirror.Truth || m.Handed.IsZero() {
		return err
	}
	for i := range m.Disks {
		d := &m.Disks[i]
		d.Whole, d.At, d.Taken, d.Dir, d.Checked = m.Point, m.Point, m.Handed, inode(filepath.Dir(d.Path)), false
	}
	m.Role, m.Point, m.Last, m.States = mirror.Replica, mirror.Point{Epoch: m.Epoch + 1}, 0, nil
	m.Overlay, m.Folding, m.Handed, m.Closed = true, false, time.Time{}, false
	if err = e.Store.Save(*m); err == nil {
		e.did("left")
		err = e.fold(ctx, m)
	}
	return err
}

// fold puts what a guest that has ended here, or left, wrote to overlays into its disks. These are made to look like
// images without a past: a replica must have no bitmaps, and those of a truth do not know of all that was written.
func (e *Engine) fold(ctx context.Context, m *mirror.Manifest) error {
	for _, d := range m.Disks {
		if m.Role == mirror.Replica && regular(d.Replica()) == nil {
			continue // it is done
		}
		if err := e.foldDisk(ctx, m, d); err != nil {
			return fmt.Errorf("put what the guest wrote last into disk %q: %w", d.Target, err)
		}
	}
	m.Overlay, m.Folding = false, false
	return e.Store.Save(*m)
}

func (e *Engine) foldDisk(ctx context.Context, m *mirror.Manifest, d mirror.Disk) error {
	_, gone := os.Lstat(d.Overlay())
	switch there := !errors.Is(gone, fs.ErrNotExist); {
	case there && m.Folding:
		return fmt.Errorf("QEMU ended when it went on from %q to the disk, and which of them has the newest writes is not "+
			"known: start the guest on %s, or, to go on from the disk alone, type %s", d.Overlay(), m.Peer,
			shellword.Line("rm", d.Overlay()))
	case there:
		err := cmp.Or(regular(d.Path), regular(d.Overlay()))
		if err == nil { // its own header names what is below it, which a guest that broke out could have changed
			err = e.commit(ctx, overlaid(d))
		}
		if err = cmp.Or(err, sync(d.Path)); err != nil {
			return err
		}
		e.did("folded " + d.Target)
		if err = cmp.Or(remove(d.Overlay()), atomicfile.SyncDir(filepath.Dir(d.Path))); err != nil {
			return err
		}
		e.did("unlink " + d.Target)
	}
	err := mirror.RemoveBitmaps(ctx, e.Run, d.Path, func(mirror.Point, bool) bool { return true })
	if e.did("bitmaps " + d.Target); err == nil && m.Role == mirror.Replica {
		err = cmp.Or(os.Rename(d.Path, d.Replica()), atomicfile.SyncDir(filepath.Dir(d.Path)))
		e.did("rename " + d.Target)
	}
	return err
}

// overlaid names a disk's overlay to QEMU's programs, with what is below it.
func overlaid(d mirror.Disk) string {
	image := func(path string) map[string]any {
		return map[string]any{"driver": "qcow2", "file": map[string]any{"driver": "file", "filename": path}}
	}
	whole := image(d.Overlay())
	whole["backing"] = image(d.Path)
	text, _ := json.Marshal(whole)
	return "json:" + string(text)
}

// remove removes a file; that there is none is no error.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isLocked reports whether a QEMU, or one of its programs, has an image open. That there is none is no error.
//
// Source: raw_apply_lock_bytes of QEMU's block/file-posix.c.
func isLocked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	any := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &any)
	return any.Type != unix.F_UNLCK, err
}
