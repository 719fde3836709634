package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/shellword"
)

// Access is who can change the names in a directory.
type Access int

// From the least to the most. The order may be used.
const (
	Private Access = iota // trusted users
	Sticky                // everybody can add names, and change his own: as in /tmp
	Exposed               // others can replace a file
)

// Directory is what [Look] is for a directory: who can change names in it, or make its path lead elsewhere.
type Directory struct {
	Access Access
	Why    string // it is Exposed: one clause that names the directory or the link
	Fix    string // the command that mends that
	uids   []uint32
}

// Owned reports whether all directories of the path belong to one of these users, root, or the user of this process.
func (d Directory) Owned(by Owners) bool {
	for _, uid := range d.uids {
		if !by.Has(uid) {
			return false
		}
	}
	return true
}

// Survey judges a directory and each one above it, behind links, as sshd's safe_path does. It fails where a part of the
// path cannot be looked at, or is not a directory.
func Survey(path string, by Owners) (Directory, error) {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return Directory{}, err
		}
		path = wd + "/" + path
	}
	at, rest, d := "/", strings.Split(path, "/"), Directory{}
	if err := d.enter(at, by); err != nil {
		return d, err
	}
	for links := 0; len(rest) > 0 && d.Access != Exposed; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(at, name)
		to, err := os.Readlink(next)
		if errors.Is(err, unix.EINVAL) { // no link
			at = next
			if err := d.enter(at, by); err != nil {
				return d, err
			}
			continue
		}
		if links++; err != nil || links > maxLinks {
			return d, errors.Join(err, fmt.Errorf("follow %q", next))
		}
		if err := d.follow(next, by); err != nil {
			return d, err
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return d, nil
}

// enter adds one directory. Of those above, a sticky one does no harm: what lies in it belongs to a trusted user.
func (d *Directory) enter(path string, by Owners) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q: %w", path, unix.ENOTDIR)
	}
	uid := OwnerOf(info)
	d.uids = append(d.uids, uid)
	d.Access, d.Why, d.Fix = judgeEntry(path, info.Mode(), uid, groupOf(info), by)
	return nil
}

func (d *Directory) follow(link string, by Owners) error {
	info, err := os.Lstat(link)
	if err != nil {
		return err
	}
	uid := OwnerOf(info)
	d.uids = append(d.uids, uid)
	if !by.Has(uid) {
		d.Access, d.Why = Exposed, fmt.Sprintf("the link %q belongs to the user with uid %d", link, uid)
		d.Fix = shellword.Line("chown", "-h", "root", link)
	}
	return nil
}

// judgeEntry is the rule for one directory or file. Root's own group counts as root.
func judgeEntry(path string, mode fs.FileMode, uid, gid uint32, by Owners) (a Access, why, fix string) {
	others := mode.Perm()&0o002 != 0 || mode.Perm()&0o020 != 0 && gid != 0
	switch {
	case !by.Has(uid):
		return Exposed, fmt.Sprintf("%q belongs to the user with uid %d", path, uid),
			shellword.Line("chown", "root", path)
	case others && mode&fs.ModeSticky != 0:
		return Sticky, "", ""
	case others:
		return Exposed, fmt.Sprintf("users other than its owner may write to %q", path),
			shellword.Line("chmod", "go-w", path)
	}
	return Private, "", ""
}

// Maker is the user who owns what this process creates in a directory: root, but for a file system that makes root's
// files another user's (root_squash of NFS). It creates a file there, and removes it.
func Maker(dir string) (uint32, error) {
	f, err := os.CreateTemp(dir, ".vmferry-*")
	if err != nil {
		return unknownOwner, err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return unknownOwner, err
	}
	return OwnerOf(info), nil
}

// ClearWay gives what no trusted user has put at path another name beside it, .foreign-NUMBER, so that it neither keeps
// a file of that name from being written nor is lost. A file of a trusted user, and one that is not there, stay.
func ClearWay(path string, by Owners) error {
	if _, _, err := Look(path, by); !NotOurs(err) {
		return nil
	}
	return os.Rename(path, fmt.Sprintf("%s.foreign-%d", path, rand.Uint64()))
}

// SurveyFile judges a regular file as [Survey] does a directory: it is Private, or Exposed where others can change or
// replace it. It fails where the file cannot be looked at.
func SurveyFile(path string, by Owners) (Directory, error) {
	real, info, err := Look(path, Anyone)
	if err != nil {
		return Directory{}, err
	}
	for _, at := range []string{path, real} {
		if d, err := Survey(filepath.Dir(at), by); err != nil || d.Access == Exposed {
			return d, err
		}
	}
	var d Directory
	if _, _, err := Look(path, by); errors.Is(err, ErrForeign) {
		chown := append([]string{"chown", "-h", "root"}, slices.Compact([]string{path, real})...)
		return Directory{Access: Exposed, Why: err.Error(), Fix: shellword.Line(chown...)}, nil
	}
	if d.Access, d.Why, d.Fix = judgeEntry(real, info.Mode(), OwnerOf(info), groupOf(info), by); d.Access == Sticky {
		d.Access = Private
	}
	return d, nil
}

// ErrExposed says that users who are not trusted can change or replace a file.
var ErrExposed = errors.New("others can change it")

// mostPrivate is more bytes than any configuration has.
const mostPrivate = 1 << 20

// ReadPrivate is [Read] of a configuration, of at most 1 MiB, that root and the user of this process alone can change or
// replace. Its errors are those of Read and [SurveyFile], and [ErrExposed], which says what to type.
func ReadPrivate(path string) ([]byte, error) {
	d, err := SurveyFile(path, Only())
	switch {
	case err != nil:
		return nil, err
	case d.Access == Exposed:
		return nil, fmt.Errorf("%q: %w, as %s: type %s", path, ErrExposed, d.Why, d.Fix)
	}
	return Read(path, mostPrivate, Only())
}

// MakeDir makes a directory for this program's own files, with those above it, and makes sure that others cannot change
// names in it. Those above are the system's, or an administrator's choice.
func MakeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	access, why, fix := judgeEntry(path, info.Mode()&^fs.ModeSticky, OwnerOf(info), groupOf(info), Only())
	if access != Private {
		return fmt.Errorf("others may put files into a directory of vmferry's, as %s: type %s", why, fix)
	}
	return nil
}
