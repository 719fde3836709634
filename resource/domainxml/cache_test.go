package domainxml

import (
	"fmt"
	"reflect"
	"testing"
)

func TestCachedDisks(t *testing.T) {
	const file, block = `<source file='/srv/a.img'/>`, `<source dev='/dev/sdb'/>`
	for name, test := range map[string]struct {
		attrs, inner string
		want         []CachedDisk
	}{
		"no driver":    {`type='file' device='disk'`, file, []CachedDisk{{"vda", "/srv/a.img", "default", false, false}}},
		"default":      {`type='file'`, file + `<driver name='qemu' cache='default'/>`, []CachedDisk{{"vda", "/srv/a.img", "default", false, false}}},
		"writeback":    {`type='block'`, block + `<driver cache='writeback'/>`, []CachedDisk{{"vda", "/dev/sdb", "writeback", true, false}}},
		"writethrough": {`type='block'`, block + `<driver cache='writethrough'/>`, []CachedDisk{{"vda", "/dev/sdb", "writethrough", true, false}}},
		"unsafe":       {`type='block'`, block + `<driver cache='unsafe'/>`, []CachedDisk{{"vda", "/dev/sdb", "unsafe", true, false}}},
		"none":         {`type='block'`, block + `<driver cache='none'/>`, nil},
		"directsync":   {`type='file'`, file + `<driver cache='directsync'/>`, nil},
		"shareable":    {`type='file'`, file + `<shareable/>`, nil},
		"shareable, cached": {`type='file'`, file + `<shareable/><driver cache='writeback'/>`,
			[]CachedDisk{{"vda", "/srv/a.img", "writeback", false, true}}},
		"read-only": {`type='block'`, block + `<readonly/>`, nil},
		"a CD":      {`type='file' device='cdrom'`, file, nil},
		"no medium": {`type='file' device='floppy'`, "", nil},
		"a network": {`type='network'`, `<source protocol='nbd' name='vm1'><host name='storage' port='10809'/></source>`, nil},
	} {
		const domain = `<domain type='%s'><name>web</name><devices><disk %s>%s<target dev='vda'/></disk></devices></domain>`
		if got := CachedDisks(fmt.Sprintf(domain, "kvm", test.attrs, test.inner)); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if got := CachedDisks(fmt.Sprintf(domain, "xen", test.attrs, test.inner)); got != nil {
			t.Errorf("%s of Xen's: %+v", name, got)
		}
	}
	for _, text := range []string{"", "name = 'web'", "<domain><name>web</name></domain>"} {
		if got := CachedDisks(text); got != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
