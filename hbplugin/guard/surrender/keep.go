package surrender

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// Where the guard and its second process keep the sockets of guests for the next guard. Both are on tmpfs.
const (
	GuardSockets  = "/run/vmferry/guard.sockets"
	SecondSockets = "/run/vmferry/second.sockets"
)

const (
	bootID  = "/proc/sys/kernel/random/boot_id"
	maxKept = 4096    // sockets in a file
	maxFile = 2 << 20 // bytes that are read of a file
	retry   = time.Second
)

// kept is the content of a file of sockets.
type kept struct {
	Boot    string       `json:"boot"` // a cookie names a socket only until the next boot
	Sockets []keptSocket `json:"sockets"`
}

type keptSocket struct {
	Family  uint8            `json:"family"`
	ID      netlink.SocketID `json:"id"`
	Process int              `json:"process"`
}

// Keep writes the sockets of guests to the file at path each time that they change, until ctx ends: a guard that is
// killed after the guests and before their sockets are destroyed leaves them to [Killer.Recall] of the next one. It
// belongs in a goroutine of its own, as a write can wait; Prove never waits for it. failed gets the first error of
// several in a row.
func (k *Killer) Keep(ctx context.Context, path string, failed func(error)) {
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	k.mu.Lock()
	k.changed = changed
	k.mu.Unlock()
	var written uint64
	var again <-chan time.Time // nil: the last write was good
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
		content, version, err := k.content()
		if version == written {
			continue
		}
		if err == nil {
			err = atomicfile.Bytes(path, content, 0o600)
		}
		if err == nil {
			written, again = version, nil
			continue
		}
		if again == nil {
			failed(err)
		}
		again = time.After(retry)
	}
}

// content is what a file of the sockets holds, and which change of them it has.
func (k *Killer) content() (content []byte, version uint64, err error) {
	k.mu.Lock()
	all := make([]keptSocket, 0, len(k.sockets))
	for _, s := range k.sockets {
		all = append(all, keptSocket{Family: s.family, ID: s.id, Process: s.process})
	}
	version = k.version
	k.mu.Unlock()
	// A cookie is a number that grows: the newest are at the end, more or less.
	slices.SortFunc(all, func(a, b keptSocket) int {
		return cmp.Or(cmp.Compare(a.ID.Cookie[1], b.ID.Cookie[1]), cmp.Compare(a.ID.Cookie[0], b.ID.Cookie[0]))
	})
	content, err = json.Marshal(kept{Boot: thisBoot(), Sockets: all[max(0, len(all)-maxKept):]})
	return content, version, err
}

// Recall takes the sockets that an earlier guard of this boot has kept in these files. A file that is missing, broken
// or of another boot counts for nothing: the node has just booted, or no guest ran.
func (k *Killer) Recall(paths ...string) {
	boot := thisBoot()
	var all []socket
	for _, path := range paths {
		content, err := safefile.Read(path, maxFile, safefile.Only(uint32(os.Geteuid())))
		var earlier kept
		if err != nil || json.Unmarshal(content, &earlier) != nil || boot == "" || earlier.Boot != boot {
			continue
		}
		for _, s := range earlier.Sockets[:min(len(earlier.Sockets), maxKept)] {
			if s.Family == unix.AF_INET || s.Family == unix.AF_INET6 {
				all = append(all, socket{family: s.Family, id: s.ID, process: s.Process})
			}
		}
	}
	k.take(all, nil)
}

// thisBoot identifies the boot; empty where it cannot be read.
func thisBoot() string {
	id, err := os.ReadFile(bootID)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(id))
}
