package resource

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Utilization is what a monitor does about one utilization attribute of the resource.
type Utilization struct {
	Name   string // cpu, host_memory or hv_memory
	Remove bool   // remove it, instead of setting it to what the guest has
}

// utilization reads autoset_… and unset_… for each attribute. Unset, VirtualDomain sets all of
// them, and the Xen agent none.
func (r *reader) utilization() []Utilization {
	auto := r.get("xmfile") == ""
	var all []Utilization
	for _, name := range []string{"cpu", "host_memory", "hv_memory"} {
		set := r.boolean("autoset_utilization_"+name, auto)
		remove := r.boolean("unset_utilization_"+name, false)
		if set || remove {
			all = append(all, Utilization{Name: name, Remove: !set})
		}
	}
	return all
}

const (
	// utilizationTime bounds what a monitor spends on it.
	utilizationTime = 2 * time.Second
	// utilizationRetry is how long Pacemaker is left alone after it did not take a value.
	utilizationRetry = 5 * time.Minute
	// utilizationAge is how long a guest has been here before Pacemaker is told: the first time belongs to the guest's
	// services. And each value is a change of Pacemaker's configuration, for which it plans anew, best not while
	// it is still starting what a crashed node left.
	utilizationAge = 30 * time.Second
	utilizationDir = "utilization"
)

// utilizationNote is what Pacemaker was told about this guest since it came here.
type utilizationNote struct {
	Told   map[string]string `json:"told"`   // by attribute; empty for one that was removed
	Failed time.Time         `json:"failed"` // when Pacemaker last did not take a value
}

// utilize tells Pacemaker how large the guest is, when that has changed. It never fails a monitor.
func (a *run) utilize(ctx context.Context, o observation) {
	ctx, cancel := within(ctx, utilizationTime)
	defer cancel()
	note, want, due := a.utilizationDue(ctx, o)
	if !due {
		return
	}
	if err := a.tell(ctx, &note, want); err != nil {
		a.Log.WithError(err).Warn("the utilization attributes could not be set: Pacemaker is asked again in five minutes")
		note.Failed = time.Now()
	}
	if err := a.state.save(utilizationDir, a.Instance, note); err != nil {
		a.Log.WithError(err).Warn("the utilization attributes will be set again by the next monitor")
	}
}

// utilizationDue tells whether Pacemaker should be told something, and what it was told. A guest whose
// size libvirt does not tell is left to the next monitor.
func (a *run) utilizationDue(ctx context.Context, o observation) (note utilizationNote, want map[string]string, due bool) {
	if !a.Pacemaker || len(a.Params.Utilization) == 0 || o.libErr != nil || a.isYoung(utilizationAge) {
		return note, nil, false
	}
	if err := a.state.load(utilizationDir, a.Instance, &note); err != nil || note.Told == nil {
		note = utilizationNote{Told: make(map[string]string)}
	}
	if since := time.Since(note.Failed); since >= 0 && since < utilizationRetry {
		return note, nil, false
	}
	want, err := a.utilizationOf(ctx)
	return note, want, err == nil && note.behind(want)
}

func (n utilizationNote) behind(want map[string]string) bool {
	for name, value := range want {
		if told, ok := n.Told[name]; !ok || told != value {
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

// tell brings Pacemaker up to date, and the note with it.
func (a *run) tell(ctx context.Context, note *utilizationNote, want map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := want[name]
		if told, ok := note.Told[name]; ok && told == value {
			continue
		}
		args := []string{"--resource", a.Instance, "--utilization"}
		// Pacemaker may know it from before, and a change of its configuration is not for nothing.
		now, err := a.command(ctx, "crm_resource", append(slices.Clone(args), "--quiet", "--get-parameter", name)...)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && strings.TrimSpace(now) == value, err != nil && value == "":
			note.Told[name] = value
			continue
		case value == "":
			args = append(args, "--delete-parameter", name)
		default:
			args = append(args, "--set-parameter", name, "--parameter-value", value)
		}
		if out, err := a.command(ctx, "crm_resource", args...); err != nil {
			return fmt.Errorf("crm_resource: %w", explain(out, err))
		}
		note.Told[name] = value
	}
	return nil
}

// forgetUtilization is for a guest that has left: where it comes to next, Pacemaker is told anew.
func (a *run) forgetUtilization() {
	_ = os.Remove(a.state.file(utilizationDir, a.Instance)) // most have none
}
