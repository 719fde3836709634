package main

import (
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmferry/vmferry/hbplugin/heartbeat/script"
)

// fakeClStatus answers as the files say that stand in $CLUSTER: nodes, and for each node one of
// its name with its status.
func fakeClStatus() {
	name := "nodes"
	if args := os.Args[1:]; len(args) == 2 && args[0] == "nodestatus" {
		name = args[1]
	}
	f, err := os.Open(os.Getenv("CLUSTER") + "/" + name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR: Cannot signon with heartbeat")
		os.Exit(1)
	}
	defer f.Close()
	_, _ = io.Copy(os.Stdout, f)
}

// heartbeatCode is the command "heartbeat CODE ARG…": it runs the program as the resource
// script and checks the exit code.
func heartbeatCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: heartbeat CODE ARG…")
	}
	wantCode(ts, args[0], ts.Exec(script.Name, args[1:]...))
}

// hostnameTo is the command "hostname FILE": it writes a list of nodes, this one and vmferry-other.
func hostnameTo(ts *testscript.TestScript, neg bool, args []string) {
	name, err := os.Hostname()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("vmferry-other\n"+name+"\n"), 0o600))
}
