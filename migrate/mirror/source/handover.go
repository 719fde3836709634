package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Overlays are what a guest writes to beside its disks, while it moves. A client's Conn tells what the methods do.
type Overlays interface {
	// PutAside has the guest write to new images, at one instant; files are theirs, by target.
	PutAside(ctx context.Context, guest string, files map[string]string) error
	// PutBack begins to write a disk's overlay into the image below it; isReady says that both are the same by now.
	PutBack(ctx context.Context, guest, target string) (isReady bool, err error)
	// Pivot has the guest go on from the image below, and removes the overlay.
	Pivot(ctx context.Context, guest, target string) error
}

// HandOver prepares a guest's move to the node of its replica: a live migration that copies the overlays alone. It makes
// an ordinary round, has the guest write to overlays from then on, and sends what it wrote meanwhile, so that the
// replica's disks are those below the overlays. The replica gives them the disks' names. After an error call Fold.
func (s *Source) HandOver(ctx context.Context, q Request) (Result, error) {
	q.Due, q.Full = nil, false
	return s.run(ctx, q, (*round).handOver)
}

func (r *round) handOver(ctx context.Context) error {
	if m := r.Peer.has; m == nil || m.Role != mirror.Replica || m.Taken().IsZero() {
		return errors.New("the replica is not whole")
	}
	r.deltas = true
	if err := r.live(ctx); err != nil {
		return err
	}
	last := &round{Source: r.Source, Request: r.Request, end: r.end, own: r.own, disks: r.disks, states: r.states,
		offline: true, deltas: true}
	return steps(ctx, r.putAside, last.plan, last.announce, last.copyOffline, last.commit, func(ctx context.Context) error {
		_, err := ask[wire.Done](r.Peer, wire.Take{Point: last.Point, Base: r.Point})
		return err
	}, func(ctx context.Context) error {
		r.Bytes += last.Bytes
		base := r.Point // of the bitmap that goes along
		r.Point = last.Point
		return r.note(ctx, func(m *mirror.Manifest) { m.Point, m.Handed = base, time.Now() })
	})
}

// putAside has the guest write to overlays, which is noted before. It may do so beyond the end of ctx.
func (r *round) putAside(ctx context.Context) error {
	files := map[string]string{}
	for _, d := range r.disks {
		files[d.Target] = d.Overlay()
	}
	err := r.note(ctx, func(m *mirror.Manifest) { m.Overlay = true })
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginTime)
	defer cancel()
	return r.Hypervisor.PutAside(limited, r.Guest, files)
}

// Fold has a guest that runs here go on without its overlays; where the manifest names none it does nothing. It fails
// while the guest moves: after it the guest is known to have stayed, or to have come. The guest does not wait.
func (s *Source) Fold(ctx context.Context, guest, uuid string) error {
	r := &round{Source: s, Request: Request{Guest: guest, UUID: uuid}}
	err := within(ctx, func() (err error) { r.own, err = r.Store.Load(uuid); return err })
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!r.own.Overlay || r.own.Role != mirror.Truth) {
		return nil
	}
	r.Point = mirror.Point{Epoch: r.own.Epoch, Generation: r.own.Last}
	if err = cmp.Or(err, steps(ctx, r.find, r.abort, r.fold)); err != nil {
		return fmt.Errorf("have guest %q go on without its overlay: %w", guest, err)
	}
	return nil
}

func (r *round) fold(ctx context.Context) error {
	var over []string // targets
	for i, d := range r.disks {
		path, is := strings.CutSuffix(d.Path, mirror.OverlaySuffix)
		if r.disks[i].Path = path; is {
			over = append(over, d.Target)
		}
	}
	for _, t := range over {
		for ready := false; !ready; {
			var err error
			if ready, err = r.Hypervisor.PutBack(ctx, r.Guest, t); err == nil && !ready {
				err = wait.For(ctx, jobEvery)
			}
			if err != nil {
				return err
			}
		}
	}
	// Where QEMU ends after this, and before the overlay is gone, nobody can tell which of both has the newest writes.
	err := r.note(ctx, func(m *mirror.Manifest) { m.Folding = len(over) > 0 })
	for i := 0; err == nil && i < len(over); i++ {
		err = r.Hypervisor.Pivot(ctx, r.Guest, over[i])
	}
	if err != nil {
		return err
	}
	return cmp.Or(within(ctx, r.removeOverlays), r.note(ctx, func(m *mirror.Manifest) {
		m.Overlay, m.Folding, m.Handed = false, false, time.Time{}
	}))
}

// removeOverlays removes those from which the guest has gone on, where libvirt has left one.
func (r *round) removeOverlays() error {
	for _, d := range r.disks {
		if err := os.Remove(d.Overlay()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := atomicfile.SyncDir(filepath.Dir(d.Path)); err != nil {
			return err
		}
	}
	return nil
}
