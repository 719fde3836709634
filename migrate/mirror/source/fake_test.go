package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/nbd"
)

const (
	uuid    = "11111111-2222-3333-4444-555555555555"
	cluster = 64 << 10
)

// world is a guest with two disks, its libvirt, and its replica on the other node. Each call to either is an arrow, at
// which something may happen.
type world struct {
	t      *testing.T
	source *Source
	dir    string
	arrow  func(name string) (before, after error) // before: the call does nothing; after: its answer is lost

	disks       map[string][]byte // by target
	bitmaps     map[string]map[string]map[int]bool
	broken      map[string]bool // checkpoints whose bitmaps are
	known       map[string]bool // checkpoints that libvirt knows
	job         *libvirt.Backup
	snapshot    map[string][]byte
	dirty       map[string]map[int]bool // of the backup
	over        map[string][]byte       // by target: the disks below overlays
	pivots      int                     // calls until both are the same
	frozen      bool
	state       libvirt.State
	reason      string
	replica     *mirror.Manifest
	copies      map[string][]byte
	moves       bool
	leaves      bool         // overlays behind
	served      atomic.Value // the disk of a qemu-nbd
	taken       *wire.Take
	frozenBegin bool // the last backup was begun while the guest was frozen
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), state: libvirt.Running, known: map[string]bool{}, broken: map[string]bool{},
		disks:   map[string][]byte{"vda": make([]byte, 9*cluster), "vdb": make([]byte, 5*cluster)},
		over:    map[string][]byte{},
		bitmaps: map[string]map[string]map[int]bool{}, copies: map[string][]byte{}}
	for target, disk := range w.disks {
		head := make([]byte, 104)
		copy(head, "QFI\xfb")
		binary.BigEndian.PutUint32(head[4:], 3)
		binary.BigEndian.PutUint64(head[24:], uint64(len(disk)))
		if err := os.WriteFile(w.path(target), head, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(w.dir, "domain-7-guest"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.source = &Source{Hypervisor: hypervisor{w}, Store: mirror.Store{Dir: filepath.Join(w.dir, "mirror")},
		Sockets: w.dir, Dir: filepath.Join(w.dir, "nbd"), dial: w.dial}
	m := mirror.Manifest{Guest: "guest", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 3}, Peer: "node2"}
	if err := w.source.Store.Save(m); err != nil {
		t.Fatal(err)
	}
	w.source.Run = w.run
	w.write("vda", 0, 'a')
	w.write("vda", 3*cluster+17, 'b')
	w.write("vdb", 2*cluster, 'c')
	return w
}

func (w *world) path(target string) string { return filepath.Join(w.dir, target+".qcow2") }

// write has the guest write one byte.
func (w *world) write(target string, at int, b byte) {
	w.disks[target][at] = b
	for _, disks := range w.bitmaps {
		if disks[target] != nil {
			disks[target][at/cluster] = true
		}
	}
}

func (w *world) do(name string, f func() error) error {
	var before, after error
	if w.arrow != nil {
		before, after = w.arrow(name)
	}
	if before != nil {
		return before
	}
	if err := f(); err != nil {
		return err
	}
	return after
}

// round makes one over a new stream.
func (w *world) round(ctx context.Context, change func(*Request)) (Result, error) {
	q := Request{Guest: "guest", UUID: uuid, Node: "node1", Peer: &Peer{Stream: &stream{world: w}}}
	if change != nil {
		change(&q)
	}
	return w.source.Round(ctx, q)
}

// equal holds the replica's disks against the guest's.
func (w *world) equal() {
	w.t.Helper()
	for target, disk := range w.disks {
		if !bytes.Equal(disk, w.copies[target]) {
			w.t.Errorf("the replica of disk %s differs", target)
		}
	}
}

// hypervisor is the guest's libvirt.
type hypervisor struct{ *world }

func (h hypervisor) Status(context.Context, string) (s libvirt.Status, err error) {
	err = h.do("status", func() error { s = libvirt.Status{State: h.state, Reason: h.reason, UUID: uuid, ID: 7}; return nil })
	return s, err
}

func (h hypervisor) Resume(context.Context, string) error {
	return h.do("resume", func() error { h.state = libvirt.Running; return nil })
}

func (h hypervisor) PutAside(_ context.Context, _ string, files map[string]string) error {
	return h.do("put aside", func() error {
		if m, err := h.source.Store.Load(uuid); err != nil || !m.Overlay {
			h.t.Errorf("an overlay is not noted before it is there: %+v, %v", m, err)
		}
		for target, file := range files {
			if h.over[target] != nil || file != h.path(target)+mirror.OverlaySuffix {
				h.t.Errorf("disk %s: put aside to %q", target, file)
			}
			h.over[target] = bytes.Clone(h.disks[target])
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h hypervisor) PutBack(_ context.Context, _, target string) (ready bool, err error) {
	err = h.do("put back", func() error {
		if h.over[target] == nil || h.moves {
			return errors.New("it has no overlay, or moves")
		}
		h.pivots++
		ready = h.pivots > 2
		return nil
	})
	return ready, err
}

func (h hypervisor) Pivot(_ context.Context, _, target string) error {
	return h.do("pivot", func() error {
		if m, err := h.source.Store.Load(uuid); err != nil || !m.Folding || h.pivots < 3 {
			h.t.Errorf("pivot of %s after %d, with %+v, %v", target, h.pivots, m, err)
		}
		delete(h.over, target)
		if target == "vda" && h.leaves { // as libvirt did before it removed them
			return nil
		}
		return os.Remove(h.path(target) + mirror.OverlaySuffix)
	})
}

// source is the file that a disk is in.
func (w *world) image(target string) string {
	if w.over[target] != nil {
		return w.path(target) + mirror.OverlaySuffix
	}
	return w.path(target)
}

func (h hypervisor) XML(context.Context, string) (doc string, err error) {
	err = h.do("XML", func() error {
		doc = fmt.Sprintf(`<domain type='kvm'><name>guest</name><uuid>%s</uuid><devices>
			<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda'/></disk>
			<disk type='file' device='cdrom'><source file='/x.iso'/><target dev='sda'/><readonly/></disk>
			<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vdb'/></disk>
			</devices></domain>`, uuid, h.image("vda"), h.image("vdb"))
		return nil
	})
	return doc, err
}

func (h hypervisor) Job(context.Context, string) (j libvirt.Job, err error) {
	err = h.do("job", func() error {
		if h.job != nil {
			j = libvirt.Job{Active: true, Backup: true, Socket: h.job.Socket}
		}
		return nil
	})
	return j, err
}

func (h hypervisor) AbortJob(context.Context, string) error {
	return h.do("abort", func() error { h.job = nil; return nil })
}

func (h hypervisor) BackupBegin(_ context.Context, _ string, b libvirt.Backup) error {
	return h.do("begin", func() error {
		if h.job != nil || h.known[b.Checkpoint] {
			return errors.New("a backup is under way, or its checkpoint is there")
		}
		h.frozenBegin = h.frozen
		h.job, h.snapshot, h.dirty = &b, map[string][]byte{}, map[string]map[int]bool{}
		now := map[string]map[int]bool{}
		for _, d := range b.Disks {
			h.snapshot[d.Target], now[d.Target] = bytes.Clone(h.disks[d.Target]), map[int]bool{}
			if d.Incremental == "" {
				continue
			}
			if h.dirty[d.Target] = h.bitmaps[d.Incremental][d.Target]; h.dirty[d.Target] == nil ||
				!h.known[d.Incremental] || h.broken[d.Incremental] {
				h.job = nil
				return libvirt.ErrCheckpoint
			}
			dirty := map[int]bool{}
			for k := range h.dirty[d.Target] {
				dirty[k] = true
			}
			h.dirty[d.Target] = dirty
		}
		h.known[b.Checkpoint], h.bitmaps[b.Checkpoint] = true, now
		return nil
	})
}

func (h hypervisor) CheckpointNames(context.Context, string) (names []string, err error) {
	err = h.do("names", func() error {
		for n := range h.known {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

func (h hypervisor) DeleteCheckpoint(_ context.Context, _, name string, metadataOnly bool) error {
	return h.do("delete", func() error {
		if h.broken[name] && !metadataOnly {
			return libvirt.ErrCheckpoint
		}
		delete(h.known, name)
		delete(h.bitmaps, name)
		return nil
	})
}

func (h hypervisor) RedefineCheckpoint(_ context.Context, _, name string, targets []string, _ time.Time) error {
	return h.do("redefine", func() error {
		for _, t := range targets {
			if h.bitmaps[name][t] == nil || h.broken[name] {
				return libvirt.ErrCheckpoint
			}
		}
		if h.known[name] {
			return errors.New("it is known, and its other disks would be forgotten")
		}
		h.known[name] = true
		return nil
	})
}

func (h hypervisor) Freeze(context.Context, string) error {
	return h.do("freeze", func() error { h.frozen = true; return nil })
}

func (h hypervisor) Thaw(context.Context, string) error {
	return h.do("thaw", func() error { h.frozen = false; return nil })
}

// dial opens a disk of the backup.
func (w *world) dial(ctx context.Context, socket string, e nbd.Export) (v view, err error) {
	err = w.do("dial", func() error {
		if base, off := strings.CutPrefix(e.Context, dirtyContext+"vmferry-"); off {
			target, _ := w.served.Load().(string)
			if target == "" {
				return unix.ENOENT
			}
			w.snapshot = map[string][]byte{target: w.over[target]}
			w.dirty = map[string]map[int]bool{target: w.bitmaps["vmferry-"+base][target]}
			v = &disk{world: w, ctx: ctx, target: target}
			return nil
		}
		if w.job == nil || w.job.Socket != socket {
			return errors.New("no backup is served there")
		}
		v = &disk{world: w, ctx: ctx, target: e.Name, full: e.Context == "base:allocation"}
		return nil
	})
	return v, err
}

// run is qemu-nbd, which serves a disk until ctx ends.
func (w *world) run(ctx context.Context, name string, args ...string) (string, error) {
	if name != "setpriv" {
		return "", nil
	}
	w.served.Store(strings.TrimSuffix(filepath.Base(args[len(args)-1]), ".qcow2"))
	<-ctx.Done()
	w.served.Store("")
	return "", ctx.Err()
}

type disk struct {
	*world
	ctx    context.Context
	target string
	full   bool
}

func (d *disk) Size() uint64 { return uint64(len(d.snapshot[d.target])) }
func (d *disk) Close() error { return nil }

func (d *disk) Extents(_ context.Context, offset, length uint64) (all []nbd.Extent, err error) {
	err = d.do("extents", func() error {
		for at := offset; at < offset+length; at += cluster {
			x := nbd.Extent{Offset: at, Length: cluster}
			piece := d.snapshot[d.target][at : at+cluster]
			if d.full && bytes.Equal(piece, make([]byte, cluster)) {
				x.Flags = nbd.Hole | nbd.Zero
			} else if !d.full && d.dirty[d.target][int(at/cluster)] {
				x.Flags = nbd.Dirty
			}
			all = append(all, x)
		}
		return nil
	})
	return all, err
}

func (d *disk) Read(_ context.Context, buf []byte, offset uint64) error {
	return d.do("read", func() error { copy(buf, d.snapshot[d.target][offset:]); return nil })
}

// stream is the replica behind one stream. What it has not committed ends with it.
type stream struct {
	*world
	closed  atomic.Bool
	answers []any
	begun   wire.Round
	copies  map[string][]byte
	sums    []hash.Hash
	differ  []wire.Data
}

func (s *stream) Close() error { s.closed.Store(true); return nil }

func (s *stream) Send(message any) error {
	return s.do(fmt.Sprintf("send %T", message), func() error {
		if s.closed.Load() {
			return errors.New("the stream is closed")
		}
		return s.take(message)
	})
}

func (s *stream) Receive() (m any, err error) {
	if len(s.answers) == 0 || s.closed.Load() {
		return nil, errors.New("the stream has no answer")
	}
	err = s.do(fmt.Sprintf("receive %T", s.answers[0]), func() error { m = s.answers[0]; return nil })
	s.answers = s.answers[1:]
	if err != nil {
		m = nil
	}
	return m, err
}

func (s *stream) take(message any) error {
	switch m := message.(type) {
	case wire.Hello:
		s.answers = append(s.answers, wire.State{Manifest: s.replica})
	case wire.Round:
		s.begun, s.copies = m, map[string][]byte{}
		for _, p := range m.Parts {
			d := m.Disks[p.Disk]
			s.copies[d.Target] = make([]byte, d.Size)
			if s.sums = append(s.sums, sha256.New()); !p.Full {
				copy(s.copies[d.Target], s.world.copies[d.Target])
			}
		}
		s.answers = append(s.answers, wire.Ready{})
	case wire.Data:
		m.AddTo(s.sums[slices.IndexFunc(s.begun.Parts, func(p wire.Part) bool { return p.Disk == m.Disk })])
		to := s.copies[s.begun.Disks[m.Disk].Target][m.Offset:][:m.Length]
		digest := sha256.Sum256(to)
		switch {
		case m.Zero:
			clear(to)
		case m.Sum == nil:
			copy(to, m.Payload)
		case !bytes.Equal(m.Sum, digest[:]):
			s.differ = append(s.differ, wire.Data{Disk: m.Disk, Offset: m.Offset, Length: m.Length})
		}
	case wire.Commit:
		s.commit(m)
	case wire.Take:
		if m.Point != s.replica.Point {
			s.answers = append(s.answers, wire.Refused{Why: "the replica does not have it"})
			return nil
		}
		s.world.taken = &m
		for i := range s.replica.Disks {
			s.replica.Disks[i].At = m.Base
		}
		s.answers = append(s.answers, wire.Done{Point: m.Point})
	case wire.Close:
		s.replica.Closed = true
		s.answers = append(s.answers, wire.Done{Point: m.Point})
	}
	return nil
}

func (s *stream) commit(m wire.Commit) {
	for i, sum := range s.sums {
		if !bytes.Equal(sum.Sum(nil), m.Sums[i]) {
			s.answers = append(s.answers, wire.Refused{Why: "a sum is wrong"})
			return
		}
	}
	next := mirror.Manifest{Schema: mirror.Schema, Guest: "guest", UUID: uuid, Role: mirror.Replica, Point: s.begun.Next,
		Peer: "node1", Disks: slices.Clone(s.begun.Disks), States: m.States}
	for i, d := range next.Disks {
		if c := s.copies[d.Target]; c != nil {
			next.Disks[i].At, s.world.copies[d.Target] = s.begun.Next, c
			next.Disks[i].Whole, next.Disks[i].Taken = s.begun.Next, time.Now()
		} else if s.replica != nil {
			next.Disks[i] = s.replica.Disks[i]
		}
	}
	s.replica = &next
	s.sums = nil
	s.answers = append(s.answers, wire.Done{Point: s.begun.Next, Differences: s.differ})
}
