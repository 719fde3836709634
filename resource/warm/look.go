package warm

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
	"github.com/vmferry/vmferry/resource/warm/wire"
)

// Monitor looks at guests as the agent's full program does. All fields are required.
type Monitor struct {
	// Open connects to libvirt; normally Pool.Open.
	Open    func(ctx context.Context, uri string) (resource.Hypervisor, error)
	Witness resource.Witness
	// RunDir and StateDir are the agent's.
	RunDir, StateDir string
	// Log is told what the daemon's operator should know; what is said of a guest goes to the caller.
	Log logrus.FieldLogger

	mu   sync.Mutex
	busy map[string]bool // resources that are being looked at
}

// Look is a Server's Look.
func (m *Monitor) Look(ctx context.Context, pid int, r wire.Request) wire.Answer {
	env := resource.ParseEnviron(r.Environ)
	if !m.begin(env.Instance) {
		return decline("the last monitor of this resource is still under way")
	}
	defer m.end(env.Instance)
	if why := strange(env.Params); why != "" {
		return decline(why)
	}
	return m.look(ctx, pid, r, env)
}

// look runs the agent.
func (m *Monitor) look(ctx context.Context, pid int, r wire.Request, env resource.Environ) (answer wire.Answer) {
	// The daemon holds a node's shutdown, and must not die of a monitor.
	defer func() {
		if p := recover(); p != nil {
			m.Log.WithField("resource", env.Instance).Errorf("a monitor broke down, and is left to the agent: %v", p)
			answer = decline("it broke down")
		}
	}()
	var lines bytes.Buffer
	agent := resource.Agent{ // without a Command: what needs one is the caller's to do
		Environ: env,
		Open:    m.Open,
		Migrate: func(context.Context, resource.Move) error { return errLooksOnly },
		Witness: m.Witness,
		RunDir:  m.RunDir, StateDir: m.StateDir,
		Log: ocflog.New(ocflog.Call{Environ: r.Environ, Instance: env.Instance, PID: pid}, &lines),
	}
	err := agent.Run(ctx, r.Action)
	if errors.Is(err, resource.ErrMore) {
		return decline(err.Error())
	}
	answer = wire.Answer{Schema: wire.Schema, Code: ocf.CodeOf(err)}
	if err != nil {
		answer.Reason = err.Error()
	}
	for line := range strings.Lines(lines.String()) {
		answer.Log = append(answer.Log, strings.TrimSuffix(line, "\n"))
	}
	return answer
}

var errLooksOnly = errors.New("the node daemon moves no guest")

// begin marks a resource as looked at. A look may hang, as in a file system that has gone away:
// there is one for each resource at most.
func (m *Monitor) begin(instance string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[instance] {
		return false
	}
	if m.busy == nil {
		m.busy = map[string]bool{}
	}
	m.busy[instance] = true
	return true
}

func (m *Monitor) end(instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, instance)
}

// strange says why the daemon may not see what the caller sees, or "". The daemon is
// confined: it has no network and no home directories.
func strange(p resource.Params) string {
	switch {
	case p.XMFile != "" || !ownSystem(p.Hypervisor):
		return "the hypervisor is not this system's own QEMU"
	case unix.Access(p.Config, unix.R_OK) != nil:
		return "the config file cannot be read from here"
	}
	return ""
}

// ownSystem tells whether a URI is that of the system's QEMU driver, reached by a socket.
func ownSystem(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "qemu" || u.Scheme == "qemu+unix") && u.Host == "" && u.Path == "/system"
}
