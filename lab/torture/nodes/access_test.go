package nodes

import (
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/scenario"
)

func TestBarsOfAccess(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	got := barsOf([]guarded.Access{
		{Node: "node1", Open: true, At: at(1)}, {Node: "node2", Open: true, At: at(2)}, // both have access
		{Node: "node1", Open: false, At: at(10)}, {Node: "node1", Open: false, At: at(11)}, // it is revoked twice
		{Node: "node2", Open: true, At: at(12)}, {Node: "node1", Open: true, At: at(20)},
		{Node: "node2", Open: false, At: at(30)},
	})
	want := []scenario.Bar{{Node: "node1", From: at(10), To: at(20)}, {Node: "node2", From: at(30)}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
