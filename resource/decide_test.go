package resource

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

// seen is an observation of a state.
func seen(s observe.State) observe.Observation {
	return observe.Observation{State: s, Proc: observe.ProcUnasked}
}

// unreachable is the same where libvirt does not answer.
func unreachable(s observe.State) observe.Observation {
	return observe.Observation{State: s, Libvirt: observe.Unreachable, LibvirtErr: libvirt.ErrConnect, Proc: observe.ProcUnknown}
}

// pausedAs is a guest that libvirt calls paused for a reason.
func pausedAs(s observe.State, l observe.LibvirtState) observe.Observation {
	return observe.Observation{State: s, Libvirt: l, Status: libvirt.Status{State: libvirt.Paused}}
}

func TestDecideStart(t *testing.T) {
	for name, c := range map[string]struct {
		f    startFacts
		want startStep
	}{
		"nothing is here":                         {startFacts{Observation: seen(observe.NotRunning)}, startAskPeers},
		"nothing is here, and it is late":         {startFacts{Observation: seen(observe.NotRunning), late: true}, startAskPeers},
		"nothing is here, and no libvirt":         {startFacts{Observation: unreachable(observe.NotRunning)}, startTakeIt},
		"it runs":                                 {startFacts{Observation: seen(observe.Running)}, startTakeIt},
		"it runs, and no libvirt":                 {startFacts{Observation: unreachable(observe.Running)}, startTakeIt},
		"it runs, and may be leaving":             {startFacts{Observation: seen(observe.Running), leaves: true}, startAbort},
		"it runs, may be leaving, and it is late": {startFacts{Observation: seen(observe.Running), leaves: true, late: true}, startTakeIt},
		"it arrives":                              {startFacts{Observation: seen(observe.Incoming)}, startTakeIt},
		"it arrives by a fetch":                   {startFacts{Observation: seen(observe.Incoming), fetches: true}, startResume},
		"it arrives by a fetch, and it is late":   {startFacts{Observation: seen(observe.Incoming), fetches: true, late: true}, startTakeIt},
		"it was left paused":                      {startFacts{Observation: seen(observe.Switching), leaves: true}, startTakeIt},
		"it does not work":                        {startFacts{Observation: seen(observe.Stalled), leaves: true}, startTakeIt},
		"nobody can tell":                         {startFacts{Observation: seen(observe.Unknown)}, startTakeIt},
		"the guard bars it":                       {startFacts{Observation: seen(observe.NotRunning), barred: errBarred}, startAwaitLease},
		"the guard bars it, and it is late":       {startFacts{Observation: seen(observe.NotRunning), barred: errBarred, late: true}, startAwaitLease},
		"the guard bars it, and no libvirt":       {startFacts{Observation: unreachable(observe.NotRunning), barred: errBarred}, startTakeIt},
		"the guard bars it, and it runs":          {startFacts{Observation: seen(observe.Running), barred: errBarred}, startTakeIt},
		"the guard bars it, and it arrives":       {startFacts{Observation: seen(observe.Incoming), fetches: true, barred: errBarred}, startResume},
	} {
		if got := decideStart(c.f); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDecideStop(t *testing.T) {
	for _, c := range []struct {
		saves, arrival bool
		want           string
	}{
		{false, false, "shutdown destroy kill"},
		{true, false, "save shutdown destroy kill"},
		{false, true, "kill"},
		{true, true, "kill"},
	} {
		var got []string
		b, last := newBudget(90*time.Second), time.Duration(0)
		for _, s := range decideStop(b, ladder.Default.ForStop(), c.saves, c.arrival) {
			got = append(got, s.name)
			if s.end <= last || s.end > b.end {
				t.Errorf("%s ends after %v, and the step before it after %v", s.name, s.end, last)
			}
			last = s.end
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("saves %t, arrival %t: %q, want %q", c.saves, c.arrival, got, c.want)
		}
	}
}

// A rung that the guest's ladder does not have is not taken.
func TestStopKeepsToTheLadder(t *testing.T) {
	for _, s := range decideStop(newBudget(90*time.Second), ladder.Rungs{ladder.Live, ladder.Destroy}, false, false) {
		if s.rung != ladder.Destroy {
			t.Errorf("a stop takes %s, which is not on the ladder", s.rung)
		}
	}
}

// Each rung that ends the guest has its step in a stop, in the ladder's order.
func TestStopTakesEachRung(t *testing.T) {
	var got ladder.Rungs
	for _, s := range decideStop(newBudget(90*time.Second), ladder.All(), true, false) {
		got = append(got, s.rung)
	}
	got = slices.Compact(got) // the last in two ways
	if want := ladder.All().Ending(); !slices.Equal(got, want) {
		t.Errorf("a stop takes %v, want %v", got, want)
	}
}

func TestDecideShutdown(t *testing.T) {
	runs := observe.Observation{State: observe.Running, Libvirt: "running/booted", Status: libvirt.Status{State: libvirt.Running}}
	ending := runs
	ending.State, ending.Proc = observe.Unknown, observe.ProcEnding
	for name, c := range map[string]struct {
		f    shutdownFacts
		want shutdownAct
	}{
		"gone":                                {shutdownFacts{Observation: seen(observe.NotRunning)}, shutdownDone},
		"gone, and no libvirt":                {shutdownFacts{Observation: unreachable(observe.NotRunning), silent: time.Hour}, shutdownDone},
		"runs":                                {shutdownFacts{Observation: runs, due: true}, shutdownRequest},
		"was asked":                           {shutdownFacts{Observation: runs}, shutdownWait},
		"libvirt is silent":                   {shutdownFacts{Observation: unreachable(observe.Running), due: true, silent: time.Second}, shutdownWait},
		"libvirt stays silent":                {shutdownFacts{Observation: unreachable(observe.Running), due: true, silent: libvirtPatience}, shutdownWithoutLibvirt},
		"shuts down already":                  {shutdownFacts{Observation: ending, due: true}, shutdownWait},
		"is being saved by this stop":         {shutdownFacts{Observation: pausedAs(observe.Running, observe.PausedSave), saving: true}, shutdownAbortSave},
		"is being saved by a person":          {shutdownFacts{Observation: pausedAs(observe.Running, observe.PausedSave), due: true}, shutdownGiveUp},
		"leaves by post-copy":                 {shutdownFacts{Observation: pausedAs(observe.Running, observe.PausedPostCopy), due: true}, shutdownWait},
		"paused by a person":                  {shutdownFacts{Observation: pausedAs(observe.Running, observe.PausedUser), due: true}, shutdownGiveUp},
		"libvirt has no state for it (Xen)":   {shutdownFacts{Observation: observe.Observation{State: observe.Running, Libvirt: observe.NoState}, due: true}, shutdownRequest},
		"its post-copy broke":                 {shutdownFacts{Observation: pausedAs(observe.Stalled, observe.PausedPostCopyFailed), due: true}, shutdownGiveUp},
		"libvirt has lost it, its process is": {shutdownFacts{Observation: observe.Observation{State: observe.Running, Libvirt: observe.Absent}, due: true}, shutdownGiveUp},
	} {
		if got := decideShutdown(c.f); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The reason that is logged is the true one: a libvirt that does not answer says nothing of the guest.
func TestUnsavable(t *testing.T) {
	runs := observe.Observation{State: observe.Running, Libvirt: "running/booted", Status: libvirt.Status{State: libvirt.Running}}
	lost := observe.Observation{State: observe.Running, Libvirt: observe.Absent, Proc: observe.ProcUnasked}
	for name, c := range map[string]struct {
		o    observe.Observation
		want error
	}{
		"runs":                    {runs, nil},
		"paused by a person":      {pausedAs(observe.Running, observe.PausedUser), nil},
		"has an I/O error":        {pausedAs(observe.Stalled, "paused/ioerror"), errNotAlive},
		"libvirt does not answer": {unreachable(observe.Running), errNoLibvirt},
		"libvirt has lost it":     {lost, errLost},
	} {
		if got := unsavable(c.o); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDecideMigrateTo(t *testing.T) {
	for name, c := range map[string]struct {
		o      observe.Observation
		barred error
		want   migrateStep
	}{
		"runs":                    {seen(observe.Running), nil, migrateMove},
		"its post-copy broke":     {pausedAs(observe.Stalled, observe.PausedPostCopyFailed), nil, migrateMove},
		"has an I/O error":        {pausedAs(observe.Stalled, "paused/ioerror"), nil, migrateRefuse},
		"is not here":             {seen(observe.NotRunning), nil, migrateConfirm},
		"arrives":                 {seen(observe.Incoming), nil, migrateRefuse},
		"nobody can tell":         {seen(observe.Unknown), nil, migrateRefuse},
		"target barred":           {seen(observe.Running), errBarred, migrateBarred},
		"target barred, is there": {seen(observe.NotRunning), errBarred, migrateConfirm},
		"barred, post-copy broke": {pausedAs(observe.Stalled, observe.PausedPostCopyFailed), errBarred, migrateMove},
	} {
		if got := decideMigrateTo(c.o, c.barred); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDecideMonitor(t *testing.T) {
	guest := observe.Identity{Name: "vm1", UUID: guestUUID}
	namesake := observe.Observation{State: observe.NotRunning, Libvirt: observe.Absent, Proc: observe.ProcNone, Namesake: &libvirt.Status{UUID: strangerUUID}}
	for name, c := range map[string]struct {
		o      observe.Observation
		want   ocf.ExitCode
		reason string
	}{
		"runs":                 {seen(observe.Running), ocf.Success, ""},
		"is not here":          {seen(observe.NotRunning), ocf.NotRunning, ""},
		"another of its name":  {namesake, ocf.NotRunning, strangerUUID},
		"arrives":              {seen(observe.Incoming), ocf.NotRunning, ""},
		"was left paused":      {seen(observe.Switching), ocf.Generic, "left paused by a migration"},
		"does not work":        {seen(observe.Stalled), ocf.Generic, "does not work"},
		"nobody can tell":      {seen(observe.Unknown), ocf.Generic, "cannot tell"},
		"libvirt is away, too": {unreachable(observe.Unknown), ocf.Generic, "libvirt does not answer"},
	} {
		t.Run(name, func(t *testing.T) { checkExit(t, decideMonitor(guest, c.o), c.want, c.reason) })
	}
}

// Only Xen's driver keeps what a migration that broke has brought, and only what never ran here is such.
func TestWhatAMigrationLeft(t *testing.T) {
	qemu, xen := libvirt.DriverOf("qemu:///system"), libvirt.DriverOf(xenURI)
	half := observe.Observation{State: observe.Incoming, Proc: observe.ProcIncoming, Libvirt: "shut off/unknown"}
	listed := observe.Observation{State: observe.NotRunning, Proc: observe.ProcNone, Libvirt: "shut off/unknown"}
	defined, runs := listed, half
	defined.Status.Persistent, runs.State = true, observe.Running
	for name, c := range map[string]struct{ got, want bool }{
		"half a guest":                    {isArrival(xen, half, false), true},
		"half a guest of QEMU's":          {isArrival(qemu, half, false), false},
		"it ran here":                     {isArrival(xen, half, true), false},
		"it runs":                         {isArrival(xen, runs, false), false},
		"whole process":                   {isArrival(xen, seen(observe.Switching), false), false},
		"libvirt alone has it":            {isStuck(xen, listed), true},
		"QEMU's driver forgets it itself": {isStuck(qemu, listed), false},
		"it is defined":                   {isStuck(xen, defined), false},
		"half of it is here":              {isStuck(xen, half), false},
		"libvirt does not answer":         {isStuck(xen, unreachable(observe.NotRunning)), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t, want %t", name, c.got, c.want)
		}
	}
}
