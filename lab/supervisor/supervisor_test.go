package supervisor

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/lab/node"
)

func newSupervisor() *supervisor {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &supervisor{
		cfg:  Config{Hypervisor: QEMU, Nodes: []node.Spec{{Name: "node1"}, {Name: "node2"}}},
		log:  log,
		kind: containers{}, nodes: map[string]machine{}, boots: map[string]int{},
	}
}

// ask sends a request through a real socket that answers with h.
func ask(t *testing.T, h handler, req Request) (Reply, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- newSupervisor().serve(ctx, l, h) }()
	reply, err := Ask(t.Context(), path, req)
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	return reply, err
}

func TestSocketsAnswerRootOnly(t *testing.T) {
	reply, err := ask(t, newSupervisor().power, Request{Op: OpStatus})
	if os.Getuid() != 0 {
		if err == nil {
			t.Error("a client that is not root was answered")
		}
		return
	}
	if err != nil || len(reply.Nodes) != 2 || reply.Nodes["node1"].Up {
		t.Errorf("got %+v, %v", reply, err)
	}
}

func TestThePowerSwitchCannotEndTheLab(t *testing.T) {
	s := newSupervisor()
	stopped := false
	for _, op := range []Op{OpStop, OpKill, "dance", ""} {
		if reply := s.power(Request{Op: op, Node: "node1"}); reply.Error == "" {
			t.Errorf("the switch carried out %q", op)
		}
	}
	if len(s.fences) != 0 {
		t.Errorf("refused actions were noted as fencing: %+v", s.fences)
	}
	if reply := s.control(func() { stopped = true })(Request{Op: OpStop}); reply.Error != "" || !stopped {
		t.Errorf("the control socket did not: %q", reply.Error)
	}
}

func TestFencingIsRemembered(t *testing.T) {
	s := newSupervisor()
	if reply := s.power(Request{Op: OpOff, Node: "node1"}); reply.Error != "" {
		t.Errorf("a node that never booted is off: %s", reply.Error)
	}
	reply := s.power(Request{Op: OpOff, Node: "node9"})
	if !strings.Contains(reply.Error, "node9") {
		t.Errorf("got %q", reply.Error)
	}
	fences := s.status().Fence
	if len(fences) != 2 || fences[0].Error != "" || fences[0].Done.Before(fences[0].Asked) || fences[1].Error == "" {
		t.Errorf("got %+v", fences)
	}
}

func TestUnknownRequests(t *testing.T) {
	s := newSupervisor()
	for _, req := range []Request{{Op: "dance"}, {Op: OpKill, Node: "node9"}, {Op: OpOn, Node: "node9"},
		{Op: OpReboot}} {
		if reply := s.control(func() { t.Error("stopped") })(req); reply.Error == "" {
			t.Errorf("%+v: no error", req)
		}
	}
}

func TestCleanOfNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts a file system: needs root")
	}
	dir := filepath.Join(t.TempDir(), "lab")
	for range 2 {
		if err := Clean(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
}

func TestPlatformOf(t *testing.T) {
	for _, name := range []string{QEMU, Xen} {
		if kind, err := platformOf(name); err != nil || kind == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := platformOf("bhyve"); err == nil || !strings.Contains(err.Error(), `"qemu" or "xen"`) {
		t.Errorf("got %v", err)
	}
}

// A node that is a container is entered through its leader, a machine is logged in to.
func TestStatusTellsHowToReachTheNodes(t *testing.T) {
	s := newSupervisor()
	if reply := s.status(); reply.Hypervisor != QEMU || reply.Login != "" {
		t.Errorf("got %+v", reply)
	}
	s.cfg.Dir, s.cfg.Hypervisor, s.kind = "/lab", Xen, machines{}
	if reply := s.status(); reply.Hypervisor != Xen || reply.Login != "/lab/ssh/config" {
		t.Errorf("got %+v", reply)
	}
}
