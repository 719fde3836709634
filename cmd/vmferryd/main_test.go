package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

// TestMain makes this binary vmferryd and, under other names, its neighbours:
// scripts run them all as programs found on PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"vmferryd":      main,
		"ask":           ask,
		"turn":          turn,
		"pacemakerd":    fakePacemakerd,
		"crm_node":      func() { fmt.Println("n1") },
		"crm_mon":       fakeMon,
		"crm_attribute": fakeAttribute,
		"cibadmin":      func() { show("cib") },
		"crm_simulate":  fakeSimulate,
	})
}

// TestScripts runs those that have a cluster manager or need none.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestScriptsAlone runs those that must see no cluster manager anywhere; the
// fakes of TestScripts have ended by now.
func TestScriptsAlone(t *testing.T) { runScripts(t, "testdata/alone") }

// runScripts gives each script a bus with logind and systemd on it, and a
// socket that vmferryd notifies. The fakes of Pacemaker's programs keep their
// state in $WORK: guests (a name a line), standby (exists), calls.
func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return fmt.Errorf("%T is no testing.TB", env.T())
			}
			return newNode(tb, env)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"logind":   cmdLogind,
			"systemd":  cmdSystemd,
			"notified": cmdNotified,
			"envsubst": cmdEnvsubst,
			"stale":    cmdStale,

			"terminate": cmdTerminate,
		},
	})
}

// scripted is what a script's commands work on.
type scripted struct {
	logind *logindtest.Logind
	state  func(state any)
	socket *net.UnixConn
}

type nodeKey struct{}

func newNode(tb testing.TB, env *testscript.Env) error {
	bus := logindtest.StartBus(tb)
	path := filepath.Join(tb.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	env.Defer(func() { socket.Close() })
	env.Values[nodeKey{}] = &scripted{
		logind: bus.Logind(), state: bus.Systemd("running", uint64(time.Minute.Microseconds())), socket: socket,
	}
	env.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address())
	env.Setenv("NOTIFY_SOCKET", path)
	env.Setenv("NODE", env.WorkDir)
	if err := os.Mkdir(filepath.Join(env.WorkDir, "run"), 0o700); err != nil {
		return err
	}
	env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "run"))
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each fake takes a second to end
	return nil
}

func scriptedNode(ts *testscript.TestScript) *scripted {
	return ts.Value(nodeKey{}).(*scripted)
}

// cmdLogind: "logind prepare", "logind cancel", "logind released N".
func cmdLogind(ts *testscript.TestScript, neg bool, args []string) {
	node := scriptedNode(ts)
	switch strings.Join(args, " ") {
	case "prepare":
		node.logind.Prepare(true)
	case "cancel":
		node.logind.Prepare(false)
	case "released first":
		ts.Check(node.logind.Released(0))
	case "released second":
		ts.Check(node.logind.Released(1))
	default:
		ts.Fatalf("usage: logind prepare | cancel | released first | released second")
	}
}

// cmdSystemd: "systemd STATE".
func cmdSystemd(ts *testscript.TestScript, neg bool, args []string) {
	scriptedNode(ts).state(args[0])
}

// cmdNotified waits until systemd is told something that matches.
func cmdNotified(ts *testscript.TestScript, neg bool, args []string) {
	want, err := regexp.Compile("^" + args[0])
	ts.Check(err)
	node := scriptedNode(ts)
	ts.Check(node.socket.SetReadDeadline(time.Now().Add(logindtest.Patience)))
	var heard []string
	message := make([]byte, 4096)
	for {
		n, err := node.socket.Read(message)
		if err != nil {
			ts.Fatalf("systemd was not told %q but %q: %v", args[0], heard, err)
		}
		heard = append(heard, string(message[:n]))
		if want.Match(message[:n]) {
			return
		}
	}
}

// cmdTerminate sends SIGTERM to the background program of that name; the kill
// that comes with testscript knows no such signal.
func cmdTerminate(ts *testscript.TestScript, neg bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		if filepath.Base(cmd.Path) == args[0] {
			ts.Check(cmd.Process.Signal(syscall.SIGTERM))
			return
		}
	}
	ts.Fatalf("no %q runs", args[0])
}

// cmdEnvsubst puts the values of variables into a file.
func cmdEnvsubst(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	text := os.Expand(ts.ReadFile(path), ts.Getenv)
	ts.Check(os.WriteFile(path, []byte(text), 0o644))
}

// cmdStale makes a socket at which nobody listens any more.
func cmdStale(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// ask puts a monitor to vmferryd, as the agent does: "ask ACTION NAME=VALUE…".
func ask() {
	socket := nodeFile(filepath.Join("run", wire.Socket))
	a, err := wire.Ask(socket, wire.NewRequest(os.Args[1], os.Args[2:]), logindtest.Patience)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("code %d reason %q\n", a.Code, a.Reason)
}

// turn asks for the turns of guests, one after the other, and gives each back.
func turn() {
	socket := nodeFile(filepath.Join("run", wire.Socket))
	for _, guest := range os.Args[1:] {
		t, err := admission.Enter(context.Background(), socket,
			admission.Request{Guest: guest, Load: admission.Load{Memory: 1 << 20}}, nil, nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(guest, "has its turn")
		if guest != "forgotten" {
			t.Release()
		}
	}
}

// fakePacemakerd lives until it is told to end: that it lives is all.
func fakePacemakerd() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	<-c
}

// fakeMon is crm_mon: each line of the file guests is a resource on n1.
func fakeMon() {
	note()
	_, err := os.Stat(nodeFile("standby"))
	fmt.Printf(`<pacemaker-result><nodes><node name="n1" standby="%t"/></nodes><resources>`, err == nil)
	text, err := os.ReadFile(nodeFile("guests"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "crm_mon: the fake cluster is broken")
		os.Exit(1)
	}
	for _, name := range strings.Fields(string(text)) {
		fmt.Printf(`<resource id="%s" resource_agent="ocf:vmferry:Domain" managed="true"><node name="n1"/></resource>`, name)
	}
	fmt.Println(`</resources><status code="0" message="OK"/></pacemaker-result>`)
}

// fakeAttribute is crm_attribute: it sets or deletes standby.
func fakeAttribute() {
	note()
	var err error
	if os.Args[len(os.Args)-1] == "--delete" {
		err = os.Remove(nodeFile("standby"))
	} else {
		err = os.WriteFile(nodeFile("standby"), nil, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crm_attribute:", err)
		os.Exit(1)
	}
}

// fakeSimulate is crm_simulate: one transition, after which nothing is left to do.
func fakeSimulate() {
	if strings.Contains(strings.Join(os.Args, " "), "cib-0.xml --save-output") {
		show("simulation")
		return
	}
	show("settled")
}

// show prints a file of the script's, as a program does that only reads.
func show(name string) {
	note()
	text, err := os.ReadFile(nodeFile(name))
	if err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0])+": the fake cluster is broken")
		os.Exit(1)
	}
	os.Stdout.Write(text)
}

// note adds the command line to the file calls.
func note() {
	f, err := os.OpenFile(nodeFile("calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, filepath.Base(os.Args[0]), strings.Join(os.Args[1:], " "))
}

func nodeFile(name string) string { return filepath.Join(os.Getenv("NODE"), name) }
