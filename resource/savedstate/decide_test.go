package savedstate

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	saved := time.Now()
	domain := func(disks string) string { return "<domain><name>g</name><devices>" + disks + "</devices></domain>" }
	disk := func(path string) string {
		return domain("<disk type='file' device='disk'><source file='" + path + "'/><target dev='vda'/></disk>")
	}
	cdrom := domain("<disk type='file' device='cdrom'><source file='/c'/><target dev='sda'/></disk>")
	// Of QEMU's user, in a safe directory, of the same disk.
	usual := Observed{Own: disk("/a"), Saved: disk("/a"), Written: saved, CanReplace: true}
	as := func(changes ...func(*Observed)) Observed {
		o := usual
		for _, change := range changes {
			change(&o)
		}
		return o
	}
	rootOnly := func(o *Observed) { o.RootOnly = true }
	xen := func(o *Observed) { o.CanReplace = false }
	otherDisk := func(o *Observed) { o.Saved = disk("/b") }
	exposed := func(o *Observed) { o.Exposed = errors.New("type chmod") }
	partial := func(o *Observed) { o.Unusable = "it is partial" }
	written := func(d time.Duration) func(*Observed) {
		return func(o *Observed) { o.Disks = []Disk{{"/a", saved.Add(d)}} }
	}
	for _, c := range []struct {
		name string
		o    Observed
		want Course
		why  string // of what is not restored
		own  bool   // our own XML is used
		asIs bool
	}{
		{"QEMU's file", as(), Restore, "", true, false},
		{"root's file", as(rootOnly), Restore, "", true, true},
		{"another CD", as(func(o *Observed) { o.Own, o.Saved = domain(""), cdrom }), Restore, "", true, false},
		{"another disk, QEMU's file", as(otherDisk), Refuse, "had other disks", false, false},
		{"another disk, root's file", as(otherDisk, rootOnly), Restore, "", false, true},
		{"Xen, QEMU's file", as(xen), Refuse, "does not belong to root", false, false},
		{"Xen, root's file", as(xen, rootOnly), Restore, "", false, true},
		{"exposed", as(exposed), Refuse, "type chmod", false, false},
		{"not whole, and exposed", as(partial, exposed), Boot, "it is partial", false, false},
		{"a disk of the same moment", as(written(staleAfter)), Restore, "", true, false},
		{"a disk was written to since", as(written(staleAfter + 1)), Boot, "disk /a was written to", false, false},
		{"a disk was written to since, and exposed", as(written(time.Hour), exposed), Boot, "disk /a", false, false},
	} {
		d := Decide(c.o)
		why := d.Why
		if d.Err != nil {
			why = d.Err.Error()
		}
		if d.Course != c.want || !strings.Contains(why, c.why) || (c.why == "") != (why == "") {
			t.Errorf("%s: %+v", c.name, d)
		}
		if own := d.XML != ""; own != c.own || own && d.XML != c.o.Own || d.AsIs != c.asIs {
			t.Errorf("%s: restored with %q, as is: %v", c.name, d.XML, d.AsIs)
		}
		if other := c.name == "another disk, root's file"; d.OtherDisks != other {
			t.Errorf("%s: other disks: %v", c.name, d.OtherDisks)
		}
	}
}
