package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

// TestMain makes this binary vmferry in a world of files, and the real one.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"vmferry": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			code := run(ctx, newWorld(), os.Args[1:], os.Stdout, os.Stderr)
			fmt.Fprintln(os.Stderr, "exit", code)
			os.Exit(code)
		},
		"vmferry-real": main,
		"guard":        fakeGuard,
		"renew":        fakeRenew,
		"mirrord":      fakeMirror,
		"reflector": func() {
			if err := reflector.Serve(context.Background(), reflector.Service{Listen: os.Args[1]},
				logrus.New()); err != nil {
				panic(err)
			}
		},
	})
}

func TestScripts(t *testing.T) {
	completion := filepath.Join(t.TempDir(), "vmferry.bash")
	if err := os.WriteFile(completion, []byte(bashCompletion(commands)), 0o644); err != nil {
		t.Fatal(err)
	}
	devices, err := filepath.Abs(directory(t))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NODE", env.WorkDir)
			env.Setenv("COMPLETION", completion)
			env.Setenv("DEVICES", devices)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each program takes a second to end
			return makeNode(env.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"edit": cmdEdit, "appears": cmdAppears, "pacemaker": cmdPacemaker, "heartbeat": cmdHeartbeat,
			"remember": cmdRemember, "slot": cmdSlot,
		},
	})
}

// directory is one on a file system with direct I/O: beside this test, where the temporary one has none.
func directory(t *testing.T) string {
	dir, err := os.MkdirTemp(".", "devices-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fakeRenew renews the slot of node 2 as a guard without a lease does, until it is ended: renew DEVICE.
func fakeRenew() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	d, err := device.Open(os.Args[1], true)
	if err != nil {
		panic(err)
	}
	for counter := uint64(1); wait.For(ctx, 50*time.Millisecond) == nil; counter++ {
		if err := d.WriteSlot(lease.Slot{Node: 2, Instance: lease.Instance{2}, Counter: counter}); err != nil {
			panic(err)
		}
		world(os.Getenv("NODE")).write("renew.begun", "")
	}
}

// fakeGuard answers as the file guard.json says, until it is ended.
func fakeGuard() {
	w := world(os.Getenv("NODE"))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.file(control.Socket)})
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w.write("guard.listens", "")
	control.Serve(ctx, l, func(_ context.Context, asked control.Request) control.Reply {
		var r control.Reply
		if asked.Verb != control.Status {
			w.write("guard.asked", string(asked.Verb)+" "+asked.Node+"\n")
		}
		if err := json.Unmarshal([]byte(w.text("guard.json")), &r); err != nil {
			panic(err)
		}
		return r
	})
}

// fakeMirror answers as the file mirror.json says, until it is ended.
func fakeMirror() {
	w := world(os.Getenv("NODE"))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.file(mirrord.Socket)})
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w.write("mirror.listens", "")
	socket.Serve(ctx, l, func(ctx context.Context, _ uint32, asked mirrord.Request) (r mirrord.Reply) {
		if asked.Verb != mirrord.List {
			w.write("mirror.asked", string(asked.Verb)+" "+asked.Guest+"\n")
		}
		if w.text("mirror.hangs") != "" {
			<-ctx.Done()
			w.write("mirror.gone", "")
		}
		if err := json.Unmarshal([]byte(w.text("mirror.json")), &r); err != nil {
			panic(err)
		}
		return r
	})
}

// cmdSlot writes a node's slot on a lease device: slot DEVICE NUMBER held|surrendered.
func cmdSlot(ts *testscript.TestScript, neg bool, args []string) {
	number, err := strconv.Atoi(args[1])
	ts.Check(err)
	d, err := device.Open(args[0], true)
	ts.Check(err)
	slot := lease.Slot{Node: number, Instance: lease.Instance{byte(number)}, Generation: 3, Reached: 2, Guests: 4}
	if args[2] == "held" {
		slot.State = lease.Held
	}
	ts.Check(d.WriteSlot(slot))
	ts.Check(d.Close())
}

// makeNode is a good node n1 under Pacemaker, with n2 beside it and the guests web
// and db here.
func makeNode(dir string) error {
	for _, sub := range []string{"proc", "run/vmferry/guests", "var/lib/vmferry/mirror/files", "etc/vmferry", "etc/ha.d", "etc/libvirt/qemu/autostart", "state",
		"cl_status"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := (hostproctest.Process{PID: 1, Comm: "systemd"}).Write(filepath.Join(dir, "proc")); err != nil {
		return err
	}
	return os.CopyFS(dir, os.DirFS("testdata/node"))
}

// cmdEdit replaces a string in a file: edit FILE OLD NEW. A \n in it is a line break.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], `\n`, "\n")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o644))
}

// cmdAppears waits for a file, or for a line in it: appears FILE [TEXT].
func cmdAppears(ts *testscript.TestScript, neg bool, args []string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(2 * time.Minute); ; {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && (len(args) == 1 || strings.Contains(string(text), args[1])) {
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			ts.Fatalf("%v does not appear", args)
		}
	}
}

// cmdPacemaker makes it run, or not: [!] pacemaker.
func cmdPacemaker(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Check(os.RemoveAll(ts.MkAbs("proc/77")))
		return
	}
	ts.Check(hostproctest.Process{PID: 77, Comm: "pacemakerd"}.Write(ts.MkAbs("proc")))
}

// cmdRemember has this node remember a guest that writes a set of so many MiB again and again:
// remember GUEST UUID SET.
func cmdRemember(ts *testscript.TestScript, neg bool, args []string) {
	set, err := strconv.ParseUint(args[2], 10, 32)
	ts.Check(err)
	at := time.Now().Add(-time.Minute)
	r := record.Record{Guest: args[0], UUID: args[1], Outcome: record.Moved, Ended: at, Rate: 100 << 20,
		Used: 1 << 30}
	for i, ms := range []uint64{0, 5000, set * 10} { // at 100 MiB/s
		at = at.Add(time.Duration(ms) * time.Millisecond)
		r.Phases = append(r.Phases, qmp.Phase{Name: qmp.PhasePass, Side: qmp.Source, Pass: i + 1, Stamp: at})
	}
	ts.Check(history.LearnGuest(ts.MkAbs("state/guests.json"), r))
}

// cmdHeartbeat makes it run with the guests of haresources here.
func cmdHeartbeat(ts *testscript.TestScript, neg bool, args []string) {
	host, err := os.Hostname()
	ts.Check(err)
	ts.Check(hostproctest.Process{PID: 88, Comm: "heartbeat"}.Write(ts.MkAbs("proc")))
	for name, text := range map[string]string{
		"run/heartbeat.pid":            "88\n",
		"etc/ha.d/haresources":         strings.ToLower(host) + " vmferry::web::migration_transport=tcp\n",
		"cl_status/rscstatus":          "local\n",
		"cl_status/listnodes--n":       host + "\nn2\n",
		"cl_status/nodestatus-n2":      "active\n",
		"cl_status/nodestatus-" + host: "active\n",
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// The manual, the usage and the completion name every command and flag that there is; the manual names every rung.
func TestManualAndCompletion(t *testing.T) {
	manual, err := os.ReadFile("vmferry.8")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"the manual": strings.ReplaceAll(string(manual), `\-`, "-"), "usage": usage,
		"the completion": bashCompletion(commands)}
	_, means, _ := strings.Cut(string(manual), "that moved the guest:\n")
	means, _, _ = strings.Cut(means, ",\nand its\n")
	for _, rung := range ladder.All() {
		if !strings.Contains(means, string(rung)) {
			t.Errorf("the manual does not name %s among the means: %q", rung, means)
		}
	}
	for name, run := range commands {
		c := newCall(&machine{}, name, io.Discard, io.Discard)
		if err := run(t.Context(), c, []string{"--help"}); err != nil {
			t.Errorf("%s --help: %v", name, err)
		}
		flags := 0
		c.flags.VisitAll(func(f *flag.Flag) {
			flags++
			for what, text := range texts {
				if !strings.Contains(text, "-"+f.Name) {
					t.Errorf("%s does not mention --%s", what, f.Name)
				}
			}
		})
		if flags < 2 {
			t.Errorf("%s has %d flags", name, flags)
		}
		for what, text := range texts {
			if !strings.Contains(text, name) {
				t.Errorf("%s does not mention %s", what, name)
			}
		}
	}
	for line := range strings.Lines(usage) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(word, "--") && !strings.Contains(texts["the completion"], word) {
			t.Errorf("the completion does not mention %s", word)
		}
	}
}
