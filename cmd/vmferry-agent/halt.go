package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// haltVar names one step of an action, as in "migrate_to/intended". There the agent stops
// itself (SIGSTOP): whoever set the variable may look at the node, kill what it wants
// to see killed, and let the agent go on. It is how the kill tests reach each step.
const haltVar = "VMFERRY_HALT_AT"

// halter returns the function that stops the process at the step that the environment
// names, nil where it names none.
func halter(environ []string, action string) func(step string) {
	at := variable(environ, haltVar, "")
	if at == "" {
		return nil
	}
	return func(step string) {
		if at == action+"/"+step {
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		}
	}
}
