package local

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/xl"
)

func TestOf(t *testing.T) {
	for uri, isXen := range map[string]bool{"qemu:///system": false, "": false, "xen:///system": true,
		"xen+unix:///system": true} {
		if _, ok := Of(uri).(xl.Host); ok != isXen {
			t.Errorf("%q: %T", uri, Of(uri))
		}
	}
}

// What a user's shell runs is no guest of the system's libvirt.
func TestOfSession(t *testing.T) {
	for uri, want := range map[string]bool{"qemu:///system": true, "qemu+unix:///system": true, "": true,
		"qemu:///session": false, "qemu:///embed?root=/x": false} {
		if h, ok := Of(uri).(hostproc.Host); !ok || h.System != want {
			t.Errorf("%q: %+v", uri, Of(uri))
		}
	}
}

// The guests of a session are those of the user whose session it is.
func TestUsersOfSessions(t *testing.T) {
	me := os.Geteuid()
	for uris, want := range map[string][]int{
		"qemu:///system":  nil,
		"qemu:///session": {me},
		"qemu:///session?socket=/run/user/1234/libvirt/virtqemud-sock": {1234},
		"qemu:///session?socket=/run/user/x/libvirt/virtqemud-sock":    {me},
		"qemu:///session?socket=/tmp/sock":                             {me},
		"qemu:///embed?root=/x":                                        {me},
		"qemu:///system qemu:///session?socket=/run/user/7/s":          {7},
		"qemu:///%zz": {me},
	} {
		if h := hostOf(strings.Fields(uris)...); !slices.Equal(h.Users, want) || h.System != (want == nil) {
			t.Errorf("%s: %+v", uris, h)
		}
	}
}

// fixed is the Processes that a test describes.
type fixed struct {
	found []hostproc.Process
	err   error
}

func (f fixed) List(context.Context) ([]hostproc.Process, error) { return f.found, f.err }
func (f fixed) Find(context.Context, string, string) ([]hostproc.Process, error) {
	return f.found, f.err
}
func (f fixed) Kill(context.Context, hostproc.Process, time.Duration) error { return f.err }

// A guest is gone where its processes are known, and nothing else is proof.
func TestSetDeps(t *testing.T) {
	for _, c := range []struct {
		w    fixed
		gone bool
	}{
		{fixed{}, true},
		{fixed{found: []hostproc.Process{{PID: 7}}}, false},
		{fixed{err: errors.New("cannot tell")}, false},
	} {
		var deps migrate.Deps
		SetDeps(&deps, c.w)
		if gone, err := deps.Gone(t.Context(), "vm1", ""); gone != c.gone || !errors.Is(err, c.w.err) {
			t.Errorf("%+v: gone %t, %v", c.w, gone, err)
		}
		if deps.Halted != nil || deps.Wake != nil || deps.Abort != nil {
			t.Error("QEMU's processes are asked what only Xen knows")
		}
	}
	var deps migrate.Deps
	if SetDeps(&deps, xl.Host{}); deps.Halted == nil || deps.Wake == nil || deps.Abort == nil || deps.Gone == nil {
		t.Error("Xen is not asked what it knows")
	}
}

// The number of a domain is not one of a process.
func TestKillDomain(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/xl"); err == nil {
		t.Skip("this machine has Xen")
	}
	domain := hostproc.Process{PID: 1, Name: "vm1", Domain: true}
	if err := Kill(t.Context(), domain, 0); err == nil || !strings.Contains(err.Error(), "/usr/sbin/xl") {
		t.Errorf("without Xen's program a domain is taken as ended: %v", err)
	}
	if err := (hostproc.Host{}).Kill(t.Context(), domain, 0); err == nil {
		t.Error("a domain is taken for an ended process of its number")
	}
	if err := Kill(t.Context(), hostproc.Process{PID: 1 << 30}, 0); err != nil {
		t.Errorf("a process that has ended: %v", err)
	}
}
