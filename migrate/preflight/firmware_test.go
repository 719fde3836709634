package preflight

import (
	"context"
	"errors"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	swtpm = `<domainCapabilities><devices><tpm supported='yes'><enum name='backendModel'><value>passthrough</value><value>emulator</value></enum></tpm></devices></domainCapabilities>`
	noTPM = `<domainCapabilities><devices><tpm supported='yes'><enum name='backendModel'><value>passthrough</value></enum></tpm></devices></domainCapabilities>`
)

func TestHasSwtpm(t *testing.T) {
	for doc, want := range map[string]bool{
		swtpm: true, noTPM: false, "": true, "<": true,
		`<domainCapabilities><devices><tpm supported='no'/></devices></domainCapabilities>`: false,
		`<domainCapabilities><devices/></domainCapabilities>`:                               true, // before libvirt 5.6
	} {
		if got := hasSwtpm(doc); got != want {
			t.Errorf("%s: %v", doc, got)
		}
	}
}

// shelf is a host's directories; one that is not in it cannot be looked into.
type shelf map[string][]string

func (s shelf) Names(_ context.Context, dir string) ([]string, error) {
	names, ok := s[dir]
	if !ok {
		return nil, errors.New("cannot open directory")
	}
	return names, nil
}

func TestShows(t *testing.T) {
	for _, c := range []struct {
		host shelf
		want libvirt.Visible
	}{
		{shelf{"/usr/share/OVMF": {"CODE.fd"}}, libvirt.VisibleYes},
		{shelf{"/usr/share/OVMF": {"VARS.fd"}}, libvirt.VisibleNo},
		{shelf{"/usr/share/OVMF": nil}, libvirt.VisibleNo},
		{shelf{"/usr/share": {"seabios"}}, libvirt.VisibleNo},
		{shelf{"/usr/share": {"OVMF"}}, libvirt.VisibleUnknown},
		{shelf{"/usr": {"bin"}}, libvirt.VisibleNo},
		{shelf{"/": {"bin"}}, libvirt.VisibleUnknown},
		{nil, libvirt.VisibleUnknown},
	} {
		if got := shows(t.Context(), c.host, "/usr/share/OVMF/CODE.fd", parents); got != c.want {
			t.Errorf("%v: %v, want %v", c.host, got, c.want)
		}
	}
}
