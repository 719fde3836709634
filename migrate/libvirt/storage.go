package libvirt

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
	Rate      uint64 // bytes per second, 0 where the driver does not tell
}
