package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Schema is the version of a manifest.
const Schema = 1

// DefaultDir is where a node keeps its manifests.
const DefaultDir = "/var/lib/vmferry/mirror"

// Suffixes of the files beside a disk; the first two are followed by "EPOCH-GENERATION".
const (
	ReplicaSuffix = ".vmferry-replica-"
	DeltaSuffix   = ".vmferry-delta-"
	OldSuffix     = ".vmferry-old" // also followed by "-EPOCH"
	OverlaySuffix = ".vmferry-overlay"
)

// Role is what a node's copy of a guest is.
type Role string

// The roles.
const (
	Truth     Role = "truth"     // the guest runs, or may be started, from the disks here
	Replica   Role = "replica"   // the current copy is, or may be, at the peer
	Promoting Role = "promoting" // the replica is being made the truth: it is the truth, and its files are being renamed
)

// Point is a round: the name of its checkpoint, and of the bitmap in the disks.
type Point struct {
	Epoch      uint64 `json:"epoch"`
	Generation uint64 `json:"generation"` // 0: no round yet
}

// String is the name of the checkpoint.
func (p Point) String() string { return fmt.Sprintf("vmferry-%d-%d", p.Epoch, p.Generation) }

// ParsePoint reads the name of a checkpoint; ok is false for one that is not of the mirror.
func ParsePoint(name string) (p Point, ok bool) {
	if _, err := fmt.Sscanf(name, "vmferry-%d-%d", &p.Epoch, &p.Generation); err != nil {
		return Point{}, false
	}
	return p, p.String() == name
}

// Disk is one disk of a guest.
type Disk struct {
	Target string `json:"target"` // the guest's name of it, such as "vda"
	Path   string `json:"path"`   // of its image where the guest runs from it; the same on all nodes
	Size   uint64 `json:"size"`   // of what the guest sees, in bytes
	// The rest is a replica's. Whole is the full round that made the file, which it is named after; At is the last round
	// that is whole here, and Taken is when that began, before the disks were frozen at one instant, by the clock of the
	// node that keeps the manifest. Disks that are mirrored at different intervals differ in these.
	Whole Point     `json:"whole,omitzero"`
	At    Point     `json:"at,omitzero"`
	Taken time.Time `json:"taken,omitzero"`
	Boot            // Taken by another clock
	// Dir is the inode of the directory that Whole was made in: another one is below a file system that is not mounted.
	Dir uint64 `json:"dir,omitempty"`
	// Checked says that Whole was found to be sound after the full round. Deltas keep it so.
	Checked bool `json:"checked,omitempty"`
}

// Boot is a time in a boot of a node, which no setting of its clock changes.
type Boot struct {
	ID string        `json:"boot,omitempty"`
	Up time.Duration `json:"up,omitempty"` // since the node was started, with the time in which it was suspended
}

// ThisBoot is now.
func ThisBoot() Boot {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without one all that was is of another boot
	var up unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	return Boot{strings.TrimSpace(string(id)), time.Duration(up.Nano())}
}

// IsSame reports whether two times are of one boot.
func (b Boot) IsSame(other Boot) bool { return b.ID != "" && b.ID == other.ID }

// Replica is the path of the replica's disk.
func (d Disk) Replica() string { return beside(d.Path, ReplicaSuffix, d.Whole) }

// Delta is the path of what a round changes of the replica's disk.
func (d Disk) Delta(round Point) string { return beside(d.Path, DeltaSuffix, round) }

// Overlay is the path of what the guest writes to while it moves.
func (d Disk) Overlay() string { return d.Path + OverlaySuffix }

func beside(path, suffix string, p Point) string {
	return fmt.Sprintf("%s%s%d-%d", path, suffix, p.Epoch, p.Generation)
}

// Kept is an image that was put aside beside a disk, as it may have writes that no other copy has.
type Kept struct {
	Path  string `json:"path"`
	Bytes uint64 `json:"bytes"` // that it takes up
}

// Kept lists what was put aside beside the disks. It reads the file system, which may hang.
func (m Manifest) Kept() (all []Kept) {
	for _, d := range m.Disks {
		dir, base := filepath.Split(d.Path)
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			var at unix.Stat_t
			if strings.HasPrefix(f.Name(), base+OldSuffix) && unix.Lstat(dir+f.Name(), &at) == nil {
				all = append(all, Kept{dir + f.Name(), uint64(at.Blocks) * 512})
			}
		}
	}
	return all
}

// String says what it is, and what to type.
func (k Kept) String() string {
	return fmt.Sprintf("%q was put aside, takes up %.1f GiB, and may have writes that no other copy has: if nobody needs it, "+
		"type %s", k.Path, float64(k.Bytes)/(1<<30), shellword.Line("rm", k.Path))
}

// State is a file that a guest needs beside its disks: its NVRAM, or its TPM's state. Replicas have it whole.
type State struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
}

// Manifest is what a node knows of its copy of a guest.
type Manifest struct {
	Schema int    `json:"schema"` // Schema
	Guest  string `json:"guest"`
	UUID   string `json:"uuid"`
	Role   Role   `json:"role"`
	// Point is, of a replica, the last round that is whole here: its deltas are applied, or Applying. Of the truth its epoch
	// counts, with the last round that the replica has confirmed.
	Point
	// Last is the highest generation that a round of this epoch was begun with.
	Last     uint64  `json:"last,omitempty"`
	Applying bool    `json:"applying,omitempty"` // of a replica: the deltas of Point are whole, and not all applied
	Disks    []Disk  `json:"disks"`              // of a replica: those that the guest had at the last round
	States   []State `json:"states,omitempty"`
	// Closed says that the guest has ended, and that nothing was written since Point. The truth's is set before the replica
	// is told, and cleared with the start, in a new epoch: the replica's word may be out of date, and that shows it.
	Closed bool `json:"closed,omitempty"`
	// Overlay says that DISK.vmferry-overlay, where it is there, has what the guest wrote last, and DISK is below it. Of a
	// replica it says that the guest has left: DISK gets the replica's name when the overlay is in it.
	Overlay bool `json:"overlay,omitempty"`
	// Folding says that QEMU may have left the overlay for DISK, and have written to that since.
	Folding bool `json:"folding,omitempty"`
	// Handed is, of the truth, when the guest began to move to the peer, where it may have run since; it is zero where it
	// is known to have stayed. Point is then the round whose bitmap goes along.
	Handed time.Time `json:"handed,omitzero"`
	// Arriving says of a replica that a guest is on its way to it: the disks have their names, with overlays.
	Arriving bool `json:"arriving,omitempty"`
	// Ran says that the guest was seen to run from DISK here, whatever the role, and that it could not be found out yet
	// which epoch that makes it.
	Ran  bool   `json:"ran,omitempty"`
	Peer string `json:"peer"` // the node at the other end, as the cluster manager names it
	// Lost is, after a promotion, the most that was lost, in seconds, below 0 where nobody knows, and LostAt when.
	Lost   float64   `json:"lost_s,omitempty"`
	LostAt time.Time `json:"lost_at,omitzero"`
}

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Taken is when the oldest of the disks was, by this node's clock: what was written since may be missing. It is zero
// where a disk is not whole yet, or there is none.
func (m Manifest) Taken() (oldest time.Time) {
	for i, d := range m.Disks {
		if d.Whole == (Point{}) {
			return time.Time{}
		}
		if i == 0 || d.Taken.Before(oldest) {
			oldest = d.Taken
		}
	}
	return oldest
}

// Unknown is an age, or a loss, that nobody knows.
const Unknown = -time.Second

// Age is how old the replica is by its oldest disk, Unknown where the clock is before that. isByClock says that somebody
// may have set the clock since, as this is another boot than that of a disk.
func (m Manifest) Age(now time.Time, boot Boot) (age time.Duration, isByClock bool) {
	for _, d := range m.Disks {
		of := now.Sub(d.Taken)
		if d.Boot.IsSame(boot) {
			of = max(of, boot.Up-d.Boot.Up)
		} else {
			isByClock = true
		}
		if of < 0 {
			return Unknown, true
		}
		age = max(age, of)
	}
	return age, isByClock
}

// Span are the disks that are the furthest behind, and the least.
func (m Manifest) Span() (oldest, newest Disk) {
	for i, d := range m.Disks {
		if i == 0 || d.Taken.Before(oldest.Taken) {
			oldest = d
		}
		if i == 0 || d.Taken.After(newest.Taken) {
			newest = d
		}
	}
	return oldest, newest
}

// IsDelta reports whether the last round, which is being applied, has a delta of a disk.
func (m Manifest) IsDelta(d Disk) bool { return d.At == m.Point && d.Whole != m.Point }

// Check is why a manifest cannot be used; nil where it can. It holds for one that a peer has sent, too: its paths are
// absolute, clean and different, and no number is so high that it could overflow.
func (m Manifest) Check() error {
	switch {
	case m.Schema != Schema:
		return fmt.Errorf("its schema is %d, this is %d: install the same vmferry on both nodes", m.Schema, Schema)
	case m.Guest == "" || !uuidPattern.MatchString(m.UUID):
		return fmt.Errorf("it names no guest: %q, UUID %q", m.Guest, m.UUID)
	case !slices.Contains([]Role{Truth, Replica, Promoting}, m.Role):
		return fmt.Errorf("it has no role %q", m.Role)
	case m.Epoch == 0 || m.Epoch > maxNumber || m.Generation > maxNumber || m.Last > maxNumber:
		return fmt.Errorf("it has no epoch %d or generation %d", m.Epoch, max(m.Generation, m.Last))
	}
	return checkDisks(m.Disks, m.States)
}

const (
	maxNumber = 1 << 50  // of epochs and generations: a round a second takes 30 million years
	maxDisks  = 1024     // of a guest. QEMU has fewer
	maxStates = 16 << 20 // bytes of the files beside the disks, together
	limit     = 64 << 20 // bytes of a manifest: a TPM's state has some kilobytes, a NVRAM half a megabyte
)

func checkDisks(all []Disk, states []State) error {
	if len(all)+len(states) > maxDisks {
		return fmt.Errorf("it has %d disks and %d other files", len(all), len(states))
	}
	seen, bytes := map[string]bool{}, 0
	for _, s := range states {
		if bytes += len(s.Content); bytes > maxStates {
			return fmt.Errorf("the guest's other files have more than %d MiB", maxStates>>20)
		}
		all = append(all[:len(all):len(all)], Disk{Target: "file " + s.Path, Path: s.Path, Size: 1})
	}
	for _, d := range all {
		if d.Target == "" || !filepath.IsAbs(d.Path) || filepath.Clean(d.Path) != d.Path ||
			strings.Contains(d.Path, ".vmferry-") || strings.ContainsRune(d.Path, 0) {
			return fmt.Errorf("it has a disk %q at %q, which is no path of an image", d.Target, d.Path)
		}
		if seen[d.Path] || seen[d.Target] {
			return fmt.Errorf("it has two disks %q at %q", d.Target, d.Path)
		}
		seen[d.Path], seen[d.Target] = true, true
		if d.Size == 0 || d.Size > 1<<56 {
			return fmt.Errorf("its disk %q has %d bytes", d.Target, d.Size)
		}
	}
	return nil
}

// Store is the folder of a node's manifests. Its methods touch the disk, which may hang.
type Store struct{ Dir string }

// Path is the file of a guest's manifest.
func (s Store) Path(uuid string) string { return filepath.Join(s.Dir, filepath.Base(uuid)+".json") }

// Load reads a guest's manifest. The error is fs.ErrNotExist where there is none.
func (s Store) Load(uuid string) (Manifest, error) {
	raw, err := safefile.Read(s.Path(uuid), limit, safefile.Only(0, uint32(os.Geteuid())))
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	m, err := Parse(raw)
	if err == nil && m.UUID != uuid {
		err = fmt.Errorf("it is of guest %q, UUID %s", m.Guest, m.UUID)
	}
	if err != nil {
		return m, fmt.Errorf("file %q: %w", s.Path(uuid), err)
	}
	return m, nil
}

// Parse reads the text of a manifest, and checks it.
func Parse(raw []byte) (m Manifest, err error) {
	if err = json.Unmarshal(raw, &m); err == nil {
		err = m.Check()
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("read a manifest of the mirror: %w", err)
	}
	return m, nil
}

// Save writes a manifest durably: a crash leaves the earlier one or this.
func (s Store) Save(m Manifest) error {
	m.Schema = Schema
	raw, err := json.Marshal(m)
	if err == nil {
		err = errors.Join(m.Check(), safefile.MakeDir(s.Dir))
	}
	if err == nil {
		err = atomicfile.Bytes(s.Path(m.UUID), append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("save the manifest of guest %q: %w", m.Guest, err)
	}
	return nil
}

// All reads all manifests. What is no manifest is an error beside the others.
func (s Store) All() (all []Manifest, err error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "*.json"))
	for _, f := range files {
		m, rerr := s.Load(strings.TrimSuffix(filepath.Base(f), ".json"))
		if rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		all = append(all, m)
	}
	return all, err
}

// Lock is for whoever changes a guest's manifest, or the files that it names: it waits until nobody else does. The
// kernel ends it with the process.
func (s Store) Lock(uuid string) (unlock func(), err error) {
	if err := safefile.MakeDir(s.Dir); err != nil {
		return nil, err
	}
	return atomicfile.Lock(strings.TrimSuffix(s.Path(uuid), ".json") + ".lock")
}
