package logind

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

var libvirtQEMU = logindtest.Inhibitor{What: "shutdown", Who: "Libvirt QEMU",
	Why: "QEMU/KVM virtual machines are running", Mode: "delay", PID: 284}

// lockBut is libvirt's lock with a change.
func lockBut(change func(*logindtest.Inhibitor)) logindtest.Inhibitor {
	other := libvirtQEMU
	change(&other)
	return other
}

func TestProceed(t *testing.T) {
	xen := lockBut(func(i *logindtest.Inhibitor) { i.Who = "Libvirt Xen" })
	for _, test := range []struct {
		name, kind string
		holders    []logindtest.Inhibitor
		want       []string
	}{
		{"logind goes on by itself", "reboot", nil, nil},
		{"guests that stay", "reboot", []logindtest.Inhibitor{libvirtQEMU},
			[]string{"reboot.target replace-irreversibly"}},
		{"domain 0", "poweroff", []logindtest.Inhibitor{xen}, []string{"poweroff.target replace-irreversibly"}},
		{"an older libvirt", "reboot",
			[]logindtest.Inhibitor{lockBut(func(i *logindtest.Inhibitor) { i.Who = "Libvirt" })},
			[]string{"reboot.target replace-irreversibly"}},
		{"both drivers", "soft-reboot", []logindtest.Inhibitor{libvirtQEMU, xen},
			[]string{"soft-reboot.target replace-irreversibly"}},
		{"for sleep too", "halt",
			[]logindtest.Inhibitor{lockBut(func(i *logindtest.Inhibitor) { i.What = "sleep:shutdown" })},
			[]string{"halt.target replace-irreversibly"}},
		{"beside one that is for sleep alone", "kexec",
			[]logindtest.Inhibitor{libvirtQEMU,
				lockBut(func(i *logindtest.Inhibitor) { i.Who, i.What = "NetworkManager", "sleep" })},
			[]string{"kexec.target replace-irreversibly"}},
		{"an operator's block is not for us to pass", "reboot",
			[]logindtest.Inhibitor{lockBut(func(i *logindtest.Inhibitor) { i.Mode = "block" })}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startBus(t)
			b.Systemd("running", uint64(0))
			logind := b.Logind()
			logind.Set(true, 0)
			logind.Others(test.holders...)
			started, err := System{LibvirtDir: t.TempDir()}.Proceed(t.Context(), test.kind)
			if err != nil || started != (test.want != nil) {
				t.Errorf("started: %v, %v", started, err)
			}
			if got := b.Started(); !slices.Equal(got, test.want) {
				t.Errorf("started %q, want %q", got, test.want)
			}
		})
	}
}

// Who else holds the shutdown is waited for.
func TestProceedWaitsForOthers(t *testing.T) {
	b := startBus(t)
	b.Systemd("running", uint64(0))
	logind := b.Logind()
	logind.Set(true, 0)
	other := lockBut(func(i *logindtest.Inhibitor) { i.Who = "a backup" })
	logind.Others(libvirtQEMU, other)
	ctx, cancel := context.WithTimeout(t.Context(), 2*othersAgain)
	defer cancel()
	if started, err := (System{LibvirtDir: t.TempDir()}).Proceed(ctx, "reboot"); started ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v, %v: a lock was passed over", started, err)
	}
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() { _, err := System{LibvirtDir: dir}.Proceed(t.Context(), "reboot"); done <- err }()
	logind.Others(libvirtQEMU)
	select {
	case err := <-done:
		if err != nil || !slices.Equal(b.Started(), []string{"reboot.target replace-irreversibly"}) {
			t.Errorf("started %q, %v", b.Started(), err)
		}
	case <-time.After(logindtest.Patience):
		t.Error("libvirt alone is left, and nothing happens")
	}
}

func TestProceedStartsNothing(t *testing.T) {
	for _, test := range []struct {
		name, kind string
		preparing  bool
		want       error
	}{
		{"the shutdown was called off", "reboot", false, nil},
		{"an older logind does not tell the kind", "", true, errKind},
		{"a kind that nobody knows yet", "rejuvenate", true, errKind},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startBus(t)
			b.Systemd("running", uint64(0))
			logind := b.Logind()
			logind.Set(test.preparing, 0)
			logind.Others(libvirtQEMU)
			if started, err := (System{LibvirtDir: t.TempDir()}).Proceed(t.Context(), test.kind); started ||
				!errors.Is(err, test.want) || len(b.Started()) != 0 {
				t.Errorf("started %q: %v, %v", b.Started(), started, err)
			}
		})
	}
}

func TestProceedWithoutLogind(t *testing.T) {
	b := startBus(t)
	b.Systemd("running", uint64(0))
	if _, err := (System{LibvirtDir: t.TempDir()}).Proceed(t.Context(), "reboot"); err == nil {
		t.Error("nobody was asked and an answer came")
	}
}
