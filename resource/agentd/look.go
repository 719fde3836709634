package agentd

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// Monitor looks at guests as the agent's full program does. All fields are required.
type Monitor struct {
	// Open connects to libvirt; normally Pool.Open.
	Open      func(ctx context.Context, uri string) (observe.Hypervisor, error)
	Processes observe.Processes
	// RunDir and StateDir are the agent's.
	RunDir, StateDir string
	// Log gets what the daemon's operator should know; what is said of a guest goes to the caller.
	Log logrus.FieldLogger

	access func(path string) error // in place of access(2), for a test
	hangs  func() int              // in place of timely.LeftBehind, for a test

	busy sync.Map // resources that are being looked at
}

// Look is a Server's Look.
func (m *Monitor) Look(ctx context.Context, pid int, r wire.Request) wire.Answer {
	env := param.ParseEnviron(r.Environ)
	if m.hanging() >= mostHanging {
		return decline("storage does not respond, and too many monitors hang on it already")
	}
	// A look may hang, as in a file system that has gone away: there is one for each resource at most.
	if _, busy := m.busy.LoadOrStore(env.Instance, true); busy {
		return decline("the last monitor of this resource is still under way")
	}
	why, answered := m.suits(ctx, env)
	if !answered {
		return decline("the storage of the config file does not respond")
	}
	defer m.busy.Delete(env.Instance)
	if why != "" {
		return decline(why)
	}
	return m.look(ctx, pid, r, env)
}

// mostHanging bounds the threads that storage without an answer may keep: each look at a guest may leave one behind.
const mostHanging = 64

func (m *Monitor) hanging() int {
	if m.hangs != nil {
		return m.hangs()
	}
	return timely.LeftBehind()
}

// accessTime is how long a file may take to be looked up. A cached one takes microseconds.
const accessTime = 2 * time.Second

// suits is strange for storage that may hang. Where that gives no answer the resource stays marked as looked at
// until it does, so that no more than one goroutine hangs for each.
func (m *Monitor) suits(ctx context.Context, env param.Environ) (why string, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, accessTime)
	defer cancel()
	access := m.access
	if access == nil {
		access = func(path string) error { return unix.Access(path, unix.R_OK) }
	}
	done := make(chan string, 1)
	go func() { done <- strange(env.Params, access) }()
	select {
	case why := <-done:
		return why, true
	case <-ctx.Done():
		go func() {
			<-done
			m.busy.Delete(env.Instance)
		}()
		return "", false
	}
}

// look runs the agent.
func (m *Monitor) look(ctx context.Context, pid int, r wire.Request, env param.Environ) (answer wire.Answer) {
	// The daemon holds a node's shutdown, and must not die of a monitor.
	defer func() {
		if p := recover(); p != nil {
			m.Log.WithField("resource", env.Instance).Errorf("panic in a monitor, which is left to the agent: %v", p)
			answer = decline("panic in the monitor")
		}
	}()
	var lines bytes.Buffer
	agent := resource.Agent{ // without a Command: what needs one is the caller's to do
		Environ:   env,
		Open:      m.Open,
		Migrate:   func(context.Context, param.Move) error { return errLooksOnly },
		Processes: m.Processes,
		RunDir:    m.RunDir, StateDir: m.StateDir,
		Log: ocflog.New(ocflog.Call{Environ: r.Environ, Instance: env.Instance, PID: pid}, &lines),
	}
	err := agent.Run(ctx, r.Action)
	switch {
	case errors.Is(err, resource.ErrMore):
		return decline(err.Error())
	case err != nil: // the unit hides from the daemon what the agent sees: see package hostproc, of CAP_SYS_PTRACE
		return decline("from here the guest is not seen to run: " + err.Error())
	}
	answer = wire.Answer{Schema: wire.Schema, Code: ocf.Success}
	for line := range strings.Lines(lines.String()) {
		answer.Log = append(answer.Log, strings.TrimSuffix(line, "\n"))
	}
	return answer
}

var errLooksOnly = errors.New("the node daemon moves no guest")

// strange says why the daemon may not see what the caller sees, or "". The daemon is
// confined by its unit: /tmp is its own, and of the devices it sees few.
func strange(p param.Params, access func(string) error) string {
	switch {
	case p.XMFile != "" || !ownSystem(p.Hypervisor):
		return "the hypervisor is not this system's own QEMU"
	case access(p.Config) != nil:
		return "the config file cannot be read from here"
	}
	return ""
}

// ownSystem reports whether a URI is that of the system's QEMU driver, reached by a socket.
func ownSystem(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "qemu" || u.Scheme == "qemu+unix") && u.Host == "" && u.Path == "/system"
}
