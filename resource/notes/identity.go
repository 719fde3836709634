package notes

// Identity is resources/ID.json: the guest that a resource stands for, as its config file said last. Each action writes
// it, a start and a migrate_from before the guest comes here: "never noted" means "never here". Each action reads it
// when the config file cannot be read, as when its file system is not mounted: the guest can still be judged and
// stopped. Nobody removes it.
type Identity struct {
	Name   string `json:"guest"`
	UUID   string `json:"uuid"`
	Config string `json:"config"` // the file that it was read from
}

func (i Identity) isWhole() bool { return i.Name != "" && i.Config != "" }
