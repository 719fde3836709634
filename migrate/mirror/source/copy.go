package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/nbd"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/wait"
)

// ScratchSuffix is that of the files beside the disks for what the guest overwrites during a round.
const ScratchSuffix = ".vmferry-scratch"

const (
	dirtyContext = "qemu:dirty-bitmap:"
	bitmap       = "dirty" // how QEMU names it to the round, whatever its base
	// pieceSize is read at once: the guest waits for no more.
	pieceSize = 256 << 10
	// windowSize is of the range whose extents are requested at once, which bounds their number.
	windowSize = 256 << 20
	watchEvery = 100 * time.Millisecond // the scratch files
	dialEvery  = 10 * time.Millisecond  // a qemu-nbd that begins
)

var zeroes [pieceSize]byte

// clear removes a scratch file that was left where libvirt's daemon has ended amid a round, and has the round take up
// half of the directory's room. libvirt writes to that file as root: nobody else may put a link there.
func (r *round) clear(scratch string) error {
	dir := filepath.Dir(scratch)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	way, err := safefile.Survey(dir, safefile.Only(safefile.OwnerOf(info)))
	if err == nil && way.Access != safefile.Private {
		err = fmt.Errorf("others can change names in directory %q: %s", dir, way.Why)
	}
	if err != nil {
		return err
	}
	if err = os.Remove(scratch); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left, err := room(dir)
	if r.limit == 0 || left/2 < r.limit {
		r.limit = left / 2
	}
	return err
}

// room is how many bytes a directory's file system has left.
func room(dir string) (uint64, error) {
	var at unix.Statfs_t
	err := unix.Statfs(dir, &at)
	return at.Bavail * uint64(at.Bsize), err
}

// watch ends the round when the scratch files take up more than they may, or others do: QEMU would stop the guest where
// they find no room.
func (r *round) watch(ctx context.Context) {
	for wait.For(ctx, watchEvery) == nil {
		used := uint64(0)
		for _, p := range r.Parts {
			var at unix.Stat_t
			if unix.Lstat(p.Path+ScratchSuffix, &at) == nil {
				used += uint64(at.Blocks) * 512
			}
			dir := filepath.Dir(p.Path)
			if left, err := room(dir); err == nil && left < r.limit/2 && ctx.Err() == nil {
				r.end(fmt.Errorf("%q has %d MiB of room left, which the guest may need during a round", dir, left>>20))
			}
		}
		if used > r.limit && ctx.Err() == nil {
			r.end(fmt.Errorf("the guest has overwritten %d MiB in this round, and half of the room beside its disks is full",
				used>>20))
		}
	}
}

// copyLive sends the data of all parts as the backup has them.
func (r *round) copyLive(ctx context.Context) error {
	watched, stop := context.WithCancel(ctx)
	defer stop()
	go r.watch(watched)
	return r.copyAll(ctx, func(p mirror.Part) error {
		e := nbd.Export{Name: p.Target, Context: dirtyContext + bitmap}
		if p.Full {
			e.Context = "base:allocation"
		}
		v, err := r.open(ctx, r.socket, e)
		if err == nil {
			err = r.copy(ctx, p, v)
		}
		return err
	})
}

// copyOffline sends what was written to the disks since their last round, through a qemu-nbd that lives as long.
func (r *round) copyOffline(ctx context.Context) error {
	if err := safefile.MakeDir(r.Dir); err != nil {
		return err
	}
	return r.copyAll(ctx, func(p mirror.Part) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		socket, e := filepath.Join(r.Dir, r.UUID), nbd.Export{Context: dirtyContext + p.Base.String()}
		ended := make(chan string)
		go func() {
			out, _ := r.Run(ctx, "setpriv", "--pdeathsig", "KILL", "qemu-nbd", "--read-only", "--bitmap", p.Base.String(),
				"--socket", socket, "--format", "qcow2", p.Path)
			stop()
			ended <- strings.TrimSpace(out)
		}()
		v, err := r.open(ctx, socket, e)
		for errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) { // it is not up yet
			if err = wait.For(ctx, dialEvery); err == nil {
				v, err = r.open(ctx, socket, e)
			}
		}
		if err == nil {
			err = r.copy(ctx, p, v)
		}
		stop()
		if words := <-ended; err != nil {
			err = fmt.Errorf("%w: qemu-nbd: %s", err, words)
		}
		return err
	})
}

func (r *round) open(ctx context.Context, socket string, e nbd.Export) (view, error) {
	if r.dial != nil {
		return r.dial(ctx, socket, e)
	}
	return nbd.Dial(ctx, socket, e)
}

// copyAll sends the data of all parts. The disks are as at one instant by then: other files must not be older.
func (r *round) copyAll(ctx context.Context, one func(mirror.Part) error) error {
	r.began = time.Now()
	if err := within(ctx, r.readStates); err != nil {
		return err
	}
	for _, p := range r.Parts {
		if err := one(p); err != nil {
			return fmt.Errorf("disk %q: %w", p.Target, err)
		}
	}
	r.Copy = time.Since(r.began)
	return nil
}

// copy sends the data of a part, and closes its view.
func (r *round) copy(ctx context.Context, p mirror.Part, v view) error {
	defer func() { _ = v.Close() }()
	if v.Size() != p.Size {
		return fmt.Errorf("its size has changed from %d to %d bytes", p.Size, v.Size())
	}
	sum, buf := sha256.New(), make([]byte, pieceSize)
	for window := uint64(0); window < p.Size; window += windowSize {
		all, err := v.Extents(ctx, window, min(windowSize, p.Size-window))
		if err != nil {
			return err
		}
		for _, x := range all {
			wanted := p.Full && x.Flags&nbd.Zero == 0 || !p.Full && x.Flags&nbd.Dirty != 0
			if !wanted && (p.Full || !r.Verify) { // a new replica is full of zeroes
				continue
			}
			for n := uint64(0); x.Length > 0; x.Offset, x.Length = x.Offset+n, x.Length-n {
				n = min(x.Length, pieceSize)
				if err := r.piece(ctx, p, v, x.Offset, buf[:n], wanted, sum); err != nil {
					return err
				}
			}
		}
	}
	r.sums = append(r.sums, sum.Sum(nil))
	return nil
}

// piece sends a piece of a part, or the sum of one that the replica has.
func (r *round) piece(
	ctx context.Context, p mirror.Part, v view, offset uint64, buf []byte, wanted bool, sum hash.Hash,
) error {
	if err := v.Read(ctx, buf, offset); err != nil {
		return err
	}
	d := wire.Data{Disk: slices.Index(r.All, p.Target), Offset: offset, Length: uint64(len(buf))}
	switch {
	case !wanted:
		digest := sha256.Sum256(buf)
		d.Sum = digest[:]
	case bytes.Equal(buf, zeroes[:len(buf)]):
		d.Zero = true
	default:
		d.Payload = buf
	}
	if _, err := ask[none](r.Peer, d); err != nil {
		return err
	}
	d.AddTo(sum)
	if r.Bytes += d.Length; r.Progress != nil {
		r.Progress(r.total > 0, r.Bytes, r.total)
	}
	if r.Rate == 0 {
		return nil
	}
	return wait.For(ctx, time.Duration(float64(r.Bytes)/float64(r.Rate)*float64(time.Second))-time.Since(r.began))
}
