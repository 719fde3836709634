package savedstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Place is what is known of the directory that a guest is saved to. libvirt opens a saved state by its name, after
// the agent has looked at it, so that nobody else may be able to exchange it.
type Place struct {
	safefile.Directory
	// owners are whose files may be libvirt's: root, the user that NFS maps root to, QEMU's user, the guest's own.
	owners safefile.Owners

	session  int   // the user whose session's libvirt writes there, -1 for the system's
	squashed bool  // NFS maps root to another user (root_squash)
	unsure   error // why that user is not known
}

// errSquash says that the owner of a file is not known.
var errSquash = errors.New("the owner of the file is not known: root_squash maps root to an unknown user")

// foreign is an error of package safefile. While it is not known which user NFS maps root to, another user's file may
// be libvirt's: to ignore it would let it be restored later, when the guest's disks have changed.
func (p Place) foreign(err error) error {
	if errors.Is(err, safefile.ErrForeign) && p.unsure != nil {
		return fmt.Errorf("%w: %w", errSquash, p.unsure)
	}
	return err
}

// saversOf are the users as whom libvirt may save this guest in particular: the one of a session, and the one of the
// guest's own DAC label, which libvirt turns to where NFS refuses root (qemuDomainOpenFile of qemu_domain.c).
func saversOf(uri, text string) (uids []uint32) {
	if uid, ok := hostproc.SessionUser(uri); ok {
		uids = append(uids, uint32(uid))
	}
	guest := &libvirtxml.Domain{}
	if guest.Unmarshal(text) != nil {
		return uids
	}
	for _, l := range guest.SecLabel {
		user, _, isPair := strings.Cut(l.Label, ":")
		if uid, ok := (hostproc.Host{}).UserID(user); l.Model == "dac" && isPair && ok {
			uids = append(uids, uint32(uid))
		}
	}
	return uids
}

// Survey looks at a directory for saved guests. qemuDir is a directory of QEMU's user, normally [libvirt.QEMUDir], uri
// the hypervisor's, and text the guest's XML. It touches storage, which may hang.
func Survey(dir, qemuDir, uri, text string) (Place, error) {
	p := Place{session: -1}
	if uid, ok := hostproc.SessionUser(uri); ok {
		p.session = uid
	}
	owners := saversOf(uri, text)
	kind, err := disks.SharedBy(dir)
	if err == nil && kind != "" {
		uid, merr := safefile.Maker(dir)
		switch {
		case merr == nil:
			owners, p.squashed = append(owners, uid), !safefile.Only().Has(uid)
		case !errors.Is(merr, fs.ErrPermission): // full, or read-only for now; else libvirt writes as QEMU's user
			p.unsure = merr
		}
	}
	if info, err := os.Stat(qemuDir); err == nil {
		owners = append(owners, safefile.OwnerOf(info))
	}
	p.owners = safefile.Only(owners...)
	p.Directory, err = safefile.Survey(dir, p.owners)
	return p, err
}

// isRoots reports whether root alone can have written a file there. The user that NFS makes of root can be another's,
// too: it often is nobody, whom programs run as.
func (p Place) isRoots(file fs.FileInfo) bool {
	return p.Owned(safefile.Only()) && safefile.Only().Has(safefile.OwnerOf(file))
}

// cannotRestore is why a guest that is saved there could not be restored, by a libvirt that cannot replace its
// description; see [Decide].
func (p Place) cannotRestore(canReplace bool) error {
	if canReplace || p.Owned(safefile.Only()) && !p.squashed {
		return nil
	}
	return errFilesXML
}

// Exposed is why nothing is saved to the directory, or restored from it, with what to type: users other than root,
// QEMU's and the guest's own can put a file of theirs in the place of a saved state. It is nil where the directory is
// safe.
func (p Place) Exposed() error {
	if p.Access != safefile.Exposed {
		return nil
	}
	return fmt.Errorf("another user could replace the saved state by a file of his own, as %s: type %s", p.Why, p.Fix)
}

// prepare makes a file ready for libvirt to save the guest to: libvirt follows a link, and writes into a file of
// another user.
func (p Place) prepare(file string) error {
	if err := p.Exposed(); err != nil {
		return err
	}
	if err := safefile.ClearWay(file, p.owners); err != nil || p.Access != safefile.Sticky {
		return err
	}
	// Where everybody may create files, it is there before anybody can, and nobody else can take it away.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		_, _, err = safefile.Look(file, p.owners)
		return err
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(p.session, -1), f.Close()) // -1 changes nothing
}
