package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/watchdog"
)

// Config is what a lab is made of. It crosses from `vmferry-lab up` to the
// supervisor as JSON.
type Config struct {
	Dir     string       `json:"dir"`     // everything this lab writes; removed by Clean
	Image   string       `json:"image"`   // what the nodes boot from
	Product string       `json:"product"` // what is installed on top of it
	Network netip.Prefix `json:"network"` // of the bridge; the address is the lab's own
	Nodes   []node.Spec  `json:"nodes"`

	Hypervisor string `json:"hypervisor"` // [QEMU] or [Xen]
	// what the lab calls this set of nodes; sent to clients, and not used otherwise
	Shape string `json:"shape"`
	// Guard says that the nodes run vmferry's guard in place of the lab's power switch: see package guarded.
	Guard bool `json:"guard,omitempty"`
	// Mirror says that the nodes mirror the guests' disks to each other: see package mirrored.
	Mirror bool `json:"mirror,omitempty"`
}

// Control is the path of the control socket of the lab in dir.
func Control(dir string) string { return filepath.Join(dir, "control.sock") }

// Device is the folder of the lab in dir that its nodes see as /lab.
func Device(dir string) string { return filepath.Join(dir, "device") }

// Console is the file that collects what a node prints while it boots.
func Console(dir, node string) string { return filepath.Join(dir, node+".console") }

// Switch is the name of the power switch's socket within the device folder.
const Switch = "fence.sock"

// Shared is the lab's shared storage: the nodes see it as /shared.
func Shared(dir string) string { return filepath.Join(dir, "shared") }

const bridge = "vmferry0"

// killTime bounds how long a killed node may take to be gone.
const killTime = 20 * time.Second

type supervisor struct {
	cfg  Config
	kind platform
	log  logrus.FieldLogger

	mu    sync.Mutex // guards what follows, and one power action at a time
	nodes map[string]machine
	boots map[string]int
	// ending is set when the lab goes: nothing boots any more.
	ending bool

	storage *guarded.Storage // nil where the nodes run no guard
	dogs    map[string]*watchdog.Timer

	fenceMu sync.Mutex
	fences  []FenceEvent
}

// Run makes the lab, boots its nodes and answers the sockets until ctx ends or
// a client asks it to stop; then it ends the nodes and returns nil. It must be
// called below an [Init], in fresh process, mount and network namespaces. ready
// is called once, when the sockets answer and the nodes have been asked to boot.
func Run(ctx context.Context, cfg Config, log logrus.FieldLogger, ready func()) error {
	// In a namespace that was just made, process ids are small.
	if os.Getppid() != 1 || os.Getpid() > 100 {
		return errors.New("the supervisor needs a process namespace of its own: start it with `vmferry-lab up`")
	}
	kind, err := platformOf(cfg.Hypervisor)
	if err != nil {
		return err
	}
	if err := prepareNamespaces(cfg); err != nil {
		return err
	}
	s := &supervisor{cfg: cfg, kind: kind, log: log, nodes: map[string]machine{}, boots: map[string]int{}}
	for _, dir := range []string{Shared(cfg.Dir), Device(cfg.Dir)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := kind.prepare(ctx, cfg); err != nil {
		return err
	}
	if cfg.Guard {
		s.storage = &guarded.Storage{Image: cfg.Image, Dir: filepath.Join(Shared(cfg.Dir), "disks"), Lease: guarded.Lease(Shared(cfg.Dir)),
			Nodes: cfg.Nodes}
		if err := errors.Join(s.storage.Prepare(), s.storage.ExportLease(), s.makeDogs()); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer s.end()
	control, err := listen(Control(cfg.Dir), 0o600)
	if err != nil {
		return err
	}
	power, err := kind.listen(cfg)
	if err != nil {
		return err
	}
	for _, spec := range cfg.Nodes {
		if err := s.on(spec.Name); err != nil {
			return err
		}
	}
	ready()
	var group errgroup.Group
	group.Go(func() error { return s.serve(ctx, control, s.control(stop)) })
	group.Go(func() error { return s.serve(ctx, power, s.power) })
	return group.Wait()
}

// makeDogs gives each node a watchdog, which resets the node.
func (s *supervisor) makeDogs() error {
	s.dogs = map[string]*watchdog.Timer{}
	for _, spec := range s.cfg.Nodes {
		dog := watchdog.New(func() { s.fired(spec) })
		if _, err := watchdog.Serve(filepath.Dir(dogOf(s.cfg, spec)), dog); err != nil {
			return err
		}
		s.dogs[spec.Name] = dog
	}
	return nil
}

// fired resets a node whose watchdog was not fed.
func (s *supervisor) fired(spec node.Spec) {
	s.log.WithField("node", spec.Name).Info("the watchdog fires")
	if err := s.reboot(spec.Name); err != nil {
		s.log.WithError(err).WithField("node", spec.Name).Error("could not reset it")
	}
}

// handler answers one request.
type handler func(Request) Reply

func (s *supervisor) serve(ctx context.Context, l net.Listener, answer handler) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for requests: %w", err)
		}
		go s.converse(conn, answer)
	}
}

func (s *supervisor) converse(conn net.Conn, answer handler) {
	defer conn.Close()
	if err := checkRoot(conn); err != nil {
		s.log.WithError(err).Warn("refused a client")
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var req Request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		s.log.WithError(err).Warn("could not read a request")
		return
	}
	reply := answer(req)
	s.log.WithFields(logrus.Fields{"op": req.Op, "node": req.Node, "error": reply.Error}).Debug("answered")
	if err := json.NewEncoder(conn).Encode(reply); err != nil {
		s.log.WithError(err).WithField("op", req.Op).Warn("could not answer a request")
	}
}

// checkRoot refuses clients that are not root: the socket's mode already
// does, unless somebody changed it. Who comes over the network is on one that
// only nodes are on.
func checkRoot(conn net.Conn) error {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if cred.Uid != 0 {
		return fmt.Errorf("user %d may not command the lab", cred.Uid)
	}
	return nil
}

// control answers the lab's own commands; stop ends the lab.
func (s *supervisor) control(stop func()) handler {
	return func(req Request) Reply {
		switch req.Op {
		case OpStatus:
			return s.status()
		case OpStop:
			stop()
			return Reply{}
		case OpKill, OpOff:
			return replyOf(s.off(req.Node))
		case OpOn:
			return replyOf(s.on(req.Node))
		case OpReboot:
			return replyOf(s.reboot(req.Node))
		case OpRevoke, OpAdmit:
			return replyOf(s.access(req))
		case OpFreeze, OpThaw:
			return replyOf(s.freeze(req))
		}
		return Reply{Error: fmt.Sprintf("the lab knows no operation %q", req.Op)}
	}
}

// power answers the nodes' fence agent and remembers what it was asked.
func (s *supervisor) power(req Request) Reply {
	var act func(string) error
	switch req.Op {
	case OpStatus:
		return s.status()
	case OpOff:
		act = s.off
	case OpOn:
		act = s.on
	case OpReboot:
		act = s.reboot
	case OpRevoke, OpAdmit:
		return replyOf(s.access(req))
	default:
		return Reply{Error: fmt.Sprintf("the power switch knows no action %q", req.Op)}
	}
	i := s.noteFence(req)
	err := act(req.Node)
	s.fenceMu.Lock()
	defer s.fenceMu.Unlock()
	s.fences[i].Done = time.Now()
	s.fences[i].Error = replyOf(err).Error
	return replyOf(err)
}

// freeze stops or continues every process of a node.
func (s *supervisor) freeze(req Request) error {
	spec, err := s.spec(req.Node)
	if err != nil {
		return err
	}
	return cgroupOf(s.cfg, spec).Freeze(req.Op == OpFreeze)
}

// access revokes or opens a node's access to the guests' disks.
func (s *supervisor) access(req Request) error {
	s.log.WithFields(logrus.Fields{"op": req.Op, "node": req.Node, "generation": req.Generation}).Info("access to the disks")
	switch {
	case s.storage == nil:
		return errors.New("this lab's nodes run no guard, and have no storage of their own")
	case req.Op == OpRevoke:
		return s.storage.Revoke(req.Node, req.Generation)
	}
	return s.storage.Admit(req.Node, req.Generation)
}

func (s *supervisor) noteFence(req Request) int {
	s.log.WithFields(logrus.Fields{"op": req.Op, "node": req.Node}).Info("the cluster fences a node")
	s.fenceMu.Lock()
	defer s.fenceMu.Unlock()
	s.fences = append(s.fences, FenceEvent{Node: req.Node, Op: req.Op, Asked: time.Now()})
	return len(s.fences) - 1
}

func replyOf(err error) Reply {
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return Reply{}
}

func (s *supervisor) status() Reply {
	s.mu.Lock()
	states := map[string]State{}
	for _, spec := range s.cfg.Nodes {
		state := State{Boots: s.boots[spec.Name]}
		if n := s.nodes[spec.Name]; n != nil && !ended(n) {
			state.Up = true
			state.Leader, _ = n.Leader()
		}
		states[spec.Name] = state
	}
	s.mu.Unlock()
	var access []guarded.Access
	if s.storage != nil {
		access = s.storage.Changes()
	}
	s.fenceMu.Lock()
	defer s.fenceMu.Unlock()
	return Reply{
		Access:     access,
		Hypervisor: s.cfg.Hypervisor, Shape: s.cfg.Shape, Login: s.kind.login(s.cfg),
		Nodes: states, Fence: append([]FenceEvent(nil), s.fences...),
	}
}

func ended(n machine) bool {
	select {
	case <-n.Done():
		return true
	default:
		return false
	}
}

func (s *supervisor) spec(name string) (node.Spec, error) {
	for _, spec := range s.cfg.Nodes {
		if spec.Name == name {
			return spec, nil
		}
	}
	return node.Spec{}, fmt.Errorf("the lab has no node %q", name)
}

func (s *supervisor) reboot(name string) error {
	if err := s.off(name); err != nil {
		return err
	}
	return s.on(name)
}

func (s *supervisor) on(name string) error {
	spec, err := s.spec(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boot(spec)
}

// boot boots a node unless it is up. The caller holds the lock.
func (s *supervisor) boot(spec node.Spec) error {
	name := spec.Name
	if n := s.nodes[name]; n != nil && !ended(n) {
		return nil
	}
	console, err := os.OpenFile(Console(s.cfg.Dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	n, err := s.kind.boot(s.cfg, spec, console)
	if err != nil {
		return err
	}
	s.nodes[name] = n
	s.boots[name]++
	s.log.WithField("node", name).Info("booting")
	go s.again(spec, n)
	return nil
}

// again boots a node that went down in order to come back, unless somebody
// has used the power switch meanwhile.
func (s *supervisor) again(spec node.Spec, n machine) {
	if !n.Rebooted() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.nodes[spec.Name] != n {
		return
	}
	if err := s.boot(spec); err != nil {
		s.log.WithError(err).WithField("node", spec.Name).Error("could not boot it again")
	}
}

func (s *supervisor) off(name string) error {
	if _, err := s.spec(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	if n == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	if err := n.Kill(ctx); err != nil {
		return err
	}
	delete(s.nodes, name)
	if dog := s.dogs[name]; dog != nil {
		dog.Reset()
	}
	s.log.WithField("node", name).Info("killed")
	return nil
}

// end kills what still runs, so that the cgroups are empty before the
// namespace goes.
func (s *supervisor) end() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	for _, spec := range s.cfg.Nodes {
		if err := s.off(spec.Name); err != nil {
			s.log.WithError(err).Warn("could not stop a node; the end of its namespace stops it")
		}
	}
}
