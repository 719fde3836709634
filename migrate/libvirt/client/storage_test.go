package client

import (
	"context"
	"errors"
	"strings"
	"testing"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The test driver keeps volumes in memory, and does not find a pool by its target.
func TestVolumes(t *testing.T) {
	c := testConn(t)
	pool, err := c.lv.LookupStoragePoolByName("default-pool")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Free() }()
	image := libvirt.Image{Path: "/default-pool/web.img", Format: "raw", Capacity: 1 << 20}
	if err := createVolume(pool, image); err != nil {
		t.Fatal(err)
	}
	if !c.hasVolume(image.Path) {
		t.Error("there is no image")
	}
	if err := createVolume(pool, image); err == nil {
		t.Error("made an image over another")
	}
	mark := libvirt.Mark{Path: "/default-pool/web.img.mark", Size: 4711}
	if err := createVolume(pool, libvirt.Image{Path: mark.Path, Format: "raw", Capacity: mark.Size}); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]libvirt.Mark{
		"no mark":                   {},
		"a mark of another size":    {Path: mark.Path, Size: 4712},
		"a mark of another name":    {Path: mark.Path + "2", Size: 4711},
		"a mark in another place":   {Path: "/elsewhere/web.img.mark", Size: 4711},
		"a mark that has no number": {Path: mark.Path},
	} {
		if err := removeVolume(pool, image.Path, other); !errors.Is(err, libvirt.ErrForeign) || !c.hasVolume(image.Path) {
			t.Errorf("%s: removed, %v", name, err)
		}
	}
	for range 2 { // none is no error
		if err := errors.Join(removeVolume(pool, image.Path, mark), removeVolume(pool, mark.Path, mark)); err != nil {
			t.Fatal(err)
		}
	}
	if c.hasVolume(image.Path) {
		t.Error("the image is still there")
	}
}

func TestNoPool(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	image := libvirt.Image{Path: "/none/web.img", Format: "raw"}
	for what, err := range map[string]error{"room": second(c.Room(ctx, "/none")), "create": c.CreateImage(ctx, image),
		"remove": c.RemoveImage(ctx, image.Path, libvirt.Mark{}), "read": second(c.ReadImage(ctx, image.Path, 1))} {
		if err == nil || !strings.Contains(err.Error(), "/none") {
			t.Errorf("%s without a pool: %v", what, err)
		}
	}
	if _, err := c.DiskSize(ctx, "nobody", "vda"); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("disk of nobody: %v", err)
	}
}

// An image takes up nothing before something is copied to it.
func TestVolumeXML(t *testing.T) {
	doc, err := volumeXML(libvirt.Image{Path: "/srv/a&b.qcow2", Format: "qcow2", Capacity: 1 << 30})
	for _, want := range []string{"<name>a&amp;b.qcow2</name>", `<capacity unit="bytes">1073741824</capacity>`,
		`<allocation unit="bytes">0</allocation>`, `<format type="qcow2"></format>`} {
		if err != nil || !strings.Contains(doc, want) {
			t.Errorf("%s is not in %q, %v", want, doc, err)
		}
	}
}

// What was abandoned at its deadline changes nothing after it.
func TestNothingIsDoneAfterTheDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	called := 0
	f := func(*lv.StoragePool) error { called++; return nil }
	if err := inTime(ctx, nil, f); err != nil || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
	cancel()
	if err := inTime(ctx, nil, f); !errors.Is(err, context.Canceled) || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
}
