package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	loader = `<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>`
	tpm    = `<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>`
	swtpm  = `<domainCapabilities><devices><tpm supported='yes'><enum name='backendModel'><value>passthrough</value><value>emulator</value></enum></tpm></devices></domainCapabilities>`
	noTPM  = `<domainCapabilities><devices><tpm supported='yes'><enum name='backendModel'><value>passthrough</value></enum></tpm></devices></domainCapabilities>`
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

// TestSurroundings has a guest whose host has what it needs, and a target that may not.
func TestSurroundings(t *testing.T) {
	const dir = "/usr/share/OVMF"
	firmware := map[string][]string{dir: {"OVMF_CODE_4M.fd"}}
	for _, c := range []struct {
		name  string
		spoil func(p *pair)
		check string // "" for none
		note  string
	}{
		{"all there", func(p *pair) {}, "", ""},
		{"firmware is missing", func(p *pair) { p.Target.Dirs[dir] = []string{"OVMF_CODE.fd"} }, CheckFirmware, ""},
		{"firmware is not seen here either",
			func(p *pair) { p.Target.Dirs[dir], p.Source.Dirs = nil, map[string][]string{} }, "", "was not checked"},
		{"no swtpm", func(p *pair) { p.Target.DomCaps = noTPM }, CheckFirmware, ""},
		{"no swtpm here either", func(p *pair) { p.Target.DomCaps, p.Source.DomCaps = noTPM, noTPM }, "", ""},
		{"too few huge pages", func(p *pair) { p.Target.Pages = 255 }, CheckMemory, ""},
		{"huge pages that the kernel makes when they are needed",
			func(p *pair) { p.Target.Pages, p.req.Memory = 0, MemoryIgnore }, "", ""},
		{"other processor", func(p *pair) {
			p.Source.Caps = strings.Replace(endpointtest.CapsXML("source"), "</uuid>",
				"</uuid><cpu><model>Skylake</model><vendor>Intel</vendor></cpu>", 1)
			p.Target.Caps = strings.Replace(endpointtest.CapsXML("target"), "</uuid>",
				"</uuid><cpu><model>EPYC</model><vendor>AMD</vendor></cpu>", 1)
		}, "", "AMD EPYC there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Doc = strings.NewReplacer("'qemu'", "'kvm'", "</os>", loader+"</os>", "</devices>", tpm+"</devices>",
					"<devices>", "<cpu mode='host-passthrough'/><memoryBacking><hugepages><page size='2048'/></hugepages></memoryBacking><devices>").Replace(guestDoc)
				p.Source.Dirs, p.Target.Dirs = firmware, map[string][]string{dir: firmware[dir]}
				p.Source.DomCaps, p.Target.DomCaps, p.Target.Pages = swtpm, swtpm, 256
				c.spoil(p)
				x, err := p.run(t)
				var checks []string
				for _, r := range x.Refusals {
					checks = append(checks, r.Check)
				}
				if err != nil || strings.Join(checks, " ") != c.check {
					t.Errorf("refused by %v, want %q; %v", x.Refusals, c.check, err)
				}
				if notes := fmt.Sprint(x.Notes); (len(x.Notes) > 0) != (c.note != "") || !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
			})
		})
	}
}
