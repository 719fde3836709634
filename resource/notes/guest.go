package notes

import (
	"context"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// DefaultGuestsDir is where the agent notes the guests that this node answers for.
const DefaultGuestsDir = DefaultRunDir + "/guests"

// Guest is guests/ID.json: the guest was seen to run here, and this node answers for it. An action that sees it run
// writes it; a stop and a migrate_to that succeed remove it. Until then it is the guest meant, also where the config
// file names no UUID or was edited. The agent, vmferryd and vmferry read it. It is no proof: a guest that crashed or
// was moved by hand since leaves it behind.
type Guest struct {
	Guest    string `json:"guest"`                    // libvirt's name
	UUID     string `json:"uuid"`                     // dashed, or empty where it was not known
	Resource string `json:"resource"`                 // the resource's id in the cluster manager
	URI      string `json:"uri"`                      // the libvirt that it runs under
	Priority int    `json:"drain_priority,omitempty"` // a higher one leaves the node first
	// Params are the parameters of the resource by which the guest is moved where no cluster manager answers. A note of
	// an older agent has none.
	Params map[string]string `json:"params,omitempty"`
}

func (g Guest) isWhole() bool { return g.Guest != "" && g.Resource != "" }

// GuestsIn is the notes of guests in a folder, normally [DefaultGuestsDir].
func GuestsIn(dir string) Folder[Guest] { return Folder[Guest]{dir} }

// Present lists the resources that are noted in dir, normally [DefaultGuestsDir], and whose guests' QEMU process, or
// domain of Xen's, lives on this node; list, normally local.List, looks for what runs guests of these libvirts. The
// agent says whose process to look for, and the process itself says whether the guest is here: no return code is asked.
// A process that only receives a migration counts, as its guest may be about to run. A note or a process that cannot be
// read is an error: a guest may hide there.
func Present(ctx context.Context, dir string, list lister) ([]string, error) {
	guests, err := GuestsIn(dir).All()
	if err != nil || len(guests) == 0 {
		return nil, err
	}
	uris := make([]string, len(guests))
	for i, g := range guests {
		uris[i] = g.URI
	}
	alive, err := list(ctx, uris...)
	if err != nil {
		return nil, err
	}
	var here []string
	for _, g := range guests {
		if slices.ContainsFunc(alive, g.IsRunBy) {
			here = append(here, g.Resource)
		}
	}
	return here, nil
}

type lister = func(ctx context.Context, uris ...string) ([]hostproc.Process, error)

// IsRunBy reports whether the process is the guest's: by UUID where both have one, else by name.
func (g Guest) IsRunBy(p hostproc.Process) bool {
	if g.UUID != "" && p.UUID != "" {
		return strings.EqualFold(p.UUID, g.UUID)
	}
	return p.MayBeOf(g.Guest)
}

// Identity is resources/ID.json: the guest of a resource, as its config file said last. Each action writes
// it, a start and a migrate_from before the guest comes here: "never noted" means "never here". Each action reads it
// when the config file cannot be read, as when its file system is not mounted: the guest can still be judged and
// stopped. Nobody removes it.
type Identity struct {
	Name   string `json:"guest"`
	UUID   string `json:"uuid"`
	Config string `json:"config"` // the file that it was read from
}

func (i Identity) isWhole() bool { return i.Name != "" && i.Config != "" }
