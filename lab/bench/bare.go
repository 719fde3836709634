package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// bareDowntime is the downtime limit of a bare move, in milliseconds: that with which vmferry begins. QEMU spends a
	// higher one on the last copy.
	bareDowntime = 2
	// barePort is where a bare QEMU waits for a guest; on its own node's loopback.
	barePort = 49400
	// bareTime bounds a bare move, and a save and load of the guest.
	bareTime = 60 * time.Second
)

// bare is a guest that runs on one node in a QEMU of its own, without libvirt.
type bare struct {
	stage *Stage
	node  string
	index int // which node that is
	spec  guest.DomainSpec
	guest scenario.Guest
	live  *bareQEMU // nil until it is booted
	made  int       // QEMUs so far
}

// newBare makes the disk of a guest for the node of that index.
func (s *Stage) newBare(ctx context.Context, index int) (*bare, error) {
	kind := scenario.Kind{Name: "bare", First: 50 + index, MemoryMiB: 128}
	guests, err := kind.Make(ctx, s.Cluster, s.Shared, 1)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.Shared, "bare"), 0o700); err != nil {
		return nil, err
	}
	return &bare{stage: s, node: s.Cluster.Nodes[index], index: index, spec: kind.Spec(0), guest: guests[0]}, nil
}

// bareQEMU is one process.
type bareQEMU struct {
	*qmp
	cmd    *exec.Cmd
	cancel context.CancelFunc
	exited <-chan error
	words  *bytes.Buffer // what it complained about, when it has exited
	tap    string
}

// bareArgs are QEMU's arguments for a guest such as libvirt starts from [guest.Domain]. With incoming
// it waits for a migration, and stays stopped after it.
func bareArgs(s guest.DomainSpec, tap, socket string, incoming bool) []string {
	args := []string{
		"-accel", "tcg", "-machine", "pc,usb=off,hpet=off", "-cpu", "qemu64,+rdrand", "-m", fmt.Sprint(s.MemoryMiB),
		"-smp", fmt.Sprint(s.VCPUs),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "null", "-qmp",
		"unix:" + socket + ",server=on,wait=off",
		"-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.CommandLine(),
		"-drive", "file=" + s.Disk + ",if=none,id=disk,format=qcow2,cache=none,aio=threads", "-device",
		"virtio-blk-pci,drive=disk",
		"-netdev", "tap,id=net,ifname=" + tap + ",script=no,downscript=no", "-device",
		"virtio-net-pci,netdev=net,romfile=,mac=" + s.MAC,
	}
	if incoming {
		args = append(args, "-S", "-incoming", "defer")
	}
	return args
}

// start starts a QEMU, with a card on the node's bridge.
func (b *bare) start(ctx context.Context, incoming bool) (q *bareQEMU, err error) {
	name := fmt.Sprintf("bare%d-%d", b.index, b.made%2) // the two at one time
	b.made++
	socket := filepath.Join(b.stage.Shared, "bare", name)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := b.plug(ctx, name); err != nil {
		return nil, err
	}
	q = &bareQEMU{tap: name, words: &bytes.Buffer{}}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ended by stop
	q.cancel = cancel
	args := bareArgs(b.spec, name, "/shared/bare/"+name, incoming)
	q.cmd, err = b.stage.Cluster.Command(life, b.node, "qemu-system-x86_64", args...)
	if err != nil {
		cancel()
		return nil, err
	}
	q.cmd.Stderr = q.words
	if err := q.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	exited := make(chan error, 1)
	q.exited = exited
	go func() { exited <- q.cmd.Wait() }()
	if err := q.connect(ctx, socket); err != nil {
		return nil, errors.Join(err, b.stop(context.WithoutCancel(ctx), q))
	}
	return q, nil
}

// plug makes a tap on the node's bridge.
func (b *bare) plug(ctx context.Context, tap string) error {
	for _, args := range [][]string{
		{"tuntap", "add", "dev", tap, "mode", "tap"},
		{"link", "set", "dev", tap, "master", b.spec.Bridge, "up"},
	} {
		if _, err := b.stage.Cluster.Run(ctx, b.node, "ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// connect waits until the QEMU has made its socket, or ended.
func (q *bareQEMU) connect(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, bareTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := dialQMP(ctx, socket)
		if err == nil {
			q.qmp = m
			return nil
		}
		select {
		case ended := <-q.exited:
			again := make(chan error, 1)
			again <- ended
			q.exited = again
			return fmt.Errorf("QEMU ended at once: %w: %s", errors.Join(ended, err),
				strings.TrimSpace(q.words.String()))
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// stop ends a QEMU and unplugs its card.
func (b *bare) stop(ctx context.Context, q *bareQEMU) error {
	defer q.cancel()
	if q.qmp != nil {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _ = q.execute(ask, "quit", nil) // it may end before it answers
		cancel()
		_ = q.conn.Close()
	} else {
		q.cancel()
	}
	select {
	case <-q.exited:
	case <-time.After(5 * time.Second):
		q.cancel()
		<-q.exited
	}
	_, err := b.stage.Cluster.Run(ctx, b.node, "ip", "link", "delete", "dev", q.tap)
	return err
}

// close ends what runs.
func (b *bare) close(ctx context.Context) {
	if b.live != nil {
		_ = b.stop(ctx, b.live) // the lab goes away soon, or the next start says what is in the way
		b.live = nil
	}
}

// boot starts the guest and waits until it answers.
func (b *bare) boot(ctx context.Context) error {
	q, err := b.start(ctx, false)
	if err != nil {
		return err
	}
	b.live = q
	return b.stage.awaitGuest(ctx, b.guest.Address)
}

// move moves the guest to a new QEMU and returns the pause, in milliseconds.
func (b *bare) move(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, bareTime)
	defer cancel()
	target, err := b.start(ctx, true)
	if err != nil {
		return 0, err
	}
	if err := wait.For(ctx, before); err != nil { // as long as before a move of ours
		return 0, errors.Join(err, b.stop(context.WithoutCancel(ctx), target))
	}
	pause, err := transfer(ctx, b.live.qmp, target.qmp)
	if err != nil {
		return 0, errors.Join(err, b.stop(context.WithoutCancel(ctx), target))
	}
	source := b.live
	b.live = target
	return ms(pause), b.stop(ctx, source)
}

// transfer migrates between two QEMUs. The target runs on at the moment at which it says that it
// has everything.
func transfer(ctx context.Context, source, target *qmp) (time.Duration, error) {
	uri := map[string]any{"uri": fmt.Sprintf("tcp:127.0.0.1:%d", barePort)}
	events := map[string]any{"capabilities": []map[string]any{{"capability": "events", "state": true}}}
	for _, step := range []struct {
		at      *qmp
		command string
		args    any
	}{
		{source, "migrate-set-capabilities", events},
		{target, "migrate-set-capabilities", events},
		{source, "migrate-set-parameters",
			map[string]any{"downtime-limit": bareDowntime, "max-bandwidth": int64(1) << 40}},
		{target, "migrate-incoming", uri},
	} {
		if _, err := step.at.execute(ctx, step.command, step.args); err != nil {
			return 0, err
		}
	}
	began, received := source.mark(), target.mark()
	if _, err := source.execute(ctx, "migrate", uri); err != nil {
		return 0, err
	}
	end, err := target.await(ctx, received, "end of the migration", ended)
	if err != nil {
		return 0, err
	}
	if status := migrationStatus(end); status != "completed" {
		return 0, fmt.Errorf("the bare migration %s", status)
	}
	if _, err := target.execute(ctx, "cont", nil); err != nil {
		return 0, err
	}
	resume, err := target.await(ctx, received, "RESUME", named("RESUME"))
	if err != nil {
		return 0, err
	}
	stop, err := source.await(ctx, began, "STOP", named("STOP"))
	return resume.At.Sub(stop.At), err
}

// answered is by how much a guest's gaps were longer than the pause that made them, in milliseconds: its kernel's, over
// ICMP and by TCP's acknowledgements, and its reflector's. One can be below zero: a gap begins when an answer was due,
// up to an interval of the probes after the STOP.
type answered struct{ ICMP, Acks, UDP, TCP float64 }

// relearn stops the guest while clients probe it, has the emulator forget its translations or not, and returns
// by how much the gaps were longer than the pause.
func (b *bare) relearn(ctx context.Context, r *scenario.Runner, forget bool) (answered, error) {
	ctx, cancel := context.WithTimeout(ctx, bareTime)
	defer cancel()
	probing, stop := context.WithCancel(ctx)
	defer stop()
	probes, err := probe(probing, r)
	if err != nil {
		return answered{}, err
	}
	if err := wait.For(ctx, before); err != nil {
		return answered{}, err
	}
	stopped, resumed, err := b.live.pause(ctx, forget)
	if err != nil {
		return answered{}, err
	}
	if err := wait.For(ctx, after); err != nil {
		return answered{}, err
	}
	stop()
	seen, err := probes()
	if err != nil {
		return answered{}, err
	}
	return beyond(seen[b.guest.Name], resumed.Sub(stopped))
}

// beyond is by how much the gaps of a guest that was stopped for a while are longer than that. They are measured as
// those of moves are, so that what the interval of the probes hides of a gap is hidden in both.
func beyond(s scenario.Seen, pause time.Duration) (answered, error) {
	if s.ICMP == nil || s.UDP == nil || s.TCP == nil || s.TCP.KernelBlackoutMs == nil {
		return answered{}, errors.New("not all of the guest was probed")
	}
	gaps := [...]float64{s.ICMP.BlackoutMs, *s.TCP.KernelBlackoutMs, s.UDP.BlackoutMs, s.TCP.BlackoutMs}
	for i := range gaps {
		if gaps[i] == 0 {
			return answered{}, errors.New("the clients saw no blackout, though the guest was stopped")
		}
		gaps[i] -= ms(pause)
	}
	return answered{gaps[0], gaps[1], gaps[2], gaps[3]}, nil
}

// snapshot is the name of the guest's state in its disk's image.
const snapshot = "relearn"

// pause stops the guest for a while. To forget, it saves the guest's state and loads it again: QEMU then
// throws away all translated code, as the memory was written behind its back, just as the target
// of a migration begins without any.
func (m *qmp) pause(ctx context.Context, forget bool) (stopped, resumed time.Time, err error) {
	mark := m.mark()
	if _, err := m.execute(ctx, "stop", nil); err != nil {
		return stopped, resumed, err
	}
	stop, err := m.await(ctx, mark, "STOP", named("STOP"))
	if err != nil {
		return stopped, resumed, err
	}
	if forget {
		for _, line := range []string{"savevm " + snapshot, "loadvm " + snapshot, "delvm " + snapshot} {
			if err := m.human(ctx, line); err != nil {
				return stopped, resumed, err
			}
		}
	} else if err := wait.For(ctx, 500*time.Millisecond); err != nil {
		return stopped, resumed, err
	}
	mark = m.mark()
	if _, err := m.execute(ctx, "cont", nil); err != nil {
		return stopped, resumed, err
	}
	e, err := m.await(ctx, mark, "RESUME", named("RESUME"))
	return stop.At, e.At, err
}

// human runs a command of the human monitor, which says nothing when all is well.
func (m *qmp) human(ctx context.Context, line string) error {
	reply, err := m.execute(ctx, "human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return err
	}
	var words string
	if err := json.Unmarshal(reply, &words); err != nil {
		return fmt.Errorf("read QEMU's answer to %q: %w", line, err)
	}
	if words = strings.TrimSpace(words); words != "" {
		return fmt.Errorf("QEMU's answer to %q: %s", line, words)
	}
	return nil
}
