package check

import (
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
)

func TestGradeOf(t *testing.T) {
	for _, test := range []struct {
		fate        hbplugin.Fate
		free, bound Grade // of a guest that its resource pins, too
	}{
		{hbplugin.MovesLive, OK, OK},
		{hbplugin.MovesWith, OK, OK},
		{hbplugin.Restarts, Warning, Warning},
		{hbplugin.Stays, Warning, Warning},
		{hbplugin.Stops, Problem, Warning},
		{hbplugin.Unknown, Problem, Problem},
		{"", Problem, Problem},
	} {
		if free, bound := gradeOf(test.fate, false), gradeOf(test.fate, true); free != test.free ||
			bound != test.bound {
			t.Errorf("%q: %s, pinned %s; want %s, %s", test.fate, free, bound, test.free, test.bound)
		}
	}
}

func TestHidesProcesses(t *testing.T) {
	const other = "24 1 0:22 / /sys rw,nosuid - sysfs sysfs rw\n"
	for super, want := range map[string]bool{
		"rw": false, "rw,hidepid=2": false, "rw,gid=1234,hidepid=2": true, "rw,gid=1234,hidepid=invisible": true,
		"rw,gid=0,hidepid=2": false,
		"rw,gid=1234":        false, "rw,gid=1234,hidepid=0": false, "rw,gid=7,hidepid=noaccess": true,
		"rw,hidepid=ptraceable": true, "rw,hidepid=4": true,
	} {
		if _, got := hidesProcesses(other + "22 1 0:21 / /proc rw,nosuid shared:5 - proc proc " + super +
			"\n"); got != want {
			t.Errorf("%s: hides %v", super, got)
		}
	}
	if _, got := hidesProcesses("22 1 0:21 / /proc rw - proc proc rw,gid=1,hidepid=2\n30 22 0:21 / /proc rw - proc proc rw\n"); got {
		t.Error("a mount that another one covers counts")
	}
}
