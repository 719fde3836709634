package resource

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/route"
)

func TestAddressOf(t *testing.T) {
	p := param.Params{Xen: param.Xen{NodeIPAttribute: "ip"}}
	for _, c := range []struct{ answer, want, why string }{
		{"192.0.2.2\n", "192.0.2.2", ""},
		{"2001:db8::2\n", "2001:db8::2", ""},
		{"fast2.lan\n", "fast2.lan", ""},
		{"(null)\n", "", "no such attribute"},
		{"", "", "no such attribute"},
		{"192.0.2.2/24", "", "neither an address"},
		{"192.0.2.2 192.0.2.3", "", "neither an address"},
		{"Error performing operation: Not connected", "", "neither an address"},
	} {
		got, err := p.Routes().Address(t.Context(),
			func(context.Context, string, ...string) (string, error) { return c.answer, nil }, "node2")
		if got != c.want || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q is %q, %v, want %q, %q", c.answer, got, err, c.want, c.why)
		}
	}
	failing := func(context.Context, string, ...string) (string, error) {
		return "not connected\n", errors.New("exit status 102")
	}
	if got, err := p.Routes().Address(t.Context(), failing, "node2"); got != "" || err == nil ||
		!strings.Contains(err.Error(), "not connected") {
		t.Errorf("a tool that fails says %q, %v", got, err)
	}
	if got, err := (route.Config{}).Address(t.Context(), nil, "node2"); got != "" || err != nil {
		t.Errorf("without the parameter: %q, %v", got, err)
	}
}

// After an interrupted move the peer is asked at the address that the move went to, and once about it.
func TestPeerIsAskedAtItsAddress(t *testing.T) {
	w := newWorld(t, "start")
	p := &w.agent.Params
	p.NodeIPAttribute, p.Transport = "ip", "tcp"
	pendingTo(notes.Outward, "node2")(w)
	manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
	lookups := 0
	w.program = func(_ context.Context, line string) (string, error) {
		if strings.Contains(line, "--node node2 --name ip") {
			lookups++
			return "192.0.2.2\n", nil
		}
		return "", nil
	}
	w.open = func(_ context.Context, uri string) error {
		if uri == "qemu+tcp://192.0.2.2/system" || uri == "qemu:///system" {
			return nil
		}
		return fakeError{libvirt.ErrConnect, "unable to resolve address 'node2'"}
	}
	err, _ := w.run("start")
	checkExit(t, err, ocf.Success, "")
	if lookups != 1 || w.isPending() {
		t.Errorf("asked %d times for the address, note left: %v", lookups, w.isPending())
	}
}
