package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/nbd"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Hypervisor is what a round asks of libvirt: a client's Conn is one, and tells what its methods do.
type Hypervisor interface {
	Status(ctx context.Context, guest string) (libvirt.Status, error)      // whether the guest runs
	XML(ctx context.Context, guest string) (string, error)                 // its disks
	Resume(ctx context.Context, guest string) error                        // what QEMU has paused
	Job(ctx context.Context, guest string) (libvirt.Job, error)            // what is in the way
	AbortJob(ctx context.Context, guest string) error                      // ends a backup
	BackupBegin(ctx context.Context, guest string, b libvirt.Backup) error // with its checkpoint
	Checkpoints
	Overlays
	Freeze(ctx context.Context, guest string) error // its file systems
	Thaw(ctx context.Context, guest string) error   // also where an answer of Freeze was lost
}

// Checkpoints are a guest's, in its Hypervisor.
type Checkpoints interface {
	CheckpointNames(ctx context.Context, guest string) ([]string, error)               // all of them
	DeleteCheckpoint(ctx context.Context, guest, name string, metadataOnly bool) error // metadataOnly keeps its bitmaps
	// RedefineCheckpoint fails with libvirt.ErrCheckpoint where a bitmap is missing or broken.
	RedefineCheckpoint(ctx context.Context, guest, name string, targets []string, created time.Time) error
}

// Stream leads to the replica: a wire.Conn, with what ends it from any goroutine, also twice.
type Stream interface {
	Send(message any) error // one of package wire
	Receive() (any, error)  // waits for one
	Close() error           // ends both
}

// Peer is a stream for the rounds of one guest, and what the replica is known to have. A round that fails closes it.
type Peer struct {
	Stream
	greeted bool
	has     *mirror.Manifest
}

// Source makes rounds; those of different guests may run at once.
type Source struct {
	Hypervisor Hypervisor // of no use to Close, for which it may be nil
	Store      mirror.Store
	// Sockets has the private directories that libvirt gives to each guest's QEMU, in which AppArmor lets it make a
	// socket; "" is libvirt.QEMUDir.
	Sockets string
	Dir     string // a private directory, gone with a boot, for sockets of qemu-nbd and for notes of frozen guests
	// Run runs a program (command.Runner).
	Run func(ctx context.Context, name string, args ...string) (output string, err error)

	dial  func(ctx context.Context, socket string, e nbd.Export) (view, error) // a test's
	limit uint64                                                               // a test's: bytes of scratch files
}

// view is a disk at one instant: an nbd.Client.
type view interface {
	Size() uint64
	Extents(ctx context.Context, offset, length uint64) ([]nbd.Extent, error)
	Read(ctx context.Context, buf []byte, offset uint64) error
	Close() error
}

// Request is one round.
type Request struct {
	Guest, UUID string
	Node, To    string // this one and the replica's, as the cluster manager names them
	Peer        *Peer
	Config      string                   // the file that the guest is configured by; where it cannot be read it does not count
	Due         func(target string) bool // the disks to send; nil: all
	Full        bool                     // send them whole
	Verify      bool                     // have the replica compare what is not sent
	Freeze      bool                     // have the guest's agent freeze its file systems for the instant
	Rate        uint64                   // bytes a second at most; 0: no bound
	// Progress is called as data is sent, in bytes; full says that a disk is sent whole. total is about right then.
	Progress func(full bool, done, total uint64)
}

// Result is what a round did.
type Result struct {
	Point             mirror.Point
	All, Sent         []string      // the guest's disks by target, and those of the round
	Parts             []mirror.Part // what was sent of them
	Bytes             uint64        // of data
	Begin, Copy, Took time.Duration // of the backup's begin, with a freeze; of the copying; of the whole
	Differences       []wire.Data   // of Verify: where the replica differed
	Warning           error         // what the round did without: the guest's agent
}

// round is a round under way.
type round struct {
	*Source
	Request
	Result
	end       func(error) // the round
	own       mirror.Manifest
	disks     []mirror.Disk
	allocated []uint64               // bytes, by disk
	states    []mirror.State         // by their paths, and with their content once copyAll begins
	offline   bool                   // nobody writes to its disks: the guest has ended, or writes to overlays
	deltas    bool                   // it is made only where no disk is sent whole
	halted    bool                   // QEMU had paused it for an I/O error before the backup
	socket    string                 // of the backup
	known     map[mirror.Point]error // why a delta cannot begin at a point; nil: it can
	limit     uint64                 // bytes that the scratch files may have
	total     uint64                 // bytes that the full parts will have, about
	sums      [][]byte
	began     time.Time // the copying
}

// Round sends the disks that are due as they are at one instant. At the end of ctx it undoes what it has begun, which
// takes a minute at most, and fails with the cause. After an error the guest is as before, and the stream is closed.
func (s *Source) Round(ctx context.Context, q Request) (Result, error) {
	return s.run(ctx, q, (*round).live)
}

// Close sends what a guest that has ended wrote since its last round, and tells the replica that nothing else is
// missing. It fails where that is not known, as after a crash of QEMU: the replica is not closed then.
func (s *Source) Close(ctx context.Context, q Request) (Result, error) {
	q.Due, q.Full = nil, false
	return s.run(ctx, q, (*round).close)
}

// Quiet ends what a round that was cut short has left behind in a guest that runs: its backup, which would fill the room
// beside the disks, and block a move, and a freeze of its file systems. A job of somebody else's stays.
func (s *Source) Quiet(ctx context.Context, guest, uuid string) error {
	r := &round{Source: s, Request: Request{Guest: guest, UUID: uuid}}
	return r.quiet(ctx)
}

func (s *Source) run(ctx context.Context, q Request, act func(*round, context.Context) error) (Result, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(ctx, func() { _ = q.Peer.Close() })()
	r := &round{Source: s, Request: q, end: end, limit: s.limit, known: map[mirror.Point]error{}}
	begun, all := time.Now(), []func(context.Context) error{r.greet, func(ctx context.Context) error { return act(r, ctx) }}
	if s.Hypervisor != nil { // before the other node is needed, which may be away for long
		all = append([]func(context.Context) error{r.quiet}, all...)
	}
	err := steps(ctx, all...)
	if err != nil {
		_ = q.Peer.Close()
		if refused, ok := errors.AsType[wire.Refused](err); ok {
			err = refusal{cmp.Or(q.To, "the other node"), refused}
		}
		// What else went wrong at the end of ctx comes from it.
		return Result{}, fmt.Errorf("mirror guest %q: %w", q.Guest, cmp.Or(context.Cause(ctx), err))
	}
	r.Took = time.Since(begun)
	return r.Result, nil
}

// refusal is read on this node, where what the other one says to type may do harm.
type refusal struct {
	node string
	wire.Refused
}

func (r refusal) Error() string {
	return r.node + " refuses: " + strings.ReplaceAll(r.Refused.Error(), "type ", "on "+r.node+" type ")
}

func (r refusal) Unwrap() error { return r.Refused }

// steps takes one after the other, until one fails.
func steps(ctx context.Context, all ...func(context.Context) error) (err error) {
	for i := 0; i < len(all) && err == nil; i++ {
		if err = context.Cause(ctx); err == nil {
			err = all[i](ctx)
		}
	}
	return err
}

// within calls f, which may hang with the storage.
func within(ctx context.Context, f func() error) error {
	_, err := wait.Within(ctx, func() (struct{}, error) { return struct{}{}, f() }, nil)
	return err
}

// greet reads the manifests of both ends.
func (r *round) greet(ctx context.Context) error {
	err := within(ctx, func() (err error) { r.own, err = r.Store.Load(r.UUID); return err })
	if err == nil && (r.own.Role != mirror.Truth || r.own.Ran) {
		err = errors.New("the current copy of its disks is not here")
	}
	if err != nil || r.Peer.greeted {
		return err
	}
	hello := wire.Hello{Schema: mirror.Schema, Guest: r.Guest, UUID: r.UUID, Node: r.Node, Epoch: r.own.Epoch}
	state, err := ask[wire.State](r.Peer, hello)
	if m := state.Manifest; err == nil && m != nil {
		if err = m.Check(); err == nil && (m.UUID != r.UUID || m.Epoch > r.own.Epoch) {
			err = fmt.Errorf("it has guest %s at epoch %d, and this is guest %s at epoch %d", m.UUID, m.Epoch, r.UUID,
				r.own.Epoch)
		}
	}
	if err != nil {
		return fmt.Errorf("the other node: %w", err)
	}
	r.Peer.greeted, r.Peer.has = true, state.Manifest
	return nil
}

// note changes this node's manifest, which has to be of the same truth still.
func (r *round) note(ctx context.Context, change func(*mirror.Manifest)) error {
	return within(ctx, func() error {
		unlock, err := r.Store.Lock(r.UUID)
		if err != nil {
			return err
		}
		defer unlock()
		m, err := r.Store.Load(r.UUID)
		if err == nil && (m.Role != mirror.Truth || m.Epoch != r.own.Epoch || m.Last > r.Point.Generation) {
			err = errors.New("the manifest has changed meanwhile")
		}
		if err = cmp.Or(err, context.Cause(ctx)); err != nil {
			return err
		}
		change(&m)
		return r.Store.Save(m)
	})
}

// ask sends a message, and waits for its answer; [none] stands for none. Where the other node refuses, the error says
// why.
func ask[T any](s Stream, message any) (answer T, err error) {
	var got any
	serr := s.Send(message)
	if _, isNone := any(answer).(none); serr == nil && isNone {
		return answer, nil
	}
	got, err = s.Receive()
	if refused, ok := got.(wire.Refused); ok {
		return answer, refused
	}
	answer, ok := got.(T)
	if err = cmp.Or(serr, err); err == nil && !ok {
		err = fmt.Errorf("it answers with a %T", got)
	}
	return answer, err
}

type none struct{}
