package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/ocf"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vmferry-agent": main, "vmferry": main})
}

func TestScripts(t *testing.T) {
	// It must be a program of its own: it is executed under the front's name.
	full := filepath.Join(t.TempDir(), "full")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", full,
		"./testdata/full").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv(runDirVar, env.WorkDir)
			env.Setenv(fullVar, full)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"agent": agent, "daemon": daemon},
	})
}

// agent: "agent CODE [WORD…]" runs the front and checks the exit code.
func agent(ts *testscript.TestScript, neg bool, args []string) {
	program := "vmferry-agent"
	if name := ts.Getenv("PROGRAM"); name != "" {
		program = name
	}
	err := ts.Exec(program, args[1:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// daemon: "daemon FILE" answers every request with the file's text and notes the request
// in the file requests; "daemon hang" never answers.
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(wire.Socket)
	_ = os.Remove(path) // of the daemon before
	l, err := net.Listen("unix", path)
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	answer := ""
	if args[0] != "hang" {
		answer = ts.ReadFile(args[0])
	}
	requests := ts.MkAbs("requests")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go converse(c, answer, requests)
		}
	}()
}

func converse(c net.Conn, answer, requests string) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	line, _ := in.ReadBytes('\n')
	_ = os.WriteFile(requests, line, 0o600)
	if answer == "" {
		_, _ = io.Copy(io.Discard, in) // until the front gives up
	}
	_, _ = io.WriteString(c, answer)
}

func TestAskable(t *testing.T) {
	const config = "OCF_RESKEY_config=/vm.xml"
	for _, c := range []struct {
		name    string
		environ []string
		want    bool
	}{
		{"as Pacemaker calls", []string{"PATH=/bin", config, "OCF_ROOT=/x"}, true},
		{"no guest", []string{"OCF_ROOT=/x"}, false},
		{"tests", []string{config, "VMFERRY_RUN_DIR=/x", "VMFERRY_AGENT_FULL=/y"}, true},
		{"another state directory", []string{config, "VMFERRY_STATE_DIR=/x"}, false},
		{"another libvirt", []string{config, "LIBVIRT_DEFAULT_URI=qemu:///session"}, false},
		{"the usual one", []string{config, "LIBVIRT_DEFAULT_URI="}, true},
		{"another virsh", []string{config, "VIRSH_DEFAULT_CONNECT_URI=x"}, false},
	} {
		if got := askable(c.environ); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// A front that is alone says what to do, and that another node may have what is missing.
func TestNoFullProgram(t *testing.T) {
	var out strings.Builder
	code := run([]string{"x", "start"}, []string{fullVar + "=" + filepath.Join(t.TempDir(), "none")}, &out, &out)
	if code != ocf.Installed || !strings.Contains(out.String(),
		"none\": no such file or directory: install vmferry completely\n") {
		t.Errorf("code %d, %q", code, out.String())
	}
}

func TestCandidates(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(self)
	got := candidates(nil)
	want := []string{filepath.Join(dir, "vmferry-agent-full"),
		filepath.Join(filepath.Dir(dir), "libexec/vmferry/agent")}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What a monitor pays for with each start stays small.
func TestFrontStaysSmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, "os") {
		t.Fatalf("a strange list: %q", packages)
	}
	for _, costly := range []string{"net", "regexp", "encoding/xml", "github.com/sirupsen/logrus", "runtime/cgo"} {
		if slices.Contains(packages, costly) {
			t.Errorf("the front imports %s", costly)
		}
	}
}
