package setup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
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
		"a guard without a lease": {device.State{Header: &ours, Running: []string{"beta"}}, nil, true,
			"/dev/x: vmferry-guard runs on node beta: type systemctl stop vmferry-guard there first"},
		"of another cluster": {device.State{Header: &other}, nil, true, `is the lease device of cluster "office" (alpha, beta)`},
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

// A guard without a lease renews its slot, and is seen by that. One that does not run is not.
func TestLookTwice(t *testing.T) {
	h := header
	h.Times.Renew, h.Times.Poll, h.Times.Margin = 50*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond
	for name, test := range map[string]struct {
		slot    func(look int) lease.Slot
		waits   bool
		running []string
	}{
		"no guard":          {nil, true, nil},
		"one at rest":       {func(int) lease.Slot { return lease.Slot{Node: 2, Generation: 3, Counter: 7} }, true, nil},
		"without a lease":   {func(i int) lease.Slot { return lease.Slot{Node: 2, Counter: uint64(i)} }, true, []string{"beta"}},
		"with a held lease": {func(int) lease.Slot { return lease.Slot{Node: 2, State: lease.Held} }, false, nil},
	} {
		path := leaseFile(t, h)
		write := func(look int) {
			if test.slot == nil {
				return
			}
			d, err := device.Open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(d.WriteSlot(test.slot(look)), d.Close()); err != nil {
				t.Fatal(err)
			}
		}
		write(1)
		waited := false
		found, err := LookTwice(t.Context(), path, func(d time.Duration) {
			waited = d == h.Times.Fresh()
			write(2)
		})
		if err != nil || waited != test.waits || !slices.Equal(found.Running, test.running) {
			t.Errorf("%s: waited %v, running %v, %v", name, waited, found.Running, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "lease")
	found, err := LookTwice(t.Context(), missing, func(time.Duration) { t.Error("waited for nothing") })
	if err != nil || !found.Missing {
		t.Errorf("%+v, %v", found, err)
	}
}

// leaseFile is a lease device on a file system with direct I/O: beside this test, where the temporary one has none.
func leaseFile(t *testing.T, h lease.Header) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "setup-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "lease")
	if err := device.Init(path, h); err != nil {
		t.Fatal(err)
	}
	return path
}

// A node whose slot is as "vmferry guard init" wrote it has had no guard since.
func TestNeverRan(t *testing.T) {
	path := leaseFile(t, header)
	d, err := device.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.WriteSlot(lease.Slot{Node: 1, Instance: lease.Instance{1}}), d.Close()); err != nil {
		t.Fatal(err)
	}
	o := Observed{Settings: settings.Settings{Device: path}}
	Sources{Node: "alpha"}.device(t.Context(), &o)
	if !slices.Equal(o.NeverRan, []string{"beta"}) || len(o.Unusable) != 0 {
		t.Errorf("%q, %+v", o.NeverRan, o.Unusable)
	}
}
