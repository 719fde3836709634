package client

import (
	"errors"
	"testing"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The test driver neither migrates nor measures, and says so.
func TestLoadOfTheTestDriver(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if load, err := c.Load(ctx, "test"); err == nil && load.Dirty.Measured {
		t.Errorf("load %+v", load)
	}
	if _, err := c.Load(ctx, "nobody"); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("load of a guest that is not there: %v", err)
	}
	for what, err := range map[string]error{
		"a dirty rate": c.StartDirtyRate(ctx, "test", time.Second),
		"post-copy":    c.StartPostCopy(ctx, "test"),
		"a speed":      c.SetMaxSpeed(ctx, "test", 10, true),
	} {
		if !errors.Is(err, libvirt.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", what, err)
		}
	}
}

func TestLoadOf(t *testing.T) {
	balloon := &lv.DomainStatsBalloon{CurrentSet: true, Current: 1 << 20, RssSet: true, Rss: 300 << 10}
	measured := &lv.DomainStatsDirtyRate{CalcStatusSet: true, CalcStatus: int(lv.DOMAIN_DIRTYRATE_MEASURED), CalcStartTime: 7,
		MegabytesPerSecondSet: true, MegabytesPerSecond: 12}
	cases := []struct {
		name  string
		stats lv.DomainStats
		want  libvirt.Load
	}{
		{"nothing told", lv.DomainStats{}, libvirt.Load{}},
		{"memory alone", lv.DomainStats{Balloon: balloon}, libvirt.Load{Memory: 1 << 30, Resident: 300 << 20}},
		{"measured", lv.DomainStats{DirtyRate: measured},
			libvirt.Load{Dirty: libvirt.Dirty{Measured: true, Rate: 12 << 20, Since: time.Unix(7, 0)}}},
		{"being measured", lv.DomainStats{DirtyRate: &lv.DomainStatsDirtyRate{CalcStatus: int(lv.DOMAIN_DIRTYRATE_MEASURING)}}, libvirt.Load{}},
		{"a negative rate", lv.DomainStats{DirtyRate: &lv.DomainStatsDirtyRate{CalcStatus: int(lv.DOMAIN_DIRTYRATE_MEASURED),
			MegabytesPerSecondSet: true, MegabytesPerSecond: -1}},
			libvirt.Load{Dirty: libvirt.Dirty{Measured: true, Since: time.Unix(0, 0)}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := loadOf(&c.stats); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}
