package utilization

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
)

// Attribute is what is done about one utilization attribute of a resource.
type Attribute struct {
	Name   string // cpu, host_memory or hv_memory
	Remove bool   // remove it, instead of setting it to what the guest has
}

// value is what the attribute should be, "" for none, in Pacemaker's units: processors and MiB. The Xen agent takes the
// memory that the guest has, and VirtualDomain what it may have.
func (a Attribute) value(size libvirt.Info, xen bool) string {
	switch {
	case a.Remove:
		return ""
	case a.Name == "cpu":
		return strconv.FormatUint(uint64(size.CPUs), 10)
	case xen:
		return strconv.FormatUint(size.Memory/1024, 10)
	}
	return strconv.FormatUint(size.MaxMemory/1024, 10)
}

// Updater keeps the attributes of one resource.
type Updater struct {
	Resource, Node string
	Attributes     []Attribute
	XenAgent       bool                                            // the parameters are those of the Xen agent
	Size           func(ctx context.Context) (libvirt.Info, error) // of the guest, by libvirt
	// Run runs a program and returns its output; its error has the program's last words.
	Run   command.Runner
	Notes notes.Store
	Log   logrus.FieldLogger
}

// Due reports whether an attribute is to be changed; want has the values, "" for one to remove, and note what is set
// now. A guest whose size libvirt does not know is left to the next monitor.
func (u Updater) Due(ctx context.Context) (note notes.Utilization, want map[string]string, due bool) {
	note, err := u.Notes.Utilization.Load(u.Resource)
	if err != nil {
		note = notes.Utilization{Set: make(map[string]string)}
	}
	if len(u.Attributes) == 0 || !note.MayRetry(time.Now()) {
		return note, nil, false
	}
	var size libvirt.Info
	if !u.removesAll() {
		if size, err = u.Size(ctx); err != nil {
			return note, nil, false
		}
	}
	want = make(map[string]string)
	for _, a := range u.Attributes {
		want[a.Name] = a.value(size, u.XenAgent)
		due = due || !note.IsSet(a.Name, want[a.Name])
	}
	return note, want, due
}

func (u Updater) removesAll() bool {
	return !slices.ContainsFunc(u.Attributes, func(a Attribute) bool { return !a.Remove })
}

// Update sets the attributes whose value has changed. Where another guest's attributes are being set until
// ctx ends, that is left to the next monitor.
func (u Updater) Update(ctx context.Context) {
	note, want, due := u.Due(ctx)
	if !due {
		return
	}
	lock, err := u.Notes.UtilizationLock().Acquire(ctx, nil)
	if err != nil {
		return
	}
	defer lock.Release()
	denied, err := u.set(ctx, &note, want)
	if err != nil {
		u.Log.WithError(err).Warn("the utilization attributes could not be set: retrying in five minutes")
	}
	if err != nil || denied {
		note.Failed = time.Now()
	}
	if err := u.Notes.Utilization.Save(u.Resource, note); err != nil {
		u.Log.WithError(err).Warn("the utilization attributes will be set again by the next monitor")
	}
}

// set brings Pacemaker up to date, and the note with it; denied reports that a value was not set for lack of room.
func (u Updater) set(ctx context.Context, note *notes.Utilization, want map[string]string) (denied bool, err error) {
	// Once for all of them: the scheduler takes seconds where it has hundreds of guests to place.
	ask := sync.OnceValues(func() (capacity, error) { return u.askCapacity(ctx) })
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := want[name]
		if note.IsSet(name, value) {
			continue
		}
		// Pacemaker may have it from before, and a change of its configuration is expensive.
		now := u.current(ctx, name)
		room := true
		switch {
		case ctx.Err() != nil:
			return denied, ctx.Err()
		case now == value:
		case value == "":
			err = u.crmResource(ctx, "--delete-parameter", name)
		default:
			if room, err = u.hasRoom(ask, note, name, value); err == nil && room {
				err = u.crmResource(ctx, "--set-parameter", name, "--parameter-value", value)
			}
		}
		if err != nil {
			return denied, err
		}
		if denied = denied || !room; room {
			note.Set[name] = value
		}
	}
	return denied, nil
}

func (u Updater) args(args ...string) []string {
	return append([]string{"--resource", u.Resource, "--utilization"}, args...)
}

func (u Updater) crmResource(ctx context.Context, args ...string) error {
	if _, err := u.Run(ctx, "crm_resource", u.args(args...)...); err != nil {
		return fmt.Errorf("crm_resource: %w", err)
	}
	return nil
}

// current is the attribute's value in Pacemaker's configuration, empty where it has none. crm_resource says that
// in words then, and Pacemaker 3 exits with 0 all the same.
func (u Updater) current(ctx context.Context, name string) string {
	out, err := u.Run(ctx, "crm_resource", u.args("--quiet", "--get-parameter", name)...)
	value := command.LastLine(out) // messages of other kinds come before it
	if _, nerr := strconv.ParseInt(value, 10, 64); err != nil || nerr != nil {
		return ""
	}
	return value
}

// askCapacity asks Pacemaker what this node has, and how resources are placed.
func (u Updater) askCapacity(ctx context.Context) (capacity, error) {
	out, err := u.Run(ctx, "crm_simulate", "--live-check", "--quiet", "--show-utilization")
	if err != nil {
		return capacity{}, fmt.Errorf("crm_simulate: %w", err)
	}
	c, err := parseCapacity(out, u.Node, u.Resource)
	if err != nil {
		return c, err
	}
	out, err = u.Run(ctx, "crm_attribute", "--type", "crm_config", "--name", "placement-strategy",
		"--query", "--quiet", "--default", "default")
	if err != nil {
		return c, fmt.Errorf("crm_attribute: %w", err)
	}
	c.strategy = strings.TrimSpace(out)
	return c, nil
}

// hasRoom reports whether the guest stays here when the attribute gets the value. Pacemaker would else stop it.
func (u Updater) hasRoom(ask func() (capacity, error), note *notes.Utilization, name, value string) (bool, error) {
	amount, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return false, err
	}
	c, err := ask()
	if err != nil {
		return false, err
	}
	if c.placed && c.allows(name, amount, c.strategy) {
		delete(note.Denied, name)
		return true, nil
	}
	if note.Denied[name] != value && c.placed {
		u.Log.Warnf("the utilization attribute %s=%s is not set, as node %s has %d left of it, "+
			"and Pacemaker would stop the guest: correct what the node has, or type "+
			"crm_resource --resource %s --set-parameter autoset_utilization_%s --parameter-value false",
			name, value, u.Node, c.left[name], shellword.Word(u.Resource), name)
		if note.Denied == nil {
			note.Denied = make(map[string]string)
		}
		note.Denied[name] = value
	}
	return false, nil
}

// Unset removes the attributes that are to be removed, of a guest that is not here.
func (u Updater) Unset(ctx context.Context) {
	for _, a := range u.Attributes {
		if !a.Remove || u.current(ctx, a.Name) == "" { // as most often
			continue
		}
		err := u.crmResource(ctx, "--delete-parameter", a.Name)
		switch {
		case err == nil:
			u.Log.Infof("the utilization attribute %s is removed", a.Name)
		case u.current(ctx, a.Name) != "": // else another node's probe was faster
			u.Log.WithError(err).Warnf("the utilization attribute %s could not be removed", a.Name)
		}
	}
}
