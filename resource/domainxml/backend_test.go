package domainxml

import (
	"reflect"
	"testing"
)

func TestBackends(t *testing.T) {
	for devices, want := range map[string][]Backend{
		``: nil,
		`<disk type='file'><source file='/a'/><target dev='vda'/></disk>`: nil,
		`<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/>
<source type='unix' path='/run/spdk.sock'/><target dev='vdb' bus='virtio'/></disk>`: {{Device: "disk vdb"}},
		`<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv/share'/><target dir='data'/></filesystem>`: {
			{"file system data", "/srv/share"}},
		`<filesystem type='mount'><source dir='/srv/share'/><target dir='data'/></filesystem>`: { // 9p
			{"file system data", "/srv/share"}},
		`<filesystem type='mount'><driver type='virtiofs'/><source socket='/run/fs.sock'/><target dir='data'/></filesystem>`: {
			{"file system data", ""}},
		`<filesystem type='mount'><source dir='/srv/share'/><target dir='data'/><readonly/></filesystem>`: nil,
		`<filesystem type='ram'><source usage='1024' units='KiB'/><target dir='tmp'/></filesystem>`:       nil,
	} {
		domain := func(kind string) string {
			return `<domain type='` + kind + `'><name>web</name><devices>` + devices + `</devices></domain>`
		}
		if got := Backends(domain("kvm")); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", devices, got, want)
		}
		if got := Backends(domain("xen")); got != nil {
			t.Errorf("%s of Xen's: %+v", devices, got)
		}
	}
	if got := Backends("name = 'web'"); got != nil {
		t.Errorf("%+v", got)
	}
}
