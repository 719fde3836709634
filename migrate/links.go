package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/replace"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// Link is what earlier moves to one peer have taught. Values that are not known are zero.
type Link struct {
	Bandwidth  uint64    `json:"bandwidth"`              // bytes per second that it carries
	SetUpMS    float64   `json:"set_up_ms,omitempty"`    // of a migration, what is neither copying nor pause
	HandOverMS float64   `json:"hand_over_ms,omitempty"` // of a pause, what is not the last copy
	RelearnMS  float64   `json:"relearn_ms,omitempty"`   // of a blackout, what is not the pause
	Moves      int       `json:"moves"`                  // that taught it
	Updated    time.Time `json:"updated"`
}

// LinksFile is the name of the file of links in a node's state directory.
const LinksFile = "links.json"

const (
	linksSchema = 1
	linksLimit  = 16 << 20 // bytes, far above what any cluster has

	// enough is how much a move must have sent to say something about the link: a small guest is mostly
	// empty pages, and is over before the connection is at its speed.
	enough = 32 << 20
)

type linksDoc struct {
	Schema int             `json:"schema"`
	Peers  map[string]Link `json:"peers"` // by node name
}

// ReadLinks reads what is remembered of each peer, by its name. A file that does not exist, that is
// of another schema or has no name says nothing of any peer.
func ReadLinks(path string) (map[string]Link, error) {
	data, err := safefile.Read(path, linksLimit, safefile.Only())
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of the links: %w", err)
	}
	var doc linksDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read what is known of the links from %q: %w", path, err)
	}
	if doc.Schema != linksSchema {
		return nil, nil
	}
	return doc.Peers, nil
}

// LearnLink adds what a move says of the link to its target to the file at path, which it replaces in
// one step; several processes may do so at once. A record that teaches nothing changes nothing. A file
// that cannot be read is begun anew: it holds nothing that the next moves would not tell again.
func LearnLink(path string, r Record) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("remember the link to %q: %w", r.To, err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("remember the link to %q: %w", r.To, err)
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("remember the link to %q: lock: %w", r.To, err)
	}
	peers, err := ReadLinks(path)
	if err != nil || peers == nil {
		peers = map[string]Link{}
	}
	link, ok := peers[r.To].learn(r)
	if !ok {
		return nil
	}
	peers[r.To] = link
	if err := writeLinks(path, linksDoc{linksSchema, peers}); err != nil {
		return fmt.Errorf("remember the link to %q: %w", r.To, err)
	}
	return nil
}

// writeLinks is on the disk, whole, when it returns; killed before, the old file is.
func writeLinks(path string, doc linksDoc) error {
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return replace.Bytes(path, append(data, '\n'), 0o644)
}

// learn is l and what r adds to it; ok is false when that is nothing.
func (l Link) learn(r Record) (_ Link, ok bool) {
	if r.Outcome != Moved || r.To == "" || r.Means == "" {
		return l, false
	}
	bound := r.capped() || r.Shared || r.Compressed // maybe by what compresses
	if rate := r.Rate; r.Transferred >= enough && rate > 0 && (!bound || rate > l.Bandwidth) {
		l.Bandwidth, ok = uint64(blend(float64(l.Bandwidth), float64(rate))), true
	}
	if setUp, known := r.setUp(); known {
		l.SetUpMS, ok = blend(l.SetUpMS, setUp), true
	}
	if handOver, known := r.handOver(); known {
		l.HandOverMS, ok = blend(l.HandOverMS, handOver), true
	}
	if relearn, known := r.relearn(); known {
		l.RelearnMS, ok = blend(l.RelearnMS, relearn), true
	}
	l.Moves++
	l.Updated = r.Ended
	return l, ok
}

// blend gives the last value as much weight as all before it, so that a link that was changed is
// known anew after a few moves.
func blend(old, seen float64) float64 {
	if old <= 0 {
		return seen
	}
	return (old + seen) / 2
}

// capped tells whether the rate says more of the bound that was asked for than of the link.
func (r *Record) capped() bool { return r.Cap > 0 && r.Rate >= r.Cap/10*9 }

// setUp is what libvirt took before the first byte and after the guest ran, by our receipts.
func (r *Record) setUp() (ms float64, known bool) {
	step, ok := r.step("migrate")
	if !ok || r.DurationMS <= 0 || len(r.Disks) > 0 {
		return 0, false
	}
	t := qmp.Timeline{Phases: r.Phases}
	active, began := t.Find(qmp.Source, qmp.PhaseActive)
	resume, ended := t.Find(qmp.Target, qmp.PhaseResume)
	if !began || !ended {
		return 0, false
	}
	ms = step.MS - millis(resume.Received.Sub(active.Received))
	return ms, ms > 0
}

// handOver is what the pause took beyond the last copy. Of that copy there is the forecast alone, which says
// nothing of a guest that moved by other means; then it is the part that the events show.
func (r *Record) handOver() (ms float64, known bool) {
	if f := r.Predicted; f != nil && r.PauseMS != nil && f.Means == r.Means {
		ms = *r.PauseMS - f.LastCopyMS
	}
	if ms <= 0 && r.HandOverMS != nil {
		ms = *r.HandOverMS
	}
	return ms, ms > 0
}

// relearn is what clients waited for beyond the pause, at most.
func (r *Record) relearn() (ms float64, known bool) {
	if r.PauseMS == nil {
		return 0, false
	}
	for _, b := range r.Blackouts {
		ms = max(ms, b.MS-*r.PauseMS)
	}
	return ms, ms > 0
}

// step is the last one of that name.
func (r *Record) step(name string) (last Step, ok bool) {
	for _, s := range r.Steps {
		if s.Name == name {
			last, ok = s, true
		}
	}
	return last, ok
}
