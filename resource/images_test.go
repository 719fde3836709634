package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// newLocalWorld is a node with a guest whose disk is a file on it.
func newLocalWorld(t *testing.T, action string) (w *world, image string) {
	w = newWorld(t, action)
	w.agent.Params.Disks = preflight.DisksCopy
	image = filepath.Join(w.dir, "vm1.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	xml := strings.Replace(guestXML, "</domain>",
		"<devices><disk type='file'><source file='"+image+"'/></disk></devices></domain>", 1)
	if err := os.WriteFile(w.agent.Params.Config, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	return w, image
}

// leave does part of a move of the disk to node2.
func leave(t *testing.T, image string, parts ...func(*disks.Transfer) error) {
	t.Helper()
	l, err := disks.Begin(image, disks.Note{Guest: "vm1", Peer: "node2"})
	for _, part := range parts {
		err = errors.Join(err, part(l))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func imagesHere(t *testing.T, w *world) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "vm1.img*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

// A start takes nothing but the truth.
func TestStartFromAnImage(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(t *testing.T, image string)
		want   ocf.ExitCode
		reason string
		left   []string
	}{
		{"never moved", func(*testing.T, string) {}, ocf.Success, "", []string{"vm1.img"}},
		{"crashed while it was copied", func(t *testing.T, image string) { leave(t, image, (*disks.Transfer).Close) },
			ocf.Success, "", []string{"vm1.img"}},
		{"crashed at the hand-over", func(t *testing.T,
			image string) {
			leave(t, image, (*disks.Transfer).HandOver, (*disks.Transfer).Close)
		},
			ocf.Generic, "was being handed over to node2", []string{"vm1.img", "vm1.img.vmferry"}},
		{"moved away", func(t *testing.T, image string) { leave(t, image, (*disks.Transfer).Moved) },
			ocf.Generic, "went with the guest to node2", []string{"vm1.img.vmferry", "vm1.img.vmferry-old"}},
		{"moved away, and put back by a person", func(t *testing.T, image string) {
			leave(t, image, (*disks.Transfer).Moved)
			if err := os.Rename(image+disks.OldSuffix, image); err != nil {
				t.Fatal(err)
			}
		}, ocf.Success, "", []string{"vm1.img", "vm1.img.vmferry"}},
		{"a half copy", func(t *testing.T, image string) {
			if err := os.WriteFile(image+disks.ArrivingSuffix, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ocf.Generic, "a copy that was not finished", []string{"vm1.img", "vm1.img.vmferry-arriving"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, image := newLocalWorld(t, "start")
				c.before(t, image)
				err, _ := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if w.there != (c.want == ocf.Success) {
					t.Errorf("started %v", w.there)
				}
				if got := imagesHere(t, w); !slices.Equal(got, c.left) {
					t.Errorf("left %q, want %q", got, c.left)
				}
			})
		})
	}
}

// Whoever sees the guest run here knows that its disk is whole.
func TestArrivedImage(t *testing.T) {
	for _, action := range []string{"start", "monitor", "migrate_from"} {
		t.Run(action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, image := newLocalWorld(t, action)
				if err := os.WriteFile(image+disks.ArrivingSuffix, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				w.is(libvirt.Running, "migrated")
				err, _ := w.run(action)
				checkExit(t, err, ocf.Success, "")
				if got := imagesHere(t, w); !slices.Equal(got, []string{"vm1.img"}) {
					t.Errorf("left %q", got)
				}
			})
		})
	}
	t.Run("a monitor while it is coming", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, image := newLocalWorld(t, "monitor")
			if err := os.WriteFile(image+disks.ArrivingSuffix, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			w.is(libvirt.Paused, "migration")
			w.procs[0].Incoming = true
			err, _ := w.run("monitor")
			checkExit(t, err, ocf.NotRunning, "")
			if got := imagesHere(t, w); len(got) != 2 {
				t.Errorf("left %q", got)
			}
		})
	})
}

// The disk is put aside by whoever learns that the guest has gone, also where the agent that moved
// it was killed.
func TestImageIsLeftBehind(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(*world)
		want  ocf.ExitCode
		left  []string
	}{
		{"the answer was lost", func(w *world) {
			w.boot()
			w.migrate = func(context.Context, param.Move) error { w.gone(); return errors.New("connection reset") }
			at(libvirt.Running, guestUUID)(w)
		}, ocf.Success, []string{"vm1.img.vmferry", "vm1.img.vmferry-old"}},
		{"it has moved already", at(libvirt.Running, guestUUID), ocf.Success, []string{"vm1.img.vmferry", "vm1.img.vmferry-old"}},
		{"it is nowhere", func(*world) {}, ocf.Generic, []string{"vm1.img", "vm1.img.vmferry"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, image := newLocalWorld(t, "migrate_to")
				leave(t, image, (*disks.Transfer).HandOver, (*disks.Transfer).Close)
				c.build(w)
				err, _ := w.run("migrate_to")
				checkExit(t, err, c.want, "")
				if got := imagesHere(t, w); !slices.Equal(got, c.left) {
					t.Errorf("left %q, want %q", got, c.left)
				}
			})
		})
	}
}
