package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/mirror"
)

const (
	// seldom is an interval in which no round falls into a bench that orders its rounds itself.
	seldom = 24 * time.Hour
	// syncTime bounds how long a whole replica may take, of the largest disk.
	syncTime = 30 * time.Minute
	// settle is how long the nodes are left alone after a guest has written.
	settle = time.Second
	// pieceMiB is how much qemu-io(1) writes at a time.
	pieceMiB = 256
	// roomMiB is where the room begins that a guest fills, see [ledger.Room].
	roomMiB = ledger.Room >> 20
)

// localKind is what the guests of a bench have in common whose disks are each node's own.
type localKind struct {
	name     string
	first    int // the number of the first guest
	disk     int // MiB that the guest sees
	written  int // MiB of them that have data, after the ledger
	interval time.Duration
	maxLoss  time.Duration
	moves    time.Duration       // for Pacemaker's migrate_to; 0 for the usual
	peer     []cluster.Parameter // of a second guest without a mirror; nil: there is none
}

// local is a guest whose disk is each node's own.
type local struct {
	scenario.Guest
	spec guest.DomainSpec
	at   int // the node that it is on
}

// newClient is a client of its ledger that has not begun yet, and knows of no number.
func (g *local) newClient(pace time.Duration) *ledger.Client {
	return &ledger.Client{Address: net.JoinHostPort(g.Address, strconv.Itoa(ledger.Port)), Pace: pace, Quiet: time.Second}
}

// locals are the guests of such a bench, under Pacemaker.
type locals struct {
	*Stage
	kind       localKind
	runner     *scenario.Runner
	view       mirrored.View
	ours, peer *local // peer is nil where there is none
}

// localGuests starts the guests of a kind on the first node, waits until the replica of ours is whole, calls body, and takes
// all of the guests away.
func (s *Stage) localGuests(ctx context.Context, kind localKind, body func(context.Context, *locals) error) error {
	own, c := *s, *s.Cluster
	own.Cluster = &c
	if kind.moves > 0 {
		c.Hypervisor.Limit.MigrateTo = kind.moves
	}
	l := &locals{Stage: &own, kind: kind, view: mirrored.View{Dir: filepath.Dir(s.Shared)}}
	params := []cluster.Parameter{}
	for _, p := range mirrored.Parameters([2]string(c.Nodes), kind.interval, kind.maxLoss) {
		params = append(params, cluster.Parameter{Name: p[0], Value: p[1]})
	}
	l.ours = l.describe(0, params)
	all := []scenario.Guest{l.ours.Guest}
	if kind.peer != nil {
		l.peer = l.describe(1, kind.peer)
		all = append(all, l.peer.Guest)
	}
	var err error
	if l.runner, err = own.runner(all, moveInterval); err != nil {
		return err
	}
	return l.runner.Run(ctx, func(ctx context.Context) (err error) {
		if err := l.runner.Take(ctx); err != nil {
			return err
		}
		if err := l.prepare(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.takeAway(context.WithoutCancel(ctx))) }()
		begun := time.Now()
		if err := l.runner.Place(ctx, cluster.Ours, l.node()); err != nil {
			return err
		}
		if err := l.synced(ctx, begun); err != nil {
			return err
		}
		return body(ctx, l)
	})
}

// describe is the i-th guest.
func (l *locals) describe(i int, params []cluster.Parameter) *local {
	spec := scenario.Kind{Name: l.kind.name, First: l.kind.first, MemoryMiB: guest.MinMemoryMiB, Ledger: true}.Spec(i)
	spec.Disk = mirrored.Disk(spec.Name)
	address, _, _ := strings.Cut(spec.IP, "/")
	return &local{
		Guest: scenario.Guest{Guest: cluster.Guest{Name: spec.Name, Config: "/shared/guests/" + spec.Name + ".xml",
			More: params}, Address: address, UUID: spec.UUID},
		spec: spec,
	}
}

// guests are those that there are.
func (l *locals) guests() []*local {
	if l.peer == nil {
		return []*local{l.ours}
	}
	return []*local{l.ours, l.peer}
}

// prepare makes the guests' definitions and disks, which a run that broke off may have left.
func (l *locals) prepare(ctx context.Context) error {
	if err := l.Cluster.Everywhere(ctx, "bash", "-euc", mirrored.Pool); err != nil {
		return err
	}
	if err := l.forget(ctx); err != nil {
		return err
	}
	for _, g := range l.guests() {
		l.Progress("making the disk of " + g.Name)
		text, err := guest.Domain(g.spec)
		if err == nil {
			err = os.WriteFile(filepath.Join(l.Shared, "guests", g.Name+".xml"), []byte(text), 0o644)
		}
		if err == nil {
			_, err = l.Cluster.Run(ctx, l.node(), "qemu-img", "create", "-q", "-f", "qcow2", g.spec.Disk,
				strconv.Itoa(l.kind.disk)+"M")
		}
		if err == nil {
			_, err = l.Cluster.Run(ctx, l.node(), "qemu-io", append(writes(l.kind.written), "-f", "qcow2", g.spec.Disk)...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writes are the arguments of qemu-io(1) with which it writes so many MiB of data after a ledger.
func writes(written int) (args []string) {
	for at := 0; at < written; at += pieceMiB {
		args = append(args, "-c", fmt.Sprintf("write -q -P 0x61 %dM %dM", roomMiB+at, min(pieceMiB, written-at)))
	}
	return args
}

// takeAway removes the guests with all that is of them.
func (l *locals) takeAway(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTime, errors.New("the guests do not go away"))
	defer cancel()
	return errors.Join(l.Cluster.AwaitOnline(ctx, l.Progress), l.runner.Remove(ctx, l.node()), l.forget(ctx))
}

// forget removes the files of the guests, and what the cluster knows of their epochs.
func (l *locals) forget(ctx context.Context) error {
	var errs []error
	for _, g := range l.guests() {
		manifest := strings.TrimSuffix(mirror.Store{Dir: mirror.DefaultDir}.Path(g.UUID), "json")
		errs = append(errs, l.Cluster.Everywhere(ctx, "bash", "-euc", `rm --force "$1"* "$2"*`, "bash", g.spec.Disk, manifest))
		for _, node := range l.Cluster.Nodes { // it fails where there is none
			_, _ = l.Cluster.Run(ctx, l.node(), "crm_attribute", "--node="+node, "--name="+mirrored.Attribute(g.Name), "--delete")
		}
	}
	return errors.Join(errs...)
}

// here is the node that a guest is on, and there the other one.
func (l *locals) here(g *local) string  { return l.Cluster.Nodes[g.at] }
func (l *locals) there(g *local) string { return l.Cluster.Nodes[1-g.at] }

// isSynced reports whether a manifest is of a whole replica that was taken after an instant.
func isSynced(m *mirror.Manifest, since time.Time) bool {
	return m != nil && m.Role == mirror.Replica && !m.Applying && m.Taken().After(since)
}

// synced waits until the other node has a whole replica of ours that was taken after an instant.
func (l *locals) synced(ctx context.Context, since time.Time) error {
	l.Progress("waiting for a whole replica of " + l.ours.Name)
	ctx, cancel := context.WithTimeoutCause(ctx, syncTime, errors.New("it does not come"))
	defer cancel()
	return cluster.Await(ctx, "a whole replica on "+l.there(l.ours), func(context.Context) (bool, error) {
		own, oerr := l.view.Manifest(l.here(l.ours), l.ours.UUID)
		m, err := l.view.Manifest(l.there(l.ours), l.ours.UUID)
		settled := own != nil && own.Role == mirror.Truth && !own.Overlay // which a move leaves, and a round folds
		return settled && isSynced(m, since), errors.Join(oerr, err)
	})
}
