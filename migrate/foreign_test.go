package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// Whatever happens to the target's directory, nothing is removed there that this move did not make.
func TestNothingForeignIsRemoved(t *testing.T) {
	fails := errors.New("migration failed")
	// mount puts another file system over the target's directory while the disk is copied, and the move fails.
	mount := func(over map[string]string) func(t *testing.T, p *pair) {
		return func(_ *testing.T, p *pair) {
			p.Source.Migrate = func(context.Context) error {
				p.copyDisks()
				p.Target.Files = rename(p, over)
				p.Cancelled()
				return fails
			}
		}
	}
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, p *pair)
		stays  string // the files of the target
		reason string // in the error, or in a note
	}{
		{"an image appears after the pre-flight", func(_ *testing.T, p *pair) {
			image := imageOf(p)
			p.Target.Making = func(path string) {
				if path == image {
					p.Target.Files[image] = "truth"
				}
			}
		}, "web.img=truth", "exists already"},
		{"the guest's shared file system is mounted while the disk is copied", mount(map[string]string{"": "truth"}),
			"web.img=truth", "not made by this move"},
		{"and has a mark of the same name", mount(map[string]string{"": "truth", disks.ArrivingSuffix: "17"}),
			"web.img=truth web.img.vmferry-arriving=17", "not made by this move"},
		{"a mark that nobody knows of", func(_ *testing.T, p *pair) {
			p.Target.Files = rename(p, map[string]string{"": "truth", disks.ArrivingSuffix: "17"})
		}, "web.img=truth web.img.vmferry-arriving=17", "unfinished copy"},
		{"a mark of another size than noted", func(t *testing.T, p *pair) {
			halfCopy(t, p, true)
			p.Target.Files = rename(p, map[string]string{"": "truth", disks.ArrivingSuffix: "17"})
		}, "web.img=truth web.img.vmferry-arriving=17", "not made by this move"},
		{"an image beside the mark that was made too late to be noted", func(t *testing.T, p *pair) {
			halfCopy(t, p, false)
			p.Target.Files[imageOf(p)] = "truth"
		}, "web.img=truth web.img.vmferry-arriving=4711", "unfinished copy"},
		{"a half copy of another guest", func(t *testing.T, p *pair) {
			halfCopy(t, p, true)
			p.req.UUID = guestUUID
			l, err := disks.Begin(imageOf(p), disks.Note{UUID: "other", Peer: "node2", Mark: 4711, Made: true})
			if err != nil || l.Close() != nil {
				t.Fatal(err)
			}
		}, "web.img=100 web.img.vmferry-arriving=4711", "rm "},
		{"a half copy on another node", func(t *testing.T, p *pair) {
			halfCopy(t, p, true)
			l, err := disks.Begin(imageOf(p), disks.Note{UUID: guestUUID, Peer: "node3", Mark: 4711, Made: true})
			if err != nil || l.Close() != nil {
				t.Fatal(err)
			}
		}, "web.img=100 web.img.vmferry-arriving=4711", "unfinished copy"},
		{"an old copy of another guest, and no room", func(_ *testing.T, p *pair) {
			p.Target.Files, p.Target.Space = oldCopy(imageOf(p), "other"), 0
		}, `web.img.vmferry={"stage":"moved","uuid":"other"} web.img.vmferry-old=100`, "free some there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := localPair(t)
				p.req.Disks = preflight.DisksAuto
				c.spoil(t, p)
				rec, err := Move(t.Context(), p.req, p.deps)
				if err == nil || rec.Outcome != record.Stayed {
					t.Errorf("outcome %q, %v", rec.Outcome, err)
				}
				if got := p.contents(); got != c.stays {
					t.Errorf("the target is left with %q, want %q", got, c.stays)
				}
				if said := fmt.Sprint(err, rec.Notes); !strings.Contains(said, c.reason) {
					t.Errorf("said %q, want %q", said, c.reason)
				}
			})
		})
	}
}

// rename gives files their full path: the keys are what follows the image's.
func rename(p *pair, files map[string]string) map[string]string {
	all := map[string]string{}
	for suffix, text := range files {
		all[imageOf(p)+suffix] = text
	}
	return all
}

// contents lists the files of the target's pool, with what is in them.
func (p *pair) contents() string {
	var all []string
	for _, name := range p.there() {
		for path := range maps.Keys(p.Target.Files) {
			if filepath.Base(path) == name {
				all = append(all, name+"="+p.Target.Files[path])
			}
		}
	}
	return strings.Join(all, " ")
}

// A move that succeeds removes no other guest's old copy.
func TestOldCopyOfAnotherGuestStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, image := localPair(t)
		p.Target.Files = oldCopy(image, "other")
		if _, err := Move(t.Context(), p.req, p.deps); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(p.there(), " "); got != "web.img web.img.vmferry web.img.vmferry-old" {
			t.Errorf("the target is left with %q", got)
		}
	})
}

// A file system that hides the image of the running guest is named.
func TestMountOverAnArrivedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, image := localPair(t)
		p.Source.Migrate = func(context.Context) error {
			p.copyDisks()
			p.Target.Files = map[string]string{}
			p.Copy()
			p.Switchover()
			return nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || !strings.Contains(fmt.Sprint(rec.Notes), "umount "+filepath.Dir(image)) {
			t.Errorf("notes %q, %v", rec.Notes, err)
		}
	})
}

// What is on storage that other nodes may have mounted is never copied, and the pre-flight changes nothing.
func TestSharedStorageIsNotCopied(t *testing.T) {
	for _, mode := range []preflight.DiskMode{preflight.DisksAuto, preflight.DisksCopy} {
		p, _ := localPair(t)
		p.req.Disks = mode
		m := newMover(p.req, p.deps)
		m.sharedBy = func(string) (string, error) { return "NFS", nil }
		err := m.preflight(t.Context(), false)
		var refusal *preflight.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "lies on NFS here") ||
			!strings.Contains(err.Error(), "findmnt -T ") {
			t.Errorf("%s: %v", mode, err)
		}
		if len(m.found.Copies) > 0 || len(p.Target.Files) > 0 {
			t.Errorf("%s: carries %d disks, and made %q", mode, len(m.found.Copies), p.there())
		}
		m.sharedBy = func(string) (string, error) { return "", errors.New("stale handle") }
		if err := m.preflight(t.Context(), false); err == nil || !strings.Contains(err.Error(), "stale handle") {
			t.Errorf("%s, of a file system that cannot be asked: %v", mode, err)
		}
	}
}

// The pre-flight says what goes along and what stays behind, and removes nothing to make room.
func TestDiskReport(t *testing.T) {
	p, image := localPair(t)
	p.Source.Doc = localDoc(image,
		`<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a' startupPolicy='requisite'/><target dev='sda'/><readonly/></disk>`)
	p.Target.Space, p.Target.Files = 0, oldCopy(image, guestUUID)
	x, err := Examine(t.Context(), p.req, p.deps)
	if err != nil || len(x.Refusals) > 0 {
		t.Fatal(x.Refusals, err)
	}
	with, missing := fmt.Sprint(x.With), fmt.Sprint(x.Lacks)
	for _, want := range []string{`"/d/a" stays behind`, "disk vda (10 MiB) is copied"} {
		if !strings.Contains(with, want) {
			t.Errorf("with %q, want %q", with, want)
		}
	}
	for _, want := range []string{image, `"/d/a", which a start needs`} {
		if !strings.Contains(missing, want) {
			t.Errorf("missing %q, want %q", missing, want)
		}
	}
	if got := strings.Join(p.there(), " "); got != "web.img.vmferry web.img.vmferry-old" {
		t.Errorf("after the pre-flight the target has %q", got)
	}
}

// All disks that are in the way are told of at once.
func TestAllDiskRefusals(t *testing.T) {
	p, image := localPair(t)
	p.req.Disks = preflight.DisksShared
	p.Source.Doc = localDoc(image,
		`<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a'/><target dev='sda'/><readonly/></disk>`)
	for _, copies := range []bool{false, true} {
		p.req.Options.CopyAll = copies
		x, err := Examine(t.Context(), p.req, p.deps)
		want := map[bool]int{false: 2, true: 1}[copies] // libvirt copies no medium
		got := len(slices.DeleteFunc(x.Refusals, func(r *preflight.Refusal) bool { return r.Check != preflight.CheckDisk }))
		if err != nil || got != want {
			t.Errorf("copied by libvirt %v: %d refusals, %v", copies, got, err)
		}
	}
}
