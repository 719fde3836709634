package setup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var header = lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}}

func TestMayInit(t *testing.T) {
	other, ours := header, header
	other.Cluster = "office"
	for name, test := range map[string]struct {
		found  device.State
		header func(*lease.Header)
		agreed bool
		want   string
	}{
		"nothing, agreed":          {device.State{Missing: true}, nil, true, ""},
		"empty, agreed":            {device.State{Empty: true}, nil, true, ""},
		"ours at rest, agreed":     {device.State{Header: &ours}, nil, true, ""},
		"nothing, not agreed":      {device.State{Missing: true}, nil, false, "a file of 1118208 bytes will be made; to write it, add --yes"},
		"empty, not agreed":        {device.State{Empty: true}, nil, false, "it is empty; to write it, add --yes"},
		"ours at rest, not agreed": {device.State{Header: &ours}, nil, false, "it is a lease device of this cluster already"},
		"in use":                   {device.State{Header: &ours, Held: []string{"beta"}}, nil, true, "/dev/x is in use by beta"},
		"of another cluster":       {device.State{Header: &other}, nil, true, `is the lease device of cluster "office" (alpha, beta)`},
		"a file system": {device.State{}, nil, true, "/dev/x holds other data: use another device; only if that data can be " +
			"lost, type dd if=/dev/zero of=/dev/x bs=4096 count=273"},
		"a damaged header": {device.State{Damaged: true}, nil, true, "a damaged header: stop vmferry-guard on all its nodes"},
		"times that cannot hold": {device.State{Empty: true}, func(h *lease.Header) { h.Times.SelfKill = time.Second }, true,
			"self-kill 1s is less than 3 renewals"},
		"one node": {device.State{Empty: true}, func(h *lease.Header) { h.Nodes = h.Nodes[:1] }, true, "2 to 16 nodes"},
	} {
		h := header
		if test.header != nil {
			test.header(&h)
		}
		err := MayInit("/dev/x", test.found, h, test.agreed)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if !test.agreed && !errors.Is(err, ErrConfirm) {
			t.Errorf("%s: %v is no ErrConfirm", name, err)
		}
	}
}
