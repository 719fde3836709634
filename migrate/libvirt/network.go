package libvirt

// Network is a network of libvirt's on one host.
type Network struct {
	XML    string // its description (libvirt's formatnetwork page)
	Active bool   // guests can be connected to it
}

// Snapshots are the names of what libvirt keeps of a domain beside its disks.
type Snapshots struct {
	Snapshots   []string // virDomainListAllSnapshots
	Checkpoints []string // virDomainListAllCheckpoints
}
