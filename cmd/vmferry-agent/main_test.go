package main

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/heartbeat/script"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/ocflog"
	"github.com/vmferry/vmferry/resource/param"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"vmferry-agent": main, script.Name: main, "cl_status": fakeClStatus, "fake-qemu": fakeQEMU,
	})
}

// fakeQEMU plays a guest's process until it is terminated, or for a minute at most.
func fakeQEMU() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	<-ctx.Done()
	os.Exit(1)
}

// TestScripts runs the program as the cluster manager and people do. No libvirt is needed: the
// scripts name one that is not there. Each "agent CODE ACTION" checks the exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("VMFERRY_RUN_DIR", env.WorkDir+"/run")
			env.Setenv("VMFERRY_STATE_DIR", env.WorkDir+"/state")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"agent": agent, "heartbeat": heartbeatCode,
			"hostname": hostnameTo},
	})
}

func agent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: agent CODE [ACTION…]")
	}
	wantCode(ts, args[0], ts.Exec("vmferry-agent", args[1:]...))
}

func wantCode(ts *testscript.TestScript, want string, err error) {
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != want {
		ts.Fatalf("exit code %s, want %s", code, want)
	}
}

// A migration that cannot begin leaves a record of itself and an error.
func TestMigratorRecordsAFailure(t *testing.T) {
	dir := t.TempDir()
	log := ocflog.New(ocflog.Call{}, &bytes.Buffer{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	const nowhere = "qemu+unix:///system?socket=/nonexistent"
	req := migrate.Request{Guest: "vm1", SourceURI: nowhere, Target: "node2", TargetURI: nowhere}
	err := migrator(recorded.Moves{StateDir: dir, Log: log}, noProcesses(t), nil, nil)(ctx, param.Move{Request: req})
	if err == nil {
		t.Fatal("a migration without time succeeded")
	}
	raw, rerr := os.ReadFile(dir + "/" + history.RecordsFile)
	if rerr != nil || !bytes.Contains(raw, []byte(`"guest":"vm1"`)) || bytes.Count(raw, []byte("\n")) != 1 {
		t.Errorf("record %q, %v", raw, rerr)
	}
}

func noProcesses(t *testing.T) hostproc.Host {
	return hostproc.Host{Proc: t.TempDir(), Run: t.TempDir()}
}

// The manual page describes exactly the parameters that the meta-data declares, and each rung of the ladder.
func TestManualNamesTheParameters(t *testing.T) {
	manual, err := os.ReadFile("ocf_vmferry_Domain.7")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, p := range metadata.Parameters() {
		declared = append(declared, p.Name)
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Va (\w+)$`).FindAllSubmatch(manual, -1) {
		described = append(described, string(m[1]))
	}
	_, section, _ := strings.Cut(string(manual), "\n.Ss The ladder\n")
	section, _, _ = strings.Cut(section, "\n.El\n")
	items := strings.Fields(strings.Join(regexp.MustCompile(`(?m)^\.It (.*)$`).FindAllString(section, -1), " "))
	for _, rung := range ladder.All() {
		if !slices.Contains(items, string(rung)) {
			t.Errorf("the section on the ladder describes %v, and not %s", items, rung)
		}
	}
	if want := "\nThe default is " + ladder.Default.Named() + ";"; !strings.Contains(string(manual), want) {
		t.Errorf("the manual does not say %q of the ladder", want)
	}
	slices.Sort(declared)
	slices.Sort(described)
	if len(declared) == 0 || !slices.Equal(declared, described) {
		t.Errorf("declared %v, described %v", declared, described)
	}
}

// The completion offers each action.
func TestCompletion(t *testing.T) {
	text := bashCompletion()
	for _, action := range []string{"start", "stop", "monitor", "status", "migrate_to", "migrate_from",
		"reload-agent", "validate-all", "meta-data", "usage"} {
		if !ocf.IsAction(action) && action != "meta-data" && action != "usage" || !strings.Contains(text, action+")") {
			t.Errorf("%s is not offered: %s", action, text)
		}
	}
}
