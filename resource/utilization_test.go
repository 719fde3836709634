package resource

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// utilizationWorld is a node with so much hv_memory that runs the guest, of which Pacemaker knows no utilization yet.
func utilizationWorld(t *testing.T, hvMemory string) (*world, *test.Hook) {
	w := newWorld(t, "monitor")
	w.boot()
	log, hook := test.NewNullLogger()
	w.agent.Log = log
	w.noted()
	w.aged(time.Minute)
	w.agent.Pacemaker, w.info = true, libvirt.Info{CPUs: 1, Memory: 32 << 10, MaxMemory: 32 << 10}
	w.program = func(_ context.Context, line string) (string, error) {
		switch {
		case strings.Contains(line, "--get-parameter"):
			return fails("no such attribute")
		case strings.HasPrefix(line, "crm_simulate"):
			return "Original: node1 capacity: cpu=2 host_memory=4096 hv_memory=" + hvMemory +
				"\npcmk__assign_resource: res1 utilization on node1:\n" +
				"Remaining: node1 capacity: cpu=2 host_memory=4096 hv_memory=" + hvMemory + "\n", nil
		case strings.HasPrefix(line, "crm_attribute"):
			return "balanced\n", nil
		}
		return "", nil
	}
	return w, hook
}

// The nodes have hv_memory=0: to set it of a guest that runs would stop it. That is said once, and asked again later.
func TestUtilizationThatDoesNotFit(t *testing.T) {
	w, hook := utilizationWorld(t, "0")
	sets := func() (names []string) {
		for _, call := range w.calls {
			if _, set, ok := strings.Cut(call, "--set-parameter "); ok {
				names = append(names, set)
			}
		}
		w.calls = nil
		return names
	}
	for _, want := range [][]string{{"cpu --parameter-value 1", "host_memory --parameter-value 32"}, nil} {
		err, _ := w.run("monitor")
		checkExit(t, err, ocf.Success, "")
		if got := sets(); !slices.Equal(got, want) {
			t.Errorf("set %q, want %q", got, want)
		}
	}
	note, err := w.notes().Utilization.Load("res1")
	if err != nil {
		t.Fatal(err)
	}
	note.Failed = time.Now().Add(-time.Hour)
	if err := w.notes().Utilization.Save("res1", note); err != nil {
		t.Fatal(err)
	}
	err, _ = w.run("monitor")
	checkExit(t, err, ocf.Success, "")
	if got := sets(); len(got) > 0 {
		t.Errorf("set %q", got)
	}
	warned := 0
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.WarnLevel && strings.Contains(e.Message, "hv_memory=32 is not set") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("warned %d times", warned)
	}
}

// A guest that Pacemaker has stopped for an attribute loses it by a probe, and by a stop.
func TestUnsetUtilizationOfAStoppedGuest(t *testing.T) {
	none := func(context.Context, string) (string, error) { // Pacemaker 3.0.0, which exits with 0
		return "Attribute 'hv_memory' not found for 'res1'\n", nil
	}
	for _, c := range []struct {
		action string
		probe  bool
		build  func(*world)
		want   ocf.ExitCode
		unset  bool
	}{
		{"monitor", true, nil, ocf.NotRunning, true},
		{"monitor", false, nil, ocf.NotRunning, false},
		{"monitor", true, func(w *world) { w.agent.Pacemaker = false }, ocf.NotRunning, false},
		{"monitor", true, func(w *world) { w.agent.Params.Utilization[0].Remove = false }, ocf.NotRunning, false},
		{"monitor", true, func(w *world) { w.program = none }, ocf.NotRunning, false},
		{"stop", false, nil, ocf.Success, true},
		{"stop", false, (*world).boot, ocf.Success, true},
	} {
		w := newWorld(t, c.action)
		w.agent.Pacemaker, w.agent.Probe = true, c.probe
		w.agent.Params.Utilization = []param.Utilization{{Name: "hv_memory", Remove: true}}
		w.program = func(context.Context, string) (string, error) { return "32\n", nil }
		if c.build != nil {
			c.build(w)
		}
		err, _ := w.run(c.action)
		checkExit(t, err, c.want, "")
		unset := slices.Contains(w.calls, "crm_resource --resource res1 --utilization --delete-parameter hv_memory")
		if unset != c.unset {
			t.Errorf("%s, probe %v: did %q", c.action, c.probe, w.calls)
		}
		if w.agent.Command = nil; c.unset && c.probe {
			if err, _ := w.run(c.action); err != ErrMore {
				t.Errorf("without programs: %v", err)
			}
		}
	}
}

// Guests that came at once set their values one after the other, and one that waits is no failure: its next monitor
// has its turn. Pacemaker plans once for all of a guest's values.
func TestUtilizationHasItsTurn(t *testing.T) {
	w, hook := utilizationWorld(t, "4096")
	turn, err := w.notes().UtilizationLock().Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.agent.Timeout = time.Second // so that the wait is short
	err, _ = w.run("monitor")
	turn.Release()
	checkExit(t, err, ocf.Success, "")
	if len(w.calls) > 0 || len(hook.AllEntries()) > 0 {
		t.Errorf("did %q, said %d lines, while another guest had its turn", w.calls, len(hook.AllEntries()))
	}
	w.agent.Timeout = 0
	err, _ = w.run("monitor")
	checkExit(t, err, ocf.Success, "")
	count := func(word string) (n int) {
		for _, call := range w.calls {
			if strings.Contains(call, word) {
				n++
			}
		}
		return n
	}
	if set, plans := count("--set-parameter"), count("crm_simulate"); set != 3 || plans != 1 {
		t.Errorf("set %d values with %d plans", set, plans)
	}
}
