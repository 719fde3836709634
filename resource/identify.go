package resource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// identify finds out which guest this is about: from the config file, else from what the
// last call noted. With neither, it returns the error for the action, or leaves a guess.
func (a *run) identify(ctx context.Context) error {
	path := a.Params.File()
	a.config.domain, a.config.err = readGuest(ctx, a.Params, a.Instance, a.readFile)
	if a.config.err == nil {
		a.guest.Identity = observe.Identity{Name: a.config.domain.Name, UUID: a.config.domain.UUID}
		err := a.remember()
		a.keepToSeen()
		return err
	}
	noted, err := a.notes.Identities.Load(a.Instance)
	if err == nil && noted.Config == path {
		a.guest.Identity = observe.Identity{Name: noted.Name, UUID: noted.UUID}
		a.keepToSeen()
		return a.continueWithoutConfig()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.WithError(err).Warn("the note about the guest's name cannot be read")
	}
	return a.continueWithoutName()
}

// keepToSeen keeps to the guest that was seen to run here under this resource, until it is stopped or gone: where
// the config file has no UUID, to the one that libvirt gave the guest, and where the file was edited meanwhile, to
// the guest that it described. A guest that arrives is the file's.
func (a *run) keepToSeen() {
	if a.action == "migrate_from" || a.action == "validate-all" {
		return
	}
	seen, err := a.notes.Guests.Load(a.Instance)
	if err != nil || seen.UUID == "" {
		return // the file alone says whom to look for
	}
	switch sameName := seen.Guest == a.guest.Name; {
	case sameName && strings.EqualFold(seen.UUID, a.guest.UUID):
	case sameName && a.guest.UUID == "":
		a.guest.UUID, a.hasMadeUUID = seen.UUID, true
	default:
		meant := a.guest.Identity
		a.guest.Configured = &meant
		a.guest.Name, a.guest.UUID = seen.Guest, seen.UUID
	}
}

// adoptArrival keeps to a guest that a migration has just brought, where the config file here gives its name another
// UUID: it was edited while the guest ran on the source, or each node has a file of its own. The source moved the
// guest that it had, and its UUID is noted then. A stranger of that name was not moved here while ours was on its way:
// libvirt has one guest of a name.
func (a *run) adoptArrival(o observe.Observation) {
	if a.action != "migrate_from" || o.State != observe.NotRunning || o.Namesake == nil ||
		o.Namesake.State != libvirt.Running || o.Namesake.Reason != "migrated" {
		return
	}
	a.Log.Warnf("guest %q has arrived with UUID %s, and the config file here says %s: "+
		"the file is used again when the guest has stopped", a.guest.Name, o.Namesake.UUID, a.guest.UUID)
	meant := a.guest.Identity
	a.guest.Configured, a.guest.UUID = &meant, o.Namesake.UUID
}

// recall is for a call without parameters. Pacemaker makes one when it stops a resource that was
// taken out of its configuration while the guest was moving; to refuse it gets the node fenced.
// What was noted of the resource on this node says which guest it is.
func (a *run) recall() {
	if a.Params.File() != "" || metadata.Guest.IsNeeded(a.action) {
		return
	}
	noted, err := a.notes.Identities.Load(a.Instance)
	if err != nil {
		return // check says what is missing
	}
	a.Log.Warnf("called without parameters: using guest %q of %s, as noted", noted.Name, noted.Config)
	a.Params.Config = noted.Config
	a.Problems = slices.DeleteFunc(slices.Clone(a.Problems), func(p param.Problem) bool { return p.Param == "config" })
}

// remember notes the name before anything is started under it. Actions that bring a
// guest here fail without the note: after them, "never noted" must mean "never here".
func (a *run) remember() error {
	if a.action == "validate-all" {
		return nil // changes nothing, and may be run by anybody
	}
	note := notes.Identity{Name: a.guest.Name, UUID: a.guest.UUID, Config: a.Params.File()}
	err := a.notes.Identities.Save(a.Instance, note)
	switch {
	case err == nil:
		return nil
	case a.action == "start" || a.action == "migrate_from":
		return ocf.Wrapf(ocf.Generic, err, "cannot note the guest's name before it comes here")
	}
	a.Log.WithError(err).Warn("cannot note the guest's name: make the state directory writable")
	return nil
}

// continueWithoutConfig lets the actions through that need no more than a name. To start
// a guest, and to vouch for a configuration, takes the file.
func (a *run) continueWithoutConfig() error {
	switch a.action {
	case "start", "validate-all":
		return configError(a.Params, a.config.err)
	}
	a.Log.WithError(a.config.err).Warnf("config file is not usable: using guest %q, its last known name", a.guest.Name)
	return nil
}

// continueWithoutName is for a node on which this resource was never seen since boot: no file, no
// note. Nothing was started here under it, as a start writes the note first. A
// file NAME.xml most often describes guest NAME, so a guest of that name is still
// looked for before "not running" is reported.
func (a *run) continueWithoutName() error {
	if a.action != "stop" && !(a.isMonitor() && a.Probe) {
		return configError(a.Params, a.config.err)
	}
	path := a.Params.File()
	base := filepath.Base(path)
	a.guest.Identity = observe.Identity{Name: cmp.Or(a.Params.Name, strings.TrimSuffix(base, filepath.Ext(base)))}
	a.guess = a.Params.Name == "" // else the operator said it
	a.Log.WithError(a.config.err).Infof("config file is not usable and the guest's name is not known: looking for %q",
		a.guest.Name)
	return nil
}

// configError says what is wrong with the config file. The code is 5, as from
// VirtualDomain: the file of another node may be good.
func configError(p param.Params, err error) error {
	path := p.File()
	what, param := "the guest's libvirt XML", "config"
	if p.XMFile != "" {
		what, param = "the guest's xl configuration", "xmfile"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ocf.Errorf(ocf.Installed,
			"config file %q does not exist on this node: put %s there, or correct the parameter %s",
			path, what, param)
	case errors.Is(err, timely.ErrNoStorage):
		return ocf.Wrapf(ocf.Generic, err, "config file %q cannot be read: type df %s to see its file system",
			path, shellword.Word(path))
	case errors.Is(err, fs.ErrPermission):
		return ocf.Errorf(ocf.Installed, "config file %q cannot be read: make it readable for root", path)
	}
	return ocf.Wrapf(ocf.Installed, err, "config file %q cannot be used", path)
}

// readGuest reads the file that describes the guest, in either format. What the parameters
// say about the name of an xl configuration's guest goes before the file, and the
// resource's id is used where neither names one, as with the Xen agent.
func readGuest(
	ctx context.Context, p param.Params, instance string, read func(string) ([]byte, error),
) (domainxml.Domain, error) {
	if read == nil {
		read = domainxml.ReadFile
	}
	raw, err := timely.GetBriefly(ctx, func() ([]byte, error) { return read(p.File()) })
	if err != nil {
		return domainxml.Domain{}, err
	}
	if p.XMFile == "" {
		return domainxml.Parse(string(raw))
	}
	return domainxml.ParseXL(string(raw), p.Name, instance)
}

// GuestName reads the name of the guest from its libvirt XML, byte for byte as libvirt has it, blanks included. A
// file that releases of libvirt may read differently is an error. On storage that gives no answer it returns after
// five seconds.
//
// Source: virDomainDefParseIDs in libvirt's src/conf/domain_conf.c.
func GuestName(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), guestNameTime)
	defer cancel()
	d, err := timely.Get(ctx, func() (domainxml.Domain, error) { return domainxml.Read(path) })
	if err != nil {
		return "", fmt.Errorf("read guest's name from %q: %w", path, err)
	}
	return d.Name, nil
}

const guestNameTime = 5 * time.Second

// isClaimed reports whether what was found under a guessed name is the guest of another resource, as noted here.
func (a *run) isClaimed(uuid string) bool {
	if !a.guess {
		return false
	}
	entries, _ := a.notes.Guests.All() // a note that cannot be read claims nothing
	return slices.ContainsFunc(entries, func(e notes.Guest) bool {
		return e.Resource != a.Instance && e.UUID != "" && strings.EqualFold(e.UUID, uuid)
	})
}
