package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/witness"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vmferry-agent": main, "fake-qemu": fakeQEMU})
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"agent": agent},
	})
}

func agent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: agent CODE [ACTION…]")
	}
	err := ts.Exec("vmferry-agent", args[1:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		err     error
		want    string
	}{
		{"success", nil, nil, ""},
		{"not running is no failure", nil, &resource.Error{Code: resource.NotRunning}, ""},
		{"one line", nil, &resource.Error{Code: 1, Reason: "a", Err: errors.New("b\nc\t d")}, "ocf-exit-reason:a: b c d\n"},
		{"prefix of the manager", []string{"OCF_EXIT_REASON_PREFIX=why:"}, errors.New("x"), "why:x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			report(&out, c.environ, c.err)
			if out.String() != c.want {
				t.Errorf("wrote %q, want %q", out.String(), c.want)
			}
		})
	}
}

func TestLogForms(t *testing.T) {
	fields := logrus.Fields{"guest": "vm1", "phase": "stop", logrus.ErrorKey: errors.New("no\nanswer")}
	for _, c := range []struct {
		name    string
		environ []string
		want    []string
		lack    string
	}{
		{"a person", nil, []string{"vmferry-agent: warning: it failed: no answer guest=vm1 phase=stop\n"}, "Domain("},
		{"a manager", []string{"HA_LOGFACILITY=daemon"}, []string{"Domain(res1)[", "]:\t", " WARNING: it failed: no answer guest=vm1 phase=stop\n"}, "vmferry-agent:"},
		{"debugging", []string{"HA_debug=1"}, []string{"debug: detail"}, "Domain("},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			log := newLogger(c.environ, "res1", &out)
			log.ReplaceHooks(logrus.LevelHooks{}) // no lines of a test in the machine's journal
			log.WithFields(fields).Warn("it failed")
			log.Debug("detail")
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("log %q lacks %q", out.String(), want)
				}
			}
			if strings.Contains(out.String(), c.lack) {
				t.Errorf("log %q has %q", out.String(), c.lack)
			}
		})
	}
}

func TestJournalFields(t *testing.T) {
	e := logrus.NewEntry(logrus.New()).WithFields(logrus.Fields{"guest": "vm1", "peer": "node2"})
	got := journalFields(e, "res1")
	for key, want := range map[string]string{"SYSLOG_IDENTIFIER": "vmferry-agent", "VMFERRY_RESOURCE": "res1", "VMFERRY_GUEST": "vm1", "VMFERRY_PEER": "node2"} {
		if got[key] != want {
			t.Errorf("%s=%q, want %q", key, got[key], want)
		}
	}
}

// A migration that cannot begin leaves a record of itself and an error.
func TestMigratorRecordsAFailure(t *testing.T) {
	dir := t.TempDir()
	log := newLogger(nil, "res1", &bytes.Buffer{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	const nowhere = "qemu+unix:///system?socket=/nonexistent"
	err := migrator(log, noProcesses(t), dir)(ctx, resource.Move{Guest: "vm1", SourceURI: nowhere, Target: "node2", TargetURI: nowhere})
	if err == nil {
		t.Fatal("a migration without time succeeded")
	}
	raw, rerr := os.ReadFile(dir + "/" + recordsFile)
	if rerr != nil || !bytes.Contains(raw, []byte(`"guest":"vm1"`)) || bytes.Count(raw, []byte("\n")) != 1 {
		t.Errorf("record %q, %v", raw, rerr)
	}
}

func noProcesses(t *testing.T) witness.Host {
	return witness.Host{Proc: t.TempDir(), Run: t.TempDir()}
}

// The manual page describes exactly the parameters that the meta-data declares.
func TestManualNamesTheParameters(t *testing.T) {
	manual, err := os.ReadFile("ocf_vmferry_Domain.7")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, m := range regexp.MustCompile(`<parameter name="(\w+)"`).FindAllStringSubmatch(resource.MetaData(), -1) {
		declared = append(declared, m[1])
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Va (\w+)$`).FindAllSubmatch(manual, -1) {
		described = append(described, string(m[1]))
	}
	slices.Sort(declared)
	slices.Sort(described)
	if len(declared) == 0 || !slices.Equal(declared, described) {
		t.Errorf("declared %v, described %v", declared, described)
	}
}
