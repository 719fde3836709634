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
	at := func(d time.Duration) []Disk { return []Disk{{"/a", saved.Add(d)}} }
	for _, c := range []struct {
		name string
		o    Observed
		want Course
		why  string // of what is not restored
		xml  bool   // our own is used
		asIs bool
	}{
		{"root's file", Observed{Own: disk("/a"), Saved: disk("/a"), RootOnly: true, CanReplace: true}, Restore, "", true, true},
		{"QEMU's file", Observed{Own: disk("/a"), Saved: disk("/a"), CanReplace: true}, Restore, "", true, false},
		{"another CD", Observed{Own: domain(""), Saved: cdrom, CanReplace: true}, Restore, "", true, false},
		{"another disk, root's file", Observed{Own: disk("/a"), Saved: disk("/b"), RootOnly: true, CanReplace: true}, Restore, "", false, true},
		{"another disk, QEMU's file", Observed{Own: disk("/a"), Saved: disk("/b"), CanReplace: true}, Refuse, "had other disks", false, false},
		{"Xen, root's file", Observed{Own: disk("/a"), Saved: disk("/a"), RootOnly: true}, Restore, "", false, true},
		{"Xen, QEMU's file", Observed{Own: disk("/a"), Saved: disk("/a")}, Refuse, "does not belong to root", false, false},
		{"exposed", Observed{Own: disk("/a"), Saved: disk("/a"), Exposed: errors.New("type chmod"), CanReplace: true}, Refuse, "type chmod", false, false},
		{"not whole, and exposed", Observed{Unusable: "it is partial", Exposed: errors.New("type chmod")}, Boot, "it is partial", false, false},
		{"a disk of the same moment", Observed{Own: disk("/a"), Saved: disk("/a"), Disks: at(staleAfter), CanReplace: true}, Restore, "", true, false},
		{"a disk was written to since", Observed{Own: disk("/a"), Saved: disk("/a"), Disks: at(staleAfter + 1), CanReplace: true}, Boot, "disk /a was written to", false, false},
	} {
		c.o.Written = saved
		d := Decide(c.o)
		why := d.Why
		if d.Err != nil {
			why = d.Err.Error()
		}
		if d.Course != c.want || !strings.Contains(why, c.why) || (c.why == "") != (why == "") || (d.XML == c.o.Own && d.XML != "") != c.xml || d.AsIs != c.asIs {
			t.Errorf("%s: %+v", c.name, d)
		}
		if other := c.want == Restore && c.o.Own != c.o.Saved && !c.xml; d.OtherDisks != other {
			t.Errorf("%s: other disks: %v", c.name, d.OtherDisks)
		}
	}
}
