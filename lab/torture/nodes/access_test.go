package nodes

import (
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
)

func TestBarsOfAccess(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	got := Bars([]Access{
		{"node1", true, at(1)}, {"node2", true, at(2)}, // both have access
		{"node1", false, at(10)}, {"node1", false, at(11)}, // it is revoked twice
		{"node2", true, at(12)}, {"node1", true, at(20)},
		{"node2", false, at(30)},
	})
	want := []scenario.Bar{{Node: "node1", From: at(10), To: at(20)}, {Node: "node2", From: at(30)}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
