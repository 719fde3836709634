package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Init is process 1 of the lab: it runs the supervisor (the program self with
// the given arguments) with its own standard streams, reaps every process that
// lost its parent, and returns when the supervisor ended. Its own end takes
// everything with it that lives in the namespace.
//
// Reaping is not tidiness. A command that was run in a node belongs to the
// node's process namespace, and the kernel keeps a node that dies for as long
// as one of its processes has not been reaped: an orphan that nobody waits for
// would hold up a reboot for ever.
func Init(self string, args ...string) error {
	if os.Getpid() != 1 {
		return errors.New("the lab must be process 1 of its own namespace: start it with `vmferry-lab up`")
	}
	process, err := os.StartProcess(self, append([]string{self}, args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("start the lab's supervisor: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the lab's supervisor: %w", err)
		}
		if pid != process.Pid {
			continue
		}
		if status.ExitStatus() != 0 {
			return fmt.Errorf("the lab's supervisor ended with status %d", status.ExitStatus())
		}
		return nil
	}
}
