package resource

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

const strangerUUID = "99999999-2222-4333-8444-555555555555"

// stranger is another guest of our guest's name, in a state of libvirt's.
func stranger(s libvirt.State) func(*world) {
	return func(w *world) {
		w.is(s, "booted")
		w.state.UUID, w.state.Persistent = strangerUUID, s == libvirt.ShutOff
		w.procs = nil
		if s != libvirt.ShutOff {
			w.procs = []hostproc.Process{{PID: 78, Name: "vm1", UUID: strangerUUID, StartTime: 5}}
		}
	}
}

// withoutUUID has the config file name no UUID.
func withoutUUID(w *world) {
	text := strings.Replace(guestXML, "<uuid>"+guestUUID+"</uuid>", "", 1)
	if err := os.WriteFile(w.agent.Params.Config, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// probe makes a monitor a probe.
func probe(w *world) { w.agent.Probe = true }

// Another guest of the same name is nobody's of ours, and nothing is done to it.
func TestNamesake(t *testing.T) {
	dies := func(w *world) { w.open = func(context.Context, string) error { return dead() } }
	for _, c := range []struct {
		name, action string
		build        []func(*world)
		want         ocf.ExitCode
		reason       string
	}{
		{"probed", "monitor", []func(*world){stranger(libvirt.Running), probe}, ocf.NotRunning, strangerUUID},
		{"monitored", "monitor", []func(*world){stranger(libvirt.Running)}, ocf.NotRunning, strangerUUID},
		{"monitored, broken", "monitor", []func(*world){stranger(libvirt.Crashed)}, ocf.NotRunning, ""},
		{"monitored without libvirt", "monitor", []func(*world){stranger(libvirt.Running), dies}, ocf.NotRunning, ""},
		{"stopped", "stop", []func(*world){stranger(libvirt.Running)}, ocf.Success, ""},
		{"stopped without libvirt", "stop", []func(*world){stranger(libvirt.Running), dies}, ocf.Success, ""},
		{"moved", "migrate_to", []func(*world){stranger(libvirt.Running)}, ocf.Generic, strangerUUID},
		{"started", "start", []func(*world){stranger(libvirt.Running)}, ocf.Generic,
			"virsh -c qemu:///system shutdown " + strangerUUID},
		{"started, paused", "start", []func(*world){stranger(libvirt.Paused)}, ocf.Generic, strangerUUID},
		{"started, defined", "start", []func(*world){stranger(libvirt.ShutOff)}, ocf.Generic,
			"undefine --keep-nvram --keep-tpm " + strangerUUID},
		{"waited for", "migrate_from", []func(*world){stranger(libvirt.Running)}, ocf.Generic, strangerUUID},
		{"probed, its own UUID noted", "monitor",
			[]func(*world){withoutUUID, (*world).noted, stranger(libvirt.Running), probe}, ocf.NotRunning, ""},
		{"stopped, its own UUID noted", "stop", []func(*world){withoutUUID, (*world).noted, stranger(libvirt.Running)},
			ocf.Success, ""},
		{"started, its own UUID noted", "start", []func(*world){withoutUUID, (*world).noted, stranger(libvirt.Running)},
			ocf.Generic, strangerUUID},
		{"moved, its own UUID noted", "migrate_to",
			[]func(*world){withoutUUID, (*world).noted, stranger(libvirt.Running)}, ocf.Generic, strangerUUID},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				for _, f := range c.build {
					f(w)
				}
				before := slices.Clone(w.procs)
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, c.reason)
				if len(w.calls) > 0 || !w.there || !slices.Equal(w.procs, before) {
					t.Errorf("did %v to it", w.calls)
				}
			})
		})
	}
}

// A guest whose file has no UUID goes by the one that libvirt gave it until it is stopped, and by its name then.
func TestUUIDIsLentUntilTheEnd(t *testing.T) {
	for _, c := range []struct {
		name, action string
		build        []func(*world)
		want         ocf.ExitCode
		calls        []string
	}{
		{"monitored", "monitor", []func(*world){(*world).noted, (*world).boot}, ocf.Success, nil},
		{"stopped", "stop", []func(*world){(*world).noted, (*world).boot}, ocf.Success, []string{"shutdown"}},
		{"started as it runs", "start", []func(*world){(*world).noted, (*world).boot}, ocf.Success, nil},
		{"started after its end", "start", []func(*world){(*world).noted}, ocf.Success, []string{"create"}},
		{"started after its end, another one was defined", "start",
			[]func(*world){(*world).noted, stranger(libvirt.ShutOff)}, ocf.Success, []string{"create"}},
		{"never seen, so that the name counts", "monitor", []func(*world){stranger(libvirt.Running)}, ocf.Success, nil},
		{"it came here as another one", "migrate_from", []func(*world){(*world).noted, stranger(libvirt.Running)},
			ocf.Success, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				withoutUUID(w)
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if !slices.Equal(w.calls, c.calls) {
					t.Errorf("did %v, want %v", w.calls, c.calls)
				}
			})
		})
	}
}

// A UUID of libvirt's says nothing about other nodes once its guest has ended: peers are asked by name.
func TestLentUUIDAcquitsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		withoutUUID(w)
		w.noted()
		w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) {
			return []elsewhere.Peer{{Name: "node2", State: elsewhere.PeerUp}}, nil
		}
		w.target = func(context.Context) (libvirt.Status, error) {
			return libvirt.Status{State: libvirt.Running, Reason: "booted", UUID: strangerUUID}, nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Generic, "it is on node2 already")
		if len(w.calls) > 0 {
			t.Errorf("did %v", w.calls)
		}
	})
}

// A config file that is edited while its guest runs does not hide that guest.
func TestEditedFileDoesNotHideTheGuest(t *testing.T) {
	for edit, text := range map[string]string{
		"another UUID": strings.Replace(guestXML, guestUUID, strangerUUID, 1),
		"another name": strings.Replace(guestXML, "vm1", "vm2", 1),
		"both":         "<domain><name>vm2</name><uuid>" + strangerUUID + "</uuid></domain>",
		"no UUID left": "<domain><name>vm2</name></domain>",
	} {
		t.Run(edit, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "monitor")
				w.noted()
				w.boot()
				w.write("vm1.xml", text)
				err, _ := w.run("monitor")
				checkExit(t, err, ocf.Success, "")
				err, _ = w.run("start")
				checkExit(t, err, ocf.Success, "")
				err, _ = w.run("stop")
				checkExit(t, err, ocf.Success, "")
				if w.there || !slices.Equal(w.calls, []string{"shutdown"}) {
					t.Errorf("did %v, and it is here: %t", w.calls, w.there)
				}
				w.calls = nil
				want := text
				w.create = func(_ context.Context, got string) error {
					if got != want {
						t.Errorf("started from %q", got)
					}
					d, _ := domainxml.Parse(want)
					w.is(libvirt.Running, "booted")
					w.state.UUID = d.UUID
					return nil
				}
				err, _ = w.run("start")
				checkExit(t, err, ocf.Success, "")
			})
		})
	}
}

// Where the guest that was noted has ended, the edited file counts.
func TestEditedFileCountsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		w.noted()
		w.write("vm1.xml", "<domain><name>vm2</name><uuid>"+strangerUUID+"</uuid></domain>")
		w.create = func(context.Context, string) error {
			w.is(libvirt.Running, "booted")
			w.state.UUID, w.procs[0].UUID, w.procs[0].Name = strangerUUID, strangerUUID, "vm2"
			return nil
		}
		for _, action := range []string{"start", "monitor"} {
			err, took := w.run(action)
			checkExit(t, err, ocf.Success, "")
			if took > 0 || !slices.Equal(w.calls, []string{"create"}) {
				t.Errorf("%s took %v, did %v", action, took, w.calls)
			}
		}
	})
}

// A guest that arrives is ours, although the file was edited while it ran on the source, or is another one there.
func TestEditedFileDoesNotHideAnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_from")
		w.write("vm1.xml", strings.Replace(guestXML, guestUUID, strangerUUID, 1))
		w.is(libvirt.Running, "migrated")
		for _, action := range []string{"migrate_from", "monitor", "start"} {
			err, took := w.run(action)
			checkExit(t, err, ocf.Success, "")
			if took > 2*observe.PollInterval || !w.held() || len(w.calls) > 0 {
				t.Errorf("%s took %v, did %v, noted: %t", action, took, w.calls, w.held())
			}
		}
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		w.did("shutdown")
	})
}

// A guest with another name in its file by now would not be found at the target.
func TestRenamedGuestIsNotMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_to")
		w.noted()
		w.boot()
		w.write("vm1.xml", strings.Replace(guestXML, "vm1", "vm2", 1))
		err, _ := w.run("migrate_to")
		checkExit(t, err, ocf.Generic, "calls it \"vm2\" by now")
		w.did()
	})
}
