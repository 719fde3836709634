package main

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate"

	"github.com/vmferry/vmferry/resource/ocf"
)

// haltVar names one step of an action, as in "migrate_to/intended". There the agent stops
// itself (SIGSTOP): whoever set the variable may look at the node, kill what it wants
// to see killed, and let the agent continue. It is how the kill tests reach each step.
const haltVar = "VMFERRY_HALT_AT"

// halter returns the function that stops the process at the step that the environment
// names, nil where it names none.
func halter(environ []string, action string) func(step string) {
	at := ocf.Variable(environ, haltVar, "")
	if at == "" {
		return nil
	}
	var once sync.Once
	return func(step string) {
		if at == action+"/"+step {
			once.Do(func() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) })
		}
	}
}

// phase is the step that a migration's progress stands for: "migrating" is before its first
// byte, and "copying" when some were seen to move.
func phase(p migrate.Progress) string {
	if p.Phase == "migrating" && p.Total > 0 {
		return "copying"
	}
	return p.Phase
}
