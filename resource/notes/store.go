package notes

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/slot"
)

// Where the notes are, unless a program is configured otherwise.
const (
	DefaultRunDir   = "/run/vmferry"     // ends with the boot
	DefaultStateDir = "/var/lib/vmferry" // outlives it
)

// Store is all notes of a node.
type Store struct {
	runDir string

	Identities  Folder[Identity]
	Guests      Folder[Guest]
	Expected    Folder[Expected]
	Announced   Folder[Announced]
	Departures  Folder[Departure]
	Utilization Folder[Utilization]
	Peers       Folder[PeerGuests] // by the URI of the peer's libvirt
	Current     Folder[Current]    // also of Cluster

	Intents  Folder[Intent]
	Failures Folder[Failure]
}

// Open returns the notes in a directory that ends with the boot, normally [DefaultRunDir], and in one that outlives it,
// normally [DefaultStateDir]. Nothing is read or made yet.
func Open(runDir, stateDir string) Store {
	return Store{
		runDir:      runDir,
		Identities:  Folder[Identity]{filepath.Join(runDir, "resources")},
		Guests:      GuestsIn(filepath.Join(runDir, "guests")),
		Expected:    Folder[Expected]{filepath.Join(runDir, "expected")},
		Announced:   Folder[Announced]{filepath.Join(runDir, "announced")},
		Departures:  Folder[Departure]{filepath.Join(runDir, "departures")},
		Utilization: Folder[Utilization]{filepath.Join(runDir, "utilization")},
		Peers:       Folder[PeerGuests]{filepath.Join(runDir, "peers")},
		Current:     Folder[Current]{filepath.Join(runDir, "current")},
		Intents:     Folder[Intent]{filepath.Join(stateDir, "intents")},
		Failures:    Folder[Failure]{filepath.Join(stateDir, "stranded")},
	}
}

// StartLock is held by the one start of a resource that runs at a time.
func (s Store) StartLock(resource string) slot.Pool {
	return slot.Pool{Dir: filepath.Join(s.runDir, "starts", url.PathEscape(resource))}
}

// PeerLock is held by the one start that asks the libvirt of a URI at a time.
func (s Store) PeerLock(uri string) slot.Pool {
	return slot.Pool{Dir: filepath.Join(s.runDir, "peers", "turns", url.PathEscape(uri))}
}

// UtilizationLock is held by the one monitor that sets utilization attributes at a time: each reckons with what the
// others left.
func (s Store) UtilizationLock() slot.Pool {
	return slot.Pool{Dir: filepath.Join(s.runDir, "utilization", "turn")}
}

// Leaving are the other guests that are leaving this node, sorted: their migration is under way, or the cluster manager
// has yet to stop them here. A note that cannot be read names none.
func (s Store) Leaving(guest string, now time.Time) []string {
	var out []string
	intents, _ := s.Intents.All()
	for _, i := range intents {
		if i.IsLeaving(now) && i.Guest != guest {
			out = append(out, i.Guest)
		}
	}
	departures, _ := s.Departures.All()
	for _, d := range departures {
		if d.AwaitsStop(now) && d.Guest != guest {
			out = append(out, d.Guest)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ConfiguredAddresses are the addresses that the parameter announce names on this node, and for which guest. What
// cannot be read names none.
func (s Store) ConfiguredAddresses() map[netip.Addr]string {
	all, _ := s.Expected.All()
	of := map[netip.Addr]string{}
	for _, e := range all {
		setting, _ := announce.ParseSetting(e.Announce)
		for _, a := range setting.Addrs() {
			of[a] = e.Guest
		}
	}
	return of
}
