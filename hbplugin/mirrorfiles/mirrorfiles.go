package mirrorfiles

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/command"
)

const (
	// DefaultDir is where a node keeps the manifests of paths.
	DefaultDir = mirror.DefaultDir + "/files"
	// StagingSuffix is that of the directory beside a path in which a round is received.
	StagingSuffix = ".vmferry-staging"
	// Receive and Switch are what a source wants: to send a round, and then to have it switched to.
	Receive, Switch = "files", "switch"
)

//go:embed rsyncd.conf
var rsyncd []byte

// Engine makes rounds, at either end.
type Engine struct {
	mirror.Store
	Run command.Runner
}

// UUID names the manifest of a path, and the path in what is sent.
func UUID(path string) string {
	s := sha256.Sum256([]byte(path))
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16])
}

// begin takes a path's lock, and reads its manifest, zero where there is none.
func (e Engine) begin(path string) (m mirror.Manifest, there bool, unlock func(), err error) {
	if unlock, err = e.Lock(UUID(path)); err != nil {
		return m, false, func() {}, err
	}
	if m, err = e.Load(UUID(path)); err == nil || errors.Is(err, fs.ErrNotExist) {
		there, err = place(path)
	}
	return m, there, unlock, err
}

// place reports whether there is anything at a path, and why it can never be exchanged as a whole.
func place(path string) (there bool, err error) {
	d, err := safefile.Survey(filepath.Dir(path), safefile.Only())
	if err == nil && d.Access != safefile.Private {
		err = errors.New(cmp.Or(d.Why, "everybody may put files there"))
	}
	if err != nil {
		return false, fmt.Errorf("the directory of %q has to be root's alone: %w", path, err)
	}
	var s unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &s)
	switch kind := s.Mode & unix.S_IFMT; {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err == nil && (kind != unix.S_IFDIR && kind != unix.S_IFREG || s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0):
		err = errors.New("it is a link, a device or a mount point")
	}
	if err != nil {
		return false, fmt.Errorf("%q: %w", path, err)
	}
	return true, nil
}

// Send makes a round of a path to a peer, which the command ssh reaches, and returns how many bytes it has sent: the peer
// has all of it then, or what it had. checksum also compares the files that seem to be the same. It ends with ctx.
func (e Engine) Send(ctx context.Context, path, peer string, ssh []string, checksum bool) (at mirror.Point, n uint64, err error) {
	m, there, unlock, err := e.begin(path)
	defer unlock()
	if err == nil && !there {
		err = fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}
	if m.Role != mirror.Truth {
		m = mirror.Manifest{Guest: path, UUID: UUID(path), Role: mirror.Truth, Point: mirror.Point{Epoch: m.Epoch + 1}}
	}
	m.Last, m.Peer = m.Last+1, peer
	at = mirror.Point{Epoch: m.Epoch, Generation: m.Last}
	if err == nil {
		err = e.Save(m)
	}
	if err != nil {
		return at, 0, err
	}
	// ssh has its host already: the host that rsync adds is the first word of the command there.
	args := []string{"--archive", "--acls", "--xattrs", "--numeric-ids", "--one-file-system", "--delete", "--stats",
		"--modify-window=-1", "--timeout=300", "--no-human-readable", "--rsh=" + strings.Join(ssh, " "),
		"--rsync-path=receive " + Receive + " " + m.UUID + " " + at.String(), "--", path, "vmferry-mirror::files/"}
	if checksum {
		args = append([]string{"--checksum"}, args...)
	}
	out, err := e.Run(ctx, "rsync", args...)
	_, stats, _ := strings.Cut(out, "Total bytes sent: ")
	_, _ = fmt.Sscan(stats, &n)
	if err == nil {
		out, err = e.Run(ctx, ssh[0], append(slices.Clone(ssh[1:]), "vmferry-mirror", "receive", Switch, m.UUID, at.String())...)
	}
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(out), "\n") // the cause; rsync says its own at the end
		return at, n, command.Explain(first, err)
	}
	m.Point = at
	return at, n, e.Save(m)
}

// Answer does what a source wants with a round of a path; own is this node's name, and all what its configuration
// mirrors: a hostile source gets no other path. It gives the process's input and output to rsync. Cut short, the path has
// what it had, or all of the round.
func (e Engine) Answer(ctx context.Context, verb, id, round, own string, all []config.Mirror) error {
	i := slices.IndexFunc(all, func(p config.Mirror) bool {
		return UUID(p.Path) == id && !strings.EqualFold(p.From, own) && (p.Peer == "" || strings.EqualFold(p.Peer, own))
	})
	at, ok := mirror.ParsePoint(round)
	if i < 0 || !ok {
		return fmt.Errorf("vmferryd.toml of node %s has no such [[mirror]] to it", own)
	}
	path, next := all[i].Path, mirror.Store{Dir: e.Dir + "/next"} // the manifests after the switch
	m, there, unlock, err := e.begin(path)
	defer unlock()
	keep := there && m.Role != mirror.Replica
	if err == nil {
		err = mirror.Accepts(&m, m.Peer, at.Epoch)
	}
	switch {
	case err != nil:
		return err
	case m.Role == mirror.Replica && m.Epoch == at.Epoch && m.Generation >= at.Generation:
		return fmt.Errorf("the copy on node %s is of round %s, and this is %s", own, m.Point, at)
	case verb == Switch:
		if m, err = next.Load(id); err != nil || m.Point != at {
			return cmp.Or(err, fmt.Errorf("round %s is not the last that node %s has received", at, own))
		}
		if err = exchange(path, there, keep); err == nil {
			err = e.Save(m)
		}
		return err
	}
	disk := mirror.Disk{Target: "files", Path: path, Size: 1, Whole: at, At: at, Taken: time.Now()}
	err = next.Save(mirror.Manifest{Guest: path, UUID: id, Role: mirror.Replica, Point: at, Peer: all[i].From, Disks: []mirror.Disk{disk}})
	if err == nil {
		err = serve(ctx, path+StagingSuffix, e.Dir+"/rsyncd.conf")
	}
	return err
}

// serve has rsync write to a directory, and returns when that is on the disk.
func serve(ctx context.Context, dir, conf string) error {
	if err := errors.Join(safefile.MakeDir(dir), atomicfile.Bytes(conf, rsyncd, 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "rsync", "--server", "--daemon", "--config="+conf, ".")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rsync: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// exchange makes what is staged the path, and keeps what was there for good where that is wanted.
func exchange(path string, there, keep bool) error {
	from, how := filepath.Join(path+StagingSuffix, filepath.Base(path)), uint(unix.RENAME_NOREPLACE)
	staged, err := place(from)
	if err == nil && !staged {
		err = fs.ErrNotExist
	}
	if old := path + mirror.OldSuffix; keep && err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, old, how)
		from = old
	}
	if there {
		how = unix.RENAME_EXCHANGE
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, path, how)
	}
	if err != nil {
		return fmt.Errorf("exchange %q for %q: %w", path, from, err)
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}
