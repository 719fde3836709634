package preflight

// DiskMode says what is done with disks that are not on storage which both nodes share.
type DiskMode string

// The modes. Disks that a guest cannot write to are never copied.
const (
	DisksShared DiskMode = "shared" // nothing is copied; the same as ""
	DisksCopy   DiskMode = "copy"   // every image is copied, and none may be at the target already
	DisksAuto   DiskMode = "auto"   // those are copied that the target does not see
)

// DiskModes are all modes, for those who read one.
var DiskModes = []DiskMode{DisksShared, DisksCopy, DisksAuto}

// MemoryMode says what follows where a host reports less free memory than a guest needs. What a Linux host reports
// is a guess: memory that a file system's cache (ZFS) gives back, pages that KSM merges and swap are not in it.
type MemoryMode string

// The modes.
const (
	MemoryWarn   MemoryMode = "warn"   // it is noted, and the guest goes there all the same; the same as ""
	MemoryRefuse MemoryMode = "refuse" // the guest does not go there
	MemoryIgnore MemoryMode = "no"     // the host is not asked
)

// MemoryModes are all modes, for those who read one.
var MemoryModes = []MemoryMode{MemoryWarn, MemoryRefuse, MemoryIgnore}
