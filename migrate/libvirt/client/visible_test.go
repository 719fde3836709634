package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The test driver opens files of this machine, as QEMU's opens those of its host.
func TestDiskVisible(t *testing.T) {
	c, dir := testConn(t), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.WriteFile(in("web.img"), nil, 0o600),
		os.WriteFile(in("two words, and a % sign"), nil, 0o600),
		os.Symlink("web.img", in("link")),
		os.Symlink("gone.img", in("dangling")),
		os.Mkdir(in("folder"), 0o700),
		os.Symlink("circle", in("circle")),
	)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := c.lv.LookupStoragePoolByName("default-pool")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Free() }()
	vol, err := pool.StorageVolCreateXML("<volume><name>disk.img</name><capacity>1</capacity></volume>", 0)
	if err != nil {
		t.Fatal(err)
	}
	// All connections of a process share the test driver's host.
	t.Cleanup(func() { _, _ = vol.Delete(0), vol.Free() })
	for _, s := range []struct {
		name   string
		source libvirt.DiskSource
		want   libvirt.Visible
	}{
		{"a file", libvirt.DiskSource{Path: in("web.img")}, libvirt.VisibleYes},
		{"an odd name", libvirt.DiskSource{Path: in("two words, and a % sign")}, libvirt.VisibleYes},
		{"a path that is not clean", libvirt.DiskSource{Path: dir + "//./web.img"}, libvirt.VisibleYes},
		{"a link", libvirt.DiskSource{Path: in("link")}, libvirt.VisibleYes},
		{"a link to nothing", libvirt.DiskSource{Path: in("dangling")}, libvirt.VisibleNo},
		{"a device", libvirt.DiskSource{Path: "/dev/null"}, libvirt.VisibleYes},
		{"a folder", libvirt.DiskSource{Path: in("folder")}, libvirt.VisibleNo},
		{"nothing", libvirt.DiskSource{Path: in("none.img")}, libvirt.VisibleNo},
		{"nothing in a folder that is not there", libvirt.DiskSource{Path: in("none/web.img")}, libvirt.VisibleNo},
		{"nothing below a file", libvirt.DiskSource{Path: in("web.img/x")}, libvirt.VisibleYes}, // the kernel says no more
		{"what cannot be told", libvirt.DiskSource{Path: in("circle")}, libvirt.VisibleUnknown},
		{"a volume", libvirt.DiskSource{Pool: "default-pool", Volume: "disk.img"}, libvirt.VisibleYes},
		{"no such volume", libvirt.DiskSource{Pool: "default-pool", Volume: "none.img"}, libvirt.VisibleNo},
		{"no such pool", libvirt.DiskSource{Pool: "none", Volume: "disk.img"}, libvirt.VisibleNo},
	} {
		if there, err := c.DiskVisible(t.Context(), s.source); there != s.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", s.name, there, err, s.want)
		}
	}
	if err := pool.Destroy(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Create(0) })
	if there, err := c.DiskVisible(t.Context(),
		libvirt.DiskSource{Pool: "default-pool", Volume: "disk.img"}); there != libvirt.VisibleNo || err != nil {
		t.Errorf("a volume of a pool that is not active: %v, %v", there, err)
	}
}

// Only a pool that lists all files of its directory is believed when it lists one not.
func TestWhatPoolsProve(t *testing.T) {
	c := testConn(t)
	for _, p := range []struct {
		kind, more string
		want       libvirt.Visible
	}{
		{"dir", "", libvirt.VisibleNo},
		{"netfs", "<source><host name='x'/><dir path='/x'/></source>", libvirt.VisibleNo},
		{"logical", "<source><device path='/dev/x'/></source>", libvirt.VisibleUnknown},
		{"iscsi", "<source><host name='x'/><device path='iqn.x'/></source>", libvirt.VisibleUnknown},
		{"scsi", "<source><adapter name='host0'/></source>", libvirt.VisibleUnknown},
		{"mpath", "", libvirt.VisibleUnknown},
	} {
		t.Run(p.kind, func(t *testing.T) {
			dir := "/pools/" + p.kind
			pool, err := c.lv.StoragePoolCreateXML("<pool type='"+p.kind+"'><name>x-"+p.kind+"</name>"+p.more+"<target><path>"+dir+"</path></target></pool>", 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = pool.Destroy(), pool.Free() })
			owns := ownsDirectory(pool) == nil
			if owns != (p.want == libvirt.VisibleNo) {
				t.Errorf("owns its directory: %v", owns)
			}
		})
	}
	if there, err := c.poolSees("/pools/none/x"); there != libvirt.VisibleUnknown || err != nil {
		t.Errorf("without a pool: %v, %v", there, err)
	}
}
