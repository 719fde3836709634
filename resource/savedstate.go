package resource

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/libvirt/saveimage"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// savePlace is what is known of the directory that a guest is saved to. libvirt opens a saved state by its name, after
// the agent has looked at it, so that nobody else may be able to exchange it.
type savePlace struct {
	safefile.Directory
	hosts safefile.Owners // whose files may be libvirt's: root, the user that NFS makes of root, QEMU's user, the guest's own

	session  int   // the user whose session's libvirt writes there, -1 for the system's
	squashed bool  // NFS makes another user of root
	unsure   error // why it is not known whom it makes of root
}

// errSquash says that nobody can tell whose a file is.
var errSquash = errors.New("whose file it is cannot be told, as the user that the file system makes of root is not known")

// foreign is an error of package safefile. While it is not known whose root's own files are, another user's file may be
// libvirt's: to ignore it would let it be restored later, when the guest's disks have gone on.
func (p savePlace) foreign(err error) error {
	if errors.Is(err, safefile.ErrForeign) && p.unsure != nil {
		return fmt.Errorf("%w: %w", errSquash, p.unsure)
	}
	return err
}

// ExposedSaves is why a guest is neither saved to a directory nor restored from it, with what to type: users other than
// root, QEMU's and the guest's own can put a file of theirs in the place of a saved state. It is nil where the directory is
// safe. uri is the hypervisor's; of a config file that cannot be read the guest's own user is not known. It touches storage,
// which may hang.
func ExposedSaves(dir, uri, config string) error {
	guest, _ := domainxml.Read(config)
	p, err := surveySaves(dir, libvirt.QEMUDir, saversOf(uri, guest.Text)...)
	if err != nil {
		return err
	}
	return p.isExposed()
}

func (a *run) survey() (savePlace, error) {
	uri := a.Params.Hypervisor
	p, err := surveySaves(a.Params.SavesTo(), cmp.Or(a.qemuDir, libvirt.QEMUDir), saversOf(uri, a.config.domain.Text)...)
	if uid, ok := sessionUser(uri); ok {
		p.session = int(uid)
	}
	return p, err
}

// sessionUser is the user of a session whose libvirt a URI names by its socket.
func sessionUser(uri string) (uid uint32, ok bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Path != "/session" {
		return 0, false
	}
	rest, below := strings.CutPrefix(u.Query().Get("socket"), "/run/user/")
	number, _, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), below && err == nil
}

// saversOf are the users as whom libvirt may save this guest in particular: the one of a session, and the one of the guest's
// own DAC label, which libvirt turns to where NFS refuses root (qemuDomainOpenFile of qemu_domain.c).
func saversOf(uri, text string) (uids []uint32) {
	if uid, ok := sessionUser(uri); ok {
		uids = append(uids, uid)
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

// surveySaves looks at a directory for saved guests, and at one of QEMU's user.
func surveySaves(dir, qemu string, hosts ...uint32) (savePlace, error) {
	p := savePlace{session: -1}
	kind, err := disks.SharedBy(dir)
	if err == nil && kind != "" {
		uid, merr := safefile.Maker(dir)
		switch {
		case merr == nil:
			hosts, p.squashed = append(hosts, uid), !safefile.Only().Has(uid)
		case !errors.Is(merr, fs.ErrPermission): // full, or read-only for now; where root may not write, libvirt does as QEMU's user
			p.unsure = merr
		}
	}
	if info, err := os.Stat(qemu); err == nil {
		hosts = append(hosts, safefile.OwnerOf(info))
	}
	p.hosts = safefile.Only(hosts...)
	p.Directory, err = safefile.Survey(dir, p.hosts)
	return p, err
}

// isRoots tells whether root alone can have written a file there. The user that NFS makes of root can be another's, too:
// it often is nobody, whom programs run as.
func (p savePlace) isRoots(file fs.FileInfo) bool {
	return p.Owned(safefile.Only()) && safefile.Only().Has(safefile.OwnerOf(file))
}

// cannotRestore is why a guest that is saved there could not be restored, by a libvirt that cannot replace its description;
// see [restoreWith].
func (p savePlace) cannotRestore(canReplace bool) error {
	if canReplace || p.Owned(safefile.Only()) && !p.squashed {
		return nil
	}
	return errFilesWord
}

// isExposed is why nothing is saved to the directory, or restored from it; nil where it is safe.
func (p savePlace) isExposed() error {
	if p.Access != safefile.Exposed {
		return nil
	}
	return fmt.Errorf("another user could put a file of his own in the place of the saved state, as %s: type %s", p.Why, p.Fix)
}

// prepare makes a file ready for libvirt to save the guest to: libvirt follows a link, and writes into a file of
// another user.
func (p savePlace) prepare(file string) error {
	if err := p.isExposed(); err != nil {
		return err
	}
	if err := safefile.ClearWay(file, p.hosts); err != nil || p.Access != safefile.Sticky {
		return err
	}
	// Where everybody may create files, it is there before anybody can, and nobody else can take it away.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		_, _, err = safefile.Look(file, p.hosts)
		return err
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(p.session, -1), f.Close()) // -1 changes nothing
}

// savedState is a saved state that is to be restored.
type savedState struct {
	file string // no other start finds it
	xml  string // the guest's description to restore it with, "" for the one in the file
	asIs bool   // the one in the file may be used, where libvirt finds that the other hardware differs
}

// savedImage reads which guest's memory a file holds; why is a reason for which it can never be restored.
func savedImage(f *os.File) (image saveimage.Image, size fs.FileInfo, why string, err error) {
	info, err := f.Stat()
	if err != nil {
		return image, nil, "", err
	}
	image, err = saveimage.Read(f)
	switch errno := unix.Errno(0); {
	case errors.As(err, &errno):
		return image, info, "", err
	case err == nil && info.Size() <= image.Size:
		err = saveimage.ErrPartial
	}
	if err != nil {
		return image, info, err.Error(), nil
	}
	return image, info, "", nil
}

// isOfGuest returns why a saved state is not that of the guest, or "", and the guest's own XML, which gets the UUID and
// the MAC addresses of the saved state where it has none, since libvirt draws others each time, and its machine type.
func isOfGuest(saved, own string) (why, xml string, err error) {
	o, err := domainxml.Parse(own)
	if err != nil {
		return "", "", fmt.Errorf("the guest's own description: %w", err)
	}
	s, err := domainxml.Parse(saved)
	switch {
	case err != nil:
		return "its description of the guest cannot be read: " + err.Error(), "", nil
	case s.Name != o.Name || o.UUID != "" && s.UUID != o.UUID:
		return fmt.Sprintf("it is the state of guest %q with UUID %s", s.Name, s.UUID), "", nil
	}
	return "", withMachine(withMACs(o.WithUUID(s.UUID), s.Text), s.Text), nil
}

var (
	machinePattern   = regexp.MustCompile(`\bmachine\s*=\s*(?:'[^']*'|"[^"]*")`)
	machineCharacter = regexp.MustCompile(`^[A-Za-z0-9._+-]+$`)
)

// withMachine gives a domain's XML the machine type that the guest had when it was saved, where its own stands for the
// newest of a kind, such as "q35" for "pc-q35-9.2": after an upgrade of QEMU that is another one.
func withMachine(own, saved string) string {
	guest, was := &libvirtxml.Domain{}, &libvirtxml.Domain{}
	if guest.Unmarshal(own) != nil || was.Unmarshal(saved) != nil || guest.OS == nil || was.OS == nil || guest.OS.Type == nil || was.OS.Type == nil {
		return own
	}
	from, to := guest.OS.Type.Machine, was.OS.Type.Machine
	if from == to || from == "" || !machineCharacter.MatchString(to) || !isNewestOf(from, to) {
		return own
	}
	return domainxml.EditTags(own, "domain/os/type", func(_ xml.StartElement, tag string) string {
		return machinePattern.ReplaceAllLiteralString(tag, "machine='"+to+"'")
	})
}

// isNewestOf tells whether QEMU's alias may stand for a machine type.
func isNewestOf(alias, machine string) bool {
	switch alias {
	case "pc":
		return strings.HasPrefix(machine, "pc-i440fx-")
	case "q35":
		return strings.HasPrefix(machine, "pc-q35-")
	}
	return strings.HasPrefix(machine, alias+"-")
}

// withMACs gives the network cards of a domain's XML that have no MAC address those of the same guest when it was saved,
// where it has as many. libvirt takes other addresses for other hardware (virDomainNetDefCheckABIStability).
func withMACs(own, saved string) string {
	guest, was := &libvirtxml.Domain{}, &libvirtxml.Domain{}
	if guest.Unmarshal(own) != nil || was.Unmarshal(saved) != nil || guest.Devices == nil || was.Devices == nil ||
		len(guest.Devices.Interfaces) != len(was.Devices.Interfaces) {
		return own
	}
	card := 0
	return domainxml.EditTags(own, "domain/devices/interface", func(_ xml.StartElement, tag string) string {
		if card == len(was.Devices.Interfaces) {
			return tag
		}
		has, mac := guest.Devices.Interfaces[card].MAC, was.Devices.Interfaces[card].MAC
		if card++; has != nil || mac == nil || strings.HasSuffix(tag, "/>") {
			return tag
		}
		var escaped strings.Builder
		_ = xml.EscapeText(&escaped, []byte(mac.Address)) // a Builder takes all
		return tag + "<mac address='" + escaped.String() + "'/>"
	})
}

// errOtherDisks says that a guest's memory belongs to other disks than the config file names.
var errOtherDisks = errors.New("the guest had other disks when it was saved than its config file names")

// restoreWith is the rule for whose description a guest is restored with: our own, unless the guest's memory belongs to
// other disks, or libvirt can use the one in the file only. That one is believed only where root alone can have
// written it, as it names programs that libvirt runs as root.
func restoreWith(saved, own string, rootOnly, canReplace bool) (xml string, asIs bool, err error) {
	same := maps.Equal(writableDisks(saved), writableDisks(own))
	switch {
	case same && canReplace:
		return own, rootOnly, nil
	case rootOnly:
		return "", true, nil
	case !same:
		return "", false, errOtherDisks
	}
	return "", false, errFilesWord
}

var errFilesWord = errors.New("libvirt restores it only as the file describes the guest, and the file, or its directory, does not belong to root")

// writableDisks are what a guest writes to, by the names of its disks.
func writableDisks(text string) map[string]string {
	guest := &libvirtxml.Domain{}
	if guest.Unmarshal(text) != nil || guest.Devices == nil {
		return nil
	}
	all := map[string]string{}
	for _, d := range guest.Devices.Disks {
		if d.Device != "" && d.Device != "disk" && d.Device != "lun" || d.ReadOnly != nil || d.Target == nil {
			continue
		}
		all[d.Target.Dev] = diskSource(d.Source)
	}
	return all
}

func diskSource(s *libvirtxml.DomainDiskSource) string {
	switch {
	case s == nil:
	case s.File != nil:
		return s.File.File
	case s.Block != nil:
		return s.Block.Dev
	case s.Volume != nil:
		return s.Volume.Pool + " " + s.Volume.Volume
	case s.Network != nil:
		return s.Network.Protocol + " " + s.Network.Name
	}
	return ""
}

// isStale says why memory of that age does not fit the disks, or "".
func isStale(saved time.Time, disks []string) string {
	for _, disk := range disks {
		d, err := os.Stat(disk)
		if err == nil && d.Mode().IsRegular() && d.ModTime().Sub(saved) > staleAfter {
			return "disk " + disk + " was written to after it"
		}
	}
	return ""
}
