package preflight

import (
	"errors"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// What the target sees, and what the guest is, decide what is copied.
func TestWhichDisksGoAlong(t *testing.T) {
	const (
		qcow      = `<disk type='file' device='disk'><driver type='qcow2'/><source file='/d/a'/><backingStore/><target dev='vdb'/></disk>`
		based     = `<disk type='file' device='disk'><driver type='qcow2'/><source file='/d/a'/><backingStore type='file'><format type='raw'/><source file='/d/b'/></backingStore><target dev='vdb'/></disk>`
		block     = `<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/a'/><target dev='vdb'/></disk>`
		share     = `<disk type='file' device='disk'><driver type='raw'/><source file='/d/a'/><target dev='vdb'/><shareable/></disk>`
		rom       = `<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a'/><target dev='sda'/><readonly/></disk>`
		empty     = `<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>`
		ceph      = `<disk type='network' device='disk'><source protocol='rbd' name='a'/><target dev='vdb'/></disk>`
		opt       = `<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a' startupPolicy='optional'/><target dev='sda'/><readonly/></disk>`
		req       = `<disk type='file' device='cdrom'><driver type='raw'/><source file='/d/a' startupPolicy='requisite'/><target dev='sda'/><readonly/></disk>`
		flop      = `<disk type='file' device='floppy'><driver type='raw'/><source file='/d/a' startupPolicy='optional'/><target dev='fda'/></disk>`
		optDisk   = `<disk type='file' device='disk'><driver type='raw'/><source file='/d/a' startupPolicy='optional'/><target dev='vdb'/></disk>`
		cephBased = `<disk type='network' device='disk'><source protocol='rbd' name='a'/><backingStore type='file'><format type='raw'/><source file='/d/b'/></backingStore><target dev='vdb'/></disk>`
		vol       = `<disk type='volume' device='disk'><driver type='raw'/><source pool='my pool' volume='a'/><target dev='vdb'/></disk>`
		data      = `<disk type='file' device='disk'><driver type='qcow2'/><source file='/d/a'><dataStore type='file'><format type='raw'/><source file='/d/b'/></dataStore></source><target dev='vdb'/></disk>`
		vmdk      = `<disk type='file' device='disk'><driver type='vmdk'/><source file='/d/a'/><target dev='vdb'/></disk>`
	)
	none, base := libvirt.DiskSource{}, libvirt.DiskSource{Path: "/d/b"}
	yes, no, unknown := libvirt.VisibleYes, libvirt.VisibleNo, libvirt.VisibleUnknown
	for _, c := range []struct {
		name   string
		disk   string
		mode   DiskMode
		there  libvirt.Visible
		fate   diskFate
		words  string // of the refusal
		lacks  libvirt.DiskSource
		starts bool // a start at the target would not fail for it
	}{
		{"shared, there", qcow, DisksShared, yes, diskThere, "", none, false},
		{"shared, not there", qcow, DisksShared, no, diskThere, "disks=auto", none, false},
		{"unset, not there", qcow, "", no, diskThere, "disks=auto", none, false},
		{"shared, nobody knows", qcow, DisksShared, unknown, diskThere, "", none, false},
		{"auto, there", qcow, DisksAuto, yes, diskThere, "", none, false},
		{"auto, not there", qcow, DisksAuto, no, diskCopied, "", none, false},
		{"auto, nobody knows", qcow, DisksAuto, unknown, diskThere, "", none, false},
		{"copy, not there", qcow, DisksCopy, no, diskCopied, "", none, false},
		{"copy, there", qcow, DisksCopy, yes, diskThere, "has a file \"/d/a\" already", none, true},
		{"copy, no pool", qcow, DisksCopy, unknown, diskThere, "virsh pool-define-as NAME dir --target /d;", none, true},
		{"copy, based on another", based, DisksCopy, no, diskThere, "is based on another one", none, false},
		{"auto, based on another", based, DisksAuto, no, diskThere, "is based on another one", none, false},
		{"auto, based on another and there", based, DisksAuto, yes, diskThere, "", none, false},
		{"copy, block device", block, DisksCopy, unknown, diskThere, "block device", none, true},
		{"auto, block device that is not there", block, DisksAuto, no, diskThere, "block device", none, false},
		{"auto, block device", block, DisksAuto, unknown, diskThere, "", none, false},
		{"copy, another format", vmdk, DisksCopy, no, diskThere, `format "vmdk"`, none, false},
		{"shared, block device that is not there", block, DisksShared, no, diskThere, "connect it there", none, false},
		{"copy, CD-ROM there", rom, DisksCopy, yes, diskThere, "", none, false},
		{"copy, CD-ROM not there", rom, DisksCopy, no, diskThere, "eject it", none, false},
		{"copy, empty CD-ROM", empty, DisksCopy, no, diskThere, "", none, false},
		{"copy, shareable", share, DisksCopy, yes, diskThere, "", none, false},
		{"copy, network", ceph, DisksCopy, no, diskThere, "", none, false},
		{"optional medium that is not there", opt, DisksShared, no, diskLeft, "", none, false},
		{"requisite medium that is not there", req, "", no, diskLeft, "", none, false},
		{"mandatory medium that is not there", rom, "", no, diskThere, "virsh change-media 'web 1' sda --eject,", none, false},
		{"optional floppy that is not there", flop, "", no, diskLeft, "", none, false},
		{"optional disk that is not there", optDisk, "", no, diskThere, "does not see the disk", none, true},
		{"optional disk that is not there, copied", optDisk, DisksAuto, no, diskCopied, "", none, false},
		{"optional medium that is there", opt, "", yes, diskThere, "", none, false},
		{"optional medium, nobody knows", opt, "", unknown, diskThere, "", none, false},
		{"base that is not there", based, "", yes, diskThere, `does not see "/d/b", which the disk "/d/a" needs`, base, false},
		{"base that is not there, nobody knows of the image", based, "", unknown, diskThere, "does not see", base, false},
		{"base of an optional medium", opt, "", yes, diskLeft, "", base, false},
		{"base of an optional disk", optDisk, "", yes, diskThere, "which the disk", base, true},
		{"base of an image of the network", cephBased, DisksCopy, unknown, diskThere, "does not see", base, false},
		{"volume that is not there", vol, "", no, diskThere,
			"virsh pool-start 'my pool', or virsh pool-refresh 'my pool'", none, false},
		{"volume that is not there, auto", vol, DisksAuto, no, diskThere, "named as a volume", none, false},
		{"volume that is there", vol, DisksAuto, yes, diskThere, "", none, false},
		{"data in another file", data, DisksCopy, no, diskThere, "has its data in another file", none, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			guest := &libvirtxml.Domain{}
			if err := guest.Unmarshal("<domain><devices>" + c.disk + "</devices></domain>"); err != nil {
				t.Fatal(err)
			}
			var fate diskFate
			var err error
			for _, d := range hostDisks(guest) {
				there := c.there
				if d.path == "" && d.source.Pool == "" {
					there = yes
				}
				fate, err = d.decide(c.mode, there, c.lacks, destination{"web 1", "node2"})
			}
			var refusal *Refusal
			errors.As(err, &refusal)
			if fate != c.fate || (refusal == nil) != (c.words == "") || refusal != nil &&
				!strings.Contains(refusal.Error(), c.words) {
				t.Errorf("fate %v, %v", fate, refusal)
			}
			if refusal != nil && (refusal.Check == CheckDiskMove) != c.starts {
				t.Errorf("refused by check %q", refusal.Check)
			}
		})
	}
}
