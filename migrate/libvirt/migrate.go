package libvirt

import "time"

// MigrateParams says how a live migration is made.
type MigrateParams struct {
	URI          string // the hypervisor's data channel, such as "tcp://10.0.0.2"; empty lets the target choose
	Bandwidth    uint64 // MiB/s, 0 for libvirt's default (no limit)
	AutoConverge bool   // slow the guest down when it writes faster than the link carries
	Unsafe       bool   // migrate even where libvirt fears for disks with a host cache
}

// JobStats is how far a migration is. Fields that QEMU does not tell (yet) are zero.
type JobStats struct {
	Active    bool          // a job is under way
	Elapsed   time.Duration // since the job began
	Total     uint64        // bytes of guest memory
	Processed uint64        // bytes of it sent, pages sent again counted again
	Remaining uint64        // bytes still to send
	Rate      uint64        // bytes per second on the wire
	DirtyRate uint64        // bytes per second that the guest writes
	Iteration int           // passes over the memory, 1 is the first
	Throttle  int           // per cent that auto-converge takes from the guest
	Downtime  time.Duration // expected, or measured by libvirt when completed
}
