package device

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// State is what a path holds that is or becomes a lease device.
type State struct {
	Missing bool          // there is nothing: a file of the right size will be made
	Empty   bool          // it is zeros, or a lease device whose header is cleared or was never written
	Damaged bool          // it is a lease device whose header has a wrong checksum
	Header  *lease.Header // it is a lease device already
	Slots   []lease.Slot  // of the nodes of Header, those that can be read
	Held    []string      // nodes of Header whose slots do not say "surrendered"
	Running []string      // nodes whose slots have changed between two looks, where there were two
}

// Changed are the nodes that have written their slots since an earlier look: their guards run, with or without a lease.
func (s State) Changed(earlier State) (nodes []string) {
	if s.Header == nil {
		return nil
	}
	for _, slot := range s.Slots {
		if !slices.Contains(earlier.Slots, slot) {
			nodes = append(nodes, s.Header.Nodes[slot.Node-1])
		}
	}
	return nodes
}

// Foreign reports whether the path holds data of somebody else.
func (s State) Foreign() bool { return !s.Missing && !s.Empty && !s.Damaged && s.Header == nil }

// Look reads what path holds. It changes nothing. It is an error where no lease device can be: no such directory, a
// block device that is not there or is in use by this system, and what [Open] refuses. It can hang with its storage.
func Look(path string) (State, error) {
	d, err := Open(path, false)
	if errors.Is(err, os.ErrNotExist) {
		return State{Missing: true}, mayMake(path)
	}
	if err != nil {
		return State{}, err
	}
	defer d.Close()
	if err := unused(path); err != nil {
		return State{}, err
	}
	h, err := d.Header()
	switch {
	case errors.Is(err, lease.ErrEmpty):
		blank, err := d.blank()
		return State{Empty: blank}, err
	case errors.Is(err, lease.ErrForeign):
		return State{}, nil
	case errors.Is(err, lease.ErrChecksum):
		return State{Damaged: true}, nil
	case err != nil:
		return State{}, fmt.Errorf("%s: %w", path, err)
	}
	s := State{Header: &h}
	for i, name := range h.Nodes {
		slot, err := d.Slot(i + 1)
		if err == nil {
			s.Slots = append(s.Slots, slot)
		}
		if err != nil || slot.State != lease.Surrendered {
			s.Held = append(s.Held, name)
		}
	}
	return s, nil
}

// mayMake is the error of a path at which no file is to be made.
func mayMake(path string) error {
	dir := filepath.Dir(path)
	if strings.HasPrefix(filepath.Clean(path), "/dev/") {
		return fmt.Errorf("there is no device %s: type %s", path, shellword.Line("lsblk", "--paths"))
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("there is no directory %s: mount the file system that all nodes share there first", dir)
	}
	return nil
}

// unused is the error of a block device that this system has mounted, or that is part of a volume group or an array.
func unused(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is mounted or part of another device: type %s, and use one that is free", path,
			shellword.Line("lsblk", "--fs", path))
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// blank reports whether nobody has data where the leases will be. The first block tells nothing: a file system begins
// with a block for the boot loader, which is empty.
func (d *Device) blank() (blank bool, err error) {
	err = whole(func(all []byte) error {
		if _, err := d.file.ReadAt(all, 0); err != nil {
			return fmt.Errorf("read the blocks: %w", err)
		}
		foreign := func(block []byte) bool { return !lease.Blank(block) }
		blank = !slices.ContainsFunc(slices.Collect(slices.Chunk(all, lease.BlockSize)), foreign)
		return nil
	})
	return blank, err
}

// whole calls f with memory of zeros for all blocks, aligned as direct I/O needs it.
func whole(f func(all []byte) error) error {
	all, err := unix.Mmap(-1, 0, lease.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("memory for all blocks: %w", err)
	}
	return errors.Join(f(all), unix.Munmap(all))
}

// Init writes a lease device of h with a fresh identity: the slots of all nodes say that they have surrendered
// generation 0. Nothing is kept of what was there: the caller has looked, and asked. The header is written last, so
// that a device which is half written is none.
func Init(path string, h lease.Header) error {
	if _, err := rand.Read(h.Identity[:]); err != nil {
		return err
	}
	if err := h.Check(); err != nil {
		return err
	}
	made, err := allocate(path)
	if err != nil {
		return err
	}
	d, err := Open(path, true)
	if err == nil {
		err = errors.Join(d.fill(h), d.Close())
	}
	if err != nil && made {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// allocate makes the file, where path is none yet. Its blocks are written in full later: an extent that is allocated
// but never written would need the file system's journal at the first write.
func allocate(path string) (made bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, lease.Size); err != nil {
		return false, errors.Join(fmt.Errorf("space for %s: %w", path, err), f.Close(), os.Remove(path))
	}
	return true, errors.Join(f.Sync(), f.Close(), atomicfile.SyncDir(filepath.Dir(path)))
}

// fill writes every block.
func (d *Device) fill(h lease.Header) error {
	err := whole(func(all []byte) error {
		_, err := d.file.WriteAt(all, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("clear the blocks: %w", err)
	}
	for i := range h.Nodes {
		if err := d.WriteSlot(lease.Slot{Node: i + 1}); err != nil {
			return fmt.Errorf("write the slot of %s: %w", h.Nodes[i], err)
		}
	}
	if err := h.Encode(d.block); err != nil {
		return err
	}
	return d.write(0)
}
