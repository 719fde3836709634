package device

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// State is what a path holds that is to become a lease device.
type State struct {
	Missing bool          // there is nothing: a file of the right size will be made
	Empty   bool          // its first block is zeros
	Header  *lease.Header // it is a lease device already
	Held    []string      // nodes of Header whose slots do not say "surrendered"
}

// Foreign reports whether the path holds data of somebody else.
func (s State) Foreign() bool { return !s.Missing && !s.Empty && s.Header == nil }

// Look reads what path holds. It changes nothing.
func Look(path string) (State, error) {
	d, err := Open(path, false)
	if errors.Is(err, os.ErrNotExist) {
		return State{Missing: true}, nil
	}
	if err != nil {
		return State{}, err
	}
	defer d.Close()
	h, err := d.Header()
	switch {
	case errors.Is(err, lease.ErrEmpty):
		return State{Empty: true}, nil
	case errors.Is(err, lease.ErrForeign):
		return State{}, nil
	case err != nil:
		return State{}, fmt.Errorf("%s: %w", path, err)
	}
	s := State{Header: &h}
	for i, name := range h.Nodes {
		if slot, err := d.Slot(i + 1); err != nil || slot.State != lease.Surrendered {
			s.Held = append(s.Held, name)
		}
	}
	return s, nil
}

// Init writes a lease device of h with a fresh identity: the slots of all nodes say that they have surrendered
// generation 0. Nothing is kept of what was there: the caller has looked, and asked. The header is written last, so that
// a device which is half written is none.
func Init(path string, h lease.Header) error {
	if _, err := rand.Read(h.Identity[:]); err != nil {
		return err
	}
	if err := h.Check(); err != nil {
		return err
	}
	if err := allocate(path); err != nil {
		return err
	}
	d, err := Open(path, true)
	if err != nil {
		return err
	}
	return errors.Join(d.fill(h), d.Close())
}

// allocate makes the file, where path is none yet. Its blocks are written in full later: an extent that is allocated but
// never written would need the file system's journal at the first write.
func allocate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, lease.Size); err != nil {
		return errors.Join(fmt.Errorf("space for %s: %w", path, err), f.Close(), os.Remove(path))
	}
	return errors.Join(f.Sync(), f.Close())
}

// fill writes every block.
func (d *Device) fill(h lease.Header) error {
	clear(d.block)
	for offset := int64(0); offset < lease.Size; offset += lease.BlockSize {
		if err := d.write(offset); err != nil {
			return fmt.Errorf("write block %d: %w", offset/lease.BlockSize, err)
		}
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
