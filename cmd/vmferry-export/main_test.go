package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/export"
	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/resource/command"
)

// TestMain is the program itself on a storage machine in a directory, where the environment says so.
func TestMain(m *testing.M) {
	dir := os.Getenv("STORAGE")
	if dir == "" {
		os.Exit(m.Run())
	}
	os.Exit(storage(dir, os.Stdout, os.Stderr).run(context.Background(), os.Args[1:]))
}

func storage(dir string, stdout, stderr interface{ Write([]byte) (int, error) }) machine {
	return machine{
		config: filepath.Join(dir, "export.toml"), stdout: stdout, stderr: stderr, getenv: os.Getenv, become: become,
		box: export.Box{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
			Run: command.Execute(os.Environ())},
	}
}

// newStorage makes the directory. Its systemctl starts the server as the unit does and kills it on a stop; its NBD
// server does nothing but run; its ssh is the forced command of the node beta.
func newStorage(t *testing.T) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, text := range map[string]string{
		"systemctl": `node=${2#vmferry-export@}; node=${node%.service}; pid=` + dir + `/run/$node/pid
echo "$@" >>` + dir + `/calls
case $1 in
start) vmferry-export admitted $node || exit 0; mkdir -p ` + dir + `/run/$node; vmferry-export run $node ;;
stop) test ! -e $pid || kill -KILL $(cat $pid); rm -f $pid ;;
esac
`,
		"qemu-storage-daemon": `while [ "$1" != --pidfile ]; do shift; done
sleep 1000 >/dev/null 2>&1 </dev/null &
echo $! >$2
`,
		"ssh": `while [ "$1" != storage ]; do shift; done; shift
SSH_ORIGINAL_COMMAND="$*" exec vmferry-export serve-ssh beta
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, filepath.Join(dir, "vmferry-export")); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[nodes]\nalpha = \"127.0.0.1:10809\"\nbeta = \"127.0.0.2:10809\"\n[disks]\nweb = %q\n",
		dir+"/disk")
	for name, text := range map[string]string{"export.toml": config, "disk": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("STORAGE", dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Cleanup(func() {
		for _, node := range []string{"alpha", "beta"} {
			_, _ = command.Execute(os.Environ())(context.Background(), filepath.Join(dir, "systemctl"), "stop",
				"vmferry-export@"+node+".service")
		}
	})
	return dir
}

func (m machine) try(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	m.stdout, m.stderr = &out, &out
	if got := m.run(t.Context(), args); got != code || !strings.Contains(out.String(), want) {
		t.Errorf("%q: exit code %d, want %d:\n%s\nwant %q", args, got, code, out.String(), want)
	}
}

// Who may write the configuration decides which disks of this machine are exported.
func TestConfigOfOthers(t *testing.T) {
	m := storage(newStorage(t), nil, nil)
	if err := os.Chmod(m.config, 0o666); err != nil {
		t.Fatal(err)
	}
	m.try(t, 1, "others can change it", "status")
	m.try(t, 255, "others can change it", "admitted", "alpha")
}

func TestOperator(t *testing.T) {
	m := storage(newStorage(t), nil, nil)
	m.try(t, 1, "access is closed", "admitted", "alpha")
	m.try(t, 1, "access is closed", "run", "alpha")
	m.try(t, 0, "", "admit", "alpha", "1")
	m.try(t, 0, "", "admitted", "alpha")
	m.try(t, 0, "alpha  127.0.0.1:10809  open    runs     1         0\n"+
		"beta   127.0.0.2:10809  closed  none     0         0\n", "status")
	m.try(t, 0, "", "revoke", "alpha", "1")
	m.try(t, 0, "alpha  127.0.0.1:10809  closed  none     1         1\n", "status")
	m.try(t, 1, "generation 1 was revoked", "admit", "alpha", "1")
	m.try(t, 0, "", "admit", "alpha", "2")
	m.try(t, 0, "", "reset", "alpha")
	m.try(t, 0, "alpha  127.0.0.1:10809  closed  none     0         0\n", "status")
}

func TestCommandLine(t *testing.T) {
	dir := newStorage(t)
	m := storage(dir, nil, nil)
	m.try(t, 0, "usage: vmferry-export", "--help")
	m.try(t, 0, "vmferry-export ", "--version")
	for _, args := range [][]string{{}, {"serve"}, {"revoke"}, {"revoke", "alpha"}, {"revoke", "alpha", "x"},
		{"revoke", "alpha", "-1"}, {"status", "alpha"}, {"run", "alpha", "1"}} {
		m.try(t, 2, "type vmferry-export --help", args...)
	}
	m.try(t, 1, `there is no node "gamma"`, "revoke", "gamma", "1")
	m.try(t, 255, `there is no node "gamma"`, "admitted", "gamma")
	if err := os.WriteFile(m.config, []byte("x = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.try(t, 1, `"x": there is no such setting`, "status")
	m.try(t, 255, "there is no such setting", "admitted", "alpha")
}

// The guard of beta reaches the storage machine by ssh: it may admit itself and revoke the others.
func TestGuard(t *testing.T) {
	dir := newStorage(t)
	m := storage(dir, nil, nil)
	run := command.Execute(os.Environ())
	access := func(verb string) host.Access {
		return host.Access{filepath.Join(dir, "ssh"), "-oBatchMode=yes", "storage", verb, "{node}", "{generation}"}
	}
	m.try(t, 0, "", "admit", "alpha", "3")
	for _, tt := range []struct {
		verb, node string
		generation uint64
		want       string
	}{
		{"admit", "beta", 7, ""},
		{"admit", "alpha", 4, "node beta may not admit node alpha"},
		{"revoke", "beta", 7, "node beta may not revoke its own access"},
		{"revoke", "alpha", 2, "the newer generation 3 is admitted"},
		{"revoke", "alpha", 3, ""},
		{"revoke", "alpha; id", 3, "this key may be used for"},
		{"reset", "alpha", 3, "this key may be used for"},
	} {
		err := access(tt.verb).Run(t.Context(), run, host.Subject{Node: tt.node, ID: 1, Generation: tt.generation})
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	m.try(t, 0, "alpha  127.0.0.1:10809  closed  none     3         3\n"+
		"beta   127.0.0.2:10809  open    runs     7         0\n", "status")
	t.Setenv("SSH_ORIGINAL_COMMAND", "status")
	m.try(t, 0, "beta   127.0.0.2:10809  open", "serve-ssh", "beta")
	m.try(t, 1, `the key is that of node "gamma"`, "serve-ssh", "gamma")
}

// What the unit must say so that a revocation is one.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("vmferry-export@.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ExecCondition=/usr/sbin/vmferry-export admitted %i", // no server after a restart of the machine
		"ExecStart=/usr/sbin/vmferry-export run %i",
		"PIDFile=" + filepath.Join(export.RunDir, "%i", "pid"),
		"KillSignal=SIGKILL",
		"StartLimitIntervalSec=0", // an admission starts it in any case
		"RuntimeDirectory=" + strings.TrimPrefix(export.RunDir, "/run/") + "/%i",
		"StateDirectory=" + strings.TrimPrefix(export.StateDir, "/var/lib/"),
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
	for _, key := range []string{"KillMode=", "SendSIGKILL=", "ExecStop=", "DeviceAllow=", "ProtectClock=yes"} {
		if strings.Contains(string(text), "\n"+key) {
			t.Errorf("%s is set", key)
		}
	}
}
