package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/migrate/nbd"
)

func TestRounds(t *testing.T) {
	w := newWorld(t)
	r, err := w.round(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.equal()
	if r.Point != (mirror.Point{Epoch: 3, Generation: 1}) || !slices.Equal(r.Sent, []string{"vda", "vdb"}) ||
		len(r.Parts) != 2 || !r.Parts[0].Full || !r.Parts[1].Full || r.Bytes != 3*cluster {
		t.Errorf("the first round: %+v", r)
	}
	peer := &Peer{Stream: &stream{world: w}} // from here on one stream
	over := func(q *Request) { q.Peer = peer }
	w.write("vda", 5*cluster, 'd')
	w.write("vda", 3*cluster+17, 0) // a cluster of zeroes
	if r, err = w.round(t.Context(), over); err != nil || r.Bytes != 2*cluster || r.Parts[0].Full {
		t.Errorf("a delta: %+v, %v", r, err)
	}
	w.equal()
	if r, err = w.round(t.Context(), over); err != nil || r.Bytes != 0 {
		t.Errorf("an empty delta: %+v, %v", r, err)
	}
	w.write("vda", 0, 'e')
	w.write("vdb", 0, 'f')
	one := func(q *Request) { over(q); q.Due = func(target string) bool { return target == "vda" } }
	if r, err = w.round(t.Context(), one); err != nil || r.Bytes != cluster || !slices.Equal(r.Sent, []string{"vda"}) ||
		!slices.Equal(r.All, []string{"vda", "vdb"}) {
		t.Errorf("a round of one disk: %+v, %v", r, err)
	}
	if got := slices.Sorted(maps.Keys(w.known)); !slices.Equal(got, []string{"vmferry-3-3", "vmferry-3-4"}) {
		t.Errorf("checkpoints %q: each disk needs that of its last round", got)
	}
	if r, err = w.round(t.Context(), over); err != nil || r.Bytes != cluster {
		t.Errorf("a round of both after that: %+v, %v", r, err)
	}
	w.equal()
	if got := slices.Sorted(maps.Keys(w.known)); !slices.Equal(got, []string{"vmferry-3-5"}) {
		t.Errorf("checkpoints %q", got)
	}
	w.copies["vdb"][3*cluster] = 'x'
	r, err = w.round(t.Context(), func(q *Request) { over(q); q.Verify, q.Freeze = true, true })
	if err != nil || r.Bytes != 14*cluster || len(r.Differences) != 1 || r.Differences[0].Disk != 1 || !w.frozenBegin {
		t.Errorf("a verify round: %+v, %v, frozen %v", r, err, w.frozenBegin)
	}
	r, err = w.round(t.Context(), func(q *Request) { over(q); q.Full = true })
	if err != nil || !r.Parts[0].Full || !r.Parts[1].Full {
		t.Errorf("all again: %+v, %v", r, err)
	}
	w.equal()
	own, err := w.source.Store.Load(uuid)
	if err != nil || own.Point != r.Point || own.Last != r.Point.Generation || len(own.Disks) != 2 {
		t.Errorf("own manifest: %+v, %v", own, err)
	}
	if _, err := os.Stat(w.path("vda") + ScratchSuffix); err == nil {
		t.Error("a scratch file is there")
	}
}

// A bitmap that is broken is found before the round where libvirt does not know the checkpoint, else with it, and then
// the disks are sent whole.
func TestBrokenBitmap(t *testing.T) {
	w := newWorld(t)
	if _, err := w.round(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// libvirt has forgotten it with the guest's process, and the disks have it.
	delete(w.known, "vmferry-3-1")
	if r, err := w.round(t.Context(), nil); err != nil || r.Parts[0].Full {
		t.Errorf("%+v, %v", r, err)
	}
	w.broken["vmferry-3-2"] = true
	w.write("vdb", 0, 'x')
	if _, err := w.round(t.Context(), nil); !errors.Is(err, libvirt.ErrCheckpoint) || w.job != nil {
		t.Errorf("%v, want ErrCheckpoint", err)
	}
	r, err := w.round(t.Context(), nil)
	if err != nil || !r.Parts[0].Full {
		t.Errorf("%+v, %v", r, err)
	}
	w.equal()
	if got := slices.Sorted(maps.Keys(w.known)); !slices.Equal(got, []string{"vmferry-3-4"}) {
		t.Errorf("checkpoints %q", got)
	}
}

// A backup ends some time after libvirt was told to end it, and cannot be aborted again meanwhile.
func TestJobEndsLate(t *testing.T) {
	w := newWorld(t)
	aborts, jobs := 0, 0
	w.arrow = func(name string) (before, after error) {
		switch {
		case name == "abort":
			if aborts++; aborts < 3 {
				return errors.New("it ends already"), nil
			}
		case name == "job":
			jobs++
		}
		return nil, nil
	}
	if _, err := w.round(t.Context(), nil); err != nil || aborts != 3 || jobs != 6 {
		t.Errorf("%v after %d aborts and %d looks", err, aborts, jobs)
	}
}

// arrows lists what a round does, in order.
func arrows(t *testing.T, change func(*Request)) (all []string) {
	w := newWorld(t)
	if _, err := w.round(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	w.write("vda", cluster, 'z')
	w.arrow = func(name string) (before, after error) {
		all = append(all, name)
		return nil, nil
	}
	if _, err := w.round(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return all
}

// noPeer lets no greeting through.
func noPeer(name string) (before, after error) {
	if name == "send wire.Hello" {
		return errors.New("no route to host"), nil
	}
	return nil, nil
}

// A daemon that was killed amid a round has left its backup. The scratch file grows until the guest is paused, and no
// move is possible: it must end also while the other node is away, and before a move.
func TestOrphan(t *testing.T) {
	w := newWorld(t)
	left := &libvirt.Backup{Socket: filepath.Join(w.dir, "domain-7-guest", "vmferry-mirror.sock")}
	w.job, w.arrow = left, noPeer
	if _, err := w.round(t.Context(), nil); err == nil || w.job != nil {
		t.Errorf("a round: %v, the backup goes on: %t", err, w.job != nil)
	}
	w.job = left
	if err := w.source.Quiet(t.Context(), "guest", uuid); err != nil || w.job != nil {
		t.Errorf("%v, the backup goes on: %t", err, w.job != nil)
	}
	w.job = &libvirt.Backup{Socket: "/other"}
	if err := w.source.Quiet(t.Context(), "guest", uuid); err != nil || w.job == nil {
		t.Errorf("another's: %v, it goes on: %t", err, w.job != nil)
	}
}

// A guest without an agent, as while it boots, is mirrored all the same.
func TestNoAgent(t *testing.T) {
	w := newWorld(t)
	w.arrow = func(name string) (before, after error) {
		if name == "freeze" || name == "thaw" {
			return errors.New("the agent is not connected"), nil
		}
		return nil, nil
	}
	for range 2 {
		r, err := w.round(t.Context(), func(q *Request) { q.Freeze = true })
		if err != nil || r.Warning == nil || !strings.Contains(r.Warning.Error(), "without a freeze") {
			t.Errorf("%+v, %v", r, err)
		}
		w.equal()
	}
	w.arrow = nil
	if r, err := w.round(t.Context(), func(q *Request) { q.Freeze = true }); err != nil || r.Warning != nil || !w.frozenBegin {
		t.Errorf("%+v, %v", r, err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.source.Dir, "*.frozen")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// What is read beside the disks is not older than they are.
func TestStatesAfterBegin(t *testing.T) {
	w := newWorld(t)
	nvram := filepath.Join(w.dir, "guest_VARS.fd")
	w.source.Hypervisor = firmware{hypervisor{w}, nvram}
	w.arrow = func(name string) (before, after error) {
		if name == "begin" {
			return os.WriteFile(nvram, []byte("new"), 0o600), nil
		}
		return nil, nil
	}
	if err := os.WriteFile(nvram, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.round(t.Context(), nil); err != nil || len(w.replica.States) != 1 || string(w.replica.States[0].Content) != "new" {
		t.Errorf("%v, the replica has %+v", err, w.replica)
	}
	if m, err := w.source.Store.Load(uuid); err != nil || len(m.States) != 1 || m.States[0].Path != nvram || m.States[0].Content != nil {
		t.Errorf("own manifest: %+v, %v", m, err)
	}
}

// firmware is a guest with a NVRAM.
type firmware struct {
	hypervisor
	nvram string
}

func (f firmware) XML(ctx context.Context, guest string) (string, error) {
	doc, err := f.hypervisor.XML(ctx, guest)
	return strings.Replace(doc, "<devices>", "<os><nvram>"+f.nvram+"</nvram></os><devices>", 1), err
}

// An answer of the agent, or libvirt's daemon, was lost at the thaw, or the daemon was killed before it.
func TestFrozenWithoutPeer(t *testing.T) {
	w := newWorld(t)
	w.arrow = func(name string) (before, after error) {
		if name == "thaw" {
			return errors.New("the connection was closed"), nil
		}
		return nil, nil
	}
	if _, err := w.round(t.Context(), func(q *Request) { q.Freeze = true }); err == nil || !w.frozen {
		t.Fatalf("%v, frozen %v", err, w.frozen)
	}
	w.arrow = noPeer
	if _, err := w.round(t.Context(), nil); err == nil || w.frozen {
		t.Errorf("%v, frozen %v", err, w.frozen)
	}
	if left, _ := filepath.Glob(filepath.Join(w.source.Dir, "*.frozen")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// Whatever fails at an arrow of a delta round, whether the call fails, its answer is lost, or the context
// ends there: no job and no frozen file system is left, and a checkpoint only where the replica may have committed its
// round. The next round makes the replica equal.
func TestEveryArrow(t *testing.T) {
	freeze := func(q *Request) { q.Freeze = true }
	all := arrows(t, freeze)
	for _, want := range []string{"status", "freeze", "begin", "thaw", "read", "abort", "send wire.Commit",
		"receive wire.Done"} {
		if !slices.Contains(all, want) {
			t.Fatalf("the arrows %q lack %q", all, want)
		}
	}
	commit := slices.Index(all, "send wire.Commit")
	for i, name := range all {
		for _, how := range []string{"fails", "answer lost", "context ends before", "context ends after"} {
			t.Run(fmt.Sprintf("%d %s: %s", i, name, how), func(t *testing.T) {
				w := newWorld(t)
				if _, err := w.round(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				w.write("vda", cluster, 'z')
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				why, n := errors.New("enough"), 0
				w.arrow = func(string) (before, after error) {
					if n++; n-1 != i {
						return nil, nil
					}
					switch how {
					case "fails":
						return why, nil
					case "answer lost":
						return nil, why
					case "context ends before":
						cancel(why)
						return why, nil
					}
					cancel(why)
					return nil, nil
				}
				s := &stream{world: w}
				_, err := w.round(ctx, func(q *Request) { freeze(q); q.Peer = &Peer{Stream: s} })
				if err != nil && !errors.Is(err, why) {
					t.Errorf("%v, want %v", err, why)
				}
				if err != nil && !s.closed.Load() {
					t.Error("the stream is not closed")
				}
				if err == nil && i <= commit && how == "fails" && name != "delete" && name != "abort" && name != "freeze" {
					t.Error("no error")
				}
				isOpen := (name == "abort" || name == "job" || name == "thaw") && err != nil
				if (w.job != nil || w.frozen) && !isOpen {
					t.Errorf("after %v: job %v, frozen %v", err, w.job, w.frozen)
				}
				if err != nil && i < commit && w.known["vmferry-3-2"] {
					t.Errorf("after %v: the checkpoint of the round is there", err)
				}
				w.arrow = noPeer
				if _, err := w.round(t.Context(), nil); err == nil || w.job != nil || w.frozen {
					t.Errorf("while the other node is away: %v, job %v, frozen %v", err, w.job, w.frozen)
				}
				w.arrow = nil
				w.write("vdb", 0, 'y')
				r, err := w.round(t.Context(), nil)
				if err != nil || r.Parts[0].Full {
					t.Fatalf("the next round: %+v, %v", r, err)
				}
				w.equal()
				if got := slices.Collect(maps.Keys(w.known)); len(got) != 1 {
					t.Errorf("checkpoints %q", got)
				}
			})
		}
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*world)
		want  string
	}{
		"no manifest": {func(w *world) { _ = os.Remove(w.source.Store.Path(uuid)) }, "no such file"},
		"a replica": {func(w *world) {
			m, _ := w.source.Store.Load(uuid)
			m.Role = mirror.Replica
			_ = w.source.Store.Save(m)
		}, "is not here"},
		"nobody knew who has the truth": {func(w *world) {
			m, _ := w.source.Store.Load(uuid)
			m.Ran = true
			_ = w.source.Store.Save(m)
		}, "is not here"},
		"the peer is newer": {func(w *world) {
			w.replica = &mirror.Manifest{Schema: mirror.Schema, Guest: "guest", UUID: uuid, Role: mirror.Replica,
				Point: mirror.Point{Epoch: 4}}
		}, "at epoch 4"},
		"a hostile peer": {func(w *world) {
			w.replica = &mirror.Manifest{Schema: mirror.Schema, Guest: "guest", UUID: uuid, Role: mirror.Replica,
				Point: mirror.Point{Epoch: 3}, Disks: []mirror.Disk{{Target: "vda", Path: "../x", Size: 1}}}
		}, "../x"},
		"off":           {func(w *world) { w.state = libvirt.ShutOff }, "it is shut off"},
		"another's job": {func(w *world) { w.job = &libvirt.Backup{Socket: "/other"} }, "is busy"},
		"raw": {func(w *world) {
			_ = os.WriteFile(w.path("vdb"), make([]byte, 1024), 0o600)
		}, "is not qcow2"},
		"an old qcow2": {func(w *world) {
			_ = os.WriteFile(w.path("vdb"), append([]byte("QFI\xfb\x00\x00\x00\x02"), make([]byte, 1024)...), 0o600)
		}, "qemu-img amend -f qcow2 -o compat=1.1"},
		"an open directory":         {func(w *world) { _ = os.Chmod(w.dir, 0o777) }, "others can change names"},
		"no directory of libvirt's": {func(w *world) { w.source.Sockets += "/x" }, "0 directories"},
		"resized meanwhile": {func(w *world) {
			w.arrow = func(name string) (before, after error) {
				if name == "dial" {
					w.snapshot["vda"] = append(w.snapshot["vda"], make([]byte, cluster)...)
				}
				return nil, nil
			}
		}, "its size has changed"},
		"promoted meanwhile": {func(w *world) {
			w.arrow = func(name string) (before, after error) {
				if name == "XML" {
					m, _ := w.source.Store.Load(uuid)
					m.Epoch++
					_ = w.source.Store.Save(m)
				}
				return nil, nil
			}
		}, "has changed meanwhile"},
		"the scratch file is full": {func(w *world) {
			w.source.limit = 1
			dial := w.source.dial
			w.source.dial = func(ctx context.Context, socket string, e nbd.Export) (view, error) {
				_ = os.WriteFile(w.path("vda")+ScratchSuffix, make([]byte, cluster), 0o600)
				<-ctx.Done() // as a server that is stopped with the guest
				return dial(ctx, socket, e)
			}
		}, "has overwritten"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.spoil(w)
			_, err := w.round(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if w.job != nil && w.job.Socket != "/other" || len(w.known) > 0 || w.replica != nil && len(w.copies) > 0 {
				t.Errorf("left: job %v, checkpoints %v", w.job, w.known)
			}
		})
	}
}

// snapshotted is a guest of which an operator has made a disk-only snapshot.
type snapshotted struct{ hypervisor }

func (s snapshotted) XML(ctx context.Context, guest string) (string, error) {
	doc, err := s.hypervisor.XML(ctx, guest)
	return strings.ReplaceAll(doc, "vda.qcow2", "vda.snap1"), err
}

// The replica that a failover can start from must not go for one under the snapshot's name, which it cannot.
func TestSnapshotByOperator(t *testing.T) {
	w := newWorld(t)
	raw, err := os.ReadFile(w.path("vda"))
	if err != nil {
		t.Fatal(err)
	}
	if err = os.WriteFile(filepath.Join(w.dir, "vda.snap1"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	doc, _ := hypervisor{w}.XML(t.Context(), "guest")
	config := filepath.Join(w.dir, "guest.xml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(doc)
	configured := func(q *Request) { q.Config = config }
	full := func(q *Request) { q.Full, q.Config = true, config }
	refused := func(what string, change func(*Request)) {
		t.Helper()
		_, err := w.round(t.Context(), change)
		if err == nil || !strings.Contains(err.Error(), "virsh blockcommit guest vda") {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.source.Hypervisor = snapshotted{hypervisor{w}}
	refused("the first round", configured)
	w.source.Hypervisor = hypervisor{w}
	if _, err := w.round(t.Context(), configured); err != nil {
		t.Fatal(err)
	}
	w.source.Hypervisor = snapshotted{hypervisor{w}}
	refused("the next", configured)
	refused("with no configuration", nil)
	refused("a resync", full)
	if w.replica.Disks[0].Path != w.path("vda") || w.replica.Generation != 1 {
		t.Errorf("the replica has %+v", w.replica)
	}
	write(strings.ReplaceAll(doc, "vda.qcow2", "vda.snap1"))
	refused("it has moved", configured)
	if _, err := w.round(t.Context(), full); err != nil {
		t.Errorf("a resync where it has moved: %v", err)
	}
}

// QEMU pauses the guest where its scratch file finds no room. After the backup it goes on, unless somebody else has
// paused it, or something was wrong before.
func TestPausedGuest(t *testing.T) {
	for name, test := range map[string]struct {
		at, reason string
		want       libvirt.State
	}{
		"by the backup":      {"dial", "ioerror", libvirt.Running},
		"by an operator":     {"dial", "user", libvirt.Paused},
		"before the backup":  {"send wire.Hello", "ioerror", libvirt.Paused},
		"by one left behind": {"", "ioerror", libvirt.Running},
		"nothing was left":   {"-", "ioerror", libvirt.Paused},
		"by both":            {"", "user", libvirt.Paused},
	} {
		w := newWorld(t)
		pause := func() { w.state, w.reason = libvirt.Paused, test.reason }
		switch test.at {
		case "":
			w.job = &libvirt.Backup{Socket: filepath.Join(w.dir, "domain-7-guest", "vmferry-mirror.sock")}
			fallthrough
		case "-":
			pause()
			w.arrow = noPeer
		default:
			w.arrow = func(at string) (before, after error) {
				if at == test.at {
					pause()
				}
				return nil, nil
			}
		}
		_, _ = w.round(t.Context(), nil)
		if w.state != test.want || w.job != nil {
			t.Errorf("%s: it is %s, want %s; job %v", name, w.state, test.want, w.job)
		}
	}
}

// The room beside the disks goes to others meanwhile: another guest's round, the images themselves.
func TestRoomGoesToOthers(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", small, "tmpfs", 0, "size=16m,mode=700"); err != nil {
		t.Skip("needs to mount:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	ctx, end := context.WithCancelCause(t.Context())
	defer end(nil)
	r := &round{end: end}
	r.Parts = []mirror.Part{{Disk: mirror.Disk{Target: "vda", Path: filepath.Join(small, "vda.qcow2")}}}
	scratch := r.Parts[0].Path + ScratchSuffix
	if err := r.clear(scratch); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(small, "other"), make([]byte, 12<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	r.watch(ctx)
	if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "3 MiB of room left") {
		t.Error(err)
	}
}

// What the replica says goes into the error, also where it says so amid the data.
func TestReplicaRefuses(t *testing.T) {
	for _, at := range []string{"send wire.Hello", "send wire.Round", "send wire.Data", "send wire.Commit"} {
		w, s := newWorld(t), (*stream)(nil)
		w.arrow = func(name string) (before, after error) {
			if name != at {
				return nil, nil
			}
			s.answers = []any{wire.Refused{Why: "the disk is full"}}
			return errors.New("broken pipe"), nil
		}
		s = &stream{world: w}
		_, err := w.round(t.Context(), func(q *Request) { q.Peer = &Peer{Stream: s} })
		if err == nil || !strings.Contains(err.Error(), "the disk is full") || w.job != nil {
			t.Errorf("%s: %v, job %v", at, err, w.job)
		}
	}
}
