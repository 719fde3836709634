package endpoint

import (
	"context"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestCondition(t *testing.T) {
	const guestUUID = "11111111-2222-3333-4444-555555555555"
	runs := func(reason string) libvirt.Status {
		return libvirt.Status{State: libvirt.Running, Reason: reason, UUID: guestUUID, ID: 1}
	}
	other, off := runs("booted"), runs("booted")
	other.UUID = "99999999-0000-0000-0000-000000000000"
	off.State = libvirt.ShutOff
	asleep := runs("unknown")
	asleep.State = libvirt.PMSuspended
	cases := []struct {
		name string
		saw  Observation
		want Condition
	}{
		{"another guest of that name", Observation{Status: other}, Absent},
		{"defined only", Observation{Status: off}, Absent},
		{"asleep", Observation{Status: asleep}, Running},
		{"process gone, libvirt silent", Observation{Err: context.DeadlineExceeded, Gone: true}, Absent},
		{"silent", Observation{Err: context.DeadlineExceeded}, NoAnswer},
	}
	for _, c := range cases {
		if got := c.saw.Condition(guestUUID); got != c.want {
			t.Errorf("%s: condition %d, want %d", c.name, got, c.want)
		}
	}
	if (Observation{Status: other}).Condition("") != Running {
		t.Error("without a UUID the name must do")
	}
}
