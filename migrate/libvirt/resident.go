package libvirt

// Resident is a domain that is active at a libvirt.
type Resident struct {
	Name string `json:"name"`
	UUID string `json:"uuid"` // in the usual dashed form
}
