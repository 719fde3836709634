package notes

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// Announced is announced/ID.json: vmferryd, which writes it, began to announce the guest by itself. The action that
// brought the guest here reads it, and need not announce it again. Nobody removes it: it counts for what ran by then.
type Announced struct {
	At time.Duration `json:"since_boot"` // [hostproc.Uptime]
}

func (a Announced) isWhole() bool { return true }

// Covers reports whether these processes of a guest had started before the announcement.
func (a Announced) Covers(processes []hostproc.Process) bool {
	return len(processes) > 0 && !slices.ContainsFunc(processes, func(p hostproc.Process) bool {
		return p.StartTime == 0 || a.At < p.Began()
	})
}
