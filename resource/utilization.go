package resource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

// Utilization is what a monitor does about one utilization attribute of the resource.
type Utilization struct {
	Name   string // cpu, host_memory or hv_memory
	Remove bool   // remove it, instead of setting it to what the guest has
}

// utilization reads autoset_… and unset_… for each attribute. Unset, VirtualDomain sets all of
// them, and the Xen agent none. As there, autoset_… goes before, but only one that somebody has set.
func (r *reader) utilization() []Utilization {
	auto := r.get("xmfile") == ""
	var all []Utilization
	for _, name := range []string{"cpu", "host_memory", "hv_memory"} {
		remove := r.boolean("unset_utilization_"+name, false)
		set := r.boolean("autoset_utilization_"+name, auto && !remove)
		if set || remove {
			all = append(all, Utilization{Name: name, Remove: !set})
		}
	}
	return all
}

const (
	// utilizationTime bounds what a monitor spends on it.
	utilizationTime = 5 * time.Second
	// utilizationAge is how long a guest has been here before Pacemaker is told: the first time belongs to the guest's
	// services. And each value is a change of Pacemaker's configuration, for which it plans anew, best not while
	// it is still starting what a crashed node left.
	utilizationAge = 30 * time.Second
)

// utilize tells Pacemaker how large the guest is, when that has changed. It never fails a monitor.
func (a *run) utilize(ctx context.Context, o observation) {
	ctx, cancel := within(ctx, utilizationTime)
	defer cancel()
	note, want, due := a.utilizationDue(ctx, o)
	if !due {
		return
	}
	turn, err := a.utilizationTurn(ctx)
	if err != nil {
		return // another guest's values are being set: at the next monitor
	}
	defer turn.Release()
	denied, err := a.tell(ctx, &note, want)
	if err != nil {
		a.Log.WithError(err).Warn("the utilization attributes could not be set: Pacemaker is asked again in five minutes")
	}
	if err != nil || denied {
		note.Failed = time.Now()
	}
	if err := a.notes.Utilization.Save(a.Instance, note); err != nil {
		a.Log.WithError(err).Warn("the utilization attributes will be set again by the next monitor")
	}
}

// utilizationDue tells whether Pacemaker should be told something, and what it was told. A guest whose
// size libvirt does not tell is left to the next monitor.
func (a *run) utilizationDue(ctx context.Context, o observation) (note notes.Utilization, want map[string]string, due bool) {
	if !a.Pacemaker || len(a.Params.Utilization) == 0 || o.libErr != nil || a.isYoung(utilizationAge) {
		return note, nil, false
	}
	note, err := a.notes.Utilization.Load(a.Instance)
	if err != nil {
		note = notes.Utilization{Told: make(map[string]string)}
	}
	if !note.MayRetry(time.Now()) {
		return note, nil, false
	}
	want, err = a.utilizationOf(ctx)
	return note, want, err == nil && lags(note, want)
}

// lags tells whether Pacemaker was not told all of these values.
func lags(note notes.Utilization, want map[string]string) bool {
	for name, value := range want {
		if !note.IsSet(name, value) {
			return true
		}
	}
	return false
}

// utilizationOf is what the attributes should be; an empty one is to be removed.
func (a *run) utilizationOf(ctx context.Context) (map[string]string, error) {
	want := make(map[string]string)
	var info libvirt.Info
	for _, u := range a.Params.Utilization {
		if u.Remove {
			want[u.Name] = ""
			continue
		}
		if info.CPUs == 0 {
			conn, err := a.connect(ctx)
			if err != nil {
				return nil, err
			}
			if info, err = conn.Info(ctx, a.ref()); err != nil {
				a.dropBroken(err)
				return nil, err
			}
		}
		want[u.Name] = u.of(info, a.Params.XMFile != "")
	}
	return want, nil
}

// of is an attribute's value, in Pacemaker's units: processors and MiB. The Xen agent takes the
// memory that the guest has, and VirtualDomain what it may have.
func (u Utilization) of(i libvirt.Info, xm bool) string {
	switch {
	case u.Name == "cpu":
		return strconv.FormatUint(uint64(i.CPUs), 10)
	case xm:
		return strconv.FormatUint(i.Memory/1024, 10)
	}
	return strconv.FormatUint(i.MaxMemory/1024, 10)
}

// tell brings Pacemaker up to date, and the note with it; denied tells that a value was not set for lack of room.
func (a *run) tell(ctx context.Context, note *notes.Utilization, want map[string]string) (denied bool, err error) {
	// Once for all of them: the scheduler takes seconds where it has hundreds of guests to place.
	ask := sync.OnceValues(func() (capacity, error) { return a.capacity(ctx) })
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := want[name]
		if note.IsSet(name, value) {
			continue
		}
		// Pacemaker may know it from before, and a change of its configuration is not for nothing.
		now := a.utilizationNow(ctx, name)
		switch {
		case ctx.Err() != nil:
			return denied, ctx.Err()
		case now == value:
			note.Told[name] = value
			continue
		case value == "":
			err = a.setUtilization(ctx, "--delete-parameter", name)
		default:
			var room bool
			if room, err = a.hasRoom(ask, note, name, value); err == nil && !room {
				denied = true
				continue
			}
			if err == nil {
				err = a.setUtilization(ctx, "--set-parameter", name, "--parameter-value", value)
			}
		}
		if err != nil {
			return denied, err
		}
		note.Told[name] = value
	}
	return denied, nil
}

func (a *run) utilizationArgs(args ...string) []string {
	return append([]string{"--resource", a.Instance, "--utilization"}, args...)
}

func (a *run) setUtilization(ctx context.Context, args ...string) error {
	if out, err := a.command(ctx, "crm_resource", a.utilizationArgs(args...)...); err != nil {
		return fmt.Errorf("crm_resource: %w", explain(out, err))
	}
	return nil
}

// hasRoom tells whether the guest stays here when the attribute gets the value. Pacemaker would else stop a guest that
// runs well, for a value that nobody but this agent has asked for.
func (a *run) hasRoom(ask func() (capacity, error), note *notes.Utilization, name, value string) (bool, error) {
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
		a.Log.Warnf("the utilization attribute %s=%s is not set, as node %s has %d left of it, "+
			"and Pacemaker would stop the guest: correct what the node has, or type "+
			"crm_resource --resource %s --set-parameter autoset_utilization_%s --parameter-value false",
			name, value, a.Node, c.left[name], shellword.Word(a.Instance), name)
		if note.Denied == nil {
			note.Denied = make(map[string]string)
		}
		note.Denied[name] = value
	}
	return false, nil
}

// unsetTime bounds the removal of attributes of a guest that is not here.
const unsetTime = 5 * time.Second

// removesUtilization names the attributes that are to be removed from Pacemaker's configuration.
func (a *run) removesUtilization() []string {
	var names []string
	for _, u := range a.Params.Utilization {
		if u.Remove && a.Pacemaker {
			names = append(names, u.Name)
		}
	}
	return names
}

// tidyUtilization removes attributes of a guest that is not here, and returns how the action ended. One that Pacemaker
// has stopped because they fit on no node has no monitor that could: what remains are its stop, and the probes of
// crm_resource --refresh.
func (a *run) tidyUtilization(ctx context.Context, end error) error {
	away := a.action == "stop" && end == nil || a.isMonitor() && a.Probe && CodeOf(end) == NotRunning
	switch {
	case !away || len(a.removesUtilization()) == 0:
	case a.Command == nil:
		return ErrMore
	default:
		a.unsetUtilization(ctx)
	}
	return end
}

// unsetUtilization removes the attributes that the parameters want removed.
func (a *run) unsetUtilization(ctx context.Context) {
	ctx, cancel := within(ctx, unsetTime)
	defer cancel()
	for _, name := range a.removesUtilization() {
		if a.utilizationNow(ctx, name) == "" { // as most often
			continue
		}
		err := a.setUtilization(ctx, "--delete-parameter", name)
		switch {
		case err == nil:
			a.Log.Infof("the utilization attribute %s is removed", name)
		case a.utilizationNow(ctx, name) != "": // else another node's probe was faster
			a.Log.WithError(err).Warnf("the utilization attribute %s could not be removed", name)
		}
	}
}

// utilizationNow is the attribute's value in Pacemaker's configuration, empty where it has none. crm_resource says that
// in words then, and Pacemaker 3 exits with 0 all the same.
func (a *run) utilizationNow(ctx context.Context, name string) string {
	out, err := a.command(ctx, "crm_resource", a.utilizationArgs("--quiet", "--get-parameter", name)...)
	value := lastLine(out)
	if _, nerr := strconv.ParseInt(value, 10, 64); err != nil || nerr != nil {
		return ""
	}
	return value
}
