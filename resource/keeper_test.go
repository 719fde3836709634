package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// keeper is what the world's libvirt answers beyond a guest's start and end, and its programs.
type keeper struct {
	info       libvirt.Info
	definition string
	save       func(ctx context.Context, path string) error
	restore    func(ctx context.Context, path, xml string) error
	resource   func(name string) error // starts a network or pool
	ping       func(ctx context.Context) error
	converted  string
	free       uint64 // bytes of memory for a new guest
	busy       []string
	program    func(ctx context.Context, line string) (string, error)
}

func (w *world) command(ctx context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	w.note(line)
	if w.program == nil {
		return "", nil
	}
	return w.program(ctx, line)
}

func (c fakeConn) Info(context.Context, string) (libvirt.Info, error) { return c.info, nil }

func (c fakeConn) Busy(context.Context) ([]string, error) { return slices.Clone(c.busy), nil }

func (c fakeConn) Residents(context.Context) ([]libvirt.Resident, error) { return nil, dead() }

func (c fakeConn) FreeMemory(context.Context) (uint64, error) { return c.free, nil }

func (c fakeConn) Definition(context.Context, string) (string, error) {
	if c.keeper.definition == "" {
		return "", dead()
	}
	return c.keeper.definition, nil
}

func (c fakeConn) Save(ctx context.Context, _, path string) error {
	c.note("save")
	return c.save(ctx, path)
}

func (c fakeConn) Restore(ctx context.Context, path, xml string) error {
	c.note("restore")
	return c.restore(ctx, path, xml)
}

func (c fakeConn) StartNetwork(_ context.Context, name string) error {
	return c.startResource("network " + name)
}

func (c fakeConn) StartPool(_ context.Context, name string) error {
	return c.startResource("pool " + name)
}

func (c fakeConn) startResource(name string) error {
	c.note(name)
	if c.resource == nil {
		return nil
	}
	return c.resource(name)
}

func (c fakeConn) AgentPing(ctx context.Context, _ string) error { return c.ping(ctx) }

func (c fakeConn) DomainXML(_ context.Context, format, text string) (string, error) {
	if format != libvirt.NativeXL || !strings.Contains(text, "memory") {
		return "", errors.New("not understood")
	}
	return c.converted, nil
}

// did wants the calls to be exactly these.
func (w *world) did(calls ...string) {
	w.t.Helper()
	if !slices.Equal(w.calls, calls) {
		w.t.Errorf("did %q, want %q", w.calls, calls)
	}
	w.calls = nil
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// fails is a program that exits with an error.
func fails(output string) (string, error) { return output, errors.New("exit status 1") }

func TestUtilization(t *testing.T) {
	w := newWorld(t, "monitor")
	w.boot()
	w.info = libvirt.Info{CPUs: 4, Memory: 512 << 10, MaxMemory: 1024 << 10}
	known := map[string]string{"host_memory": "1024"}
	room := "  * Original: node1 capacity: cpu=8 hv_memory=4096\n  * pcmk__assign_resource: res1 utilization on node1: host_memory=1024\n" +
		"  * Remaining: node1 capacity: cpu=8 hv_memory=4096\n"
	w.program = func(_ context.Context, line string) (string, error) {
		words := strings.Fields(line)
		name := words[len(words)-1]
		if words[len(words)-2] == "--get-parameter" && known[name] != "" {
			return known[name] + "\n", nil
		}
		switch {
		case strings.Contains(line, "--get-parameter"):
			return fails("no such attribute")
		case words[0] == "crm_simulate":
			return room, nil
		case words[0] == "crm_attribute":
			return "balanced\n", nil
		}
		return "", nil
	}
	monitor := func() {
		err, _ := w.run("monitor")
		checkExit(t, err, ocf.Success, "")
	}
	monitor()
	w.did() // no Pacemaker called
	w.agent.Pacemaker = true
	monitor()
	w.did() // its services come first
	w.aged(time.Minute)
	const ask, set = "crm_resource --resource res1 --utilization --quiet --get-parameter ",
		"crm_resource --resource res1 --utilization --set-parameter "
	const simulate, strategy = "crm_simulate --live-check --quiet --show-utilization",
		"crm_attribute --type crm_config --name placement-strategy --query --quiet --default default"
	monitor()
	w.did(ask+"cpu", simulate, strategy, set+"cpu --parameter-value 4", ask+"host_memory", ask+"hv_memory",
		set+"hv_memory --parameter-value 1024")
	monitor()
	w.did() // it was told
	w.info.CPUs = 8
	monitor()
	w.did(ask+"cpu", simulate, strategy, set+"cpu --parameter-value 8")
	known["cpu"] = "8"
	w.agent.Params.Utilization = []param.Utilization{{Name: "cpu", Remove: true}}
	monitor()
	w.did(ask+"cpu", "crm_resource --resource res1 --utilization --delete-parameter cpu")
	w.info.CPUs = 2
	w.agent.Params.Utilization = []param.Utilization{{Name: "cpu"}}
	w.program = func(context.Context, string) (string, error) { return fails("the CIB is gone") }
	monitor()
	w.did(ask+"cpu", simulate)
	monitor()
	w.did() // it is left alone for a while
	err, _ := w.run("stop")
	checkExit(t, err, ocf.Success, "")
	if _, known := w.notes().Utilization.Age("res1"); known {
		t.Error("what Pacemaker was told is remembered of a guest that is gone")
	}
}

// A Pacemaker that does not answer costs a monitor five seconds, once.
func TestUtilizationHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "monitor")
		w.boot()
		w.info, w.agent.Pacemaker = libvirt.Info{CPUs: 1, MaxMemory: 1 << 20}, true
		w.program = func(ctx context.Context, _ string) (string, error) { return "", blocked(ctx) }
		for _, want := range []time.Duration{utilizationTime, 0} {
			if err, took := w.run("monitor"); err != nil || took != want {
				t.Errorf("monitor: %v in %v, want %v", err, took, want)
			}
		}
	})
}

const saveFile = "vm1.state"

func TestSnapshotStop(t *testing.T) {
	writes := func(w *world, text string) { w.write(saveFile, text) }
	for _, c := range []struct {
		name  string
		save  func(*world) func(context.Context, string) error
		calls []string
		kept  bool
	}{
		{"saved", func(w *world) func(context.Context, string) error {
			return func(context.Context, string) error { writes(w, wholeState); w.gone(); return nil }
		}, []string{"save"}, true},
		{"refused: shut down", func(w *world) func(context.Context, string) error {
			return func(context.Context, string) error { writes(w, "LibvirtQemudPart"); return errors.New("no space left") }
		}, []string{"save", "abort", "shutdown"}, false},
		{"too slow: shut down", func(w *world) func(context.Context, string) error {
			return func(ctx context.Context, _ string) error {
				w.is(libvirt.Paused, "save")
				writes(w, "LibvirtQemudPart")
				return blocked(ctx)
			}
		}, []string{"save", "abort", "shutdown"}, false},
		{"the answer got lost", func(w *world) func(context.Context, string) error {
			return func(context.Context, string) error { writes(w, wholeState); w.gone(); return dead() }
		}, []string{"save"}, true},
		{"a guest that does not go on: destroyed", func(w *world) func(context.Context, string) error {
			w.abort = func(context.Context) error { return errors.New("no job") }
			return func(context.Context, string) error { w.is(libvirt.Paused, "save"); return dead() }
		}, []string{"save", "abort", "abort", "destroy"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "stop")
				w.boot()
				w.agent.Params.Snapshot = w.dir
				w.abort = func(context.Context) error { w.boot(); return nil }
				w.save = c.save(w)
				err, took := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				w.did(c.calls...)
				if _, err := os.Stat(filepath.Join(w.dir, saveFile)); (err == nil) != c.kept ||
					took >= defaults["stop"]-ladder.DestroyTime {
					t.Errorf("saved state: %v, took %v", err, took)
				}
			})
		})
	}
}

func TestSnapshotStart(t *testing.T) {
	complete := wholeState
	for _, c := range []struct {
		name     string
		state    string // "" for none
		diskAge  time.Duration
		restores error
		calls    []string
		want     ocf.ExitCode
		left     string // the file that is left
	}{
		{"none", "", 0, nil, []string{"create"}, ocf.Success, ""},
		{"restored and removed", complete, time.Hour, nil, []string{"restore"}, ocf.Success, ""},
		{"a disk of the same moment", complete, -5 * time.Second, nil, []string{"restore"}, ocf.Success, ""},
		{"a disk was written to since", complete, -time.Minute, nil, []string{"create"}, ocf.Success, saveFile + ".stale"},
		{"not written to its end", "LibvirtQemudPart and more", time.Hour, nil, []string{"create"}, ocf.Success,
			saveFile + ".stale"},
		{"empty", "x", time.Hour, nil, []string{"create"}, ocf.Success, saveFile + ".stale"},
		{"libvirt refuses it", complete, time.Hour, errors.New("bad state"), []string{"restore"}, ocf.Generic, saveFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "start")
			w.agent.Params.Snapshot = w.dir
			disk := w.write("disk.img", "x")
			text := strings.Replace(guestXML, "</domain>",
				"<devices><disk><source file='"+disk+"'/></disk></devices></domain>", 1)
			w.write("vm1.xml", text)
			if c.state != "" {
				w.write(saveFile, strings.Replace(c.state, wholeState, savedQEMU(text), 1))
				now := time.Now()
				if err := os.Chtimes(disk, now, now.Add(-c.diskAge)); err != nil {
					t.Fatal(err)
				}
			}
			w.restore = func(_ context.Context, path, _ string) error {
				if path != filepath.Join(w.dir, saveFile+".restoring") {
					t.Errorf("restored from %s", path)
				}
				if c.restores == nil {
					w.boot()
				}
				return c.restores
			}
			err, _ := w.run("start")
			checkExit(t, err, c.want, "")
			w.did(c.calls...)
			left, err := filepath.Glob(filepath.Join(w.dir, saveFile+"*"))
			if err != nil || strings.Join(left, " ") != strings.TrimSuffix(filepath.Join(w.dir, c.left), "/") &&
				(c.left != "" || len(left) > 0) {
				t.Errorf("left %v, %v, want %q", left, err, c.left)
			}
		})
	}
}

// Where the directory is not there, its storage is not mounted, and a saved state may be on it.
func TestSaveDirIsNotThere(t *testing.T) {
	for _, set := range []func(*param.Params, string){
		func(p *param.Params, dir string) { p.Snapshot = dir },
		func(p *param.Params, dir string) { p.SaveDir = dir },
	} {
		w := newWorld(t, "start")
		set(&w.agent.Params, filepath.Join(w.dir, "mount"))
		err, _ := w.run("start")
		checkExit(t, err, ocf.Installed, "mount it")
		w.did()
	}
}

func TestStartResources(t *testing.T) {
	const devices = `<devices><disk type='volume'><source pool='vms' volume='vm1'/></disk>
<interface type='network'><source network='lan'/></interface><interface type='network'><source network='lan'/></interface>
<interface type='bridge'><source bridge='br0'/></interface></devices></domain>`
	text := strings.Replace(guestXML, "</domain>", devices, 1)
	refuses := func(name string) error {
		if name == "network lan" {
			return errors.New("no bridge")
		}
		return nil
	}
	for _, c := range []struct {
		name, action string
		resource     func(string) error
		want         ocf.ExitCode
		calls        []string
	}{
		{"start", "start", nil, ocf.Success, []string{"pool vms", "network lan", "create"}},
		{"start, refused", "start", refuses, ocf.Generic, []string{"pool vms", "network lan"}},
		{"migrate_to", "migrate_to", nil, ocf.Success, []string{"pool vms", "network lan", "migrate"}},
		{"migrate_to, refused", "migrate_to", refuses, ocf.Generic, []string{"pool vms", "network lan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.write("vm1.xml", text)
				w.agent.Params.StartResources = true
				w.resource = c.resource
				if c.action == "migrate_to" {
					w.boot()
				}
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				w.did(c.calls...)
			})
		})
	}
}

func TestXL(t *testing.T) {
	w := newWorld(t, "start")
	w.agent.Environ = param.ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=res1",
		"OCF_RESKEY_xmfile=" + w.write("vm1.cfg", "name = \"vm1\"\nmemory = 512\n")})
	w.agent.Params.Hypervisor = "qemu:///system" // the world has one libvirt
	w.converted = "<domain type='xen'><metadata><name>no</name></metadata><name>Domain-1</name></domain>"
	var got string
	w.create = func(_ context.Context, text string) error { got = text; w.boot(); return nil }
	err, _ := w.run("start")
	checkExit(t, err, ocf.Success, "")
	if want := "<domain type='xen'><metadata><name>no</name></metadata><name>vm1</name></domain>"; got != want {
		t.Errorf("started from %q, want %q", got, want)
	}
	if err, _ := w.run("stop"); err != nil || w.held() {
		t.Errorf("stop: %v", err)
	}
	for name, c := range map[string]struct {
		file, param string
		want        string
	}{
		"its file":   {"name='web'", "", "web"},
		"parameter":  {"name='web'", "other", "other"},
		"instance":   {"memory=1", "", "res1"},
		"expression": {"name = f(1 + 1)", "", "res1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run{Agent: w.agent}
			w.write("vm1.cfg", c.file)
			r.Params.Name = c.param
			if d, err := readGuest(t.Context(), r.Params, r.Instance, nil); err != nil || d.Name != c.want {
				t.Errorf("guest %q, %v, want %q", d.Name, err, c.want)
			}
		})
	}
}

func TestNodeAddress(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		fails        bool
		target, data string
	}{
		{"address", "192.0.2.2\n", false, "qemu+tcp://192.0.2.2/system", "tcp://192.0.2.2"},
		{"IPv6", "2001:db8::2", false, "qemu+tcp://[2001:db8::2]/system", "tcp://[2001:db8::2]"},
		{"unset", "(null)\n", false, "qemu+tcp://node2-mig/system", "tcp://node2-mig"},
		{"no Pacemaker", "", true, "qemu+tcp://node2-mig/system", "tcp://node2-mig"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "migrate_to")
			w.boot()
			p := &w.agent.Params
			p.NodeIPAttribute, p.Transport, p.Suffix = "ip", "tcp", "-mig"
			w.program = func(context.Context, string) (string, error) {
				if c.fails {
					return fails("not connected")
				}
				return c.answer, nil
			}
			var got param.Move
			w.migrate = func(_ context.Context, m param.Move) error { got = m; w.gone(); return nil }
			err, _ := w.run("migrate_to")
			checkExit(t, err, ocf.Success, "")
			w.did("crm_attribute --type nodes --node node2 --name ip --query --quiet", "migrate")
			if got.TargetURI != c.target || got.MigrateURI != c.data {
				t.Errorf("to %q, memory to %q, want %q and %q", got.TargetURI, got.MigrateURI, c.target, c.data)
			}
		})
	}
}

func TestTuningReachesTheMove(t *testing.T) {
	w := newWorld(t, "migrate_to")
	w.boot()
	e := environ("migrate_options=--copy-storage-inc --bandwidth 7 --timeout 9 --unsafe", "migration_speed=100",
		"ladder=live,postcopy", "blackout_budget=250", "watch=udp://a:7")
	p := &w.agent.Params
	p.Options, p.Speed, p.Ladder = e.Params.Options, e.Params.Speed, e.Params.Ladder
	p.BlackoutBudget, p.Watch = e.Params.BlackoutBudget, e.Params.Watch
	w.migrate = func(_ context.Context, m param.Move) error {
		if !m.Options.CopyInc || m.Bandwidth != 7 || m.PauseAfter != 9*time.Second || !m.Unsafe || !m.NoConverge ||
			!m.PostCopy || m.BlackoutBudget != 250*time.Millisecond || len(m.Watch) != 1 {
			t.Errorf("moved with %+v", m)
		}
		w.gone()
		return nil
	}
	err, _ := w.run("migrate_to")
	checkExit(t, err, ocf.Success, "")
}

func TestReload(t *testing.T) {
	w := newWorld(t, "reload-agent")
	w.boot()
	w.agent.Params.DrainPriority = 7
	err, _ := w.run("reload-agent")
	checkExit(t, err, ocf.Success, "")
	if !w.held() {
		t.Error("the priority is not in the note")
	}
	w.did()
	w.agent.Environ = environ("check_timeout=soon")
	err, _ = w.run("reload-agent")
	checkExit(t, err, ocf.Configured, "check_timeout")
}
