package preflight

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

func capsDoc(uuid string) string {
	return `<capabilities><host><uuid>` + uuid + `</uuid></host><guest><os_type>hvm</os_type><arch name='x86_64'>
<machine canonical='pc-q35-10.0'>q35</machine><machine>pc-q35-10.0</machine><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>`
}

// fake is one end of a pair. What a test wants to be wrong it assigns. Whatever is not here is not asked.
type fake struct {
	endpoint.Host
	uri       string
	status    libvirt.Status
	fails     error // libvirt.ErrNoDomain for a guest that is not there
	xml, caps string
	hostname  string
	rehearsal func(p libvirt.MigrateParams) error // nil where libvirt has nothing against it
	accepts   error
	networks  map[string]libvirt.Network
	names     map[string][]string // by directory; nil where it cannot look
	texts     map[string][]byte   // by path; nil where it cannot read
	pages     uint64
	domCaps   string
}

func (f *fake) Status(context.Context, string) (libvirt.Status, error) { return f.status, f.fails }
func (f *fake) JobStats(context.Context, string) (libvirt.JobStats, error) {
	return libvirt.JobStats{}, nil
}
func (f *fake) XML(context.Context, string) (string, error)                       { return f.xml, nil }
func (f *fake) Portable(context.Context, string) (string, error)                  { return f.xml, nil }
func (f *fake) Capabilities(context.Context) (string, error)                      { return f.caps, nil }
func (f *fake) FreeMemory(context.Context) (uint64, error)                        { return 1 << 40, nil }
func (f *fake) FreePages(context.Context, uint64) (uint64, error)                 { return f.pages, nil }
func (f *fake) CompareCPU(context.Context, libvirt.Machine, string) (bool, error) { return true, nil }
func (f *fake) Accepts(context.Context, string) error                             { return f.accepts }
func (f *fake) Hostname(context.Context) (string, error)                          { return f.hostname, nil }
func (f *fake) Snapshots(context.Context, string) (libvirt.Snapshots, error) {
	return libvirt.Snapshots{}, nil
}

func (f *fake) DiskVisible(context.Context, libvirt.DiskSource) (libvirt.Visible, error) {
	return libvirt.VisibleYes, nil
}

func (f *fake) DomainCapabilities(context.Context, string, libvirt.Machine) (string, error) {
	return f.domCaps, nil
}

func (f *fake) Rehearse(_ context.Context, _, target string, p libvirt.MigrateParams) error {
	if f.rehearsal == nil {
		return nil
	}
	return f.rehearsal(p)
}

func (f *fake) Network(_ context.Context, name string) (libvirt.Network, error) {
	n, ok := f.networks[name]
	if !ok {
		return n, libvirt.ErrNoNetwork
	}
	return n, nil
}

func (f *fake) Names(_ context.Context, dir string) ([]string, error) {
	if f.names == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.names[dir], nil
}

func (f *fake) Text(_ context.Context, file string, _ int) ([]byte, error) {
	if f.texts == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.texts[file], nil
}

// pair is a guest that runs at the source, and a target with room for it.
type pair struct {
	source, target *fake
	req            Request
	deps           Deps
}

func newPair(t *testing.T) *pair {
	t.Helper()
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	p := &pair{
		source: &fake{uri: "fake:///source", xml: guestDoc, caps: capsDoc("source"),
			status: libvirt.Status{State: libvirt.Running, Reason: "booted", UUID: guestUUID, ID: 1}},
		target: &fake{uri: "fake:///target", fails: libvirt.ErrNoDomain, caps: capsDoc("target"), hostname: "node2"},
		req:    Request{Guest: "web", SourceURI: "fake:///source", Target: "node2", TargetURI: "fake:///target", All: true},
	}
	p.deps = Deps{Log: log, Resolve: resolve, Lock: func(context.Context, string) error { return nil },
		Own: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }}
	return p
}

// run is the pre-flight.
func (p *pair) run(t *testing.T) (Findings, error) {
	t.Helper()
	open := func(_ context.Context, uri string) (endpoint.Host, error) {
		for _, f := range []*fake{p.source, p.target} {
			if f.uri == uri {
				return f, nil
			}
		}
		return nil, fmt.Errorf("connect to %q", uri)
	}
	p.deps.Source = &endpoint.Endpoint{URI: p.req.SourceURI, Open: open}
	p.deps.Target = &endpoint.Endpoint{URI: p.req.TargetURI, Open: open}
	return Run(t.Context(), p.req, p.deps)
}

// resolve knows the target, and each name that says itself where it leads.
func resolve(_ context.Context, host string) ([]netip.Addr, error) {
	known := map[string]string{"node2": "192.0.2.2", "kvm-b": "192.0.2.2", "self": "127.0.1.1", "vip": "192.0.2.1"}
	if known[host] == "" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(known[host])}, nil
}
