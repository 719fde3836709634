package libvirt

import "errors"

// DiskSource is where a disk has its data, as a guest's description names it: a file or device of the host, or a
// volume of a storage pool.
type DiskSource struct {
	Path         string // absolute; empty for a volume
	Pool, Volume string
}

// String is the path, or the volume with its pool.
func (s DiskSource) String() string {
	if s.Pool != "" {
		return s.Volume + " of storage pool " + s.Pool
	}
	return s.Path
}

// Mark is a file of a size that nobody else chooses, which a move makes in a directory before it makes images
// there. While a storage pool lists a file of that name and size, the directory is the one that the images were made
// in, and nothing was mounted over it.
type Mark struct {
	Path string
	Size uint64 // bytes, of which the file takes up none
}

// ErrForeign is in the error of a removal that was not made, since the mark is not there.
var ErrForeign = errors.New("not made by this move, and left as it is")

// Image is a disk image to make.
type Image struct {
	Path     string
	Format   string // "raw" or "qcow2"
	Capacity uint64 // bytes that the guest sees
}

// DiskSize is how large one disk of a running guest is, in bytes.
type DiskSize struct {
	Capacity  uint64 // that the guest sees
	Allocated uint64 // that its image takes up
}

// DiskStats is how far the copying of disks is that comes before the memory of a migration.
// All is zero where no disks are copied.
type DiskStats struct {
	Total     uint64 // bytes to copy, and those that the guest has written meanwhile
	Processed uint64 // bytes copied
	Remaining uint64
	Rate      uint64 // bytes per second, 0 where the driver does not report it
}
