package pacemaker

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// daemonUser is the user of those of Pacemaker's daemons that do not run as root (CRM_DAEMON_USER of its build).
const daemonUser = "hacluster"

// daemonAlive says whether any of Pacemaker's daemons lives on this node.
// pacemakerd may have crashed and be about to be started again while the
// others carry on, so each counts; their names all begin alike (the kernel
// keeps 15 characters: "pacemaker-contr"). Anybody may call a program so: they
// are known by their users, root and hacluster, and daemons in a container,
// such as pacemaker-remoted inside a bundle's, are not this node's.
// A process that cannot be judged makes the question unanswerable, unless another one is a daemon for certain.
func daemonAlive(h hostproc.Host) (bool, error) {
	entries, err := os.ReadDir(h.ProcDir())
	if err != nil {
		return false, fmt.Errorf("look for pacemaker's daemons: %w", err)
	}
	users := []int{0}
	if uid, ok := h.UserID(daemonUser); ok {
		users = append(users, uid)
	}
	unsure := h.SeesAll()
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		alive, err := h.IsDaemon(pid, isDaemon, users...)
		if alive {
			return true, nil
		}
		if err != nil {
			unsure = fmt.Errorf("process %d: %w", pid, err)
		}
	}
	if unsure != nil {
		return false, fmt.Errorf("look for pacemaker's daemons: %w", unsure)
	}
	return false, nil
}

func isDaemon(program string) bool { return strings.HasPrefix(program, "pacemaker") }
