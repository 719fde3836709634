package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

const (
	runDirVar = "VMFERRY_RUN_DIR"
	fullVar   = "VMFERRY_AGENT_FULL" // the full program, for tests
	runDir    = "/run/vmferry"
	// heartbeatName is the file name by which Heartbeat calls: its words are the full
	// program's to understand.
	heartbeatName = "vmferry"
	// longest is how long vmferryd is waited for at most.
	longest = 10 * time.Second
)

func main() {
	debug.SetTraceback("crash") // not exit code 2: see cmd/vmferry-agent
	os.Exit(int(run(os.Args, os.Environ(), os.Stdout, os.Stderr)))
}

// run is main with its surroundings passed in. It does not return where the full program
// takes over.
func run(argv, environ []string, stdout, stderr io.Writer) ocf.ExitCode {
	if len(argv) == 0 || filepath.Base(argv[0]) != heartbeatName {
		code, done := ocf.Plain(argv[min(1, len(argv)):], environ, stdout, stderr)
		if done {
			return code
		}
		if code, environ, done = ask(argv[1], environ, stderr); done {
			return code
		}
	}
	err := become(argv, environ)
	ocf.Report(stderr, environ, err.Error()+": install vmferry completely")
	return ocf.Installed
}

// ask puts a monitor to vmferryd. Without an answer it returns the environment for the full
// program instead.
func ask(action string, environ []string, stderr io.Writer) (code ocf.ExitCode, rest []string, done bool) {
	if !wire.Serves(action) || !askable(environ) {
		return 0, environ, false
	}
	began := time.Now()
	timeout := ocf.Timeout(environ, metadata.Timeout(action))
	socket := filepath.Join(ocf.Variable(environ, runDirVar, runDir), wire.Socket)
	answer, err := wire.Ask(socket, wire.NewRequest(action, environ), min(timeout/3, longest))
	if err != nil {
		if ocf.Variable(environ, "HA_debug", "0") != "0" {
			fmt.Fprintf(stderr, "vmferry-agent: debug: vmferryd has no answer, looking without it: %s\n",
				ocf.OneLine(err.Error()))
		}
		return 0, ocf.SetTimeout(environ, timeout-time.Since(began)), false
	}
	for _, line := range answer.Log {
		_, _ = io.WriteString(stderr, plaintext.Escape(line)+"\n")
	}
	ocf.Report(stderr, environ, answer.Reason)
	return answer.Code, nil, true
}

// askable reports whether vmferryd would see what the full program sees. Variables that
// change where libvirt is, or where vmferry keeps what, are not passed on to it.
func askable(environ []string) bool {
	configured := false
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case value == "":
		case name == "OCF_RESKEY_config":
			configured = true
		case name == runDirVar, name == fullVar:
		case strings.HasPrefix(name, "VMFERRY_"), strings.HasPrefix(name, "LIBVIRT_"),
			strings.HasPrefix(name, "VIRSH_"):
			return false
		}
	}
	return configured
}

// become replaces this program by the full one, and returns only when it cannot.
func become(argv, environ []string) error {
	var err error
	for _, path := range candidates(environ) {
		if err = syscall.Exec(path, argv, environ); err != syscall.ENOENT {
			return fmt.Errorf("run %q: %w", path, err)
		}
		err = fmt.Errorf("run %q: %w", path, err)
	}
	return err
}

// candidates are the places of the full program: as installed, and as built.
func candidates(environ []string) []string {
	if path := ocf.Variable(environ, fullVar, ""); path != "" {
		return []string{path}
	}
	self, err := os.Executable()
	if err != nil { // no /proc
		self = "/usr/sbin/vmferry-agent"
	}
	dir := filepath.Dir(self)
	return []string{filepath.Join(dir, "vmferry-agent-full"), filepath.Join(dir, "../libexec/vmferry/agent")}
}
