package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/scenario"
)

// Times of the fake cluster: until a failed node's guests run elsewhere, and until a node has booted.
const (
	fakeFailover = 8 * time.Second
	fakeBoot     = 20 * time.Second
)

// switches are what the fake cluster does wrong, from its first failover on.
type switches struct {
	runsTwice       bool // the old copy lives on beside the new one
	writesTwice     bool // the same, and only the ledger shows it
	losesNumber     bool // the newest record is gone after a failover
	forgetsGuest    bool // vm1 is not started again, until Mend
	late            bool // the failover takes a minute more
	killsBystander  bool // a kill of a daemon takes the bystander with it
	losesNode       bool // a node that crashed does not come back, until Mend
	damages         bool // two records of every guest are overwritten with noise
	cannotStepClock bool
	cannotCut       Way  // this way
	lies            bool // the storage has less than the guests say
	breaks          bool // Mend fails
}

// fake is a cluster in memory: two nodes, a guest on each. Only a crash and a hang of more than three seconds move
// guests; every other fault does nothing.
type fake struct {
	switches
	mu     sync.Mutex
	nodes  map[string]*fakeNode
	guests map[string]*fakeGuest
	boots  int
	done   []string // what was called
}

type fakeNode struct {
	up, hung  bool
	cut       map[Way]bool
	bystander Process
}

// fakeGuest is a disk and the copy that answers.
type fakeGuest struct {
	disk   memory
	node   string
	l      *ledger.Ledger
	conns  []net.Conn
	copies []scenario.Copy
	bars   []scenario.Bar
}

// memory is a disk. Two copies of a guest may write to it at the same time.
type memory struct {
	mu    sync.Mutex
	bytes []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.bytes).ReadAt(p, off)
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(m.bytes[off:], p), nil
}

func newFake(s switches) *fake {
	return &fake{switches: s, nodes: map[string]*fakeNode{}, guests: map[string]*fakeGuest{}}
}

func (w *fake) other(node string) string {
	if node == "node1" {
		return "node2"
	}
	return "node1"
}

func (w *fake) Prepare(context.Context) ([]string, Limits, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, name := range []string{"node1", "node2"} {
		w.nodes[name] = &fakeNode{up: true, cut: map[Way]bool{}, bystander: Process{100 + i, 1}}
		g := &fakeGuest{disk: memory{bytes: make([]byte, ledger.End)}}
		guest := fmt.Sprintf("vm%d", i+1)
		w.guests[guest] = g
		w.start(guest, name)
	}
	crash := timing.Default.Bounds(timing.Pacemaker(3*time.Second, 0, time.Second), 0, true)
	return []string{"vm1", "vm2"},
		Limits{Guard: crash, Boot: 10 * time.Second, Blip: 3 * time.Second, Restart: 15 * time.Second,
			Return: time.Minute}, nil
}

// start boots a guest on a node. The caller holds the lock.
func (w *fake) start(guest, node string) {
	g := w.guests[guest]
	w.boots++
	l, err := ledger.Open(&g.disk, fmt.Sprintf("%08d-0000-4000-8000-000000000000", w.boots))
	if err != nil {
		panic(err)
	}
	g.node, g.l = node, l
	g.copies = append(g.copies, scenario.Copy{Guest: guest, Node: node, ID: w.boots, Seen: time.Now()})
}

// stop ends the copy of a guest that answers. The caller holds the lock.
func (g *fakeGuest) stop(stays bool) {
	g.l = nil
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
	if n := len(g.copies); n > 0 && !stays {
		g.copies[n-1].Gone = time.Now()
	}
}

// fail moves the guests of a node that is gone. hung says that the old copies live on, without access to the disks.
func (w *fake) fail(node string, hung bool) {
	for name, g := range w.guests {
		if g.node != node || g.l == nil {
			continue
		}
		old, last := g.l, g.l.Last()
		g.stop(hung || w.runsTwice)
		if hung {
			g.bars = append(g.bars, scenario.Bar{Node: node, From: time.Now()})
		}
		wait := fakeFailover
		if w.late {
			wait += time.Minute
		}
		time.AfterFunc(wait, func() { w.takeOver(name, node, old, last) })
	}
}

func (w *fake) takeOver(name, node string, old *ledger.Ledger, last uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.guests[name]
	if w.forgetsGuest && name == "vm1" {
		return
	}
	at := ledger.Start + int64((last-1)%ledger.Capacity)*ledger.BlockSize
	if w.losesNumber {
		_, _ = g.disk.WriteAt(make([]byte, ledger.BlockSize), at)
	}
	if w.damages {
		for i := range int64(2) {
			_, _ = g.disk.WriteAt([]byte("noise"), ledger.Start+(ledger.Capacity-1-i)*ledger.BlockSize)
		}
	}
	w.start(name, w.other(node))
	if w.writesTwice {
		time.AfterFunc(5*time.Second, func() { _ = old.Put(last + 1) })
	}
}

func (w *fake) Service(guest string) string { return guest }

// dial reaches a guest that runs on a node that answers.
func (w *fake) dial(_ context.Context, guest string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.guests[guest]
	if g.l == nil || w.nodes[g.node].hung {
		return nil, errors.New("no route to host")
	}
	ours, theirs := net.Pipe()
	g.conns = append(g.conns, ours)
	go ledger.Converse(theirs, g.l)
	return ours, nil
}

// does notes a call, and finds the node, which must be up.
func (w *fake) does(what, node string) (*fakeNode, error) {
	w.done = append(w.done, what+" "+node)
	n := w.nodes[node]
	if !n.up {
		return n, fmt.Errorf("%s: %w", node, cluster.ErrDown)
	}
	return n, nil
}

func (w *fake) Crash(_ context.Context, node string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.does("crash", node)
	if err != nil {
		return err
	}
	n.up, n.hung = false, false
	w.fail(node, false)
	if !w.losesNode {
		time.AfterFunc(fakeBoot, func() { w.boot(node) })
	}
	n.bystander = Process{}
	return nil
}

func (w *fake) boot(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[node].up = true
}

func (w *fake) Hang(_ context.Context, node string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.does("hang", node)
	if err != nil {
		return err
	}
	n.hung = true
	for _, g := range w.guests {
		if g.node == node {
			for _, c := range g.conns {
				c.Close()
			}
		}
	}
	time.AfterFunc(3*time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.hung {
			w.fail(node, true)
		}
	})
	return nil
}

func (w *fake) Wake(_ context.Context, node string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[node].hung = false
	for _, g := range w.guests {
		for i := range g.copies {
			if c := &g.copies[i]; c.Node == node && c.Gone.IsZero() && (g.node != node || g.l == nil) && !w.runsTwice {
				c.Gone = time.Now()
			}
		}
		for i := range g.bars {
			if g.bars[i].To.IsZero() {
				g.bars[i].To = time.Now()
			}
		}
	}
	return nil
}

func (w *fake) Cut(_ context.Context, node string, way Way) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.does("cut "+string(way), node)
	if way == w.cannotCut {
		err = ErrUnable
	}
	n.cut[way] = err == nil
	return err
}

func (w *fake) Heal(_ context.Context, node string, way Way) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.does("heal "+string(way), node)
	n.cut[way] = false
	return err
}

func (w *fake) Kill(_ context.Context, node string, what Kind) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.does(string(what), node)
	if err == nil && w.killsBystander {
		n.bystander = Process{}
	}
	return err
}

func (w *fake) simple(what, node string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.does(what, node)
	return err
}

func (w *fake) KillAgent(_ context.Context, node string, _ time.Duration) error {
	return w.simple("agent", node)
}
func (w *fake) Fill(_ context.Context, node string) error     { return w.simple("fill", node) }
func (w *fake) Free(_ context.Context, node string) error     { return w.simple("free", node) }
func (w *fake) Move(_ context.Context, node string) error     { return w.simple("move", node) }
func (w *fake) Reboot(ctx context.Context, node string) error { return w.simple("reboot", node) }

func (w *fake) StepClock(_ context.Context, node string, _ time.Duration) error {
	if w.cannotStepClock {
		return ErrUnable
	}
	return w.simple("step", node)
}

func (w *fake) Settled(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, n := range w.nodes {
		if !n.up || n.hung || n.cut[Link] || n.cut[Network] || n.cut[Inward] || n.cut[Storage] || n.cut[Gateway] {
			return fmt.Errorf("%s is no member", name)
		}
	}
	for name, g := range w.guests {
		if g.l == nil {
			return fmt.Errorf("%s is stopped", name)
		}
	}
	return nil
}

func (w *fake) Bystanders(context.Context) (map[string]Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]Process{}
	for name, n := range w.nodes {
		if n.bystander != (Process{}) {
			all[name] = n.bystander
		}
	}
	return all, nil
}

func (w *fake) Renew(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.bystander == (Process{}) {
			w.boots++
			n.bystander = Process{1000 + w.boots, 1}
		}
	}
	return nil
}

func (w *fake) Seen(_ context.Context, guest string) ([]scenario.Copy, []scenario.Event, []scenario.Bar, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.guests[guest]
	return append([]scenario.Copy(nil), g.copies...), nil, append([]scenario.Bar(nil), g.bars...), nil
}

func (w *fake) Status(_ context.Context, name string) (guest.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.guests[name]
	if g.l == nil {
		return guest.Status{}, errors.New("no route to host")
	}
	return guest.Status{BootID: g.node, Counter: g.l.Last()}, nil
}

func (w *fake) Evidence(_ context.Context, _ time.Time, to io.Writer) error {
	_, err := io.WriteString(to, "what the nodes logged\n")
	return err
}

func (w *fake) Mend(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, "mend")
	if w.breaks {
		return errors.New("it is broken for good")
	}
	w.forgetsGuest, w.losesNode = false, false
	for _, n := range w.nodes {
		*n = fakeNode{up: true, cut: map[Way]bool{}, bystander: n.bystander}
	}
	for name, g := range w.guests {
		if g.l == nil {
			w.start(name, "node1")
		}
	}
	return nil
}

func (w *fake) End(context.Context) (map[string]ledger.Scan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]ledger.Scan{}
	for name, g := range w.guests {
		g.stop(false)
		s, err := ledger.Read(&g.disk, 1)
		if err != nil {
			return nil, err
		}
		if w.lies {
			s.Records = s.Records[:len(s.Records)-3]
		}
		all[name] = s
	}
	return all, nil
}
