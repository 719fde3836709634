package replica

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/nbd"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
)

// session is one stream from a source.
type session struct {
	*Engine
	*wire.Conn
	hello mirror.Manifest // what a replica has that the source greets, and nothing else
}

// Serve answers a source until its stream ends between two rounds, which is no error, or until ctx ends: then a read of
// r may be left behind. A source that is refused is told why.
func (e *Engine) Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	s := &session{Engine: e, Conn: wire.New(r, w)}
	err := s.greet(ctx)
	for err == nil {
		if s.hello.Epoch == 0 {
			return nil // who asks has the answer
		}
		var m any
		m, err = wait.Within(ctx, s.Receive, nil)
		switch m := m.(type) {
		case nil:
			if errors.Is(err, io.EOF) {
				return nil
			}
		case wire.Round:
			err = s.round(ctx, m)
		case wire.Close:
			err = s.close(ctx, m)
		case wire.Take:
			err = s.take(ctx, m)
		default:
			err = fmt.Errorf("a %T is not due", m)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = wait.Within(last, func() (any, error) { return nil, s.Send(wire.Refused{Why: err.Error()}) }, nil)
	return err
}

// receiveNext is the next message of a greeting or a round.
func (s *session) receiveNext(ctx context.Context) (any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Patience, fmt.Errorf("nothing has come for %s", s.Patience))
	defer cancel()
	m, err := wait.Within(ctx, s.Receive, nil)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// locked has f work on what get returns, the guest's manifest or nil, under the guest's lock.
func (s *session) locked(ctx context.Context, get func(context.Context, string) (*mirror.Manifest, error),
	f func(own *mirror.Manifest) error) error {
	lock := func() (func(), error) { return s.Store.Lock(s.hello.UUID) }
	unlock, err := wait.Within(ctx, lock, func(unlock func()) { unlock() })
	if err != nil {
		return err
	}
	defer unlock()
	own, err := get(ctx, s.hello.UUID)
	if err == nil {
		err = f(own)
	}
	return err
}

func (s *session) greet(ctx context.Context) error {
	m, err := s.receiveNext(ctx)
	if err != nil {
		return err
	}
	h, _ := m.(wire.Hello)
	s.hello = mirror.Manifest{Schema: h.Schema, Guest: h.Guest, UUID: h.UUID, Role: mirror.Replica, Peer: h.Node,
		Point: mirror.Point{Epoch: max(h.Epoch, 1)}}
	if err := s.hello.Check(); err != nil {
		return fmt.Errorf("the source's greeting: %w", err)
	}
	if s.hello.Epoch = h.Epoch; h.Epoch == 0 { // it asks
		own, err := s.load(ctx, h.UUID)
		if err == nil {
			err = s.state(own)
		}
		return err
	}
	return s.locked(ctx, s.recover, func(own *mirror.Manifest) error {
		err := mirror.Accepts(own, h.Node, h.Epoch)
		switch {
		case err != nil || own == nil || own.Epoch == h.Epoch:
		case own.Role == mirror.Truth:
			own, err = &s.hello, s.yield(ctx, *own)
		default: // the guest was closed, and has started again: its disks are the same line
			own.Epoch, own.Closed, own.Ran = h.Epoch, false, false
			err = s.Store.Save(*own)
		}
		if err == nil {
			err = s.state(own)
		}
		return err
	})
}

// state sends a manifest without its states, which are large, and of which the other node has its own.
func (s *session) state(m *mirror.Manifest) error {
	if m != nil {
		m.States = nil
	}
	return s.Send(wire.State{Manifest: m})
}

// yield makes an old truth a replica that has nothing yet. Its images are kept: they may have writes that none else has.
// Those of a closed one have none, unless somebody has started the guest by hand since.
func (s *session) yield(ctx context.Context, old mirror.Manifest) error {
	closed, err := os.Stat(s.Store.Path(old.UUID))
	if err != nil {
		return err
	}
	for _, d := range old.Disks {
		if err := s.unused(ctx, d); err != nil {
			return fmt.Errorf("the old disk %q cannot be put aside: %w", d.Target, err)
		}
	}
	err = s.Store.Save(s.hello)
	s.did("yield")
	for i := 0; err == nil && i < len(old.Disks); i++ {
		d := old.Disks[i]
		if disk, serr := os.Stat(d.Path); old.Closed && serr == nil && disk.ModTime().Before(closed.ModTime().Add(closing)) {
			err = os.Remove(d.Path)
		}
		err = cmp.Or(err, keep(d, s.hello.Epoch))
	}
	return err
}

// closing is how long a source takes, after its truth is closed, to remove bitmaps from the disks.
const closing = 2 * time.Minute

func (s *session) close(ctx context.Context, c wire.Close) error {
	return s.locked(ctx, s.recover, func(own *mirror.Manifest) error {
		behind := func(d mirror.Disk) bool { return d.At != c.Point }
		if own == nil || own.Role != mirror.Replica || own.Point != c.Point || slices.ContainsFunc(own.Disks, behind) {
			return fmt.Errorf("the replica does not have all of round %s", c.Point)
		}
		own.Closed = true
		if err := s.Store.Save(*own); err != nil {
			return err
		}
		return s.Send(wire.Done{Point: c.Point})
	})
}

// round is one that is being received.
type round struct {
	*session
	own, next   *mirror.Manifest // as the round found it, nil where there was none, and as it will be
	parts       []*part
	differences []wire.Data
	unlooked    uint64 // bytes that came since the room was looked at
}

// part is a disk's file of a round, and the qemu-nbd that writes it.
type part struct {
	disk   int // its place in the manifest
	path   string
	socket string // of this round alone: the process of an earlier one may live yet
	file   *os.File
	sum    hash.Hash
	client *nbd.Client
	served chan error // what qemu-nbd ended with; closed then
}

func (s *session) round(ctx context.Context, w wire.Round) error {
	r := round{session: s}
	running, kill := context.WithCancel(ctx)
	err := r.receive(running, w)
	kill()
	for _, p := range r.parts {
		<-p.served
		_ = p.file.Close()
		_ = os.Remove(p.socket) // qemu-nbd does it, where it is not killed
	}
	if err != nil && ctx.Err() == nil { // what was made takes up room
		err = errors.Join(err, s.locked(ctx, s.recover, func(own *mirror.Manifest) error {
			if len(r.parts) == 0 { // the disks may be anything
				return nil
			}
			return sweep(*cmp.Or(own, &s.hello), r.next.Disks)
		}))
	}
	return err
}

func (r *round) receive(ctx context.Context, w wire.Round) error {
	err := r.locked(ctx, r.recover, func(own *mirror.Manifest) error { return r.begin(ctx, own, w) })
	if err == nil {
		r.did("begin")
		err = r.Send(wire.Ready{})
	}
	var m any
	for err == nil {
		if m, err = r.receiveNext(ctx); err != nil {
			return err
		}
		switch m := m.(type) {
		case wire.Data:
			err = r.write(ctx, m)
			r.did("data")
		case wire.Commit:
			if err = r.finish(ctx, m); err != nil {
				return err
			}
			r.did("sync")
			return r.locked(ctx, r.load, func(now *mirror.Manifest) error { return r.settle(ctx, now) })
		default:
			err = fmt.Errorf("a %T is not due", m)
		}
	}
	return err
}

// plan checks what a source wants to send, and notes what the replica will have then.
func (r *round) plan(w wire.Round) error {
	own, next, now := r.own, r.hello, r.Now()
	if own == nil {
		own = &r.hello
	}
	next.Point, next.Applying, next.Disks = w.Next, true, slices.Clone(w.Disks)
	r.next = &next
	if err := next.Check(); err != nil {
		return err
	}
	if own.Role != mirror.Replica || own.Epoch != r.hello.Epoch || w.Next.Epoch != own.Epoch ||
		w.Next.Generation <= own.Generation {
		return fmt.Errorf("round %s does not follow on %s", w.Next, own.Point)
	}
	var others []mirror.Manifest
	for i, d := range w.Disks {
		next.Disks[i] = mirror.Disk{Target: d.Target, Path: d.Path, Size: d.Size}
		j := slices.IndexFunc(own.Disks, func(o mirror.Disk) bool { return o.Target == d.Target && o.Path == d.Path })
		if j >= 0 {
			next.Disks[i] = own.Disks[j]
		} else if others == nil {
			others, _ = r.Store.All() // one that cannot be read does not stop the mirrors of other guests
		}
		for _, m := range others {
			has := func(o mirror.Disk) bool { return o.Path == d.Path }
			if m.UUID != next.UUID && slices.ContainsFunc(m.Disks, has) {
				return fmt.Errorf("disk %q is of guest %q, UUID %s: if that is no more, type %s", d.Path, m.Guest, m.UUID,
					shellword.Line("vmferry", "mirror", "forget", m.UUID))
			}
		}
	}
	for _, p := range w.Parts {
		if p.Disk < 0 || p.Disk >= len(next.Disks) || next.Disks[p.Disk].At == w.Next {
			return fmt.Errorf("it has no disk %d, or that twice", p.Disk)
		}
		d, size := &next.Disks[p.Disk], w.Disks[p.Disk].Size
		if p.Full {
			d.Whole, d.Dir, d.Checked = w.Next, inode(filepath.Dir(d.Path)), false
		} else if d.At == (mirror.Point{}) || d.At != p.Base || size < d.Size {
			return fmt.Errorf("no delta on %s of %d bytes fits disk %q, which is at %s", p.Base, size, d.Target, d.At)
		}
		d.At, d.Taken, d.Boot, d.Size = w.Next, now, mirror.ThisBoot(), size
	}
	return nil
}

const nvramDir = "/var/lib/libvirt/qemu/nvram/"

// isState reports whether libvirt, or an administrator, keeps a state of that guest there: no source writes other files.
func isState(path string, m mirror.Manifest) bool {
	dir, base := filepath.Split(path)
	beside := func(d mirror.Disk) bool { return filepath.Dir(d.Path)+"/" == dir }
	return path == "/var/lib/libvirt/swtpm/"+m.UUID+"/tpm2/tpm2-00.permall" || strings.HasPrefix(base, m.Guest+"_VARS") &&
		(dir == nvramDir || slices.ContainsFunc(m.Disks, beside))
}

// begin makes the files that a round is written to.
func (r *round) begin(ctx context.Context, own *mirror.Manifest, w wire.Round) error {
	r.own = own
	if err := r.plan(w); err != nil {
		return err
	}
	room := min(w.Bytes, 1<<62)
	if !slices.ContainsFunc(w.Parts, func(p wire.Part) bool { return p.Full }) {
		room *= 2 // a delta, and the replica that it is committed to
	}
	for _, d := range r.next.Disks {
		dir := filepath.Dir(d.Path)
		s, err := safefile.Survey(dir, safefile.Only())
		if err == nil && s.Access != safefile.Private {
			err = fmt.Errorf("others may put files into %q: type %s", dir, cmp.Or(s.Fix, shellword.Line("chmod", "go-w", dir)))
		}
		if err != nil {
			return err
		}
	}
	err := sweep(*cmp.Or(own, &r.hello), r.next.Disks) // it may have the room that is needed
	for i := 0; err == nil && i < len(r.next.Disks); i++ {
		err = r.roomy(r.next.Disks[i], room)
	}
	for i := 0; err == nil && i < len(w.Parts); i++ {
		err = r.open(ctx, w.Parts[i].Disk)
	}
	return err
}

// roomy is why there is no room for so many bytes beside a disk.
func (r *round) roomy(d mirror.Disk, need uint64) error {
	dir := filepath.Dir(d.Path)
	free, all, err := r.Room(dir)
	if err == nil && free < need+all/20 {
		err = fmt.Errorf("%q has %d bytes of room, and needs %d and a reserve of %d", dir, free, need, all/20)
	}
	return err
}

func (r *round) open(ctx context.Context, disk int) (err error) {
	d := r.next.Disks[disk]
	p := &part{disk: disk, path: d.Replica(), sum: sha256.New(), served: make(chan error, 1)}
	p.socket = filepath.Join(r.Store.Dir, fmt.Sprintf("%s-%d-%d-%d.sock", r.next.UUID, r.next.Epoch, r.next.Generation, disk))
	args, image := []string{"create", "-q", "-f", "qcow2"}, func() []string { return []string{"--format", "qcow2", p.path} }
	if r.next.IsDelta(d) {
		p.path, args = d.Delta(r.next.Point), append(args, "-b", d.Replica(), "-F", "qcow2")
		image = func() []string { return []string{unlocked(p.path, d.Replica())} }
		if err := regular(d.Replica()); err != nil {
			return fmt.Errorf("%w: mount its file system, or have all sent by %s on %s", err,
				shellword.Line("vmferry", "mirror", "resync", r.next.Guest), r.hello.Peer)
		}
	}
	// qemu-img would follow a link, and keeps the file that it finds.
	if p.file, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600); err != nil {
		return err
	}
	socket := p.socket
	err = r.qemuImg(ctx, append(args, p.path, strconv.FormatUint(d.Size, 10))...)
	isMade := err == nil
	go func() { // qemu-nbd ends with its client, or with this process where that does not come
		if isMade {
			_, err := r.Run(ctx, "setpriv", append([]string{"--pdeathsig", "KILL", "qemu-nbd", "--socket", socket, "--cache",
				"writeback", "--discard", "unmap"}, image()...)...)
			p.served <- err
		}
		close(p.served)
	}()
	r.parts = append(r.parts, p)
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for p.client == nil && len(p.served) == 0 && wait.For(dialing, 10*time.Millisecond) == nil {
		p.client, err = nbd.Dial(dialing, socket, nbd.Export{})
	}
	if p.client == nil || p.client.Size() != d.Size {
		err = fmt.Errorf("qemu-nbd does not serve %d bytes of %q: %w", d.Size, p.path, err)
	}
	return err
}

// unlocked is a delta for QEMU, without a lock on the replica below it: where the link was cut a round waits for its
// source for a while, and meanwhile the source's next stream, or a promotion, may need the replica. The round does not
// count then ([round.settle]).
func unlocked(delta, replica string) string {
	type file struct {
		Driver   string `json:"driver"`
		Filename string `json:"filename"`
		Locking  string `json:"locking"`
	}
	type image struct {
		Driver  string `json:"driver"`
		File    file   `json:"file"`
		Backing *image `json:"backing,omitempty"`
	}
	raw, _ := json.Marshal(image{ // never fails
		"qcow2", file{"file", delta, "auto"}, &image{"qcow2", file{"file", replica, "off"}, nil}})
	return "json:" + string(raw)
}

const (
	lookEvery = 256 << 20 // in bytes
	// checkTime is of all disks of a round. The source waits no longer than five minutes.
	checkTime = 3 * time.Minute
)

// write takes a piece of a disk.
func (r *round) write(ctx context.Context, d wire.Data) error {
	i := slices.IndexFunc(r.parts, func(p *part) bool { return p.disk == d.Disk })
	if i < 0 {
		return fmt.Errorf("the round does not have disk %d", d.Disk)
	}
	p := r.parts[i]
	if size := p.client.Size(); d.Length == 0 || d.Length > size || d.Offset > size-d.Length {
		return fmt.Errorf("%d bytes at %d are outside of a disk of %d", d.Length, d.Offset, size)
	}
	d.AddTo(p.sum)
	if r.unlooked += d.Length; r.unlooked >= lookEvery { // other guests need room there, too
		if err := r.roomy(r.next.Disks[p.disk], 0); err != nil {
			return err
		}
		r.unlooked = 0
	}
	switch {
	case len(d.Sum) > 0:
		there := make([]byte, d.Length)
		err := p.client.Read(ctx, there, d.Offset)
		if sum := sha256.Sum256(there); !bytes.Equal(sum[:], d.Sum) && len(r.differences) < wire.MaxDifferences {
			r.differences = append(r.differences, wire.Data{Disk: d.Disk, Offset: d.Offset, Length: d.Length})
		}
		return err
	case d.Zero:
		return p.client.WriteZeroes(ctx, d.Offset, d.Length)
	}
	return p.client.Write(ctx, d.Payload, d.Offset)
}

// finish checks what was sent, and makes it durable. After it the deltas must find room in the replica, as there is no
// way back.
func (r *round) finish(ctx context.Context, m wire.Commit) error {
	r.next.States = m.States
	if err := r.next.Check(); err != nil {
		return err
	}
	for _, s := range m.States {
		if !isState(s.Path, *r.next) {
			return fmt.Errorf("%q is no place for the guest's NVRAM or TPM: on the guest's node, name it %s%s_VARS.fd, in the "+
				"guest's configuration, too", s.Path, nvramDir, r.next.Guest)
		}
	}
	need := map[uint64]uint64{} // bytes, by file system
	checking, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	for i, p := range r.parts {
		if len(m.Sums) != len(r.parts) || !bytes.Equal(p.sum.Sum(nil), m.Sums[i]) {
			return fmt.Errorf("what has come of %q is not what was sent", p.path)
		}
		if err := cmp.Or(p.client.Flush(ctx), p.client.Close(), p.end(r.Patience), sync(p.path)); err != nil {
			return err // qemu-nbd ends with ctx, too
		}
		var at unix.Stat_t
		err := unix.Fstat(int(p.file.Fd()), &at)
		d := &r.next.Disks[p.disk]
		switch {
		case err != nil:
		case r.next.IsDelta(*d):
			need[at.Dev] += uint64(at.Blocks) * 512
			err = r.roomy(*d, need[at.Dev])
		default: // a start has no time for that
			err = r.check(checking, p.path)
			if d.Checked = err == nil; checking.Err() != nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end waits for the end of qemu-nbd, which does not come where another client, or none, has reached it.
func (p *part) end(patience time.Duration) error {
	select {
	case err := <-p.served:
		return err
	case <-time.After(patience):
		return fmt.Errorf("qemu-nbd of %q has not ended in %s", p.path, patience)
	}
}

// settle makes the round count. Another process may have worked on the replica meanwhile: then the round does not.
func (r *round) settle(ctx context.Context, now *mirror.Manifest) error {
	if !reflect.DeepEqual(now, r.own) {
		return errors.New("the replica has changed during the round")
	}
	for _, p := range r.parts {
		made, err := p.file.Stat()
		if there, lerr := os.Lstat(p.path); cmp.Or(err, lerr) != nil || !os.SameFile(made, there) {
			return fmt.Errorf("%q was removed during the round", p.path)
		}
	}
	if err := r.Store.Save(*r.next); err != nil {
		return err
	}
	r.did("applying")
	sent := r.Send(wire.Done{Point: r.next.Point, Differences: r.differences})
	err := r.apply(ctx, r.next)
	if err == nil {
		err = sweep(*r.next, slices.Concat(cmp.Or(r.own, r.next).Disks, r.next.Disks))
	}
	return errors.Join(err, sent)
}
