package migrate

import (
	"context"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestCondition(t *testing.T) {
	other, off := runs("booted"), runs("booted")
	other.UUID = "99999999-0000-0000-0000-000000000000"
	off.State = libvirt.ShutOff
	asleep := runs("unknown")
	asleep.State = libvirt.PMSuspended
	cases := []struct {
		name string
		view view
		want condition
	}{
		{"another guest of that name", view{status: other}, absent},
		{"defined only", view{status: off}, absent},
		{"asleep", view{status: asleep}, running},
		{"process gone, libvirt silent", view{err: context.DeadlineExceeded, gone: true}, absent},
		{"silent", view{err: context.DeadlineExceeded}, noAnswer},
	}
	for _, c := range cases {
		if got := c.view.condition(guestUUID); got != c.want {
			t.Errorf("%s: condition %d, want %d", c.name, got, c.want)
		}
	}
	if (view{status: other}).condition("") != running {
		t.Error("without a UUID the name must do")
	}
}
