package device

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Device is an open lease device with a buffer for one block. It is not safe for concurrent use.
type Device struct {
	file  *os.File
	block []byte // aligned as direct I/O needs it
}

// Open opens the lease device at path for reading, and for writing where write is true. It fails where that is no block
// device and no regular file, is smaller than [lease.Size], or where its file system, or the loop device that it is on,
// has no direct I/O or cannot hold leases.
func Open(path string, write bool) (*Device, error) {
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR | unix.O_DSYNC
	}
	f, err := os.OpenFile(path, mode|unix.O_DIRECT|unix.O_NONBLOCK, 0)
	if info, statErr := os.Stat(path); err != nil && statErr == nil {
		if _, unfit := kindOf(info.Mode(), path); unfit != nil {
			return nil, unfit
		}
	}
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("%s is on a file system without direct I/O, such as tmpfs: it cannot hold leases", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the lease device: %w", err)
	}
	if err := errors.Join(fits(f, path), onUnfitFS(f, path), onBufferedLoop(f, path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	block, err := unix.Mmap(-1, 0, lease.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory for one block: %w", err), f.Close())
	}
	return &Device{file: f, block: block}, nil
}

// fits checks what the device is, and its size.
func fits(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	isFile, err := kindOf(info.Mode(), path)
	switch {
	case err != nil:
		return err
	case isFile:
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Blocks*512 < lease.Size && size >= lease.Size {
			return fmt.Errorf("%s has holes: a write to it can fail when the disk is full: remove it, and "+
				"vmferry guard init makes one without", path)
		}
	default:
		if size, err = f.Seek(0, 2); err != nil {
			return fmt.Errorf("size of %s: %w", path, err)
		}
	}
	if size < lease.Size {
		return fmt.Errorf("%s has %d bytes: a lease device has %d or more: use one of 2 MiB, or a path where no file is yet",
			path, size, lease.Size)
	}
	return nil
}

// kindOf reports whether that is a regular file or a block device, and is the error of anything else.
func kindOf(mode os.FileMode, path string) (isFile bool, err error) {
	switch {
	case mode.IsRegular():
		return true, nil
	case mode.IsDir():
		return false, fmt.Errorf("%s is a directory: name a file in it, or a block device", path)
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		return false, nil
	}
	return false, fmt.Errorf("%s is neither a block device nor a regular file: name one of these", path)
}

// Close closes the device. It can hang where its storage does.
func (d *Device) Close() error {
	return errors.Join(unix.Munmap(d.block), d.file.Close())
}

func (d *Device) read(offset int64) error {
	_, err := d.file.ReadAt(d.block, offset)
	return err
}

func (d *Device) write(offset int64) error {
	_, err := d.file.WriteAt(d.block, offset)
	return err
}

// Header reads the header.
func (d *Device) Header() (lease.Header, error) {
	if err := d.read(0); err != nil {
		return lease.Header{}, err
	}
	return lease.DecodeHeader(d.block)
}

// Slot reads the slot of a node.
func (d *Device) Slot(node int) (lease.Slot, error) {
	if err := d.read(lease.SlotOffset(node)); err != nil {
		return lease.Slot{}, err
	}
	return lease.DecodeSlot(d.block, node)
}

// WriteSlot writes a node's own slot.
func (d *Device) WriteSlot(s lease.Slot) error {
	s.Encode(d.block)
	return d.write(lease.SlotOffset(s.Node))
}

// Claim reads the claim of one node against another.
func (d *Device) Claim(from, target int) (lease.Claim, error) {
	if err := d.read(lease.ClaimOffset(from, target)); err != nil {
		return lease.Claim{}, err
	}
	return lease.DecodeClaim(d.block, from, target)
}

// WriteClaim writes a node's own claim.
func (d *Device) WriteClaim(c lease.Claim) error {
	c.Encode(d.block)
	return d.write(lease.ClaimOffset(c.From, c.Target))
}
