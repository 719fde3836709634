package cluster

import (
	"strings"
	"testing"
)

func TestAtWork(t *testing.T) {
	const pacemaker = "Id=corosync.service\nActiveState=active\nUnitFileState=enabled\n\n" +
		"Id=pacemaker.service\nActiveState=active\nUnitFileState=enabled\n\n" +
		"Id=heartbeat.service\nActiveState=inactive\nUnitFileState=masked\n"
	for _, test := range []struct {
		name, text string
		want       bool
	}{
		{"as after a boot", pacemaker, true},
		{"a unit of its own is not up", strings.Replace(pacemaker, "ActiveState=active", "ActiveState=activating", 1),
			false},
		{"a unit of its own would not come at the next boot", strings.Replace(pacemaker, "=enabled", "=masked", 1),
			false},
		{"the other one is at work too", strings.Replace(pacemaker, "ActiveState=inactive", "ActiveState=active", 1),
			false},
		{"the other one would come at the next boot", strings.Replace(pacemaker, "=masked", "=enabled", 1), false},
		{"a unit is missing", pacemaker[:strings.Index(pacemaker, "Id=heartbeat")], false},
		{"no output", "", false},
	} {
		if got := atWork(unitStates(test.text), units[PacemakerName], units[HeartbeatName]); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}
