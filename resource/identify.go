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

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

// identity is the guest that a resource stands for.
type identity = notes.Identity

// identify finds out which guest this is about: from the config file, else from what the
// last call noted. With neither, it returns the error for the action, or leaves a guess.
func (a *run) identify(ctx context.Context) error {
	path := a.Params.File()
	a.config.domain, a.config.err = a.readGuest(ctx)
	if a.config.err == nil {
		a.guest = identity{Name: a.config.domain.Name, UUID: a.config.domain.UUID, Config: path}
		err := a.remember()
		a.keepToSeen()
		return err
	}
	noted, err := a.notes.Identities.Load(a.Instance)
	if err == nil && noted.Config == path {
		a.guest = noted
		a.keepToSeen()
		return a.goOnWithoutConfig()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.WithError(err).Warn("the note about the guest's name cannot be read")
	}
	return a.goOnWithoutName()
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
		a.guest.UUID, a.lent = seen.UUID, true
	default:
		meant := a.guest
		a.meant = &meant
		a.guest.Name, a.guest.UUID = seen.Guest, seen.UUID
	}
}

// welcome keeps to a guest that a migration has just brought, where the config file here gives its name another UUID:
// it was edited while the guest ran on the source, or each node has a file of its own. The source moved the guest that
// it had, and its UUID is noted then. A stranger of that name was not moved here while ours was on its way: libvirt has
// one guest of a name.
func (a *run) welcome(o observation) {
	if a.action != "migrate_from" || o.verdict != notRunning || o.namesake == nil ||
		o.namesake.State != libvirt.Running || o.namesake.Reason != "migrated" {
		return
	}
	a.Log.Warnf("guest %q has arrived with UUID %s, and the config file here says %s: the file counts when that one has ended",
		a.guest.Name, o.namesake.UUID, a.guest.UUID)
	meant := a.guest
	a.meant, a.guest.UUID = &meant, o.namesake.UUID
}

// ref is what libvirt looks the guest up by.
func (a *run) ref() string { return libvirt.Ref(a.guest.Name, a.guest.UUID) }

// claim makes sure before a start that the guest's name is free for it here. A UUID that libvirt made has ended
// with its guest: this start gives the guest another one, and any node may have done so, so that it goes by its
// name again.
func (a *run) claim(ctx context.Context, o observation) (observation, error) {
	switch {
	case o.verdict != notRunning || o.libErr != nil:
		return o, nil
	case o.namesake != nil && (o.namesake.State.Active() || !a.lent):
		return o, a.taken(*o.namesake)
	case a.lent:
		a.guest.UUID, a.lent = "", false
		return a.look(ctx), nil
	}
	return o, nil
}

// taken is why the guest is not started: libvirt has another one of its name.
func (a *run) taken(other libvirt.Status) error {
	uri := shellword.Word(a.Params.Hypervisor)
	to := fmt.Sprintf("to remove that definition, type virsh -c %s undefine --keep-nvram --keep-tpm %s; "+
		"if both are one guest, write <uuid>%s</uuid> in its file",
		uri, other.UUID, other.UUID)
	if other.State.Active() {
		to = fmt.Sprintf("to end that one, type virsh -c %s shutdown %s, or give one of them another name", uri, other.UUID)
	}
	return fail(Generic, "guest %q with UUID %s not started: libvirt has another guest of this name, %s, with UUID %s: %s",
		a.guest.Name, a.guest.UUID, other.State, other.UUID, to)
}

// recall is for a call without parameters. Pacemaker makes one when it stops a resource that was
// taken out of its configuration while the guest was moving; to refuse it gets the node fenced.
// What was noted of the resource on this node says which guest it is.
func (a *run) recall() {
	if a.Params.File() != "" || needs(a.action, living) {
		return
	}
	noted, err := a.notes.Identities.Load(a.Instance)
	if err != nil {
		return // check says what is missing
	}
	a.Log.Warnf("called without parameters: going on with guest %q of %s, as noted", noted.Name, noted.Config)
	a.Params.Config = noted.Config
	a.Problems = slices.DeleteFunc(slices.Clone(a.Problems), func(p Problem) bool { return p.Param == "config" })
}

// remember notes the name before anything is started under it. Actions that bring a
// guest here fail without the note: after them, "never noted" must mean "never here".
func (a *run) remember() error {
	if a.action == "validate-all" {
		return nil // changes nothing, and may be run by anybody
	}
	err := a.notes.Identities.Save(a.Instance, a.guest)
	switch {
	case err == nil:
		return nil
	case a.action == "start" || a.action == "migrate_from":
		return because(Generic, err, "cannot note the guest's name before it comes here")
	}
	a.Log.WithError(err).Warn("cannot note the guest's name: make the state directory writable")
	return nil
}

// goOnWithoutConfig lets the actions through that need no more than a name. To start
// a guest, and to vouch for a configuration, takes the file.
func (a *run) goOnWithoutConfig() error {
	switch a.action {
	case "start", "validate-all":
		return a.configError()
	}
	a.Log.WithError(a.config.err).Warnf("config file is not usable: going on with guest %q, which it named last", a.guest.Name)
	return nil
}

// goOnWithoutName is for a node on which this resource was never seen since boot: no file, no
// note. Nothing was started here under it, as a start writes the note first. A
// file NAME.xml most often describes guest NAME, so a guest of that name is still
// looked for before anyone is told that it is not here.
func (a *run) goOnWithoutName() error {
	if a.action != "stop" && !(a.isMonitor() && a.Probe) {
		return a.configError()
	}
	path := a.Params.File()
	base := filepath.Base(path)
	a.guest = identity{Name: cmp.Or(a.Params.Name, strings.TrimSuffix(base, filepath.Ext(base))), Config: path}
	a.guess = a.Params.Name == "" // else the operator said it
	a.Log.WithError(a.config.err).Infof("config file is not usable and the guest's name is not known: looking for %q", a.guest.Name)
	return nil
}

// configError says what is wrong with the config file. The code is 5, as from
// VirtualDomain: the file of another node may be good.
func (a *run) configError() error {
	path, err := a.Params.File(), a.config.err
	what, param := "the guest's libvirt XML", "config"
	if a.Params.XMFile != "" {
		what, param = "the guest's xl configuration", "xmfile"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(Installed, "config file %q does not exist on this node: put %s there, or correct the parameter %s", path, what, param)
	case errors.Is(err, errNoStorage):
		return because(Generic, err, "config file %q cannot be read: type df %s to see its file system",
			path, shellword.Word(path))
	case errors.Is(err, fs.ErrPermission):
		return fail(Installed, "config file %q cannot be read: make it readable for root", path)
	}
	return because(Installed, err, "config file %q cannot be used", path)
}
