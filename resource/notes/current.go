package notes

// Current is current/ID.json: in this boot this node's copy of the guest's disks was found to be the current one, or an
// operator said so. Under the id [Cluster] it says that the cluster had another member beside this node. Who was alone
// since the boot may have an old copy of the cluster's configuration, and not know it. Nobody removes it.
type Current struct {
	IsCurrent bool `json:"current"`
}

// Cluster is an id that no resource has.
const Cluster = "*"

func (c Current) isWhole() bool { return c.IsCurrent }
