package migrate

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// localPair is a guest with a disk of 64 MiB on its node, and a target whose storage pool is empty.
// Before the memory, disks are copied for two seconds.
func localPair(t *testing.T) (p *pair, image string) {
	p = newPair(t)
	image = filepath.Join(t.TempDir(), "web.img")
	if err := os.WriteFile(image, []byte("truth"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Source.Doc = localDoc(image, "")
	p.Source.Size = libvirt.DiskSize{Capacity: 64 << 20, Allocated: 10 << 20}
	p.Target.Files, p.Target.Space = map[string]string{}, 10<<20
	p.Source.Migrate = func(context.Context) error {
		p.copyDisks()
		p.Copy()
		p.Switchover()
		return nil
	}
	p.req.Disks = preflight.DisksCopy
	return p, image
}

// localDoc describes a guest with a disk, and more of its <disk> elements.
func localDoc(image, more string) string {
	return strings.Replace(strings.Replace(guestDoc, "/shared/web.img", image, 1), "<target dev='vda'/></disk>",
		"<driver type='raw'/><backingStore/><target dev='vda'/></disk>"+more, 1)
}

func (p *pair) copyDisks() {
	for done := uint64(0); done <= 64; done += 16 {
		p.Source.SetJob(libvirt.JobStats{Active: true,
			Disks: libvirt.DiskStats{Total: 64 << 20, Processed: done << 20, Remaining: (64 - done) << 20}})
		time.Sleep(500 * time.Millisecond)
	}
}

// there lists the files of the target's pool, without the folder.
func (p *pair) there() []string {
	var names []string
	for _, path := range slices.Sorted(maps.Keys(p.Target.Files)) {
		names = append(names, filepath.Base(path))
	}
	return names
}

// oldCopy is what a guest of that UUID has left at the target that was moved from there.
func oldCopy(image, uuid string) map[string]string {
	return map[string]string{image + disks.OldSuffix: "100", image + disks.NoteSuffix: `{"stage":"moved","uuid":"` + uuid + `"}`}
}

// halfCopy is what a move that was killed has left at both ends.
func halfCopy(t *testing.T, p *pair, made bool) {
	t.Helper()
	l, err := disks.Begin(imageOf(p), disks.Note{Guest: "web", UUID: guestUUID, Peer: "node2", Mark: 4711, Made: made})
	if err != nil || l.Close() != nil {
		t.Fatal(err)
	}
	p.Target.Files = map[string]string{imageOf(p) + disks.ArrivingSuffix: "4711"}
	if made {
		p.Target.Files[imageOf(p)] = "100"
	}
}

// here lists the files beside an image.
func here(t *testing.T, image string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(image))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestDisksGoAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, image := localPair(t)
		var phases []string
		var while disks.Note
		var there []string
		p.req.Progress = func(pr Progress) {
			if pr.Phase == PhaseDisks && pr.DiskRemaining < pr.DiskTotal {
				while, _ = disks.ReadNote(image)
				there = p.there()
			}
			if !slices.Contains(phases, pr.Phase) {
				phases = append(phases, pr.Phase)
			}
		}
		// From an earlier stay of the guest there.
		p.Target.Files = oldCopy(image, guestUUID)
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"pre-flight", "migrating", PhaseDisks, "verifying"}; !slices.Equal(phases[:3], want[:3]) {
			t.Errorf("progress %q, want %q", phases, want)
		}
		if while.Stage != disks.Copying || while.Peer != "node2" || while.Guest != "web" || while.UUID != guestUUID {
			t.Errorf("note while the disk was copied: %+v", while)
		}
		if !slices.Contains(there, "web.img"+disks.ArrivingSuffix) {
			t.Errorf("at the target, while the disk was copied: %q", there)
		}
		if got := p.there(); !slices.Equal(got, []string{"web.img"}) {
			t.Errorf("the target is left with %q", got)
		}
		if got := here(t, image); !slices.Equal(got, []string{"web.img" + disks.NoteSuffix, "web.img" + disks.OldSuffix}) {
			t.Errorf("the source is left with %q", got)
		}
		params := p.Source.Params[0]
		if !params.CopyAll || !slices.Equal(params.Disks, []string{"vda"}) || !params.AutoConverge {
			t.Errorf("migrated with %+v", params)
		}
		if want := []record.CopiedDisk{{Target: "vda", Path: image, Bytes: 10 << 20}}; !slices.Equal(rec.Disks, want) ||
			rec.DisksMS != 2500 {
			t.Errorf("record: %+v, %v ms", rec.Disks, rec.DisksMS)
		}
		if _, known := rec.SetUp(); known {
			t.Error("the copying of disks was taken for libvirt's set-up")
		}
	})
}

// Where a move ends decides what becomes of the copies, whoever is left to do it.
func TestDisksThatDoNotArrive(t *testing.T) {
	fails := errors.New("migration of disk vda failed: No space left on device")
	for _, c := range []struct {
		name        string
		spoil       func(p *pair)
		outcome     record.Outcome
		here, there string
	}{
		{"fails while disks are copied", func(p *pair) {
			p.Source.Migrate = func(context.Context) error { p.copyDisks(); p.Cancelled(); return fails }
		}, record.Stayed, "web.img", ""},
		{"fails in the memory", func(p *pair) {
			p.Source.Migrate = func(context.Context) error { p.copyDisks(); p.Copy(); p.Cancelled(); return fails }
		}, record.Stayed, "web.img", ""},
		{"a half copy is left from before", func(p *pair) {
			halfCopy(t, p, true)
			p.Source.Migrate = func(context.Context) error { p.Cancelled(); return fails }
		}, record.Stayed, "web.img", ""},
		{"a mark alone is left from before", func(p *pair) {
			halfCopy(t, p, false)
			p.Source.Migrate = func(context.Context) error { p.Cancelled(); return fails }
		}, record.Stayed, "web.img", ""},
		{"no image can be made there", func(p *pair) { p.Target.CreateErr = fails }, record.Stayed, "web.img", ""},
		{"nobody can tell where it runs", func(p *pair) {
			p.Source.Migrate = func(context.Context) error {
				p.copyDisks()
				p.Copy()
				p.Halt()
				p.Migration("completed")
				p.Target.Answer(context.DeadlineExceeded)
				return fails
			}
		}, record.Unknown, "web.img web.img.vmferry", "web.img web.img.vmferry-arriving"},
		{"the target is not heard of any more", func(p *pair) {
			p.Source.Migrate = func(context.Context) error {
				p.copyDisks()
				p.Source.SetJob(libvirt.JobStats{})
				p.Source.Is(runs("migration-canceled"))
				p.Target.Answer(libvirt.ErrConnect)
				p.Target.Refuse(libvirt.ErrConnect)
				return fails
			}
		}, record.Stayed, "web.img web.img.vmferry", "web.img web.img.vmferry-arriving"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, image := localPair(t)
				c.spoil(p)
				rec, err := Move(t.Context(), p.req, p.deps)
				if err == nil || rec.Outcome != c.outcome {
					t.Errorf("outcome %q, %v", rec.Outcome, err)
				}
				if got := strings.Join(here(t, image), " "); got != c.here {
					t.Errorf("the source is left with %q, want %q", got, c.here)
				}
				if got := strings.Join(p.there(), " "); got != c.there {
					t.Errorf("the target is left with %q, want %q", got, c.there)
				}
				if err := disks.Check(image); (err != nil) != (c.outcome == record.Unknown) {
					t.Errorf("a start at the source: %v", err)
				}
			})
		})
	}
}

// imageOf is the path in the guest's description.
func imageOf(p *pair) string {
	images, err := preflight.Images(context.Background(), p.Source, "web")
	if err != nil {
		panic(err)
	}
	return images[0].Path
}

// A link that carries nothing, or too little for the window, ends the copying early.
func TestDisksOverABadLink(t *testing.T) {
	for _, c := range []struct {
		name    string
		window  time.Duration
		cap     uint64 // MiB/s
		perTick uint64 // bytes
		words   string
		before  time.Duration
	}{
		{"carries nothing", 10 * time.Minute, 0, 0, "carried nothing of the disks for 30s", 40 * time.Second},
		{"carries nothing, without a window", 0, 0, 0, "carried nothing of the disks for 1m0s", 70 * time.Second},
		{"too slow", 10 * time.Minute, 0, 4 << 10, "of the disks are left", 45 * time.Second},
		{"rests at its bound", time.Minute, 1, 0, "carried nothing of the disks for 24s", 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := localPair(t)
				p.req.Bandwidth = c.cap
				p.Source.Migrate = func(context.Context) error {
					for done := uint64(0); ; done += c.perTick {
						p.Source.SetJob(libvirt.JobStats{Active: true,
							Disks: libvirt.DiskStats{Total: 64 << 20, Processed: done, Remaining: 64<<20 - done}})
						select {
						case <-p.Source.Aborted:
							p.Cancelled()
							return errLibvirt
						case <-time.After(time.Second):
						}
					}
				}
				ctx := t.Context()
				if c.window > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.window)
					defer cancel()
				}
				began := time.Now()
				rec, err := Move(ctx, p.req, p.deps)
				if rec.Outcome != record.Stayed || !errors.Is(err, ErrHopeless) || !strings.Contains(err.Error(), c.words) {
					t.Errorf("outcome %q, %v", rec.Outcome, err)
				}
				if took := time.Since(began); took > c.before {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// Before anything is changed, one line says what is missing.
func TestDiskRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *pair, image string)
		words string
	}{
		{"no room", func(p *pair, _ string) { p.Target.Space-- }, "has 9 MiB free in "},
		{"there already", func(p *pair, image string) { p.Target.Files[image] = "100" }, "already"},
		{"fetched from the other side", func(p *pair, _ string) { p.req.Fetch = true }, "only the node that it leaves"},
		{"unknown mode", func(p *pair, _ string) { p.req.Disks = "all" }, "use shared, copy or auto"},
		{"the image is not on this node", func(p *pair, image string) { _ = os.Remove(image) }, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, image := localPair(t)
				p.Source.Migrate = func(context.Context) error { t.Error("migrated"); return nil }
				c.spoil(p, image)
				before := p.there()
				_, err := Move(t.Context(), p.req, p.deps)
				var refusal *preflight.Refusal
				if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.words) {
					t.Errorf("error %v, want %q", err, c.words)
				}
				if got := p.there(); !slices.Equal(got, before) {
					t.Errorf("the target had %q and has %q", before, got)
				}
			})
		})
	}
}

// An old copy makes room for the new one.
func TestOldCopyMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, image := localPair(t)
		p.Target.Space--
		p.Target.Files = oldCopy(image, guestUUID)
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || !slices.ContainsFunc(rec.Notes, func(n string) bool { return strings.Contains(n, "makes room") }) {
			t.Errorf("%v, notes %q", err, rec.Notes)
		}
	})
}

// A move whose maker was killed is seen through by the next call, with the disks that it carries.
func TestDisksOfAnAdoptedMove(t *testing.T) {
	for _, c := range []struct {
		name        string
		end         func(p *pair)
		here, there string
	}{
		{"arrives", (*pair).Switchover, "web.img.vmferry web.img.vmferry-old", "web.img"},
		{"fails, and is restarted", (*pair).Cancelled, "web.img.vmferry web.img.vmferry-old", "web.img"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, image := localPair(t)
				p.req.Adopt = true
				halfCopy(t, p, true)
				p.Source.SetJob(libvirt.JobStats{Active: true, Iteration: 1, Total: 512 << 20})
				go func() { time.Sleep(3 * time.Second); c.end(p) }()
				if _, err := Move(t.Context(), p.req, p.deps); err != nil {
					t.Error(err)
				}
				if got := strings.Join(here(t, image), " "); got != c.here {
					t.Errorf("the source is left with %q, want %q", got, c.here)
				}
				if got := strings.Join(p.there(), " "); got != c.there {
					t.Errorf("the target is left with %q, want %q", got, c.there)
				}
			})
		})
	}
}

func TestDiskBytes(t *testing.T) {
	p, image := localPair(t)
	p.Source.Doc = localDoc(image,
		`<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a'/><target dev='sda'/><readonly/></disk>`)
	for mode, want := range map[preflight.DiskMode]uint64{"": 0, preflight.DisksShared: 0,
		preflight.DisksAuto: 10 << 20, preflight.DisksCopy: 10 << 20} {
		if got, err := preflight.DiskBytes(t.Context(), p.Source, "web", mode); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", mode, got, err, want)
		}
	}
	p.Source.Doc = "<"
	if _, err := preflight.DiskBytes(t.Context(), p.Source, "web", preflight.DisksCopy); err == nil ||
		!strings.Contains(err.Error(), "web") {
		t.Errorf("of a description that cannot be read: %v", err)
	}
}

func TestForecastOfDisks(t *testing.T) {
	var going diskcopy.Copy
	going.Plan(guestUUID, []diskcopy.Plan{{CopiedDisk: record.CopiedDisk{Bytes: 10 << 20},
		Image: libvirt.Image{Capacity: 100 << 20}}})
	for capped, want := range map[bool]float64{false: 1500, true: 10500} {
		f := record.Forecast{DurationMS: 500, Bandwidth: 10 << 20}
		addDisks(&f, going.Bytes(), going.Cost(capped))
		if f.DurationMS != want || f.Disks != 10<<20 {
			t.Errorf("bounded %v: %+v, want %v ms", capped, f, want)
		}
	}
}

// What would have to be copied again counts where a migration may be begun again to slow the guest down:
// then it is rather begun so that it can be.
func TestDisksAreNotCopiedTwice(t *testing.T) {
	for _, c := range []struct {
		window time.Duration
		disks  uint64
		want   bool // slowing down is wanted from the begin
	}{
		{0, 0, false}, {0, 1, true}, {time.Minute, 0, false}, {time.Minute, 1 << 30, false}, {time.Minute, 1 << 40, true},
	} {
		p := convergence.NewPolicy(convergence.Pause{}, c.window)
		p.AutoConverge = true
		d := p.Decide(convergence.State{Used: 1 << 30, Link: 1 << 30, Left: c.window, Disks: c.disks})
		if (d.Throttle > 0) != c.want {
			t.Errorf("window %v, %d bytes of disks: %+v", c.window, c.disks, d)
		}
	}
}

// slowPool is a target whose storage fails once: hinder gets the path, and whether an image is to be removed.
type slowPool struct {
	endpoint.Host
	hinder func(ctx context.Context, path string, remove bool) error
}

func (s slowPool) RemoveImage(ctx context.Context, path string, mark libvirt.Mark) error {
	if err := s.hinder(ctx, path, true); err != nil {
		return err
	}
	return s.Host.RemoveImage(ctx, path, mark)
}

func (s slowPool) CreateImage(ctx context.Context, image libvirt.Image) error {
	if err := s.hinder(ctx, image.Path, false); err != nil {
		return err
	}
	return s.Host.CreateImage(ctx, image)
}

// A copy that is not whole never loses its mark before it is gone: a guest could be started from it.
func TestHalfCopyKeepsItsMark(t *testing.T) {
	for _, c := range []struct {
		name   string
		before bool // a half copy is left from before
		hinder func(p *pair, image string) func(ctx context.Context, path string, remove bool) error
		there  string
	}{
		{"the old one cannot be removed at first", true, func(_ *pair, image string) func(context.Context, string, bool) error {
			once := errors.New("storage pool is busy")
			return func(_ context.Context, path string, remove bool) (err error) {
				if path == image && remove {
					err, once = once, nil
				}
				return err
			}
		}, ""},
		{"the new one is made after the time was up", false,
			func(p *pair, image string) func(context.Context, string, bool) error {
				return func(ctx context.Context, path string, remove bool) error {
					if path != image || remove {
						return nil
					}
					<-ctx.Done()
					time.AfterFunc(100*time.Millisecond, func() {
						p.Target.Mu.Lock()
						defer p.Target.Mu.Unlock()
						p.Target.Files[image] = "100"
					})
					return ctx.Err()
				}
			}, "web.img web.img.vmferry-arriving"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, image := localPair(t)
				if c.before {
					halfCopy(t, p, true)
				}
				hinder := c.hinder(p, image)
				p.deps.Open = func(ctx context.Context, uri string) (endpoint.Host, error) {
					h, err := p.Open(ctx, uri)
					return slowPool{h, hinder}, err
				}
				rec, err := Move(t.Context(), p.req, p.deps)
				time.Sleep(time.Second) // on the bubble's clock
				synctest.Wait()
				if err == nil || rec.Outcome != record.Stayed {
					t.Errorf("outcome %q, %v", rec.Outcome, err)
				}
				if got := strings.Join(p.there(), " "); got != c.there {
					t.Errorf("the target is left with %q, want %q", got, c.there)
				}
			})
		})
	}
}

// An examination of a guest that has left keeps its image free for whoever puts it aside.
func TestExamineLocksNoImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, image := localPair(t)
		l, err := disks.Begin(image, disks.Note{Guest: "web", UUID: guestUUID, Peer: "node2", Mark: 4711, Made: true})
		if err != nil || errors.Join(l.HandOver(), l.Close()) != nil {
			t.Fatal(err)
		}
		p.Source.Fails = libvirt.ErrNoDomain
		p.Target.Is(runs("migrated"))
		p.Target.Doc = p.Source.Doc
		if _, err := Examine(t.Context(), p.req, p.deps); err == nil {
			t.Error("examined a guest that is not here")
		}
		if err := disks.Gone(image); err != nil {
			t.Errorf("the image cannot be put aside: %v", err)
		}
	})
}
