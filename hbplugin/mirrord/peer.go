package mirrord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/mirrorfiles"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// Guest is a guest of this node that is mirrored.
type Guest struct {
	Name, UUID, Resource string
	URI                  string // of the libvirt that it runs under
	Config               string // the file that it is configured by
	Mirror               param.Mirror
	Interval             string   // mirror_interval as it is written
	Node, Peer           string   // this node and the other one, as the cluster manager names them
	SSH                  []string // the command that reaches the other node; a program and its arguments follow
	Path                 bool     // it is no guest, but files: Name is their path; see package mirrorfiles
}

// IsMirrored reports whether the agent has noted that the guest is to be mirrored.
func IsMirrored(n notes.Guest) bool { return n.Params["mirror"] != "" }

// Guests are those of the agent's notes that are mirrored; node is the name of this node. run asks Pacemaker for a
// node's address. An error names guests that have to be mirrored and cannot be; the others are returned beside it.
func Guests(ctx context.Context, noted []notes.Guest, node string, run command.Runner) (all []Guest, err error) {
	for _, n := range noted {
		if !IsMirrored(n) {
			continue
		}
		g, gerr := guestOf(ctx, n, node, run)
		if gerr != nil {
			err = errors.Join(err, fmt.Errorf("guest %q: %w", n.Guest, gerr))
			continue
		}
		all = append(all, g)
	}
	return all, err
}

func guestOf(ctx context.Context, n notes.Guest, node string, run command.Runner) (g Guest, err error) {
	params := maps.Clone(n.Params)
	params["hypervisor"] = n.URI // also where the agent's environment has named it
	p := hbplugin.EnvironOf(n.Resource, params).Params
	g = Guest{Name: n.Guest, UUID: n.UUID, Resource: n.Resource, URI: n.URI, Config: p.File(), Mirror: p.Mirror,
		Node: node, Interval: n.Params["mirror_interval"]}
	if g.Interval == "" {
		g.Interval = p.Mirror.Interval.String()
	}
	if g.Peer, err = p.Mirror.Peer(node); err == nil {
		g.SSH, err = ssh(ctx, p, g.Peer, run)
	}
	return g, err
}

// Paths are those of the configuration that are mirrored from this node, beside its guests. others names the other nodes
// of the cluster. An error names paths that have to be mirrored and cannot be.
func Paths(ctx context.Context, all []config.Mirror, guests []Guest, node string, others func(context.Context) []string) (
	paths []Guest, err error) {
	ways := map[string][]string{} // by node: the command that reaches it
	for _, g := range guests {
		ways[g.Peer] = g.SSH
	}
	for _, m := range all {
		if !strings.EqualFold(m.From, node) {
			continue
		}
		for i, names := 0, others(ctx); len(guests) == 0 && i < len(names); i++ {
			ways[names[i]] = reach(names[i])
		}
		if m.Peer == "" && len(ways) == 1 {
			m.Peer = slices.Collect(maps.Keys(ways))[0]
		}
		if m.Peer == "" {
			err = errors.Join(err, fmt.Errorf("mirror %q: there are %d other nodes: set peer in vmferryd.toml", m.Path, len(ways)))
			continue
		}
		way, known := ways[m.Peer]
		if !known {
			way = reach(m.Peer)
		}
		paths = append(paths, Guest{Name: m.Path, UUID: mirrorfiles.UUID(m.Path), Resource: m.Path, Path: true, Node: node,
			Peer: m.Peer, Interval: m.Interval.String(), Mirror: param.Mirror{Interval: m.Interval}, SSH: way})
	}
	return paths, err
}

// ssh is the command that runs a program on a node, which is reached at the name that its libvirt is reached at.
func ssh(ctx context.Context, p param.Params, node string, run command.Runner) ([]string, error) {
	to, err := p.RouteTo(ctx, run, node)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(to.URI)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("the URI of libvirt on node %s, %q, names no host: correct remoteuri", node, to.URI)
	}
	host := u.Hostname()
	if u.User.Username() != "" {
		host = u.User.Username() + "@" + host
	}
	return reach(host), nil
}

func reach(host string) []string { return sshTo(Key, host) }

// Key is root's key for the mirror alone; where it is not there ssh uses root's others.
const Key = "/root/.ssh/vmferry-mirror"

// sshTo makes a stream of bytes, whatever root's configuration of ssh says: it has no terminal, forwards nothing, and
// shares no connection with root's other logins, which may be by other keys.
func sshTo(key, host string) []string {
	args := []string{"ssh", "-T", "-a", "-x", "-S", "none", "-oClearAllForwardings=yes", "-oBatchMode=yes",
		"-oConnectTimeout=5", "-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oLogLevel=ERROR"} // no banner
	if _, err := os.Stat(key); err == nil { // ssh warns of one that is not there
		args = append(args, "-i", key)
	}
	return append(args, "--", host)
}

// Manifest asks a node for its manifest of a guest, nil where it has none, and changes nothing there.
func Manifest(ctx context.Context, p param.Params, own, node, guest, uuid string, run command.Runner) (
	*mirror.Manifest, error) {
	way, err := ssh(ctx, p, node, run)
	if err != nil {
		return nil, err
	}
	s, err := dial(way)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	var answer any
	if err = s.Send(wire.Hello{Schema: mirror.Schema, Guest: guest, UUID: uuid, Node: own}); err == nil {
		answer, err = s.Receive()
	}
	_ = s.Close()
	state, ok := answer.(wire.State)
	m := state.Manifest
	switch refused, _ := answer.(wire.Refused); {
	case err != nil:
		return nil, fmt.Errorf("%w: %s", cmp.Or(context.Cause(ctx), err), s.Words())
	case !ok:
		return nil, fmt.Errorf("%s refuses: %w", node, refused)
	case m == nil:
		return nil, nil
	case m.UUID != uuid:
		return nil, fmt.Errorf("it has a manifest of guest %s", m.UUID)
	}
	return m, m.Check()
}

// HandOver prepares a guest's move to the node of its replica by package source, so that it has to copy little; false
// where the whole disks have to be copied. After an error, too, but then they cannot be copied as they are.
func HandOver(ctx context.Context, p param.Params, node string, s *source.Source, q source.Request, run command.Runner,
	log logrus.FieldLogger) (bool, error) {
	if err := s.Fold(ctx, q.Guest, q.UUID); err != nil { // of a move that was cut short
		return false, err
	}
	way, err := ssh(ctx, p, node, run)
	if err == nil {
		var to stream
		if to, err = dial(way); err == nil {
			q.Peer = &source.Peer{Stream: to}
			var r source.Result
			if r, err = s.HandOver(ctx, q); err == nil {
				log.Infof("the replica has what the guest has: %d MiB were sent in %.1f s", r.Bytes>>20, r.Took.Seconds())
			}
			_ = to.Close()
		}
	}
	if err == nil {
		return true, nil
	}
	log.WithError(err).Warn("the guest does not move by its replica, and its whole disks are copied")
	return false, s.Fold(ctx, q.Guest, q.UUID)
}

// stream is a stream to the replica.
type stream interface {
	source.Stream
	// Words is what the way there, or the other end, said last, in a line; after Close.
	Words() string
}

// process is a stream that is the input and the output of a program on the other node.
type process struct {
	*wire.Conn
	cmd    *exec.Cmd
	stderr words
	end    func()
}

// dial runs "vmferry-mirror receive" behind the command ssh.
func dial(ssh []string) (stream, error) {
	p := &process{cmd: exec.Command(ssh[0], append(ssh[1:len(ssh):len(ssh)], "vmferry-mirror", "receive")...)}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.Conn, p.cmd.Stderr, p.cmd.WaitDelay = wire.New(out, in), &p.stderr, time.Second
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	p.end = sync.OnceFunc(func() {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		_ = p.cmd.Wait()
	})
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("reach the other node: %w", err)
	}
	return p, nil
}

// Close ends the stream at once.
func (p *process) Close() error { p.end(); return nil }

// Words implements stream.
func (p *process) Words() string { return plaintext.Line(command.LastLine(string(p.stderr))) }

// words keeps the end of what is written to it, which says why a program ends.
type words []byte

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	*w = (*w)[max(0, len(*w)-4096):]
	return len(p), nil
}
