package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/report"
)

const (
	// cgroupRoot is where the lab has cgroup2.
	cgroupRoot = "/sys/fs/cgroup"
	// agentsGroup and callsGroup are the bench's, below the cgroup of a node's systemd: the agents that it calls, with
	// their children, and what it takes to call them.
	agentsGroup, callsGroup = "bench-agents", "bench-calls"
	// intoGroup is run by sh(1) in a node, where that cgroup is the root: it becomes the program that its arguments
	// name, in agentsGroup. What led up to it is not counted.
	intoGroup = `echo 0 >` + cgroupRoot + "/" + agentsGroup + `/cgroup.procs && exec "$@"`
	// daemonGroup is vmferryd's, below the cgroup of its node's systemd.
	daemonGroup = "system.slice/vmferryd.service"
	// workEvery is between two readings of processor time.
	workEvery = 5 * time.Millisecond
	// workAfter is how long after RESUME work counts: until then a guest warms up.
	workAfter = time.Second
)

// libvirtDaemons are libvirt's, monolithic or modular.
var libvirtDaemons = []string{"libvirtd", "virtqemud"}

// work is processor time, in milliseconds.
type work struct {
	Agents  float64 // the agents that the bench calls, with their children
	Daemon  float64 // vmferryd with its children
	Libvirt float64 // libvirt's daemons, of which QEMU is no part
}

func (w work) minus(o work) work {
	return work{w.Agents - o.Agents, w.Daemon - o.Daemon, w.Libvirt - o.Libvirt}
}

// reading is the processor time that was spent up to an instant.
type reading struct {
	at    time.Time
	spent work
}

// spentAt is what was spent up to an instant: on the line between the readings around it. ok is false
// before the first reading and after the last one.
func spentAt(readings []reading, at time.Time) (spent work, ok bool) {
	i, exact := slices.BinarySearchFunc(readings, at, func(r reading, at time.Time) int { return r.at.Compare(at) })
	switch {
	case exact:
		return readings[i].spent, true
	case i == 0 || i == len(readings):
		return work{}, false
	}
	a, b := readings[i-1], readings[i]
	share := float64(at.Sub(a.at)) / float64(b.at.Sub(a.at))
	more := b.spent.minus(a.spent)
	return work{
		Agents:  a.spent.Agents + share*more.Agents,
		Daemon:  a.spent.Daemon + share*more.Daemon,
		Libvirt: a.spent.Libvirt + share*more.Libvirt,
	}, true
}

// spentBetween is what was spent between two instants; ok is as of spentAt.
func spentBetween(readings []reading, from, to time.Time) (spent work, ok bool) {
	a, early := spentAt(readings, from)
	b, late := spentAt(readings, to)
	return b.minus(a), early && late
}

// ownWork is what each move of ours took, in milliseconds: all of vmferry's, and what libvirt spent more than the
// median of the peer's moves. The peer's is its agents'.
func ownWork(ours, peer []work) (own, theirs []float64) {
	var usual []float64
	for _, w := range peer {
		usual, theirs = append(usual, w.Libvirt), append(theirs, w.Agents)
	}
	base := Summarize(usual).P50
	for _, w := range ours {
		own = append(own, w.Agents+w.Daemon+max(0, w.Libvirt-base))
	}
	return own, theirs
}

// meter reads the processor time of what works for moves, on all nodes, again and again.
type meter struct {
	agents  []*os.File // cpu.stat of the agents' cgroups, one a node
	daemons []*os.File // and of vmferryd's, where it runs
	libvirt []int32    // clocks of libvirt's processes

	readings []reading
	failed   error
	cost     time.Duration // processor time that reading took
	took     time.Duration // in which it did
	done     chan struct{}
}

// newMeter finds what is to be read. Processes that start later are not seen, but for those in the cgroups.
func (s *Stage) newMeter(ctx context.Context) (*meter, error) {
	m := &meter{done: make(chan struct{})}
	if err := m.open(ctx, s); err != nil {
		m.close()
		return nil, err
	}
	found, err := find("/proc", libvirtDaemons)
	if err != nil {
		m.close()
		return nil, err
	}
	for _, dir := range found {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			m.close()
			return nil, err
		}
		m.libvirt = append(m.libvirt, processClock(pid))
	}
	return m, nil
}

// open opens the cgroups' files.
func (m *meter) open(ctx context.Context, s *Stage) error {
	for _, name := range s.Cluster.Nodes {
		g, err := s.nodeGroup(ctx, name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(g.of(agentsGroup), 0o755); err != nil {
			return fmt.Errorf("make a cgroup for agents: %w", err)
		}
		agents, err := os.Open(filepath.Join(g.of(agentsGroup), "cpu.stat"))
		if err != nil {
			return err
		}
		m.agents = append(m.agents, agents)
		daemon, err := os.Open(filepath.Join(g.of(daemonGroup), "cpu.stat"))
		switch {
		case err == nil:
			m.daemons = append(m.daemons, daemon)
		case !errors.Is(err, fs.ErrNotExist): // it is stopped
			return err
		}
	}
	return nil
}

func (m *meter) close() {
	for _, f := range slices.Concat(m.agents, m.daemons) {
		_ = f.Close()
	}
}

// processClock is the clock of a process's processor time, its dead threads with it: clock_getcpuclockid(3).
func processClock(pid int) int32 { return int32(^pid)<<3 | 2 }

// nodeGroup is the cgroup of a node's systemd, below cgroupRoot.
type nodeGroup string

// of is the folder of a cgroup below it.
func (g nodeGroup) of(name string) string { return filepath.Join(cgroupRoot, string(g), name) }

// nodeGroup finds a node's cgroup by that of its leader.
func (s *Stage) nodeGroup(ctx context.Context, name string) (nodeGroup, error) {
	reply, err := s.Cluster.State(ctx)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", reply.Nodes[name].Leader))
	if err != nil {
		return "", fmt.Errorf("find the cgroup of node %q: %w", name, err)
	}
	g, ok := parseGroup(string(text), name)
	if !ok {
		return g, fmt.Errorf("find the cgroup of node %q: its leader is in %q", name, text)
	}
	return g, nil
}

// parseGroup reads the cgroup of a node's leader: 0::/vmferry-lab-…/NODE/…/init.scope.
func parseGroup(cgroup, name string) (g nodeGroup, ok bool) {
	for line := range strings.Lines(cgroup) {
		path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		before, _, inside := strings.Cut(path+"/", "/"+name+"/")
		if unified && inside && strings.HasPrefix(before, "/"+node.CgroupPrefix) {
			return nodeGroup(strings.TrimSuffix(path, "/init.scope")), true
		}
	}
	return "", false
}

// start reads until ctx ends. stop waits for that and returns the readings.
func (m *meter) start(ctx context.Context) (stop func() ([]reading, error)) {
	go func() {
		defer close(m.done)
		defer m.close()
		runtime.LockOSThread() // its clock is the cost
		defer runtime.UnlockOSThread()
		m.run(ctx)
	}()
	return func() ([]reading, error) {
		<-m.done
		return m.readings, m.failed
	}
}

func (m *meter) run(ctx context.Context) {
	began := time.Now()
	before, _ := clockTime(unix.CLOCK_THREAD_CPUTIME_ID)
	tick := time.NewTicker(workEvery)
	defer tick.Stop()
	for {
		r, err := m.read()
		if err != nil {
			m.failed = fmt.Errorf("read processor times: %w", err)
			return
		}
		m.readings = append(m.readings, r)
		now, _ := clockTime(unix.CLOCK_THREAD_CPUTIME_ID)
		m.cost, m.took = now-before, time.Since(began)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// read reads all once.
func (m *meter) read() (r reading, err error) {
	for _, part := range []struct {
		files []*os.File
		into  *float64
	}{{m.agents, &r.spent.Agents}, {m.daemons, &r.spent.Daemon}} {
		for _, f := range part.files {
			used, err := usage(f)
			if err != nil {
				return r, err
			}
			*part.into += used
		}
	}
	for _, clock := range m.libvirt {
		used, err := clockTime(clock)
		if err != nil {
			return r, fmt.Errorf("libvirt's daemon has ended: %w", err)
		}
		r.spent.Libvirt += ms(used)
	}
	r.at = time.Now()
	return r, nil
}

// clockTime reads a clock of processor time.
func clockTime(clock int32) (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()), err
}

// usage is the processor time of a cgroup and of all below it, in milliseconds, from its cpu.stat.
func usage(f io.ReaderAt) (float64, error) {
	var text [512]byte
	n, err := f.ReadAt(text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return parseUsage(text[:n])
}

// parseUsage reads usage_usec of a cpu.stat (cgroups(7)), as milliseconds.
func parseUsage(text []byte) (float64, error) {
	for line := range bytes.Lines(text) {
		if word, ok := bytes.CutPrefix(line, []byte("usage_usec ")); ok {
			us, err := strconv.ParseUint(string(bytes.TrimSpace(word)), 10, 64)
			return float64(us) / 1000, err
		}
	}
	return 0, fmt.Errorf("no usage_usec in %q", text)
}

// inGroup makes a command begin in a cgroup, which is made where it is missing. The function that it returns
// is to be called when the command has started.
func inGroup(cmd *exec.Cmd, dir string) (started func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	group, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open a cgroup: %w", err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	return func() { _ = group.Close() }, nil
}

// runAgent calls an agent on a node as [cluster.Cluster.Run] runs a program: launcher with its arguments runs it, and
// it begins in the cgroup of the node's agents.
func (s *Stage) runAgent(ctx context.Context, name string, launcher []string, agent ...string) error {
	group, err := s.nodeGroup(ctx, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(group.of(agentsGroup), 0o755); err != nil {
		return fmt.Errorf("make a cgroup for agents: %w", err)
	}
	args := slices.Concat(launcher[1:], []string{"sh", "-c", intoGroup, "sh"}, agent)
	cmd, err := s.Cluster.Command(ctx, name, launcher[0], args...)
	if err != nil {
		return err
	}
	started, err := inGroup(cmd, group.of(callsGroup))
	if err != nil {
		return err
	}
	defer started()
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %q on node %q: %w: %s", agent, name, err, lastLine(complaint.String()))
	}
	return nil
}

// lastLine is the end of what a program said.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// workResult is the result own-work of moves, with the raw parts of it in its notes.
func (m *mover) workResult(all moves) Result {
	ours, peer := worked(all.ours), worked(all.peer)
	own, theirs := ownWork(ours, peer)
	r := compare("own-work", "ms", report.Peer, own, theirs)
	median := func(moves []work, of func(work) float64) float64 { return Summarize(each(moves, of)).P50 }
	agents := func(w work) float64 { return w.Agents }
	daemon := func(w work) float64 { return w.Daemon }
	libvirt := func(w work) float64 { return w.Libvirt }
	r.Notes = []string{
		fmt.Sprintf("from STOP to %s after RESUME, both nodes; medians: vmferryd %.1f ms, its agents %.1f ms",
			workAfter, median(ours, daemon), median(ours, agents)),
		fmt.Sprintf("libvirt's daemons %.1f ms, in the peer's moves %.1f ms; what is more than that is ours, move by move",
			median(ours, libvirt), median(peer, libvirt)),
		"the peer's is its agents with their children",
		"the guest leaves alone: in a drain of several, vmferry does not put off its verification for that second",
		fmt.Sprintf("read every %s, which took %.1f ms of processor a second", workEvery, Summarize(m.metering).P50),
	}
	return r
}

// worked is what was measured of moves.
func worked(all []move) []work {
	var values []work
	for _, one := range all {
		if one.Work != nil {
			values = append(values, *one.Work)
		}
	}
	return values
}
