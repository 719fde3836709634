package setup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/domainxml"
)

func TestSharedOn(t *testing.T) {
	for name, test := range map[string]struct {
		disk domainxml.CachedDisk
		kind string
		err  error
		want string
	}{
		"a local file":             {domainxml.CachedDisk{}, "", nil, ""},
		"a file on NFS":            {domainxml.CachedDisk{}, "NFS", nil, "NFS"},
		"a shareable file":         {domainxml.CachedDisk{Shared: true}, "", nil, "a shareable disk"},
		"a shareable file on NFS":  {domainxml.CachedDisk{Shared: true}, "NFS", nil, "NFS"},
		"a block device":           {domainxml.CachedDisk{Block: true}, "", nil, "a block device"},
		"a file that is not there": {domainxml.CachedDisk{}, "", errors.New("no such directory"), ""},
	} {
		if got := sharedOn(test.disk, test.kind, test.err); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Of the guests' files, those that this node can read are judged: disks that are local to it are not named.
func TestDisksOf(t *testing.T) {
	dir := t.TempDir()
	var claims []hbplugin.Claim
	for name, text := range map[string]string{
		"web": `<domain type='kvm'><name>web</name><devices>
<disk type='file'><source file='` + dir + `/local.img'/><target dev='vda'/></disk>
<disk type='block'><source dev='/dev/disk/by-id/x'/><target dev='vdb'/></disk>
<disk type='block'><driver cache='none'/><source dev='/dev/disk/by-id/y'/><target dev='vdc'/></disk>
<disk type='vhostuser'><source type='unix' path='/run/x.sock'/><target dev='vdd'/></disk>
<filesystem type='mount'><driver type='virtiofs'/><source dir='` + dir + `'/><target dir='data'/></filesystem></devices></domain>`,
		"broken": `<domain>`, "missing": "",
	} {
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, name+".xml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		claims = append(claims, hbplugin.Claim{Resource: name, Environ: hbplugin.EnvironOf(name,
			map[string]string{"config": "/" + name + ".xml"})})
	}
	path := func(name string) string { return filepath.Join(dir, strings.TrimPrefix(name, dir)) }
	var o Observed
	Sources{Path: path}.disksOf(t.Context(), claims, &o)
	if got := o.Cached; len(got) != 1 || got[0].Guest != "web" || got[0].Target != "vdb" || got[0].On != "a block device" {
		t.Errorf("%+v", got)
	}
	if got := o.Backends; len(got) != 1 || got[0].Guest != "web" || got[0].Device != "disk vdd" || got[0].On != "" {
		t.Errorf("%+v", got)
	}
}
