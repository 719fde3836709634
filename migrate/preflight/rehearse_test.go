package preflight

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func says(text string) error {
	return &libvirt.Error{Op: "rehearse", URI: "fake:///source", Message: text}
}

func TestJudgeRehearsal(t *testing.T) {
	for _, c := range []struct {
		name            string
		direct, managed error
		manages         bool
		check           string
	}{
		{"nothing against it", nil, nil, false, ""},
		{"the daemon has no key", says("Host key verification failed"), nil, true, ""},
		{"libvirt refuses the guest", says("1 snapshots"), says("1 snapshots"), false, CheckLibvirt},
		{"neither reaches it", says("connection refused"), says("no route"), false, CheckConnection},
	} {
		managed, check, err := rehearsal{c.direct, c.managed}.judge()
		if managed != c.manages || check != c.check || (err == nil) != (check == "") {
			t.Errorf("%s: managed %v, check %q, %v", c.name, managed, check, err)
		}
	}
}

func TestSnapshotHint(t *testing.T) {
	for _, c := range []struct {
		s    libvirt.Snapshots
		want []string
	}{
		{libvirt.Snapshots{}, nil},
		{libvirt.Snapshots{Snapshots: []string{"-a", "b c"}}, []string{`snapshots ["-a" "b c"]`, "virsh snapshot-delete --metadata -- 'Night Watch 1' -a", "stays in the image"}},
		{libvirt.Snapshots{Checkpoints: []string{"daily"}}, []string{`checkpoints ["daily"]`, "virsh checkpoint-delete --metadata 'Night Watch 1' daily", "full one"}},
	} {
		hint := snapshotHint("Night Watch 1", c.s)
		if (hint == "") != (len(c.want) == 0) {
			t.Errorf("%+v: %q", c.s, hint)
		}
		for _, want := range c.want {
			if !strings.Contains(hint, want) {
				t.Errorf("%q does not say %q", hint, want)
			}
		}
	}
}
