package resource

import (
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/route"
)

const (
	// expectedDir is the folder of the state directory with the guests that may come to this node, announcedDir the one with
	// those that the node daemon announced.
	expectedDir  = "expected"
	announcedDir = "announced"
	// announceTime bounds the announcement that an action makes by itself.
	announceTime = 3 * time.Second
)

// Expected is a note for the node daemon about a guest that is to be announced when it comes to run
// here. It is written by actions that do not bring it here as well: Pacemaker probes each
// resource on all nodes, and so the daemon knows a guest before a migration brings it.
type Expected struct {
	Guest    string `json:"guest"`              // libvirt's name
	Resource string `json:"resource"`           // the resource's id in the cluster manager
	URI      string `json:"uri"`                // the libvirt that it will run under
	Announce string `json:"announce,omitempty"` // the parameter, see announce.ParseSetting
	Suffix   string `json:"suffix,omitempty"`   // migration_network_suffix
}

// MigrationHost is the name by which migrations of the guest reach a node.
func (e Expected) MigrationHost(node string) string { return route.WithSuffix(node, e.Suffix) }

// ExpectedGuests reads the notes in the agent's run directory, normally [DefaultRunDir], sorted by
// resource. It is as lenient as [Guests].
func ExpectedGuests(runDir string) ([]Expected, error) {
	var all []Expected
	err := readNotes(filepath.Join(runDir, expectedDir), func(raw []byte) {
		var e Expected
		if json.Unmarshal(raw, &e) == nil && e.Guest != "" && e.Resource != "" && e.URI != "" {
			all = append(all, e)
		}
	})
	slices.SortFunc(all, func(a, b Expected) int { return strings.Compare(a.Resource, b.Resource) })
	return all, err
}

// ConfiguredAddresses are the addresses that the parameter announce names on this node, and for which guest. It reads
// the notes in the agent's run directory as [ExpectedGuests] does; what cannot be read names none.
func ConfiguredAddresses(runDir string) map[netip.Addr]string {
	all, _ := ExpectedGuests(runDir)
	of := map[netip.Addr]string{}
	for _, e := range all {
		setting, _ := announce.ParseSetting(e.Announce)
		for _, a := range setting.Addrs() {
			of[a] = e.Guest
		}
	}
	return of
}

// expecting are the actions after which a guest may come.
var expecting = []string{"start", "monitor", "status", "migrate_from", "reload-agent"}

// expected is the note about this guest.
func (a *run) expected() Expected {
	return Expected{
		Guest: a.guest.Name, Resource: a.Instance, URI: a.Params.Hypervisor, Announce: a.Params.Announce, Suffix: a.Params.Suffix,
	}
}

// expect leaves the note. That it cannot be written fails nothing: the action that brings the guest
// announces it too.
func (a *run) expect() {
	if a.guess || !slices.Contains(expecting, a.action) {
		return
	}
	var old Expected
	if err := a.state.load(expectedDir, a.Instance, &old); err == nil && old == a.expected() {
		return
	}
	if err := a.state.save(expectedDir, a.Instance, a.expected()); err != nil {
		a.Log.WithError(err).Warn("the node daemon may not announce this guest: make the state directory writable")
	}
}

// announced is the node daemon's note that it began to announce a guest.
type announced struct {
	At time.Duration `json:"since_boot"` // of this host
}

// NoteAnnounced notes in the agent's run directory that the node daemon announces a guest by itself, so that the action
// that brought it here need not.
func NoteAnnounced(runDir, resource string) error {
	return stateDir(runDir).save(announcedDir, resource, announced{uptime()})
}

// isAnnounced tells whether the node daemon announced the guest after its processes had started: then it announces
// what runs now.
func (a *run) isAnnounced(processes []hostproc.Process) bool {
	var note announced
	if len(processes) == 0 || a.state.load(announcedDir, a.Instance, &note) != nil {
		return false
	}
	return !slices.ContainsFunc(processes, func(p hostproc.Process) bool {
		return p.StartTime == 0 || note.At < p.Began()
	})
}

// announce tells the network that the guest runs here, beside what is left of the action, unless the node daemon
// did so already. wait waits for the end of it.
func (a *run) announce(ctx context.Context, processes []hostproc.Process) (wait func()) {
	if a.Announce == nil || a.Params.Announce == announce.Off || a.isAnnounced(processes) {
		return func() {}
	}
	ctx, cancel := within(ctx, announceTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Announce(ctx, a.expected())
	}()
	return func() {
		<-done
		cancel()
	}
}
