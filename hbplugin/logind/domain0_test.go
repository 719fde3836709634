package logind

import (
	"slices"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

func TestFreeDomain0(t *testing.T) {
	domain0 := logindtest.Inhibitor{What: "shutdown", Who: "Libvirt Xen", Why: "Xen virtual machines are running", Mode: "delay", PID: 284}
	but := func(change func(*logindtest.Inhibitor)) logindtest.Inhibitor {
		other := domain0
		change(&other)
		return other
	}
	for _, test := range []struct {
		name    string
		holders []logindtest.Inhibitor
		want    []string
	}{
		{"nobody", nil, nil},
		{"domain 0", []logindtest.Inhibitor{domain0}, []string{"vmferryd.service replace"}},
		{"with other locks too", []logindtest.Inhibitor{but(func(i *logindtest.Inhibitor) { i.What = "sleep:shutdown" })}, []string{"vmferryd.service replace"}},
		{"ours", []logindtest.Inhibitor{but(func(i *logindtest.Inhibitor) { i.Who = "vmferryd" })}, nil},
		{"QEMU's guests", []logindtest.Inhibitor{but(func(i *logindtest.Inhibitor) { i.Who = "Libvirt QEMU" })}, nil},
		{"sleep", []logindtest.Inhibitor{but(func(i *logindtest.Inhibitor) { i.What = "sleep" })}, nil},
		{"an operator's block", []logindtest.Inhibitor{but(func(i *logindtest.Inhibitor) { i.Mode = "block" })}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startBus(t)
			b.Systemd("running", uint64(0)) // to which every process belongs to vmferryd
			b.Logind().Others(test.holders...)
			if err := (System{}).FreeDomain0(t.Context()); err != nil {
				t.Error(err)
			}
			if got := b.Restarted(); !slices.Equal(got, test.want) {
				t.Errorf("restarted %q, want %q", got, test.want)
			}
		})
	}
}

func TestFreeDomain0WithoutLogind(t *testing.T) {
	b := startBus(t)
	b.Systemd("running", uint64(0))
	if err := (System{}).FreeDomain0(t.Context()); err == nil {
		t.Error("nobody was asked and an answer came")
	}
}
