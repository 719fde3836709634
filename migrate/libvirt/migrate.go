package libvirt

import "time"

// MigrateParams says how a live migration is made.
type MigrateParams struct {
	URI          string // the hypervisor's data channel, such as "tcp://10.0.0.2"; empty lets the target choose
	Bandwidth    uint64 // MiB/s, 0 for libvirt's default (no limit)
	Switchover   uint64 // MiB/s that the last copy may reckon with, 0 for what the passes show
	AutoConverge bool   // slow the guest down when it writes faster than the link carries
	Unsafe       bool   // migrate even where libvirt fears for disks with a host cache
	Recover      bool   // continue with a migration that broke in its post-copy phase; the rest as it was begun
	// Managed has the caller's process talk to both daemons, in place of the source's daemon to the target's. Whoever
	// ends that process, or its connections, aborts the migration.
	Managed bool
	MigrateOptions
}

// MigrateOptions are what few migrations need, named after virsh migrate's options, where they
// are described. The zero value asks for none of it.
type MigrateOptions struct {
	Tunnelled      bool // the memory goes through libvirt's own connection
	Persist        bool // define the domain on the target
	UndefineSource bool // undefine it on the source
	CopyAll        bool // copy disks that are not shared
	CopyInc        bool // copy what they differ by from a backing file that both have
	SyncWrites     bool // of such disks: the guest's writes wait for the target
	Compressed     bool
	PostCopy       bool // allow a switch to post-copy, which nothing makes but StartPostCopy
	TLS            bool
	Parallel       bool // over several connections
	ZeroCopy       bool

	Connections       int      // how many parallel ones, 0 for the default
	Disks             []string // which to copy, such as "vda"; none means all that are not shared
	DisksPort         int      // 0 for the default
	DisksURI          string
	ListenAddress     string // of the target
	GraphicsURI       string
	TLSDestination    string
	Compression       string // one of mt, xbzrle, zlib, zstd
	XBZRLECache       uint64 // bytes, 0 for the default
	ConvergeInitial   int    // per cent, 0 for the default
	ConvergeIncrement int    // per cent, 0 for the default
}

// JobStats is how far a migration is. Fields that QEMU does not report (yet) are zero.
type JobStats struct {
	Active    bool          // a job is under way
	Elapsed   time.Duration // since the job began
	Total     uint64        // bytes of guest memory
	Processed uint64        // bytes sent, pages sent again counted again
	Pages     uint64        // bytes of memory that they carried: more than Processed, where it was compressed
	Remaining uint64        // bytes still to send
	Rate      uint64        // bytes per second on the wire
	DirtyRate uint64        // bytes per second that the guest writes
	Iteration int           // passes over the memory, 1 is the first
	Throttle  int           // per cent that auto-converge takes from the guest
	Downtime  time.Duration // that QEMU expects of a switchover now, or measured by libvirt when completed
	XBZRLE    XBZRLEStats   // of the pages that were sent as what changed of them
	Disks     DiskStats     // counted apart: the fields above are of the memory alone
}

// XBZRLEStats are what XBZRLE did so far; all zero without it. Source: save_xbzrle_page in QEMU's migration/ram.c,
// since QEMU 5.1.
type XBZRLEStats struct {
	Pages     uint64 // that were in the cache, however they were sent
	Bytes     uint64 // that were sent of them, those sent whole included
	Misses    uint64 // pages that were not in the cache, and sent whole
	Overflows uint64 // those of Pages that were sent whole, as the delta was no smaller
	Page      uint64 // bytes of a page
}
